"""Mailboxes against a model of dictionaries: any order of accepting, acknowledging and restarting."""

import tempfile
from collections import defaultdict
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.storage.making import CLOCK, make, message, rows

from letterlock.storage.commands import AcceptSealed, Ack
from letterlock.storage.errors import CommitReason, CommitRefused
from letterlock.storage.sqlite.core import StoreCore
from letterlock.storage.sqlite.registry import handlers

MEMBERS = (1, 2, 3)


class Mailboxes(RuleBasedStateMachine):
    """One group of three devices."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name)
        self.core = make(self.folder)
        self.heads = dict.fromkeys(MEMBERS, 0)
        self.acked = dict.fromkeys(MEMBERS, 0)
        self.waiting: dict[int, dict[int, bytes]] = {number: {} for number in MEMBERS}
        self.known: dict[bytes, AcceptSealed] = {}

    def expect_accept(self, command: AcceptSealed, outcome: object) -> None:
        if command.message_id in self.known:
            same = self.known[command.message_id].request_mac == command.request_mac
            assert getattr(outcome, "duplicate", None) is (True if same else None)
            return
        self.known[command.message_id] = command
        deliveries = []
        for number in MEMBERS:
            if number != command.sender:
                self.heads[number] += 1
                self.waiting[number][self.heads[number]] = command.sealed
                deliveries.append((number, self.heads[number]))
        assert getattr(outcome, "deliveries", None) == tuple(deliveries)

    def expect_ack(self, command: Ack, outcome: object) -> None:
        if command.applied > self.heads[command.mailbox]:
            assert isinstance(outcome, CommitRefused)
            assert outcome.reason is CommitReason.NOT_ALLOWED
            return
        gone = [n for n in self.waiting[command.mailbox] if n <= command.applied]
        for number in gone:
            del self.waiting[command.mailbox][number]
        assert getattr(outcome, "count", None) == len(gone)
        self.acked[command.mailbox] = max(self.acked[command.mailbox], command.applied)

    @rule(
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("send"), st.integers(0, 60), st.sampled_from(MEMBERS)),
                st.tuples(st.just("other"), st.integers(0, 60), st.sampled_from(MEMBERS)),
                st.tuples(st.just("ack"), st.integers(0, 40), st.sampled_from(MEMBERS)),
            ),
            min_size=1,
            max_size=12,
        )
    )
    def commit(self, steps: list[tuple[str, int, int]]) -> None:
        commands: list[AcceptSealed | Ack] = []
        for kind, number, device in steps:
            if kind == "ack":
                commands.append(Ack(1, device, number, CLOCK.now_ms()))
            else:
                mac = (b"a" if kind == "send" else b"b") * 16
                commands.append(
                    message(number.to_bytes(16, "big"), mac=mac, sender=device, sealed=b"%d/%d" % (number, device))
                )
        for command, outcome in zip(commands, self.core.apply(commands), strict=True):
            if isinstance(command, Ack):
                self.expect_ack(command, outcome)
            else:
                self.expect_accept(command, outcome)

    @rule()
    def reopen(self) -> None:
        self.core.close()
        self.core = StoreCore(self.folder, handlers(), CLOCK)

    @invariant()
    def rows_are_as_modelled(self) -> None:
        found: dict[int, dict[int, bytes]] = defaultdict(dict)
        for key, sealed in self.core.read_back(
            "SELECT key, sealed FROM mailbox_item i LEFT JOIN sealed_body b ON b.message=i.message"
        ):
            found[key >> 32][key & 0xFFFFFFFF] = sealed
        assert {number: found[number] for number in MEMBERS} == self.waiting
        assert dict(self.core.read_back("SELECT mailbox, acked FROM device WHERE mailbox<4")) == self.acked
        kept = {body for box in self.waiting.values() for body in box.values()}
        stored = {sealed for (sealed,) in self.core.read_back("SELECT sealed FROM sealed_body")}
        assert stored == kept

    def teardown(self) -> None:
        assert rows(self.core, "PRAGMA integrity_check") == [("ok",)]
        self.core.close()
        self.place.cleanup()


@pytest.mark.parametrize("examples", [40, pytest.param(300, marks=pytest.mark.long)])
def test_mailboxes_are_dense_and_lose_nothing(examples: int) -> None:
    run_state_machine_as_test(
        Mailboxes, settings=settings(max_examples=examples, stateful_step_count=15, deadline=None)
    )
