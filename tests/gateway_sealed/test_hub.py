"""The live queue of a device: whatever comes in between, each item goes out once and in order."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from letterlock.gateway import hub as hub_module
from letterlock.gateway.hub import Hub, Mail

SMALL = 100
"""Bytes that the queue holds in these tests."""


class Queue(RuleBasedStateMachine):
    """A mailbox that commits, announces late or not at all, and is read by a connection from two sources."""

    def __init__(self) -> None:
        super().__init__()
        self.committed = 3
        self.announced = 3
        self.mail = Mail(1, 1, 3)
        self.sent: list[int] = [1]
        self.read: tuple[int, list[int]] | None = None

    @rule(count=st.integers(1, 4))
    def commit(self, count: int) -> None:
        self.committed += count

    @precondition(lambda self: self.announced < self.committed)
    @rule(size=st.sampled_from([1, 10, 60]))
    def put(self, size: int) -> None:
        self.announced += 1
        self.mail.put(self.announced, b"h%d" % self.announced, b"b" * size)

    @precondition(lambda self: self.announced < self.committed)
    @rule()
    def notify(self) -> None:
        """Another kind of item: it is only told that there is more."""
        self.announced += 1
        hub = Hub()
        hub._mail[1] = self.mail
        hub.notify(((1, self.announced),))

    @precondition(lambda self: self.read is None and not self.mail.behind and self.mail.sent < self.mail.head)
    @rule(items=st.integers(1, 4), window=st.integers(1, 6), size=st.sampled_from([1, 70, 1000]))
    def take(self, items: int, window: int, size: int) -> None:
        first, parts, count = self.mail.take(self.mail.sent + window, items, size)
        assert count <= min(items, window)
        numbers = [int(head[1:]) for head in parts[::2]]
        assert numbers == list(range(first, first + count))
        self.sent += numbers

    @precondition(lambda self: self.read is None and self.mail.behind)
    @rule(limit=st.integers(1, 5))
    def begin_page(self, limit: int) -> None:
        """The store is asked; what is committed and announced meanwhile is not in the answer."""
        after = self.mail.sent
        self.read = (after, list(range(after + 1, min(after + limit, self.committed) + 1)))

    @precondition(lambda self: self.read is not None)
    @rule()
    def end_page(self) -> None:
        assert self.read is not None
        _, items = self.read
        self.read = None
        if items:
            self.sent += items
            self.mail.fed(items[-1])

    @invariant()
    def each_once_in_order(self) -> None:
        assert self.sent == list(range(1, len(self.sent) + 1))
        assert self.mail.sent == self.sent[-1]
        assert self.mail.head <= self.committed
        assert self.mail.head >= min(self.announced, self.committed)
        assert self.mail._bytes == sum(len(body) for _, _, body in self.mail._queue or ())
        assert self.mail._bytes <= SMALL

    def teardown(self) -> None:
        """Left alone, it catches up."""
        if self.read is not None:
            self.end_page()
        for _ in range(10_000):
            if self.mail.sent >= self.mail.head:
                break
            if self.mail.behind:
                self.begin_page(5)
                self.end_page()
            else:
                self.take(4, 6, 1000)
        assert self.mail.sent == self.announced or self.mail.sent >= self.mail.head >= self.announced


@pytest.mark.parametrize("examples", [150, pytest.param(5000, marks=pytest.mark.long)])
def test_any_interleaving_delivers_each_item_once_in_order(monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    monkeypatch.setattr(hub_module, "MAX_LIVE_BYTES", SMALL)
    run_state_machine_as_test(Queue, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))


def test_items_that_are_announced_out_of_order_or_twice_are_sent_once() -> None:
    for seed in range(50):
        order = [*range(1, 21), *random.Random(seed).choices(range(1, 21), k=10)]
        random.Random(seed).shuffle(order)
        mail = Mail(1, 0, 0)
        sent: list[int] = []
        for number in order:
            mail.put(number, b"%d" % number, b"b")
            if mail.behind:
                sent += range(mail.sent + 1, mail.head + 1)
                mail.fed(mail.head)
            else:
                sent += [int(head) for head in mail.take(1000, 3, 1000)[1][::2]]
        while not mail.behind and mail.sent < mail.head:
            sent += [int(head) for head in mail.take(1000, 3, 1000)[1][::2]]
        assert sent == list(range(1, 21))


def test_a_newer_connection_replaces_the_older_one_and_only_itself_can_leave() -> None:
    hub = Hub()
    older, newer = Mail(1, 0, 0), Mail(1, 0, 0)
    hub.join(older)
    before = older.replaced
    hub.join(newer)
    assert not before
    assert older.replaced
    assert older.wake.is_set()
    hub.leave(older)
    hub.publish(((1, 1), (2, 1)), b"h", b"b")
    assert (older.head, newer.head) == (0, 1)
    assert len(hub) == 1
    hub.leave(newer)
    assert len(hub) == 0
    hub.publish(((1, 2),), b"h", b"b")
    hub.notify(((1, 2),))
    hub.wake(1)


def test_a_device_that_is_too_slow_is_fed_from_the_store() -> None:
    mail = Mail(1, 0, 0)
    body = b"b" * (hub_module.MAX_LIVE_BYTES // 4)
    for number in range(1, 10):
        mail.put(number, b"h", body)
    assert mail._bytes <= hub_module.MAX_LIVE_BYTES
    assert mail.head == 9
    first, _, count = mail.take(100, 100, 1 << 30)
    assert (first, count) == (1, 4)
    assert mail.behind


async def test_whoever_is_not_connected_is_named_and_nobody_else() -> None:
    absent: list[int] = []
    hub = Hub(absent.append)
    mail = Mail(7, 0, 0)
    hub.join(mail)
    assert hub.connected(7)
    assert not hub.connected(8)
    hub.publish(((7, 1), (8, 1), (9, 4)), b"h", b"b")
    assert absent == [8, 9]
    hub.notify(((7, 2), (8, 2)))
    assert absent == [8, 9, 8]
    hub.leave(mail)
    hub.publish(((7, 3),), b"h", b"b")
    assert absent == [8, 9, 8, 7]


def test_a_patient_queue_wakes_its_connection_when_enough_waits_and_not_before() -> None:
    mail = Mail(1, 0, 0)
    mail.put(1, b"h", b"b")
    assert mail.wake.is_set(), "without patience each item wakes"
    mail.take(9, 9, 1_000)
    mail.wake.clear()
    mail.patient = 3
    for number in (2, 3):
        mail.put(number, b"h", b"b")
        assert not mail.wake.is_set()
    mail.put(4, b"h", b"b")
    assert mail.wake.is_set()
    assert mail.take(9, 9, 1_000)[2] == 3
