"""The path of a message as a gateway gives it: by its state and way, signed when asked, proven offline."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.open_messages.world import World, world

from letterlock.app.gateway import VERIFIER_KEY
from letterlock.lab.smsc import LabSmsc
from letterlock.model.capability import Channel
from letterlock.model.ids import MessageId
from letterlock.model.protection import MarkerKind
from letterlock.transports.registry import CARRIER, GATEWAY, GATEWAY_HOPS, capability
from letterlock.wire.path import Onward, PathIncompleteError, PathReason, verify_path
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.words import MarkerHop

ORIGIN = "letterlock.local/ledger"


async def path_of(all_: World, message: str) -> httpx.Response:
    """The path, as soon as it can be given."""
    for _ in range(300):
        answer = await all_.http.get(f"/v1/messages/{message}/path")
        if answer.status_code != 409:
            return answer
        assert answer.json()["code"] == "entry_not_signed_yet"
        await asyncio.sleep(0.02)
    raise AssertionError("no head was signed")


def log_key(all_: World) -> VerifierKey:
    return VerifierKey.parse((all_.folder / VERIFIER_KEY).read_text().strip())


async def test_a_text_message_has_two_signed_hops_and_a_carrier_that_never_signs(tmp_path: Path) -> None:
    async with world(tmp_path) as all_:
        taken = await all_.notify("canary in a path 8f2c")
        await all_.until_state(taken["id"], "sent", "delivered")
        answer = await path_of(all_, taken["id"])
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        proven = verify_path(answer.content, [log_key(all_)], MessageId.parse(taken["id"]))
        assert [(one.server, one.hop) for one in proven.hops] == [
            (ORIGIN, MarkerHop.ACCEPT), (ORIGIN, MarkerHop.DISPATCH),
        ]  # fmt: skip
        row = capability(Channel.SMS)
        assert (proven.end.to, proven.end.channel, proven.end.row) == (Onward.TRANSPORT, Channel.SMS, row.version)
        assert [(one.name, one.kinds) for one in proven.end.readers] == [(CARRIER.name, CARRIER.markers)]
        assert proven.readers == (ORIGIN, CARRIER.name)
        assert b"canary" not in answer.content
        assert b"491701234567" not in answer.content
        # A receipt that comes later changes nothing of what was signed.
        await all_.until_state(taken["id"], "delivered")
        again: dict[str, Any] = (await path_of(all_, taken["id"])).json()
        assert again["markers"] == answer.json()["markers"]
        entries = all_.entries()
        assert [entry.t for entry in entries].count("marker_keys") == 1


async def test_under_way_the_next_marker_is_named_and_missing(tmp_path: Path) -> None:
    async with LabSmsc({"letter": "lab-pw1"}) as smsc:
        await smsc.go_away()
        async with world(tmp_path, smsc=smsc) as all_:
            taken = await all_.notify("waits")
            answer = await path_of(all_, taken["id"])
            with pytest.raises(PathIncompleteError) as refused:
                verify_path(answer.content, [log_key(all_)])
            assert refused.value.reason is PathReason.NEXT_MISSING
            before = answer.json()["markers"]
            await smsc.come_back()
            await all_.until_state(taken["id"], "sent", "delivered")
            after = await path_of(all_, taken["id"])
            verify_path(after.content, [log_key(all_)])
            assert after.json()["markers"][0] == before[0]


async def test_a_message_that_nobody_agreed_to_left_nowhere(tmp_path: Path) -> None:
    async with world(tmp_path) as all_:
        answer = await all_.send("words", on_downgrade="hold")
        assert answer.status_code == 202, answer.text
        held = answer.json()
        refused = await all_.answer(held["challenge"]["id"], "refused")
        assert refused.status_code == 200, refused.text
        await all_.until_state(held["id"], "not_sent")
        path = await path_of(all_, held["id"])
        proven = verify_path(path.content, [log_key(all_)])
        assert proven.end.to is Onward.NOBODY
        assert CARRIER.name not in proven.readers


async def test_another_tenants_or_no_message_has_no_path(tmp_path: Path) -> None:
    async with world(tmp_path) as all_:
        taken = await all_.notify("mine")
        assert (await all_.http.get(f"/v1/messages/msg_{'0' * 32}/path")).status_code == 404
        assert (await all_.http.get("/v1/messages/none/path")).status_code == 404
        bare = {"authorization": "Bearer nobody"}
        assert (await all_.http.get(f"/v1/messages/{taken['id']}/path", headers=bare)).status_code == 401
        other = await all_.gateway.tenants.add("other", "standard")
        _, secret = await all_.gateway.tenants.add_key(other.no)
        theirs = await all_.http.get(f"/v1/messages/{taken['id']}/path", headers={"authorization": f"Bearer {secret}"})
        assert theirs.status_code == 404


async def test_a_restart_keeps_the_keys_and_so_every_marker(tmp_path: Path) -> None:
    async with world(tmp_path) as all_:
        taken = await all_.notify("before")
        await all_.until_state(taken["id"], "sent", "delivered")
        first = (await path_of(all_, taken["id"])).json()
    async with world(tmp_path) as all_:
        answer = await path_of(all_, taken["id"])
        verify_path(answer.content, [log_key(all_)])
        assert answer.json()["markers"] == first["markers"]
        assert all_.count()["marker_keys"] == 2


def test_what_the_hops_declare_is_what_the_rows_say_of_this_gateway() -> None:
    assert frozenset[MarkerKind]().union(*GATEWAY_HOPS[Channel.SMS].values()) == GATEWAY.markers
    assert GATEWAY in capability(Channel.SMS).readers
    assert not any(MarkerKind.READ in kinds for kinds in GATEWAY_HOPS[Channel.RELAY].values())
    assert set(GATEWAY_HOPS) == set(Channel)
