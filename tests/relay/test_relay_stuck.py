"""Stuck groups: two accounts that report one commit end the group; one account never does (A15)."""

import os
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.relay.test_device_routes import b64, enrol, serving
from tests.relay.test_relay_groups import refusal
from tests.relay.test_relay_with_messages import message
from tests.relay.world import (
    AUDIENCE,
    ENVIRONMENT,
    TENANTS,
    Person,
    Phone,
    World,
    bundle,
    enrolled,
    group_of,
    opened,
)

from letterlock.assurance.group_report import GroupReport, Reporter, sign_report
from letterlock.model.clock import ManualClock
from letterlock.model.ids import DeviceId, GroupRef, TenantId
from letterlock.relay.errors import RelayError
from letterlock.relay.limits import MAILBOX_TTL_MS
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.relay_commands import CommitReported, RelayReason
from letterlock.wire.preimage import Purpose, sign
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode

GROUP = b"a group that gets stuck"


async def ordered(world: World, phone: Phone, ref: GroupRef, epoch: int) -> bytes:
    """The hash of the commit that the relay ordered on an epoch."""
    return sha256((await world.groups.commits(phone.caller, ref, epoch))[0].commit).digest()


def reporter(phone: Phone, **changed: Any) -> Reporter:
    made = Reporter(TENANTS[phone.tenant], ENVIRONMENT, AUDIENCE, phone.account, phone.id)
    return replace(made, **changed)


async def says(
    world: World,
    phone: Phone,
    ref: GroupRef,
    digest: bytes,
    *,
    epoch: int = 1,
    sequence: int = 2,
    signed: GroupReport | None = None,
    who: Reporter | None = None,
    signer: Phone | None = None,
) -> CommitReported:
    report = GroupReport(ref, epoch, sequence, digest)
    signature = sign_report(signed or report, who or reporter(phone), (signer or phone).envelope)
    return await world.reports.take(phone.caller, phone.id, report, signature.encode())


async def findings(world: World) -> list[Finding]:
    entries = [decode_entry(data) for (data,) in await world.rows("SELECT d FROM ledger_entry ORDER BY i")]
    return [entry for entry in entries if isinstance(entry, Finding)]


async def stuck(world: World, *names: str) -> tuple[GroupRef, list[Phone], bytes]:
    """A group in which the first one's commit on epoch 1 is said to be bad; the others have it at sequence 2."""
    phones = await enrolled(world, *names)
    ref = await group_of(world, GROUP, *phones)
    await world.groups.commit(phones[0].caller, ref, bundle(GROUP, 1))
    return ref, phones, await ordered(world, phones[0], ref, 1)


async def sends(world: World, phone: Phone, ref: GroupRef) -> Any:
    group = await world.group_directory.find(phone.tenant, ref.value)
    assert group is not None
    command = message(world, phone, group.number, 2, os.urandom(8))
    return (await world.committer.submit((command,)))[0]


async def test_two_accounts_end_the_group_and_members_make_a_new_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ref, (ann, bob, eve), digest = await stuck(world, "a1", "b1", "e1")
        assert not isinstance(await sends(world, ann, ref), CommitRefused)
        assert await says(world, bob, ref, digest) == CommitReported(1, quarantined=False, repeated=False)
        assert (await world.groups.look(bob.caller, ref))[0].quarantined is None
        assert not isinstance(await sends(world, ann, ref), CommitRefused), "one report stops nobody"
        assert await says(world, eve, ref, digest) == CommitReported(2, quarantined=True, repeated=False)
        found = (await world.groups.look(bob.caller, ref))[0].quarantined
        assert found is not None
        assert (found.base_epoch, found.commit_hash) == (1, digest)
        refused = await sends(world, ann, ref)
        assert isinstance(refused, CommitRefused)
        assert refused.reason is CommitReason.GROUP_QUARANTINED
        assert await refusal(world.groups.commit(ann.caller, ref, bundle(GROUP, 2))) is RelayReason.GROUP_QUARANTINED
        codes = [entry.code for entry in await findings(world)]
        assert codes[-3:] == [FindingCode.GROUP_COMMIT_REPORTED] * 2 + [FindingCode.GROUP_QUARANTINED]
        salt, entry = (await world.rows("SELECT salt, entry FROM group_quarantine"))[0]
        data = (await world.rows("SELECT d FROM ledger_entry WHERE i=?", entry))[0][0]
        recorded = decode_entry(data)
        assert isinstance(recorded, Finding)
        assert recorded.subject == commit(CommitmentKind.GROUP, salt, ref.value), "the entry can be opened by an audit"
        # A new group says whom it follows, and nobody is in it but its maker.
        fresh, _, _ = await world.groups.create(bob.caller, b"new", 0, ref)
        assert (await findings(world))[-1].code is FindingCode.GROUP_REPLACED
        assert len((await world.groups.look(bob.caller, fresh))[1]) == 1
        size = await world.count("ledger_entry")
        assert (await world.groups.create(bob.caller, b"new", 0, ref))[2] is False
        assert await world.count("ledger_entry") == size, "a repetition records nothing"
        (zoe,) = await enrolled(world, "z1")
        assert await refusal(world.groups.create(zoe.caller, b"zoe's", 0, ref)) is RelayReason.NOT_A_MEMBER
        assert await refusal(world.groups.create(bob.caller, b"next", 0, fresh)) is RelayReason.NOT_QUARANTINED
        unknown = GroupRef(bytes(16))
        assert await refusal(world.groups.create(bob.caller, b"next", 0, unknown)) is RelayReason.NOT_FOUND


async def test_a_quarantine_outlives_a_restart_and_first_answers_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ref, (ann, bob, eve), digest = await stuck(world, "a1", "b1", "e1")
        group = await world.group_directory.find(1, ref.value)
        assert group is not None
        before = message(world, ann, group.number, 2, b"before")
        first = (await world.committer.submit((before,)))[0]
        change = bundle(GROUP, 2)
        done = await world.groups.commit(ann.caller, ref, change)
        await says(world, bob, ref, digest)
        assert (await says(world, eve, ref, digest)).quarantined
    async with opened(tmp_path) as world:
        again = (await world.committer.submit((before,)))[0]
        assert (again.duplicate, again.message_id) == (True, first.message_id)
        assert (await world.groups.commit(ann.caller, ref, change)).chain == done.chain
        refused = await sends(world, ann, ref)
        assert isinstance(refused, CommitRefused)
        assert refused.reason is CommitReason.GROUP_QUARANTINED


@pytest.mark.attack("A15")
async def test_one_account_never_quarantines_a_group(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, zoe = await enrolled(world, "a1", "z1")
        bobs = [Phone("b1"), Phone("b2"), Phone("b3")]
        await Person("bob").enrol(world, *bobs)
        ref = await group_of(world, GROUP, ann, *bobs, zoe)
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        digest = await ordered(world, ann, ref, 1)
        assert await says(world, bobs[0], ref, digest) == CommitReported(1, quarantined=False, repeated=False)
        for phone in (*bobs, *bobs):
            assert await says(world, phone, ref, digest) == CommitReported(1, quarantined=False, repeated=True)
        assert await world.count("group_report") == 1
        # Nor does it with a report about another commit, its own.
        await world.groups.commit(zoe.caller, ref, bundle(GROUP, 2))
        other = await ordered(world, zoe, ref, 2)
        assert (await says(world, bobs[0], ref, other, epoch=2, sequence=3)).accounts == 1
        assert await world.count("group_quarantine") == 0
        assert not isinstance(await sends(world, ann, ref), CommitRefused)


@pytest.mark.attack("A15")
async def test_who_made_the_commit_counts_only_where_two_accounts_are_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ref, (ann, bob, eve), digest = await stuck(world, "a1", "b1", "e1")
        assert (await says(world, ann, ref, digest, sequence=0)).accounts == 0
        assert await says(world, bob, ref, digest) == CommitReported(1, quarantined=False, repeated=False)
        assert (await says(world, eve, ref, digest)).quarantined


@pytest.mark.attack("A15")
async def test_in_a_group_of_two_accounts_both_must_say_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        (ann,) = await enrolled(world, "a1")
        bobs = [Phone("b1"), Phone("b2")]
        await Person("bob").enrol(world, *bobs)
        ref = await group_of(world, GROUP, ann, *bobs)
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        digest = await ordered(world, ann, ref, 1)
        for phone in bobs:
            assert not (await says(world, phone, ref, digest)).quarantined
        assert not isinstance(await sends(world, ann, ref), CommitRefused)
        assert await says(world, ann, ref, digest, sequence=0) == CommitReported(2, quarantined=True, repeated=False)


@pytest.mark.attack("A15")
async def test_a_forged_replayed_or_foreign_report_counts_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ref, (ann, bob, eve), digest = await stuck(world, "a1", "b1", "e1")
        other = await group_of(world, b"another", ann, bob, eve)
        await world.groups.commit(ann.caller, other, bundle(b"another", 1, mark=b"t"))
        bad = RelayReason.BAD_REPORT
        good = GroupReport(ref, 1, 2, digest)
        for case in (
            {"signer": eve},
            {"who": reporter(eve)},
            {"who": reporter(bob, device=DeviceId(bytes(16)))},
            {"who": reporter(bob, tenant=TenantId(b"\x02" * 16))},
            {"who": reporter(bob, environment="prod")},
            {"who": reporter(bob, audience="other.example")},
            {"signed": replace(good, group=other)},
            {"signed": replace(good, base_epoch=2)},
            {"signed": replace(good, sequence=3)},
            {"signed": replace(good, commit_hash=bytes(32))},
        ):
            assert await refusal(says(world, bob, ref, digest, **case)) is bad
        # A good signature for another purpose, and a signature that is none.
        wrong = sign(bob.envelope, Purpose.DEVICE_STATEMENT, reporter(bob).scope(), good.body())
        assert await refusal(world.reports.take(bob.caller, bob.id, good, wrong.encode())) is bad
        assert await refusal(world.reports.take(bob.caller, bob.id, good, b"x" * 66)) is bad
        # Another device's report, replayed by this one; one's own report in another group.
        stolen = sign_report(good, reporter(eve), eve.envelope)
        assert await refusal(world.reports.take(bob.caller, bob.id, good, stolen.encode())) is bad
        assert await refusal(says(world, bob, other, digest)) is bad
        # A commit that was not ordered, and a place in the mailbox where it is not.
        assert await refusal(says(world, bob, ref, bytes(32))) is bad
        for sequence in (0, 1, 3, 99):
            assert await refusal(says(world, bob, ref, digest, sequence=sequence)) is bad
        assert await refusal(says(world, ann, ref, digest, sequence=1)) is bad, "its maker never met it"
        assert await world.count("group_report") == 0
        assert (await says(world, bob, ref, digest)).accounts == 1
        (zoe,) = await enrolled(world, "z1")
        (far,) = await enrolled(world, "f1", tenant=2)
        assert await refusal(says(world, zoe, ref, digest)) is RelayReason.NOT_A_MEMBER
        assert await refusal(says(world, far, ref, digest)) is RelayReason.NOT_FOUND
        assert await world.count("group_report") == 1


@pytest.mark.attack("A15")
async def test_a_stale_report_counts_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        ref, (ann, bob, eve), digest = await stuck(world, "a1", "b1", "e1")
        stale = RelayReason.REPORT_STALE
        assert await refusal(says(world, bob, ref, digest, epoch=2)) is stale, "nothing was ordered there"
        (zoe,) = await enrolled(world, "z1")
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 2, adds=(zoe,)))
        assert await refusal(says(world, zoe, ref, digest, sequence=1)) is stale, "it came in later"
        welcomed = await ordered(world, ann, ref, 2)
        assert await refusal(says(world, zoe, ref, welcomed, epoch=2, sequence=1)) is stale, "or by it"
        await world.groups.commit(eve.caller, ref, bundle(GROUP, 3))
        assert await refusal(says(world, eve, ref, digest)) is stale, "it has built on it"
        await world.mailboxes.acknowledge(1, bob.mailbox, 2, 1)
        assert (await says(world, bob, ref, digest)).accounts == 1, "what it acknowledged it may still report"
        clock.advance(MAILBOX_TTL_MS + 1)
        await world.mailboxes.purge()
        assert await world.count("group_report") == 0
        assert await refusal(says(world, bob, ref, digest)) is stale


async def test_an_account_has_few_reports_in_a_group(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, bob, _ = phones = await enrolled(world, "a1", "b1", "e1")
        ref = await group_of(world, GROUP, *phones)
        for epoch in range(1, 6):
            await world.groups.commit(ann.caller, ref, bundle(GROUP, epoch))
            told = says(world, bob, ref, await ordered(world, ann, ref, epoch), epoch=epoch, sequence=epoch + 1)
            if epoch == 5:
                assert await refusal(told) is RelayReason.REPORT_QUOTA
            else:
                assert (await told).accounts == 1


async def test_a_struck_device_reports_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        ann, eve = await enrolled(world, "a1", "e1")
        bobs, bob = [Phone("b1"), Phone("b2")], Person("bob")
        await bob.enrol(world, *bobs)
        ref = await group_of(world, GROUP, ann, *bobs, eve)
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        digest = await ordered(world, ann, ref, 1)
        await bob.publish(world, bobs[:1])
        with pytest.raises(RelayError) as refused:
            await says(world, bobs[1], ref, digest)
        assert refused.value.reason in {RelayReason.NOT_A_MEMBER, RelayReason.SESSION_ENDED}
        assert (await says(world, bobs[0], ref, digest)).accounts == 1


async def test_over_http_it_is_told_what_happened(tmp_path: Path) -> None:
    async with serving(tmp_path) as (world, http):
        phones: Sequence[Phone] = [Phone("a1"), Phone("b1"), Phone("e1")]
        for name, phone in zip(("ann", "bob", "eve"), phones, strict=True):
            await enrol(http, name, phone)
            phone.account = await _account(world, phone)
            await http.log_in(phone)
        ann, bob, eve = phones
        for phone in phones:
            phone.mailbox = (await world.rows("SELECT mailbox FROM device WHERE id=?", phone.id.value))[0][0]
        ref = await group_of(world, GROUP, *phones)
        await world.groups.commit(ann.caller, ref, bundle(GROUP, 1))
        digest = await ordered(world, ann, ref, 1)
        path = f"/v1/groups/{ref}"
        state = (await http("GET", path, bob))[1]
        assert state["quarantine"] is None

        def body(phone: Phone) -> dict[str, Any]:
            signature = sign_report(GroupReport(ref, 1, 2, digest), reporter(phone), phone.envelope)
            told = {"kind": "invalid_commit", "base_epoch": 1, "sequence": 2, "commit_hash": b64(digest)}
            return told | {"signature": b64(signature.encode())}

        assert await http("POST", f"{path}/reports", bob, body(bob)) == (200, {"accounts": 1, "quarantined": False})
        status, problem = await http("POST", f"{path}/reports", eve, body(bob))
        assert (status, problem["code"]) == (422, "bad_report")
        status, problem = await http("POST", f"{path}/reports", eve, body(eve) | {"kind": "boredom"})
        assert (status, problem["code"]) == (422, "wrong_type")
        assert (await http("POST", f"{path}/reports", None, body(eve)))[0] == 401
        assert await http("POST", f"{path}/reports", eve, body(eve)) == (200, {"accounts": 2, "quarantined": True})
        state = (await http("GET", path, ann))[1]
        assert (state["quarantine"]["base_epoch"], state["quarantine"]["commit_hash"]) == (1, b64(digest))
        made = {"group_id": b64(b"another"), "epoch": 0, "replaces": str(ref)}
        assert (await http("POST", "/v1/groups", bob, made))[0] == 201
        assert (await findings(world))[-1].code is FindingCode.GROUP_REPLACED


async def _account(world: World, phone: Phone) -> Any:
    found = await world.rows("SELECT account FROM device WHERE id=?", phone.id.value)
    return type(phone.account)(found[0][0])
