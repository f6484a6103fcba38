"""Messages held for want of a route: released when one appears, as policy and the rules of consent have it."""

from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.open_messages.test_dispatch import RULE
from tests.open_messages.world import World, client_of, world
from tests.relay.world import SHOWN

from letterlock.app.gateway import API_KEY_FILE, open_gateway
from letterlock.app.settings import PolicySettings, Settings, Store
from letterlock.model.protection import ConsentKind, Protection
from letterlock.policy.file import profile_source
from letterlock.storage.codes import PROTECTIONS
from letterlock.storage.commands import Relied
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.open_commands import ReleaseHeld
from letterlock.storage.sqlite.connection import DATABASE
from letterlock.wire.tlog.entries import Fallback, Release
from letterlock.wire.tlog.words import ReasonCode

NOTICE = {"traffic": "notification"}


async def hold(folder: Path, *messages: dict[str, Any], policy_file: str = "") -> list[str]:
    """Takes messages on a gateway without any route; their ids."""
    settings = Settings(store=Store(folder=str(folder)), policy=PolicySettings(file=policy_file))
    gateway = await open_gateway(settings)
    ids = []
    async with client_of(gateway, (folder / API_KEY_FILE).read_text().strip()) as http:
        for message in messages:
            answer = await http.post("/v1/messages", json={"to": "+491701234567"} | message)
            assert (answer.status_code, answer.json()["state"]) == (202, "held"), answer.text
            assert answer.json()["security"]["rule"] == "fallback.no_route"
            ids.append(answer.json()["id"])
    await gateway.close()
    return ids


def raise_floors(folder: Path) -> None:
    """As another part of the gateway would, while no gateway runs."""
    db = apsw.Connection(str(folder / DATABASE))
    db.execute(
        "INSERT INTO floor SELECT DISTINCT tenant, subject, ?, 1, 'attested', 1 FROM message",
        (PROTECTIONS.index(Protection.E2EE),),
    ).fetchall()
    db.close()


def releases(w: World) -> list[Release]:
    return [entry for entry in w.entries() if isinstance(entry, Release)]


async def test_a_notice_leaves_once_there_is_a_route_and_its_release_is_recorded(tmp_path: Path) -> None:
    (held,) = await hold(tmp_path, {"text": "the table", **NOTICE})
    async with world(tmp_path) as w:
        told = await w.until_state(held, "delivered")
        assert w.screen() == ["the table"]
        assert told["security"]["rule"] == "routing.notification"
        (entry,) = releases(w)
        assert (entry.reason, entry.to) == (ReasonCode.ROUTE_AVAILABLE, Protection.CLEAR)
        names = [one.t for one in w.entries()]
        assert names.index("hold") < names.index("release")
        assert w.rows("SELECT count(*) FROM shreddable_body") == [(0,)]
    async with world(tmp_path) as w:
        assert len(releases(w)) == 1, "once"


async def test_a_conversation_stays_held_because_nobody_has_answered(tmp_path: Path) -> None:
    talk, notice = await hold(tmp_path, {"text": "see you", "on_downgrade": "hold"}, {"text": "the table", **NOTICE})
    async with world(tmp_path) as w:
        await w.until_state(notice, "delivered")
        assert (await w.get(talk))["state"] == "held"
        assert w.screen() == ["the table"]
        assert len(releases(w)) == 1
        assert w.count()["fallback"] == 0


async def test_a_step_down_that_policy_allows_is_recorded_before_it_leaves(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(profile_source("standard") + RULE)
    folder = tmp_path / "store"
    (held,) = await hold(folder, {"text": "small talk", "on_downgrade": "hold"}, policy_file=str(policy))
    async with world(folder, policy_file=str(policy)) as w:
        await w.until_state(held, "delivered")
        names = [one.t for one in w.entries()]
        assert names.index("fallback") < names.index("release")
        (fall,) = [one for one in w.entries() if isinstance(one, Fallback)]
        assert (fall.kind, fall.to) == (ConsentKind.POLICY, Protection.CLEAR)


async def test_a_message_that_waits_for_an_answer_is_not_released_by_a_route(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        held = (await w.send("the first", on_downgrade="hold")).json()
    async with world(tmp_path) as w:
        assert (await w.get(held["id"]))["state"] == "held"
        assert (await w.answer(held["challenge"]["id"])).json()["released"] is True
        await w.until_state(held["id"], "delivered")
        assert [one.reason for one in releases(w)] == [ReasonCode.CONSENT_GIVEN]


async def test_a_floor_that_rose_meanwhile_keeps_it_held(tmp_path: Path) -> None:
    (held,) = await hold(tmp_path, {"text": "one", **NOTICE})
    raise_floors(tmp_path)
    async with world(tmp_path) as w:
        assert (await w.get(held))["state"] == "held"
        assert releases(w) == []


async def test_the_writer_releases_only_what_is_held_without_a_question_under_the_versions_read(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        gone = (await w.notify("the table"))["id"]
        await w.until_state(gone, "delivered")
        asked = (await w.send("the first", on_downgrade="hold")).json()["id"]
        version = w.gateway.policies.version
        seqs = dict(w.rows("SELECT lower(hex(id)), seq FROM message"))
        cases = [
            (gone, version, CommitReason.NOT_ALLOWED),
            (asked, version, CommitReason.NOT_ALLOWED),
        ]
        for message, relied, reason in cases:
            seq = seqs[message.removeprefix("msg_")]
            command = ReleaseHeld(seq, 1, SHOWN, Relied(relied, -1, 0), b"p" * 32, None, 1)
            with pytest.raises(CommitRefused) as refused:
                await w.gateway.committer.run(command)
            assert refused.value.reason is reason
        assert releases(w) == []
    (held,) = await hold(tmp_path, {"text": "see you", "on_downgrade": "hold"})
    async with world(tmp_path) as w:
        seq = dict(w.rows("SELECT lower(hex(id)), seq FROM message"))[held.removeprefix("msg_")]
        version = w.gateway.policies.version
        for older in (Relied(version - 1, -1, 0), Relied(version, -1, 7)):
            with pytest.raises(CommitRefused) as stale:
                await w.gateway.committer.run(ReleaseHeld(seq, 1, SHOWN, older, b"p" * 32, None, 1))
            assert stale.value.reason is CommitReason.STALE_DECISION
        await w.gateway.committer.run(ReleaseHeld(seq, 1, SHOWN, Relied(version, -1, 0), b"p" * 32, None, 1))
        assert len(releases(w)) == 1
