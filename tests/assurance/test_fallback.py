"""The fallback table: what is reachable, what is not, and that an illegal step changes nothing."""

from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from letterlock.assurance.fallback import (
    FINAL,
    PERMISSIONS,
    TRANSITIONS,
    FallbackError,
    FallbackEvent,
    FallbackReason,
    FallbackState,
    diagram,
    step,
)
from letterlock.model.errors import Fault

S = FallbackState
E = FallbackEvent
PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol" / "fallback.md"


class Walk(RuleBasedStateMachine):
    """Any events in any order, the table deciding."""

    def __init__(self) -> None:
        super().__init__()
        self.state = S.SECURE_PENDING
        self.trail = [self.state]

    @rule(event=st.sampled_from(E))
    def happens(self, event: FallbackEvent) -> None:
        before = self.state
        try:
            self.state = step(before, event)
        except FallbackError:
            assert self.state is before
            return
        assert before not in FINAL
        self.trail.append(self.state)

    @invariant()
    def no_silent_step_down(self) -> None:
        if self.state is S.SENT_DOWNGRADED:
            assert self.trail[-2] in PERMISSIONS
            assert S.SECURE_FAILED in self.trail
        if self.state is S.CONSENTED:
            assert self.trail[-2] is S.CHALLENGED
        if self.state in {S.CHALLENGED, S.POLICY_ALLOWED}:
            assert self.trail[-2] is S.SECURE_FAILED


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def edges() -> Iterator[tuple[FallbackState, FallbackEvent, FallbackState]]:
    for state, row in TRANSITIONS.items():
        for event, after in row.items():
            yield state, event, after


def reachable(without: frozenset[FallbackState]) -> set[FallbackState]:
    seen = {S.SECURE_PENDING}
    waiting = [S.SECURE_PENDING]
    while waiting:
        for after in TRANSITIONS[waiting.pop()].values():
            if after not in seen and after not in without:
                seen.add(after)
                waiting.append(after)
    return seen


def test_no_way_down_but_through_a_permission() -> None:
    """Exhaustive, over the table as a graph."""
    assert reachable(frozenset()) == set(S)
    assert S.SENT_DOWNGRADED not in reachable(PERMISSIONS)
    assert {state for state, _, after in edges() if after is S.SENT_DOWNGRADED} == PERMISSIONS
    assert {event for _, event, after in edges() if after is S.SENT_DOWNGRADED} == {E.SUBMIT}


@pytest.mark.attack("A11")
def test_an_unproven_failure_never_becomes_a_question() -> None:
    assert not reachable(frozenset({S.SECURE_FAILED})) & {
        S.CHALLENGED,
        S.POLICY_ALLOWED,
        S.CONSENTED,
        S.SENT_DOWNGRADED,
    }
    assert {event for _, event, after in edges() if after is S.SECURE_FAILED} == {E.FAILURE_PROVEN, E.TERMS_CHANGED}
    for state in (S.FAILURE_UNPROVEN, S.HELD):
        for event in (E.CHALLENGE, E.CONSENT, E.POLICY_PERMITS, E.SUBMIT):
            with pytest.raises(FallbackError):
                step(state, event)
    assert step(S.SECURE_FAILED, E.CHALLENGE) is S.CHALLENGED


def test_every_pair_is_a_step_or_an_error() -> None:
    assert set(TRANSITIONS) == set(S)
    for state, event in product(S, E):
        if event in TRANSITIONS[state]:
            assert step(state, event) is TRANSITIONS[state][event]
        else:
            with pytest.raises(FallbackError) as caught:
                step(state, event)
            assert caught.value.reason is FallbackReason.ILLEGAL_TRANSITION
            assert caught.value.fault is Fault.LOCAL
            assert caught.value.facts == {"state": state, "event": event}
    assert {S.SENT_SECURE, S.SENT_DOWNGRADED, S.NOT_SENT} == FINAL


@pytest.mark.attack("A12")
def test_withdrawal_and_submission_exclude_each_other_in_every_order() -> None:
    events = (E.SUBMIT, E.WITHDRAW, E.RETRY, E.EXPIRE)
    for start, order in product(sorted(PERMISSIONS, key=lambda state: state.value), permutations(events)):
        state, done = start, []
        for event in order:
            try:
                state = step(state, event)
            except FallbackError:
                continue
            done.append(event)
        assert len({E.SUBMIT, E.WITHDRAW} & set(done)) <= 1
        assert (state is S.SENT_DOWNGRADED) == (E.SUBMIT in done)


@pytest.mark.attack("A12")
def test_a_message_goes_out_once() -> None:
    """After it left on one path no event makes it leave on the other."""
    for sent in (S.SENT_SECURE, S.SENT_DOWNGRADED):
        assert not TRANSITIONS[sent]
    assert {state for state, _, after in edges() if after is S.SENT_SECURE} == {S.SECURE_PENDING}


@pytest.mark.attack("A9")
def test_when_the_secure_path_is_back_every_answer_is_dead() -> None:
    for state in (S.CHALLENGED, S.CONSENTED, S.POLICY_ALLOWED):
        assert step(state, E.RETRY) is S.SECURE_PENDING
    with pytest.raises(FallbackError):
        step(S.SECURE_PENDING, E.SUBMIT)
    assert step(S.SECURE_PENDING, E.SECURE_SENT) is S.SENT_SECURE


@pytest.mark.attack("A8")
def test_changed_terms_take_the_permission_back() -> None:
    for state in (S.CHALLENGED, S.CONSENTED, S.POLICY_ALLOWED):
        assert step(state, E.TERMS_CHANGED) is S.SECURE_FAILED
    with pytest.raises(FallbackError):
        step(S.SECURE_FAILED, E.SUBMIT)


def test_the_page_shows_this_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram()}```\n" in text
    for state, event, after in edges():
        assert f"    {state.value} --> {after.value}: {event.value}\n" in text
