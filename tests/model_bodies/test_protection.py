"""The tables of protection, written out and held against the code for every pair and every set of legs."""

import itertools
import operator
from collections.abc import Callable
from typing import Any

import pytest

from letterlock.model.protection import EvidenceGrade, Protection, is_fall, permits, weakest

P = Protection
# floor -> paths, as a person would write it down: C H P N(enclave) S(escrowed) E U
COLUMNS = (P.CLEAR, P.HOP, P.PROVIDER, P.ENCLAVE, P.ESCROWED, P.E2EE, P.UNKNOWN)
TABLE = {
    P.CLEAR: "yyyyyy.",
    P.HOP: ".yyyyy.",
    P.PROVIDER: "..yyyy.",
    P.ENCLAVE: "...y.y.",
    P.ESCROWED: "....yy.",
    P.E2EE: ".....y.",
    P.UNKNOWN: ".....y.",
}
PAIRS = list(itertools.product(P, P))


@pytest.mark.parametrize(("floor", "path"), PAIRS)
def test_permits_is_the_table(floor: Protection, path: Protection) -> None:
    assert permits(floor, path) is (TABLE[floor][COLUMNS.index(path)] == "y")


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_fall_is_every_move_that_the_table_does_not_permit(before: Protection, after: Protection) -> None:
    expected = before is not after and TABLE[before][COLUMNS.index(after)] != "y"
    assert is_fall(before, after) is expected


@pytest.mark.attack("A19")
def test_sideways_moves_are_falls_both_ways() -> None:
    sideways = {(P.ENCLAVE, P.ESCROWED), (P.ESCROWED, P.ENCLAVE)}
    for before, after in PAIRS:
        both = is_fall(before, after) and is_fall(after, before)
        to_unknown = P.UNKNOWN in {before, after} and P.E2EE not in {before, after}
        assert both == (((before, after) in sideways) or (before is not after and to_unknown))
    for word in set(P) - {P.UNKNOWN}:
        assert is_fall(word, P.UNKNOWN)
        assert not is_fall(word, P.E2EE)
    assert not is_fall(P.UNKNOWN, P.UNKNOWN)
    assert not any(is_fall(word, word) for word in P)


def test_permission_is_transitive_and_never_circular() -> None:
    for one, two, three in itertools.product(P, repeat=3):
        if permits(one, two) and permits(two, three):
            assert permits(one, three)
    for one, two in PAIRS:
        if one is not two:
            assert not (permits(one, two) and permits(two, one))


COMPARISONS: tuple[Callable[[Any, Any], bool], ...] = (operator.lt, operator.le, operator.gt, operator.ge)


def expected_weakest(legs: frozenset[Protection]) -> Protection:
    if P.CLEAR in legs:
        return P.CLEAR
    if not legs or P.UNKNOWN in legs:
        return P.UNKNOWN
    if P.HOP in legs:
        return P.HOP
    if P.PROVIDER in legs or {P.ENCLAVE, P.ESCROWED} <= legs:
        return P.PROVIDER
    return next(word for word in (P.ENCLAVE, P.ESCROWED, P.E2EE) if word in legs)


def test_weakest_of_every_set_of_legs() -> None:
    sets = [frozenset(s) for n in range(len(P) + 1) for s in itertools.combinations(P, n)]
    assert len(sets) == 2 ** len(P)
    for legs in sets:
        whole = weakest(legs)
        assert whole is expected_weakest(legs)
        for order in itertools.islice(itertools.permutations(legs), 24):
            assert weakest(order) is whole
        for more in P:  # another leg never makes a path better, and no leg is better than itself
            longer = weakest([*legs, more])
            if legs and P.UNKNOWN not in {longer, whole}:
                assert permits(longer, whole)
            if P.UNKNOWN not in {longer, more}:
                assert permits(longer, more)


def test_no_order_and_no_truth_but_the_table() -> None:
    for one, two in PAIRS:
        for compare in COMPARISONS:
            with pytest.raises(TypeError):
                compare(one, two)
    assert [grade.rank for grade in EvidenceGrade] == [0, 1, 2, 3, 4]
    assert EvidenceGrade.NONE.rank < EvidenceGrade.ATTESTED.rank
