"""The follower beside a real engine: over random histories both know the same members at the same epoch."""

from collections.abc import Callable
from random import Random
from time import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire_mls.group_maker import ANYBODY, NOW_S, LeafMaker, Made, add, by_value, key_package
from tests.wire_mls.making import check_total, mutate

from letterlock.client.engine import CommitBundle
from letterlock.client.rine import RineEngine
from letterlock.wire.mls import parse_group_info
from letterlock.wire.mls.group import (
    FollowError,
    FollowReason,
    ListedKeys,
    PublicGroup,
    anchor,
    pack,
    reanchor,
    tree_math,
    unpack,
)
from letterlock.wire.mls.group import tree as tree_module
from letterlock.wire.mls.group.parent_hash import check_parent_hashes
from letterlock.wire.mls.group.rules import check_tree
from letterlock.wire.mls.group.tree import ParentNode, tree_of

pytest.importorskip("rine_mls")
GROUP = b"followed by one who has no key"
CLIENTS = 6


class Clients:
    """Engines in one group, and the follower beside them."""

    def __init__(self) -> None:
        self.engines = [RineEngine(bytes([number]) * 32) for number in range(1, CLIENTS + 1)]
        self.inside = {0}
        self.engines[0].create(GROUP)
        self.rule = ListedKeys({engine.leaf_key for engine in self.engines}.__contains__)
        self.now_s = int(time())  # the engine dates its key packages itself
        self.state = anchor(self.group_info(0), self.rule, self.now_s)

    def close(self) -> None:
        for engine in self.engines:
            engine.close()

    def group_info(self, number: int) -> bytes:
        return bytes(self.engines[number]._group(GROUP).group_info())

    def apply(
        self, committer: int, bundle: CommitBundle, joining: int | None = None, leaving: int | None = None
    ) -> None:
        self.state = self.state.follow(bundle.commit, self.rule, self.now_s)
        self.engines[committer].confirm(GROUP)
        for number in self.inside - {committer}:
            self.engines[number].process(bundle.commit)
        if joining is not None:
            self.engines[joining].join(bundle.welcomes[0])
            self.engines[joining].confirm(GROUP)
            self.inside.add(joining)
        if leaving is not None:
            self.inside.discard(leaving)
            self.engines[leaving].forget(GROUP)

    def compare(self) -> None:
        for number in self.inside:
            engine = self.engines[number]
            assert self.state.epoch == engine.epoch(GROUP)
            assert {(one.leaf, one.signature_key) for one in self.state.roster()} == {
                (one.leaf, one.signature_key) for one in engine.roster(GROUP)
            }
            self.state.agrees(self.group_info(number))
        assert pack(unpack(pack(self.state))) == pack(self.state)

    def act(self, what: str, who: int, whom: int) -> None:
        """One step, or nothing where the step makes no sense now."""
        committer = sorted(self.inside)[who % len(self.inside)]
        target = whom % CLIENTS
        engine = self.engines[committer]
        if what == "add" and target not in self.inside:
            bundle = engine.add(GROUP, self.engines[target].key_packages(1))
            self.apply(committer, bundle, joining=target)
        elif what == "remove" and target in self.inside and target != committer:
            key = self.engines[target].leaf_key
            place = next(one.leaf for one in engine.roster(GROUP) if one.signature_key == key)
            self.apply(committer, engine.remove(GROUP, [place]), leaving=target)
        elif what == "update":
            self.apply(committer, engine.update(GROUP))


STEP = st.tuples(st.sampled_from(("add", "add", "remove", "update")), st.integers(0, 99), st.integers(0, 99))


@given(st.lists(STEP, min_size=1, max_size=14))
@settings(max_examples=25)
def test_random_histories(steps: list[tuple[str, int, int]]) -> None:
    clients = Clients()
    try:
        for step in steps:
            clients.act(*step)
            clients.compare()
    finally:
        clients.close()


def test_an_unlisted_device_is_not_followed_and_a_new_anchor_does_not_help() -> None:
    clients = Clients()
    ghost = RineEngine(b"ghost".ljust(32))
    try:
        bundle = clients.engines[0].add(GROUP, ghost.key_packages(1))
        with pytest.raises(FollowError) as refused:
            clients.state.follow(bundle.commit, clients.rule, clients.now_s)
        assert refused.value.reason is FollowReason.CREDENTIAL
        assert parse_group_info(bundle.group_info).epoch == 2
        with pytest.raises(FollowError) as again:
            reanchor(clients.state, bundle.group_info, clients.rule, clients.now_s)
        assert again.value.reason is FollowReason.CREDENTIAL
        clients.engines[0].discard(GROUP)
        clients.act("add", 0, 1)
        clients.compare()
    finally:
        ghost.close()
        clients.close()


def _tried(state: PublicGroup, data: bytes, now_s: int) -> bool:
    """Whether anything took it; whatever is not a value or the typed error alone fails the test."""
    acts: list[Callable[[bytes], object]] = [
        lambda one: state.follow(one, ANYBODY, now_s),
        lambda one: state.propose(one, ANYBODY, now_s),
        lambda one: anchor(one, ANYBODY, now_s),
    ]
    return sum(check_total(act, FollowError, data) for act in acts) > 0


def _fuzz(count: int) -> int:
    rng = Random(9420)
    clients = Clients()
    taken = 0
    try:
        for number in range(1, 4):
            clients.act("add", 0, number)
        engine = clients.engines[0]
        seeds = [clients.group_info(1), engine.update(GROUP).commit]
        engine.discard(GROUP)
        seeds.append(engine.remove(GROUP, [2]).commit)
        engine.discard(GROUP)
        seeds.append(engine.add(GROUP, clients.engines[5].key_packages(1)).commit)
        assert all(_tried(clients.state, seed, clients.now_s) for seed in seeds)
        for _ in range(count):
            taken += _tried(clients.state, mutate(rng.choice(seeds), rng), clients.now_s)
        made = Made.of("abcd")
        package = add(key_package(LeafMaker(made.signer("e"))))
        ours = [
            made.commit(0, [by_value(package)]),
            made.group_info(),
            made.commit(1, path=made.path(1)),
            pack(made.state),
        ]
        for _ in range(count):
            data = mutate(rng.choice(ours), rng)
            # What a follower cannot see, it takes: a changed confirmation or membership tag.
            _tried(made.state, data, NOW_S)
            check_total(unpack, FollowError, data)
    finally:
        clients.close()
    return taken


def test_changed_messages_give_a_value_or_a_typed_error() -> None:
    # A mutation that only meets the two tags, 66 bytes at the end, is taken; hardly any other is.
    assert 0 < _fuzz(1500) < 100


@pytest.mark.long
def test_a_hundred_thousand_changed_messages() -> None:
    assert _fuzz(100_000) < 20_000


def test_the_work_for_a_hostile_tree_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many parents as fit, each with as many unmerged leaves as it can have: every hash counted."""
    made = Made.of("a")
    count = 256
    leaf = made.state.tree.leaf(0)
    nodes: list[object] = []
    for number in range(2 * count - 1):
        first, last = tree_math.leaf_range(number)
        nodes.append(leaf if number % 2 == 0 else ParentNode(b"k" * 32, b"", tuple(range(first, last))))
    calls = 0
    real = tree_module._hash

    def counted(suite: object, content: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return real(made.suite, content)

    monkeypatch.setattr(tree_module, "_hash", counted)
    hostile = tree_of(made.suite, nodes)  # type: ignore[arg-type]
    with pytest.raises(FollowError):
        check_parent_hashes(hostile)
    with pytest.raises(FollowError):
        check_tree(hostile)
    assert calls <= 2 * count * (2 + count.bit_length())
