"""A group of RCS clients (GSMA RCC.16) through a real gateway process with roots for their certificates."""

import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from tests.e2e.rcs_people import rcs_people
from tests.e2e.test_devices_through_the_gateway import ledger_verifies
from tests.wire_mls.certificate_maker import END, era
from tests.wire_mls.rcs_message import authenticator, mls_of, rcs_message

from letterlock.lab.demo.world import until
from letterlock.model.ids import GroupRef


def store_is_whole(folder: Path) -> bool:
    command = [sys.executable, "-m", "letterlock.app.cli", "fsck", "--data", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0


@pytest.mark.attack("A14")
async def test_an_era_advances_whole_or_not_at_all(tmp_path: Path) -> None:
    async with rcs_people(tmp_path, era(1)) as (gateway, people):
        chat, (ann, bob), old = people.chat, people.chat.phones, people.group
        status, _ = await people.commit(chat.adding())
        assert status == 201
        found = await people.look(bob)
        assert (found["era"], found["superseded_by"]) == (1, None)
        assert found["tracking"] == {"standing": "followed", "epoch": 1, "gaps": 0}
        # Born downgraded: refused, and everything stays as it was.
        status, problem = await people.advance(chat.again(era(2), END).adding())
        assert (status, problem["code"], problem["rcc16"]) == (409, "born_downgraded", "mls-group-has-end-mls")
        status, problem = await people.advance(chat.again(era(3)).adding())
        assert (status, problem["code"], problem["rcc16"]) == (409, "wrong_era", "incorrect-era")
        assert problem["current_era"] == 1
        assert await people.look(bob) == found
        # The next era: everybody welcomed again.
        second = chat.again(era(2))
        bundle = second.adding()
        status, made = await people.advance(bundle)
        assert (status, made["era"], made["epoch"]) == (201, 2, 1)
        assert await people.advance(bundle) == (status, made), "a lost answer is asked for again"
        new = GroupRef.parse(made["group"])
        items = await people.mailbox(bob)
        assert [(one["kind"], one["group"]) for one in items] == [("welcome", str(old)), ("welcome", str(new))]
        assert b64decode(items[1]["body"]) == bundle.welcomes[0].body
        assert (await people.look(bob, old))["superseded_by"] == {"group": str(new), "era": 2}
        found = await people.look(bob, new)
        assert (found["era"], found["superseded_by"], found["tracking"]["standing"]) == (2, None, "followed")
        # The old one takes nothing more: commits, anchors, messages; a late commit in the new one is told where it is.
        status, problem = await people.commit(chat.renewing(), old)
        assert (status, problem["code"], problem["rcc16"]) == (409, "wrong_era", "incorrect-era")
        assert problem["current_era"] == 2
        for group in (old, new):
            refused = await people.send(ann, rcs_message(1), group)
            assert refused == {"status": "refused", "code": "wrong_era", "rcc16": "incorrect-era"}
        assert (await people.send(ann, rcs_message(2), new))["status"] == "accepted"
        late = second.adding()
        status, problem = await people.commit(late, new)
        assert (status, problem["code"], problem["rcc16"]) == (409, "wrong_epoch", "incorrect-epoch")
        assert (problem["current_epoch"], problem["current_era"]) == (1, 2)
        assert await until(lambda: ledger_verifies(gateway.folder))
        assert store_is_whole(gateway.folder)


REFUSED = {
    "bare, without headers": (mls_of(2), "mls_header_missing", "invalid-input"),
    "without an era": (rcs_message(2, era_id=None), "mls_header_missing", "invalid-input"),
    "without an authenticator": (rcs_message(2, named=None), "mls_header_missing", "invalid-input"),
    "an authenticator of another form": (
        rcs_message(2, named="AAAA"), "wrong_authenticator", "incorrect-epoch-authenticator"
    ),
    "another authenticator of the epoch": (
        rcs_message(2, named=authenticator(b"another")), "wrong_authenticator", "incorrect-epoch-authenticator"
    ),
    "another message id inside": (rcs_message(2, imdn_id="Mx" + "A" * 22), "message_id_differs", "invalid-input"),
    "an older era": (rcs_message(1), "wrong_era", "incorrect-era"),
    "an epoch ahead": (rcs_message(2, epoch=2), "epoch_ahead", "incorrect-epoch"),
}  # fmt: skip


@pytest.mark.attack("A14", "A16", "A18")
async def test_a_message_of_an_rcs_client_from_one_end_to_the_other(tmp_path: Path) -> None:
    async with rcs_people(tmp_path, era(2)) as (gateway, people):
        chat, (ann, bob) = people.chat, people.chat.phones
        status, _ = await people.commit(chat.adding())
        assert status == 201
        body = rcs_message(2)
        taken = await people.send(ann, body)
        assert taken["status"] == "accepted"
        security = taken["security"]
        assert (security["protection"], security["grade"], security["verifier"]) == ("E2EE", "TRACKED", "gateway")
        # What was submitted, byte for byte, with the same words at the other end.
        _, item = await people.mailbox(bob)
        assert (item["kind"], item["message_id"], b64decode(item["body"])) == ("application", taken["message_id"], body)
        assert (item["protection"], item["grade"], item["verifier"]) == ("E2EE", "TRACKED", "gateway")
        for why, (offered, code, rcc16) in REFUSED.items():
            assert await people.send(ann, offered) == {"status": "refused", "code": code, "rcc16": rcc16}, why
        readable = rcs_message(2, kind="text/plain", body=b"CANARY-readable-words")
        assert (await people.send(ann, readable))["status"] == "quarantined"
        assert len(await people.mailbox(bob)) == 2, "nothing of what was refused"
        # The second authenticator was a finding: the group is not said to be checked until its next epoch.
        assert (await people.look(bob))["tracking"]["standing"] == "lowered"
        again = await people.send(ann, rcs_message(2, message_id="Mx" + "B" * 22))
        assert (again["status"], again["security"]["grade"]) == ("accepted", "FRAMED")
        status, _ = await people.commit(chat.renewing())
        assert status == 201
        next_epoch = rcs_message(2, epoch=2, named=authenticator(b"second"))
        assert (await people.send(bob, next_epoch))["security"]["grade"] == "TRACKED"
        assert (await people.look(bob))["tracking"]["standing"] == "followed"
        assert await until(lambda: ledger_verifies(gateway.folder))
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or b"CANARY-readable-words" not in path.read_bytes(), path
