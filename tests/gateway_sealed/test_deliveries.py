"""Messages without a session, by tokens that their recipient handed out: each let in once, and nobody else's."""

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.gateway_sealed.stage import Stage, standard
from tests.gateway_sealed.test_few_traces import high_risk, private, takes

from letterlock.assurance.assess import Path as MessagePath
from letterlock.custody.message_ids import MessageIds
from letterlock.faces.http.app import HttpFace
from letterlock.faces.http.deliveries import delivery_routes
from letterlock.gateway import deliveries as module
from letterlock.gateway.deliveries import DAY_MS, Deliveries
from letterlock.model.capability import Channel
from letterlock.policy.proof import ProvenPolicy
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import TOKEN_TTL_MS, TOKENS_LIVE
from letterlock.storage.codes import GRADES, PROTECTIONS
from letterlock.storage.errors import StorageError
from letterlock.storage.relay_commands import LoseMailbox, RelayReason
from letterlock.storage.sqlite.delivery_reads import DeliveryReads
from letterlock.transports.registry import CAPABILITIES
from letterlock.wire import delivery as wire
from letterlock.wire.stream import ItemKind

R = RelayReason


def token() -> bytes:
    return os.urandom(wire.TOKEN_BYTES)


def body_for(shown: bytes, content: bytes = b"\xcc" * 600) -> bytes:
    """A sealed delivery, as far as the relay can tell."""
    return wire.SealedDelivery(wire.name_of(wire.hash_of(shown)), os.urandom(wire.NONCE_BYTES), content).encode()


@asynccontextmanager
async def open_door(folder: Path, policy: ProvenPolicy) -> AsyncGenerator[tuple[Stage, Deliveries]]:
    async with private(folder, policy) as stage:
        world = stage.world
        yield stage, Deliveries(
            MessagePath.of(*[row for row in CAPABILITIES if row.channel is Channel.RELAY]), stage.policies,
            DeliveryReads(world.readers), world.committer, stage.hub, stage._key, world.clock,
            MessageIds(b"p" * 32), b"p" * 32,
        )  # fmt: skip


async def refusal(work: Any) -> RelayReason:
    with pytest.raises(RelayError) as caught:
        await work
    return caught.value.reason


async def items(stage: Stage, number: int) -> list[Any]:
    phone = stage.phones[number]
    return list((await stage.world.mailboxes.page(phone.caller.tenant_id, phone.mailbox, 0, 99)).items)


async def test_a_token_lets_one_message_into_its_mailbox_and_the_relay_says_asserted(tmp_path: Path) -> None:
    async with open_door(tmp_path, high_risk()) as (stage, door):
        mine = [token() for _ in range(3)]
        bob = stage.connect(1)
        await bob.hello()
        await bob.deliveries(1)
        live, until = await door.add(stage.phones[1].caller, [wire.hash_of(one) for one in mine])
        now = stage.world.clock.now_ms()
        assert (live, until % DAY_MS) == (3, 0)
        assert now + TOKEN_TTL_MS <= until < now + TOKEN_TTL_MS + DAY_MS
        sent = body_for(mine[0])
        done = await door.deliver(mine[0], sent)
        assert not done.repeated
        ((sequence, live_item),) = await bob.deliveries(1)
        assert (sequence, live_item.kind, live_item.body, live_item.message_id) == (
            2, ItemKind.DELIVERY, sent, done.message_id,
        )  # fmt: skip
        # It is not known to be MLS, nor whose: claimed by somebody who may, and shown as no more.
        assert (PROTECTIONS[live_item.protection].value, GRADES[live_item.grade].value) == ("UNKNOWN", "ASSERTED")
        found = await items(stage, 1)
        assert [(one.row.kind, one.body, one.row.group) for one in found[1:]] == [(int(ItemKind.DELIVERY), sent, b"")]
        rows = await stage.world.rows("SELECT sender, group_no, pending FROM message ORDER BY seq DESC LIMIT 1")
        assert rows == [(None, None, 1)]
        assert await stage.world.count("delivery_token") == 2
        await bob.hang_up()
        await takes(stage, 1)
        assert await stage.world.rows("SELECT pending FROM message ORDER BY seq DESC LIMIT 1") == [(0,)]


@pytest.mark.attack("A17")
async def test_the_same_again_has_the_first_answer_and_other_bytes_are_a_conflict(tmp_path: Path) -> None:
    async with open_door(tmp_path, high_risk()) as (stage, door):
        one = token()
        await door.add(stage.phones[1].caller, [wire.hash_of(one)])
        sent = body_for(one)
        first = await door.deliver(one, sent)
        for _ in range(2):
            again = await door.deliver(one, sent)
            assert (again.repeated, again.message_id, again.record_hash) == (True, first.message_id, first.record_hash)
        assert await refusal(door.deliver(one, body_for(one))) is R.IDEMPOTENCY_CONFLICT
        assert len(await items(stage, 1)) == 2, "his Welcome, and this one once"
        # Also when both are under way at once: one is let in.
        race = token()
        await door.add(stage.phones[1].caller, [wire.hash_of(race)])
        bodies = [body_for(race) for _ in range(20)]
        outcomes = await asyncio.gather(*(door.deliver(race, one) for one in bodies), return_exceptions=True)
        lost = [one.reason for one in outcomes if isinstance(one, RelayError)]
        assert lost == [R.IDEMPOTENCY_CONFLICT] * 19
        assert len(await items(stage, 1)) == 3


async def test_whatever_is_wrong_with_a_token_the_answer_is_one(tmp_path: Path) -> None:
    async with open_door(tmp_path, high_risk()) as (stage, door):
        bob, eve = stage.phones[1].caller, stage.phones[2].caller
        revoked, expired, good = token(), token(), token()
        await door.add(bob, [wire.hash_of(one) for one in (revoked, expired)])
        assert await door.revoke(eve, [wire.hash_of(revoked)]) == 0, "another device's tokens are not hers to end"
        assert await door.revoke(bob, [wire.hash_of(revoked), wire.hash_of(token())]) == 1
        stage.world.clock.advance(TOKEN_TTL_MS + DAY_MS)
        await door.add(bob, [wire.hash_of(good)])
        for bad in (revoked, expired, token()):
            assert await refusal(door.deliver(bad, body_for(bad))) is R.TOKEN_REFUSED
        assert await door.purge() == 1
        assert not (await door.deliver(good, body_for(good))).repeated
        # A device that lost its mailbox, or is gone, handed out nothing.
        more = token()
        await door.add(bob, [wire.hash_of(more)])
        await stage.world.committer.run(LoseMailbox(1, stage.phones[1].mailbox))
        assert await refusal(door.deliver(more, body_for(more))) is R.TOKEN_REFUSED


async def test_what_is_no_delivery_for_this_token_is_refused_and_the_token_stays_good(tmp_path: Path) -> None:
    async with open_door(tmp_path, high_risk()) as (stage, door):
        one = token()
        await door.add(stage.phones[1].caller, [wire.hash_of(one)])
        good = body_for(one)
        for bad in (
            b"", good[: wire.MIN_DELIVERY - 1], b"\2" + good[1:], body_for(token()), good.ljust(wire.MAX_DELIVERY + 1),
            stage.sealed(b"an MLS message in the clear would show its group"),
        ):  # fmt: skip
            assert await refusal(door.deliver(one, bad)) is R.BAD_DELIVERY
        assert not (await door.deliver(one, good.ljust(wire.MAX_DELIVERY, b"x"))).repeated


async def test_tokens_are_bounded_and_belong_to_one_mailbox(tmp_path: Path) -> None:
    async with open_door(tmp_path, high_risk()) as (stage, door):
        ann, bob = stage.phones[0].caller, stage.phones[1].caller
        first = os.urandom(32)
        await door.add(bob, [first])
        assert await refusal(door.add(ann, [first])) is R.TOKEN_TAKEN
        assert (await door.add(bob, [first]))[0] == 1, "the same again is harmless"
        await door.add(bob, [os.urandom(32) for _ in range(TOKENS_LIVE - 1)])
        assert await refusal(door.add(bob, [os.urandom(32)])) is R.TOO_MANY_TOKENS
        assert (await door.add(ann, [os.urandom(32)]))[0] == 1, "others have their own"
        assert await stage.world.rows("SELECT count(*) FROM delivery_token WHERE mailbox=?", bob.mailbox) == [
            (TOKENS_LIVE,)
        ]


async def test_the_store_does_not_say_which_tokens_belong_together(tmp_path: Path) -> None:
    async with open_door(tmp_path, high_risk()) as (stage, door):
        bob = stage.phones[1].caller
        bundles = [[os.urandom(32) for _ in range(20)] for _ in range(3)]
        for bundle in bundles:
            await door.add(bob, bundle)
            stage.world.clock.advance(1_000)
        rows = await stage.world.rows("SELECT * FROM delivery_token")
        assert [row[0] for row in rows] == sorted(one for bundle in bundles for one in bundle)
        assert len({row[1:] for row in rows}) == 1, "but for the hash, all are alike"


async def test_where_policy_does_not_offer_it_there_are_no_tokens(tmp_path: Path) -> None:
    async with open_door(tmp_path, standard()) as (stage, door):
        one = token()
        assert await refusal(door.add(stage.phones[1].caller, [wire.hash_of(one)])) is R.DELIVERIES_NOT_OFFERED
        assert await refusal(door.deliver(one, body_for(one))) is R.TOKEN_REFUSED


async def test_a_flood_is_turned_away_and_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_door(tmp_path, high_risk()) as (stage, door):
        monkeypatch.setattr(module, "DELIVERIES_AT_ONCE", 3)
        shown = [token() for _ in range(9)]
        before = await stage.world.count("ledger_entry")
        outcomes = await asyncio.gather(*(door.deliver(one, body_for(one)) for one in shown), return_exceptions=True)
        assert [type(one) for one in outcomes] == [RelayError] * 3 + [StorageError] * 6
        assert await stage.world.count("ledger_entry") == before, "no token, no work for the writer"
        one = token()
        await door.add(stage.phones[1].caller, [wire.hash_of(one)])
        assert not (await door.deliver(one, body_for(one))).repeated


async def test_over_http_without_credentials_and_only_so(tmp_path: Path) -> None:
    async with open_door(tmp_path, high_risk()) as (stage, door):

        async def hot(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError("not this route")

        face = HttpFace(
            delivery_routes(door), stage.credentials, group_messages=hot, websocket=hot, observe=lambda *_: None
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(face), base_url="http://relay.test") as http:

            def text(data: bytes) -> str:
                return b64encode(data).decode()

            one, bob = token(), stage.phones[1]
            mine = {"authorization": f"Bearer {stage.tokens[1]}"}
            path = f"/v1/devices/{bob.id}/delivery-tokens"
            asked = {"hashes": [text(wire.hash_of(one))]}
            assert (await http.post(path, json=asked)).status_code == 401
            others = {"authorization": f"Bearer {stage.tokens[2]}"}
            assert (await http.post(path, json=asked, headers=others)).json()["code"] == "not_your_device"
            added = await http.post(path, json=asked, headers=mine)
            assert (added.status_code, added.json()["live"]) == (200, 1)
            sent = {"token": text(one), "body": text(body_for(one))}
            for credentials in (mine, {"cookie": "a=b"}):
                refused = await http.post("/v1/deliveries", json=sent, headers=credentials)
                assert (refused.status_code, refused.json()["code"]) == (422, "bad_delivery")
            done = await http.post("/v1/deliveries", json=sent)
            assert (done.status_code, done.json()["status"]) == (200, "accepted")
            again = await http.post("/v1/deliveries", json=sent)
            assert again.json() == done.json() | {"status": "duplicate"}
            unknown = token()
            refused = await http.post("/v1/deliveries", json={"token": text(unknown), "body": text(body_for(unknown))})
            assert (refused.status_code, refused.json()["code"]) == (403, "token_refused")
            assert text(unknown) not in json.dumps(refused.json())
            revoked = await http.post(f"{path}/revoke", json=asked, headers=mine)
            assert revoked.json() == {"revoked": 0}, "it is spent"
