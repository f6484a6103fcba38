"""When a device is woken: not at a message's time, not for each message, not for ever."""

from hypothesis import given
from hypothesis import strategies as st

from letterlock.relay.push_schedule import BACKOFF_LIMIT_MS, DELAY_MS, MAX_TRIES, PAUSE_MS, PushSchedule

LOW, HIGH = DELAY_MS
BOX, OTHER = 7, 8


def test_one_push_for_many_messages_after_a_random_delay() -> None:
    draws = iter([0.5, 0.0])
    schedule = PushSchedule(lambda: next(draws))
    assert schedule.next_ms() is None
    assert schedule.wish(BOX, 0)
    for now in range(1, 100):
        assert not schedule.wish(BOX, now)
    due = LOW + (HIGH - LOW) // 2
    assert schedule.next_ms() == due
    assert schedule.take(due - 1) == []
    assert schedule.wish(OTHER, 50), "an earlier one wakes the task"
    assert schedule.next_ms() == 50 + LOW
    assert schedule.take(due) == [OTHER, BOX]
    assert schedule.next_ms() is None


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_pause_follows_a_push_and_its_end_is_not_on_the_stroke(first: float, second: float) -> None:
    draws = iter([first, second, second])
    schedule = PushSchedule(lambda: next(draws))
    schedule.wish(BOX, 0)
    [box] = schedule.take(HIGH)
    schedule.done(box, HIGH)
    schedule.wish(BOX, HIGH + 1)
    due = schedule.next_ms()
    assert due is not None
    assert HIGH + PAUSE_MS <= due <= HIGH + PAUSE_MS + HIGH - LOW


def test_after_the_pause_only_the_delay_is_left_and_nothing_is_remembered() -> None:
    schedule = PushSchedule(lambda: 0.0)
    schedule.wish(BOX, 0)
    schedule.take(LOW)
    schedule.done(BOX, LOW)
    schedule.tidy(LOW + PAUSE_MS - 1)
    assert schedule._last == {BOX: LOW}
    schedule.tidy(LOW + PAUSE_MS)
    assert schedule._last == {}
    schedule.wish(BOX, 10 * PAUSE_MS)
    assert schedule.next_ms() == 10 * PAUSE_MS + LOW


def test_what_comes_while_a_push_is_under_way_is_not_lost() -> None:
    schedule = PushSchedule(lambda: 0.0)
    schedule.wish(BOX, 0)
    schedule.take(LOW)
    assert not schedule.wish(BOX, LOW)
    assert schedule.next_ms() is None
    schedule.done(BOX, LOW + 5)
    assert schedule.next_ms() == LOW + 5 + PAUSE_MS
    schedule.take(10 * PAUSE_MS)
    schedule.done(BOX, 10 * PAUSE_MS)
    assert schedule.next_ms() is None
    assert len(schedule) == 0


def test_failures_wait_longer_each_time_as_asked_and_then_end() -> None:
    schedule = PushSchedule(lambda: 0.999)
    schedule.wish(BOX, 0)
    now = HIGH
    waits = []
    for _ in range(MAX_TRIES - 1):
        assert schedule.take(now) == [BOX]
        assert schedule.failed(BOX, now, 0)
        due = schedule.next_ms()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == sorted(set(waits))
    assert max(waits) <= BACKOFF_LIMIT_MS
    assert schedule.take(now) == [BOX]
    assert not schedule.failed(BOX, now, 0)
    assert len(schedule) == 0
    assert schedule.wish(BOX, now), "the next message begins anew"
    assert schedule.take(now + HIGH) == [BOX]
    assert schedule.failed(BOX, now, 3_600_000)
    assert (schedule.next_ms() or 0) >= now + 3_600_000


def test_a_device_that_came_is_not_woken() -> None:
    schedule = PushSchedule(lambda: 0.0)
    schedule.wish(BOX, 0)
    schedule.forget(BOX)
    assert schedule.next_ms() is None
    assert schedule.take(HIGH) == []
    assert not schedule.failed(BOX, 0, 0)
    schedule.forget(OTHER)
