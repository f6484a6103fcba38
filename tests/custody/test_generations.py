"""The transitions of storage keys as a pure function of time and counts."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.custody.generations import (
    DAY_MS,
    DESTROY_GRACE_MS,
    LEAD_MS,
    LENGTH_MS,
    MINUTE_MS,
    SEAL_GRACE_MS,
    Action,
    Create,
    Destroy,
    Generation,
    References,
    Rewrap,
    Tier,
    plan,
    serving,
    window,
)

NOON = 20_000 * DAY_MS + DAY_MS // 2
TEN = 10 * MINUTE_MS


def generation(number: int, tier: Tier = Tier.TEN_MINUTES, at: int = NOON) -> Generation:
    fit = window(tier, at)
    return Generation(number, tier, fit.begins_ms, fit.ends_ms)


def test_windows_follow_each_other_without_gap() -> None:
    for tier in Tier:
        first = window(tier, NOON)
        assert first.begins_ms <= NOON < first.ends_ms
        assert first.ends_ms - first.begins_ms == LENGTH_MS[tier]
        assert window(tier, first.ends_ms).begins_ms == first.ends_ms
        assert window(tier, first.ends_ms - 1) == first


def test_an_empty_store_needs_one_key_and_shortly_before_the_end_the_next() -> None:
    assert plan((), NOON, {}) == (Create(Tier.TEN_MINUTES, NOON, NOON + TEN),)
    here = generation(1)
    assert plan((here,), NOON, {}) == ()
    assert plan((here,), NOON + TEN - LEAD_MS - 1, {}) == ()
    assert plan((here,), NOON + TEN - LEAD_MS, {}) == (Create(Tier.TEN_MINUTES, NOON + TEN, NOON + 2 * TEN),)
    assert plan((here, generation(2, at=NOON + TEN)), NOON + TEN - LEAD_MS, {}) == ()


def test_an_ended_key_goes_when_nothing_refers_to_it_and_not_before() -> None:
    old, new = generation(1), generation(2, at=NOON + TEN)
    end = NOON + TEN
    assert plan((old, new), end + DESTROY_GRACE_MS - 1, {}) == ()
    assert plan((old, new), end + DESTROY_GRACE_MS, {}) == (Destroy(1),)
    day = generation(3, Tier.DAY)
    rows = {1: References(free=1)}
    assert plan((old, new), end + DESTROY_GRACE_MS, rows) == (window(Tier.DAY, NOON),)
    assert plan((old, new, day), end + DESTROY_GRACE_MS, rows) == (Rewrap(1, 3, held=False),)


def test_held_rows_go_under_the_hold_key_and_the_others_do_not() -> None:
    old, new = generation(1), generation(2, at=NOON + TEN)
    day, hold = generation(3, Tier.DAY), generation(4, Tier.HOLD)
    now = NOON + TEN + DESTROY_GRACE_MS
    both = {1: References(free=2, held=1)}
    assert set(plan((old, new), now, both)) == {window(Tier.DAY, now), window(Tier.HOLD, now)}
    assert set(plan((old, new, day, hold), now, both)) == {Rewrap(1, 3, held=False), Rewrap(1, 4, held=True)}
    assert plan((old, new, day, hold), now, {1: References(held=1)}) == (Rewrap(1, 4, held=True),)


@pytest.mark.parametrize(
    ("tier", "free_to", "held_to"),
    [
        (Tier.TEN_MINUTES, Tier.DAY, Tier.HOLD),
        (Tier.DAY, Tier.MONTH, Tier.HOLD),
        (Tier.MONTH, Tier.MONTH, Tier.HOLD),
        (Tier.HOLD, Tier.DAY, Tier.HOLD),
    ],
)
def test_where_rows_go_at_the_end_of_each_tier(tier: Tier, free_to: Tier, held_to: Tier) -> None:
    old = generation(1, tier)
    now = old.ends_ms + DESTROY_GRACE_MS
    fresh = [generation(2 + i, t, now) for i, t in enumerate(Tier)]
    number = {g.tier: g.number for g in fresh}
    assert plan((old, *fresh), now, {1: References(1, 1)}) == (
        Rewrap(1, number[free_to], held=False),
        Rewrap(1, number[held_to], held=True),
    )


def test_a_key_from_a_clock_that_was_wrong_is_neither_used_nor_kept() -> None:
    future = generation(1, at=NOON + 365 * DAY_MS)
    assert serving((future,), Tier.TEN_MINUTES, NOON) is None
    assert set(plan((future,), NOON, {})) == {window(Tier.TEN_MINUTES, NOON), Destroy(1)}
    kept = plan((future, generation(2)), NOON, {1: References(free=1)})
    assert kept == (window(Tier.DAY, NOON),)


def test_commits_are_accepted_for_less_time_than_keys_are_kept() -> None:
    assert SEAL_GRACE_MS < DESTROY_GRACE_MS
    here = generation(1)
    for now in range(NOON - 2 * LEAD_MS, NOON + TEN + 3 * DESTROY_GRACE_MS, 1_000):
        assert not (here.accepts(now) and here.is_over(now))
        if here.serves(now):
            assert here.accepts(now)
    assert here.accepts(NOON + TEN + SEAL_GRACE_MS - 1)
    assert not here.accepts(NOON + TEN + SEAL_GRACE_MS)


generations = st.lists(st.tuples(st.sampled_from(Tier), st.integers(-40 * DAY_MS, 40 * DAY_MS)), max_size=6).map(
    lambda made: tuple(generation(i + 1, tier, NOON + offset) for i, (tier, offset) in enumerate(made))
)


@given(generations, st.dictionaries(st.integers(1, 8), st.builds(References, st.integers(0, 3), st.integers(0, 3))))
def test_no_plan_destroys_what_is_referred_to_or_in_use(
    known: tuple[Generation, ...], references: dict[int, References]
) -> None:
    by_number = {g.number: g for g in known}
    for action in plan(known, NOON, references):
        if isinstance(action, Destroy):
            count = references.get(action.generation, References())
            assert count == References()
            assert by_number[action.generation].is_over(NOON)
        elif isinstance(action, Rewrap):
            assert by_number[action.source].is_over(NOON)
            assert by_number[action.target].serves(NOON)
            assert action.source != action.target


@given(generations, st.dictionaries(st.integers(1, 6), st.builds(References, st.integers(0, 3), st.integers(0, 3))))
def test_carrying_plans_out_ends_with_nothing_to_do(
    known: tuple[Generation, ...], references: dict[int, References]
) -> None:
    live = {g.number: g for g in known}
    rows = {n: count for n, count in references.items() if n in live}
    numbers = itertools.count(100)
    total = sum(count.free + count.held for count in rows.values())
    actions: tuple[Action, ...] = ()
    for _ in range(4):
        actions = plan(live.values(), NOON, rows)
        for action in actions:
            if isinstance(action, Create):
                number = next(numbers)
                live[number] = Generation(number, action.tier, action.begins_ms, action.ends_ms)
            elif isinstance(action, Destroy):
                del live[action.generation]
            else:
                source, target = rows[action.source], rows.get(action.target, References())
                moved = source.held if action.held else source.free
                rows[action.source] = References(0, source.held) if not action.held else References(source.free, 0)
                rows[action.target] = References(
                    target.free + (0 if action.held else moved), target.held + (moved if action.held else 0)
                )
    assert actions == ()
    assert sum(count.free + count.held for count in rows.values()) == total
    assert all(not g.is_over(NOON) for g in live.values())
    assert all(n in live for n, count in rows.items() if count != References())
