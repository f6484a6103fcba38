"""A group of RCS clients (GSMA RCC.16) through a real gateway process with roots for their certificates."""

import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from tests.e2e.rcs_people import rcs_people
from tests.e2e.test_devices_through_the_gateway import ledger_verifies
from tests.relay import mls
from tests.wire_mls.certificate_maker import END, era
from tests.wire_mls.group_maker import GROUP

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
        refused = await people.send(ann, mls.private(GROUP, 1, 1), old)
        assert refused == {"status": "refused", "code": "wrong_era", "rcc16": "incorrect-era"}
        late = second.adding()
        status, problem = await people.commit(late, new)
        assert (status, problem["code"], problem["rcc16"]) == (409, "wrong_epoch", "incorrect-epoch")
        assert (problem["current_epoch"], problem["current_era"]) == (1, 2)
        assert await until(lambda: ledger_verifies(gateway.folder))
        assert store_is_whole(gateway.folder)
