"""A device's signed word that a handshake did not fit: a finding in the ledger, bounded, and nobody else's word."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.relay.test_relay_groups import refusal
from tests.relay.test_relay_stuck import reporter
from tests.relay.world import AUDIENCE, ENVIRONMENT, Phone, World, enrolled, group_of, opened

from letterlock.assurance.group_report import Reporter, sign_report
from letterlock.assurance.handshake.reasons import RULES, HandshakeReason, Outcome
from letterlock.assurance.handshake.report import REPORTABLE, HandshakeReport
from letterlock.model.clock import ManualClock
from letterlock.model.ids import DeviceId, GroupRef, TenantId
from letterlock.relay.handshake_reports import CODES, REPORTS_PER_HOUR, WINDOW_MS, HandshakeReports
from letterlock.storage.relay_commands import RelayReason
from letterlock.wire.preimage import Purpose, sign
from letterlock.wire.tlog.commitments import CommitmentKind, commit
from letterlock.wire.tlog.entries import Finding, decode_entry
from letterlock.wire.tlog.words import FindingCode

R = HandshakeReason


def desk(world: World, clock: ManualClock) -> HandshakeReports:
    return HandshakeReports(world.committer, world.reads, clock, ENVIRONMENT, AUDIENCE, os.urandom)


async def says(
    desk: HandshakeReports,
    phone: Phone,
    ref: GroupRef,
    reason: R = R.SEEN_DIFFERS,
    *,
    signed: HandshakeReport | None = None,
    who: Reporter | None = None,
    signer: Phone | None = None,
) -> FindingCode:
    report = HandshakeReport(ref, reason)
    signature = sign_report(signed or report, who or reporter(phone), (signer or phone).envelope)
    return await desk.take(phone.caller, phone.id, report, signature.encode())


async def findings(world: World) -> list[Finding]:
    rows: list[Any] = await world.rows("SELECT d FROM ledger_entry ORDER BY i")
    return [entry for (data,) in rows if isinstance(entry := decode_entry(data), Finding)]


async def test_each_reason_has_its_word_in_the_ledger(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        (ann,) = await enrolled(world, "a1")
        ref = await group_of(world, b"a group", ann)
        taken = desk(world, clock)
        before = len(await findings(world))
        for reason in sorted(REPORTABLE):
            assert await says(taken, ann, ref, reason) is CODES[reason]
        found = (await findings(world))[before:]
        assert [one.code for one in found] == [CODES[reason] for reason in sorted(REPORTABLE)]
        assert all(one.subject is not None for one in found)
        shown = {one.subject for one in found}
        assert len(shown) == len(found), "each is committed to under a salt of its own"
        assert commit(CommitmentKind.ACCOUNT, bytes(16), ann.account.value) not in shown


def test_what_is_only_missing_is_not_reported() -> None:
    assert set(CODES) == REPORTABLE
    for reason in set(R) - REPORTABLE:
        assert RULES[reason].outcome is Outcome.HOLD or reason is R.PEER_ABORTED


@pytest.mark.attack("A21")
async def test_nobody_elses_word_is_taken(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, b"a group", ann, bob)
        other = await group_of(world, b"another", ann, bob)
        taken, bad = desk(world, clock), RelayReason.BAD_REPORT
        before = len(await findings(world))
        for case in (
            {"signer": ann},
            {"who": reporter(ann)},
            {"who": reporter(bob, device=DeviceId(bytes(16)))},
            {"who": reporter(bob, tenant=TenantId(b"\x02" * 16))},
            {"who": reporter(bob, environment="prod")},
            {"who": reporter(bob, audience="other.example")},
            {"signed": HandshakeReport(other, R.SEEN_DIFFERS)},
            {"signed": HandshakeReport(ref, R.WEAKER_CHOICE)},
        ):
            assert await refusal(says(taken, bob, ref, **case)) is bad
        good = HandshakeReport(ref, R.SEEN_DIFFERS)
        wrong = sign(bob.envelope, Purpose.DEVICE_STATEMENT, reporter(bob).scope(), good.body())
        assert await refusal(taken.take(bob.caller, bob.id, good, wrong.encode())) is bad
        assert await refusal(taken.take(bob.caller, bob.id, good, b"x")) is bad
        for held in (R.UNANSWERED, R.PEER_ABORTED):
            assert await refusal(says(taken, bob, ref, held)) is bad
        (zoe,) = await enrolled(world, "z1")
        (far,) = await enrolled(world, "f1", tenant=2)
        assert await refusal(says(taken, zoe, ref)) is RelayReason.NOT_A_MEMBER
        assert await refusal(says(taken, far, ref)) is RelayReason.NOT_FOUND
        gone = replace(bob.caller, account=bytes(16))
        signature = sign_report(good, reporter(bob), bob.envelope).encode()
        assert await refusal(taken.take(gone, bob.id, good, signature)) is RelayReason.SESSION_ENDED
        assert len(await findings(world)) == before
        await says(taken, bob, ref)
        assert len(await findings(world)) == before + 1


async def test_an_account_says_so_many_an_hour(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as world:
        ann, bob = await enrolled(world, "a1", "b1")
        ref = await group_of(world, b"a group", ann, bob)
        taken = desk(world, clock)
        for _ in range(REPORTS_PER_HOUR):
            await says(taken, bob, ref)
        assert await refusal(says(taken, bob, ref)) is RelayReason.REPORT_QUOTA
        await says(taken, ann, ref)
        clock.advance(WINDOW_MS)
        await says(taken, bob, ref)
