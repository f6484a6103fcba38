"""Leases, fences and receipts as rows: what a second dispatcher, a late outcome and a restart can do."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from letterlock.model.capability import Channel
from letterlock.model.clock import ManualClock
from letterlock.model.message import MessageEvent, MessageState
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.storage.commands import Relied, Shown
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.maintenance_commands import Purge
from letterlock.storage.open_commands import (
    AcceptOpen,
    ApplyReceipt,
    EndLeases,
    GiveUp,
    Lease,
    Leased,
    Postpone,
    Sent,
)
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.registry import handlers
from letterlock.storage.tenant_commands import AddTenant
from letterlock.wire.tlog.commitments import rule_tag
from letterlock.wire.tlog.records import accepted_shape

SMS = 1
CLOCK = ManualClock()
SHOWN = Shown(
    0, 0, 0, 9, 0, "routing.notification", 0,
    accepted_shape(Channel.SMS, Protection.CLEAR, EvidenceGrade.NONE, Verifier.NOBODY, rule_tag("rule")),
)  # fmt: skip


@pytest.fixture
def core(tmp_path: Path) -> Iterator[StoreCore]:
    made = new_core(tmp_path)
    yield made
    made.close()


def new_core(folder: Path) -> StoreCore:
    core = StoreCore(folder, handlers(), CLOCK)
    core.apply([AddTenant(os.urandom(16), "t", "standard", os.urandom(16), CLOCK.now_ms())])
    return core


def accept(core: StoreCore, life_ms: int = 86_400_000, relied: Relied | None = None) -> Any:
    now = CLOCK.now_ms()
    command = AcceptOpen(
        tenant=1, message_id=os.urandom(16), request_mac=b"m" * 16, subject=b"s" * 16, channel=SMS, traffic=0,
        shown=SHOWN, size_bucket=0, state=int(MessageState.QUEUED), sealed=b"sealed", wrapped_key=b"key",
        address=b"address", generation=1, relied=relied or Relied(0), policy=bytes(32), rule="routing.notification",
        fall=None, question=None, now_ms=now, expires_ms=now + life_ms,
    )  # fmt: skip
    return core.apply([command])[0]


def lease(core: StoreCore) -> list[Leased]:
    now = CLOCK.now_ms()
    found: list[Leased] = core.apply([Lease(SMS, 10, now, now + 60_000)])[0]
    return found


def state(core: StoreCore) -> MessageState:
    return MessageState(core.read_back("SELECT state FROM message")[0][0])


def receipt(core: StoreCore, token: bytes, event: MessageEvent) -> None:
    core.apply([ApplyReceipt(SMS, token, event, CLOCK.now_ms(), 3_600_000)])


def test_a_lease_is_for_one_and_a_late_outcome_changes_nothing(core: StoreCore) -> None:
    accept(core)
    (first,) = lease(core)
    assert lease(core) == []
    CLOCK.advance(60_001)
    (second,) = lease(core)
    assert (first.fence, second.fence) == (1, 2)
    assert core.read_back("SELECT reason FROM message") == [("outcome_unknown",)]
    now = CLOCK.now_ms()
    late = (
        Sent(first.seq, first.fence, SMS, (b"a",), now),
        Postpone(first.seq, first.fence, SMS, (), 0, now, now),
        GiveUp(first.seq, first.fence, MessageEvent.FAILED, "rejected_permanent", now),
    )
    for command in late:
        outcome = core.apply([command])[0]
        assert isinstance(outcome, CommitRefused)
        assert outcome.reason is CommitReason.NOT_ALLOWED
    assert state(core) is MessageState.QUEUED
    assert core.apply([Sent(second.seq, second.fence, SMS, (b"a",), now)]) == [int(MessageState.SENT)]
    assert core.read_back("SELECT count(*) FROM outbox") == core.read_back("SELECT count(*) FROM shreddable_body")
    again = core.apply([Sent(second.seq, second.fence, SMS, (b"a",), now)])[0]
    assert isinstance(again, CommitRefused)


def test_the_leases_of_a_dead_process_are_over_at_once(core: StoreCore) -> None:
    accept(core)
    assert len(lease(core)) == 1
    assert core.apply([EndLeases(SMS, CLOCK.now_ms())]) == [1]
    (again,) = lease(core)
    assert again.fence == 2
    assert core.read_back("SELECT reason FROM message") == [("outcome_unknown",)]


def test_a_decision_on_an_old_floor_is_stale(core: StoreCore) -> None:
    core.read_back("INSERT INTO floor VALUES (1, ?, 5, 4, 'attested', 1)", (b"s" * 16,))
    for version in (0, 3, 5):
        outcome = accept(core, relied=Relied(0, -1, version))
        assert isinstance(outcome, CommitRefused)
        assert outcome.reason is CommitReason.STALE_DECISION
    assert not isinstance(accept(core, relied=Relied(0, -1, 4)), CommitRefused)


def test_parts_that_never_became_a_message_do_not_make_it_delivered(core: StoreCore) -> None:
    accept(core, life_ms=1_000)
    (one,) = lease(core)
    now = CLOCK.now_ms()
    core.apply([Postpone(one.seq, one.fence, SMS, (b"first part",), 0, now + 10, now)])
    receipt(core, b"first part", MessageEvent.DELIVERED)
    assert state(core) is MessageState.QUEUED
    assert core.read_back("SELECT parts_sent FROM outbox") == [(1,)]
    CLOCK.advance(1_001)
    core.apply([Purge(CLOCK.now_ms(), 100, 0)])
    assert state(core) is MessageState.EXPIRED
    receipt(core, b"first part", MessageEvent.DELIVERED)
    assert state(core) is MessageState.EXPIRED
    assert core.read_back("SELECT count(*) FROM shreddable_body") == [(0,)]


RECEIPTS = st.lists(
    st.tuples(
        st.sampled_from([b"part 1", b"part 2"]),
        st.sampled_from([MessageEvent.DELIVERED, MessageEvent.FAILED, MessageEvent.EXPIRED]),
    ),
    max_size=7,
)


@given(early=RECEIPTS, later=RECEIPTS)
def test_receipts_in_every_order_come_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory, early: list[tuple[bytes, Any]], later: list[tuple[bytes, Any]]
) -> None:
    core = CORES.setdefault("one", new_core(tmp_path_factory.mktemp("core"))) if not CORES else CORES["one"]
    core.read_back("DELETE FROM early_receipt")
    core.read_back("DELETE FROM remote_part")
    accept(core)
    (one,) = lease(core)
    for token, event in early:
        receipt(core, token, event)
    core.apply([Sent(one.seq, one.fence, SMS, (b"part 1", b"part 2"), CLOCK.now_ms())])
    for token, event in later:
        receipt(core, token, event)
    (number,) = core.read_back("SELECT state FROM message WHERE seq=?", (one.seq,))[0]
    said = {token: {event for own, event in early + later if own == token} for token in (b"part 1", b"part 2")}
    delivered = [MessageEvent.DELIVERED in events for events in said.values()]
    if all(delivered):
        assert number == MessageState.DELIVERED
    elif all(said.values()):
        assert number in {MessageState.FAILED, MessageState.EXPIRED}
    else:
        assert number == MessageState.SENT


CORES: dict[str, StoreCore] = {}


@pytest.fixture(autouse=True, scope="module")
def close_cores() -> Iterator[None]:
    yield
    for core in CORES.values():
        core.close()
    CORES.clear()


_SEPARATORS = st.sampled_from(["", " ", "-", ".", "(", ")"])
_FORMS: list[Callable[[str], str]] = [lambda d: "+" + d, lambda d: "00" + d, lambda d: "tel:+" + d, lambda d: " +" + d]


@pytest.mark.attack("A7")
@given(
    digits=st.integers(10**6, 10**9 - 1).map(lambda n: f"4917{n}"),
    breaks=st.lists(_SEPARATORS, min_size=14, max_size=14),
    form=st.sampled_from(_FORMS),
)
def test_every_spelling_leads_to_one_subject(digits: str, breaks: list[str], form: Callable[[str], str]) -> None:
    from letterlock.wire.sms.address import PhoneNumber

    spelled = digits[0] + "".join(mark + digit for digit, mark in zip(digits[1:], breaks, strict=False))
    # "(0)" is a trunk zero, which no international number has: it is refused, and tested where addresses are.
    assume("(0" not in "".join(char for char in spelled if char not in " -."))
    assert PhoneNumber.parse(form(spelled)).e164() == f"+{digits}"
