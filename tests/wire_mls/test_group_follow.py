"""Each rule of a followed group, violated alone, gives its own typed error, and leaves the state as it was."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.relay.mls import private
from tests.wire_mls.group_maker import (
    ANYBODY,
    GROUP,
    NOW_S,
    LeafMaker,
    Made,
    Signer,
    add,
    by_reference,
    by_value,
    external_init,
    key_package,
    new_extensions,
    psk,
    reinit,
    remove,
    update,
)

from letterlock.wire.mls.codec import Reader, Writer
from letterlock.wire.mls.group import (
    CredentialReason,
    FollowError,
    FollowReason,
    Gap,
    ListedKeys,
    PublicGroup,
    anchor,
    pack,
    reanchor,
    unpack,
)
from letterlock.wire.mls.group.follower import MAX_WAITING
from letterlock.wire.mls.group.rules import CLOCK_LEEWAY_S
from letterlock.wire.mls.group.tree import MAX_LEAVES, ParentNode, RatchetTree, tree_of
from letterlock.wire.mls.structures import Extension, read_key_package, read_leaf_node

R = FollowReason
SUITES = pytest.mark.parametrize("suite", [1, 2])


def after_remove(made: Made, *leaves: int) -> RatchetTree:
    editor = made.state.tree.edit()
    for index in leaves:
        editor.remove(index)
    return editor.done()


def fresh(made: Made, name: str = "x", **changes: object) -> bytes:
    """An Add of somebody new, by value."""
    return by_value(add(key_package(LeafMaker(made.signer(name), **changes))))  # type: ignore[arg-type]


# -- what is accepted ------------------------------------------------------------------------------------------------


@SUITES
def test_a_history_of_every_kind_is_followed(suite: int) -> None:
    made = Made.of("abcd", suite)
    first = made.state
    made.follow(made.commit(1, path=made.path(1)))
    made.follow(made.commit(0, [fresh(made, "e")]))
    made.members[4] = made.signer("e")
    assert [one.leaf for one in made.state.roster()] == [0, 1, 2, 3, 4]
    assert made.state.tree.leaves == 8
    made.follow(made.commit(4, path=made.path(4)))
    made.follow(made.commit(2, [by_value(remove(4))], made.path(2, after=after_remove(made, 4))))
    assert made.state.tree.leaves == 4
    package = key_package(LeafMaker(made.signer("f")))
    editor = made.state.tree.edit()
    editor.remove(1)
    editor.add(read_key_package(Reader(package)).leaf)
    made.follow(
        made.commit(
            0,
            [by_value(add(package)), by_value(remove(1)), by_value(psk(b"N" * 32))],
            made.path(0, after=editor.done(), added=frozenset({1})),
        )
    )
    assert [(one.leaf, one.signature_key) for one in made.state.roster()] == [
        (leaf, made.signer(name).public) for leaf, name in enumerate("afcd")
    ]
    assert (made.state.epoch, first.epoch, made.state.gaps) == (5, 0, 0)
    assert len(made.state.fingerprint) == 32


@SUITES
def test_proposals_by_reference_of_members_and_of_those_who_may_from_outside(suite: int) -> None:
    outside = Signer(Made.of("a", suite).suite, "outside")
    sender = Writer().opaque(outside.public).u16(1).opaque(b"a server").done()
    made = Made.of("abcd", suite, (Extension(5, Writer().opaque(sender).done()),))
    changed = LeafMaker(made.members[3]).for_update(3)
    mine = made.propose(3, update(changed))
    joining = made.frame(2, add(key_package(LeafMaker(made.signer("n")))), 0, kind=3, signed_by=made.signer("n"))
    theirs = made.frame(2, remove(2), 0, kind=2, signed_by=outside)
    for message in (mine, joining, theirs):
        made.state = made.state.propose(message, ANYBODY, NOW_S)
    assert len(made.state.waiting) == 3
    assert unpack(pack(made.state)).waiting.keys() == made.state.waiting.keys()
    reference = by_reference(made.suite, mine)
    editor = made.state.tree.edit()
    editor.update(3, read_leaf_node(Reader(changed)))
    made.follow(made.commit(0, [reference], made.path(0, after=editor.done())))
    assert made.state.waiting == {}
    assert made.state.epoch == 1
    with pytest.raises(FollowError) as refused:
        made.state.propose(made.frame(2, remove(2), 1, kind=2, signed_by=outside), ANYBODY, NOW_S)
    assert refused.value.reason is R.SENDER


def test_extensions_change_and_end_mls_is_seen() -> None:
    able = {"can_extensions": (0xF001, 0xF002)}
    made = Made.of("ab", 1, (Extension(0xF001, b"\0\0\0\1"),), **able)
    assert not made.state.ended
    ending = new_extensions((Extension(0xF001, b"\0\0\0\1"), Extension(0xF002, b"end_mls")))
    path = made.path(1, leaf=LeafMaker(made.members[1], can_extensions=(0xF001, 0xF002)))
    made.follow(made.commit(1, [by_value(ending)], path))
    assert made.state.ended


def test_a_clock_that_is_ahead_is_forgiven_a_little() -> None:
    made = Made.of("a")
    made.follow(made.commit(0, [fresh(made, "b", lifetime=(NOW_S + CLOCK_LEEWAY_S, NOW_S + 9999))]))
    assert made.state.good_until == NOW_S + 9999


def test_a_group_of_one() -> None:
    made = Made.of("a")
    made.follow(made.commit(0, path=made.path(0)))
    made.follow(made.commit(0, [fresh(made, "b")]))
    made.members[1] = made.signer("b")
    made.follow(made.commit(1, [by_value(remove(0))], made.path(1, after=after_remove(made, 0))))
    assert [one.leaf for one in made.state.roster()] == [1]


# -- commits that are refused ----------------------------------------------------------------------------------------

Case = Callable[[Made], bytes]


def replayed(made: Made) -> bytes:
    message = made.commit(1, path=made.path(1))
    made.follow(message)
    return message


def by_removed(made: Made) -> bytes:
    made.follow(made.commit(0, [by_value(remove(3))], made.path(0, after=after_remove(made, 3))))
    return made.commit(3, [fresh(made)])


def forged(made: Made) -> bytes:
    message = made.commit(1, path=made.path(1))
    # The last byte of the signature: behind it stand two tags of 32 bytes with their headers.
    at = len(message) - 67
    return message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]


def in_signed_content(made: Made) -> bytes:
    message = made.commit(1, [fresh(made)])
    at = message.index(b"aad")
    return message[:at] + b"AAD" + message[at + 3 :]


def swapped_credential(made: Made) -> bytes:
    return made.commit(1, path=made.path(1, leaf=LeafMaker(made.members[1], identity=b"mallory")))


def unseen(made: Made) -> bytes:
    return made.commit(0, [by_reference(made.suite, made.propose(1, remove(3)))], made.path(0))


def referenced(made: Made, sender: int, proposal: bytes) -> bytes:
    message = made.propose(sender, proposal)
    made.state = made.state.propose(message, ANYBODY, NOW_S)
    return by_reference(made.suite, message)


def two_for_one_leaf(made: Made) -> bytes:
    changed = referenced(made, 2, update(LeafMaker(made.members[2]).for_update(2)))
    return made.commit(0, [changed, by_value(remove(2))], made.path(0))


def own_update_by_reference(made: Made) -> bytes:
    changed = referenced(made, 2, update(LeafMaker(made.members[2]).for_update(2)))
    return made.commit(2, [changed], made.path(2))


def update_keeps_its_key(made: Made) -> bytes:
    held = made.state.tree.leaf(2)
    assert held is not None
    same = LeafMaker(made.members[2], encryption_key=held.encryption_key).for_update(2)
    return made.commit(0, [referenced(made, 2, update(same))], made.path(0))


def known_key_in_path(made: Made) -> bytes:
    held = made.state.tree.leaf(3)
    assert held is not None
    return made.commit(0, path=made.path(0, bend=lambda nodes: [(held.encryption_key, nodes[0][1]), *nodes[1:]]))


def same_key_twice_in_path(made: Made) -> bytes:
    return made.commit(0, path=made.path(0, bend=lambda nodes: [(nodes[0][0], one[1]) for one in nodes]))


def unlisted_capability(made: Made) -> bytes:
    return made.commit(0, [fresh(made, extensions=(Extension(0xABCD, b""),))])


REFUSED: dict[str, tuple[FollowReason, Case]] = {
    "not MLS": (R.MALFORMED, lambda made: b"\x00\x01\x00\x01 nonsense"),
    "empty": (R.MALFORMED, lambda made: b""),
    "a proposal": (R.MALFORMED, lambda made: made.propose(0, remove(1))),
    "an unknown proposal": (R.MALFORMED, lambda made: made.commit(0, [by_value(b"\xf0\x04\0\0\0\0")], made.path(0))),
    "trailing byte": (R.MALFORMED, lambda made: made.commit(1, path=made.path(1)) + b"\0"),
    "a private application message": (R.MALFORMED, lambda made: private(GROUP, 0, 1)),
    "a private proposal": (R.PRIVATE_HANDSHAKE, lambda made: private(GROUP, 0, 2)),
    "a private commit": (R.PRIVATE_HANDSHAKE, lambda made: private(GROUP, 0, 3)),
    "foreign group": (R.WRONG_GROUP, lambda made: made.commit(1, path=made.path(1), group_id=b"other")),
    "epoch to come": (R.WRONG_EPOCH, lambda made: made.commit(1, path=made.path(1), epoch=1)),
    "replay": (R.WRONG_EPOCH, replayed),
    "external commit": (
        R.EXTERNAL_COMMIT,
        lambda made: made.commit(0, [by_value(external_init())], made.path(0), kind=4),
    ),
    "sender beyond the tree": (R.SENDER, lambda made: made.commit(9, [fresh(made)])),
    "sender removed": (R.SENDER, by_removed),
    "signed by another member": (R.SIGNATURE, lambda made: made.commit(1, [fresh(made)], signed_by=made.members[0])),
    "signature changed": (R.SIGNATURE, forged),
    "content changed": (R.SIGNATURE, in_signed_content),
    "signed for another context": (R.SIGNATURE, lambda made: made.commit(1, [fresh(made)], context=b"elsewhere")),
    "unknown reference": (R.PROPOSAL_UNKNOWN, unseen),
    "update by the committer": (
        R.PROPOSAL_TARGET,
        lambda made: made.commit(0, [by_value(update(LeafMaker(made.members[0]).for_update(0)))], made.path(0)),
    ),
    "own update by reference": (R.PROPOSAL_TARGET, own_update_by_reference),
    "the committer removed": (R.PROPOSAL_TARGET, lambda made: made.commit(0, [by_value(remove(0))], made.path(0))),
    "nobody removed": (R.PROPOSAL_TARGET, lambda made: made.commit(0, [by_value(remove(7))], made.path(0))),
    "removed twice": (R.PROPOSAL_TARGET, lambda made: made.commit(0, [by_value(remove(1))] * 2, made.path(0))),
    "updated and removed": (R.PROPOSAL_TARGET, two_for_one_leaf),
    "added twice": (R.PROPOSAL_DUPLICATE, lambda made: made.commit(0, [fresh(made), fresh(made)])),
    "added though there": (R.DUPLICATE_KEY, lambda made: made.commit(0, [fresh(made, "b")])),
    "psk twice": (R.PROPOSAL_DUPLICATE, lambda made: made.commit(0, [by_value(psk(b"N" * 32))] * 2)),
    "psk with a short nonce": (R.PSK, lambda made: made.commit(0, [by_value(psk(b"N"))])),
    "psk for a branch": (R.PSK, lambda made: made.commit(0, [by_value(psk(b"N" * 32, usage=3))])),
    "extensions twice": (
        R.PROPOSAL_DUPLICATE,
        lambda made: made.commit(0, [by_value(new_extensions(()))] * 2, made.path(0)),
    ),
    "external init": (
        R.PROPOSAL_ALLOWED,
        lambda made: made.commit(0, [by_value(external_init())], made.path(0)),
    ),
    "reinit": (R.REINIT, lambda made: made.commit(0, [by_value(reinit())])),
    "extension that a member lacks": (
        R.CAPABILITIES,
        lambda made: made.commit(0, [by_value(new_extensions((Extension(0xF001, b""),)))], made.path(0)),
    ),
    "required capability that a member lacks": (
        R.CAPABILITIES,
        lambda made: made.commit(0, [by_value(new_extensions((Extension(3, b"\x00\x02\xf0\x04\x00"),)))], made.path(0)),
    ),
    "required capabilities malformed": (
        R.MALFORMED,
        lambda made: made.commit(0, [by_value(new_extensions((Extension(3, b"\x00"),)))], made.path(0)),
    ),
    "key package of another suite": (
        R.KEY_PACKAGE,
        lambda made: made.commit(0, [by_value(add(key_package(LeafMaker(made.signer("x")), suite=3)))]),
    ),
    "key package signed by another": (
        R.KEY_PACKAGE,
        lambda made: made.commit(
            0, [by_value(add(key_package(LeafMaker(made.signer("x")), signed_by=made.signer("y"))))]
        ),
    ),
    "init key is the leaf's": (
        R.KEY_PACKAGE,
        lambda made: made.commit(
            0,
            [by_value(add(key_package(LeafMaker(made.signer("x"), encryption_key=b"k" * 32), init_key=b"k" * 32)))],
        ),
    ),
    "leaf signed by another": (
        R.LEAF_SIGNATURE,
        lambda made: made.commit(0, [fresh(made, signed_by=made.signer("y"))]),
    ),
    "leaf expired": (R.LIFETIME, lambda made: made.commit(0, [fresh(made, lifetime=(0, NOW_S - 1))])),
    "leaf not yet valid": (
        R.LIFETIME,
        lambda made: made.commit(0, [fresh(made, lifetime=(NOW_S + CLOCK_LEEWAY_S + 1, NOW_S + 9999))]),
    ),
    "leaf extension unlisted": (R.CAPABILITIES, unlisted_capability),
    "leaf cannot its own credential": (R.CAPABILITIES, lambda made: made.commit(0, [fresh(made, credentials=(2,))])),
    "leaf cannot others' credentials": (
        R.CAPABILITIES,
        lambda made: made.commit(0, [fresh(made, credentials=(2,), certificates=(b"x",))]),
    ),
    "encryption key of another": (
        R.DUPLICATE_KEY,
        lambda made: made.commit(0, [fresh(made, encryption_key=made.state.tree.leaf(2).encryption_key)]),  # type: ignore[union-attr]
    ),
    "encryption key of a wrong size": (R.KEY_SIZE, lambda made: made.commit(0, [fresh(made, encryption_key=b"k")])),
    "update keeps its key": (R.DUPLICATE_KEY, update_keeps_its_key),
    "no path in an empty commit": (R.PATH_MISSING, lambda made: made.commit(0)),
    "no path with a remove": (R.PATH_MISSING, lambda made: made.commit(0, [by_value(remove(1))])),
    "no path with extensions": (R.PATH_MISSING, lambda made: made.commit(0, [by_value(new_extensions(()))])),
    "path too short": (R.PATH_SHAPE, lambda made: made.commit(0, path=made.path(0, bend=lambda nodes: nodes[:-1]))),
    "path too long": (
        R.PATH_SHAPE,
        lambda made: made.commit(0, path=made.path(0, bend=lambda nodes: [*nodes, (b"k" * 32, 1)])),
    ),
    "a secret for nobody": (
        R.PATH_SHAPE,
        lambda made: made.commit(0, path=made.path(0, bend=lambda nodes: [(key, n + 1) for key, n in nodes])),
    ),
    "a secret too few": (
        R.PATH_SHAPE,
        lambda made: made.commit(0, path=made.path(0, bend=lambda nodes: [(key, n - 1) for key, n in nodes])),
    ),
    "path over the tree before": (
        R.PATH_SHAPE,
        lambda made: made.commit(0, [by_value(remove(2)), by_value(remove(3))], made.path(0)),
    ),
    "path key in the tree": (R.PATH_KEY, known_key_in_path),
    "path key twice": (R.PATH_KEY, same_key_twice_in_path),
    "path key of a wrong size": (
        R.KEY_SIZE,
        lambda made: made.commit(
            0, path=made.path(0, bend=lambda nodes: [(b"k", n) for _, n in nodes[:1]] + nodes[1:])
        ),
    ),
    "parent hash broken": (R.PARENT_HASH, lambda made: made.commit(0, path=made.path(0, above=b"H" * 32))),
    "parent hash absent": (R.PARENT_HASH, lambda made: made.commit(0, path=made.path(0, above=b""))),
    "path leaf for another place": (
        R.LEAF_SIGNATURE,
        lambda made: made.commit(0, path=made.path(0, leaf=LeafMaker(made.members[0], group_id=b"elsewhere"))),
    ),
    "path leaf takes another's signature key": (
        R.DUPLICATE_KEY,
        lambda made: made.commit(0, path=made.path(0, leaf=LeafMaker(made.members[1]))),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_rule_alone(name: str) -> None:
    reason, make = REFUSED[name]
    made = Made.of("abcd")
    message = make(made)
    before = pack(made.state)
    with pytest.raises(FollowError) as refused:
        made.state.follow(message, ANYBODY, NOW_S)
    assert refused.value.reason is reason
    assert refused.value.__context__ is None
    assert pack(made.state) == before
    good = next(iter(made.members))
    made.follow(made.commit(good, path=made.path(good)))  # the refusal did not stand in the way of what is valid


def test_what_a_rule_says_of_credentials_comes_with_the_refusal() -> None:
    made = Made.of("abcd")
    message = swapped_credential(made)
    made.state.follow(message, ANYBODY, NOW_S)  # valid MLS: whose name it is, only the application can know
    listed = ListedKeys(lambda key: True)
    with pytest.raises(FollowError) as refused:
        made.state.follow(message, listed, NOW_S)
    assert refused.value.reason is R.CREDENTIAL
    assert refused.value.facts == {"leaf": 1, "credential": CredentialReason.NOT_THE_KEY}


# -- proposals that are refused --------------------------------------------------------------------------------------

PROPOSALS: dict[str, tuple[FollowReason, Case]] = {
    "a commit": (R.MALFORMED, lambda made: made.commit(1, path=made.path(1))),
    "external init": (R.PROPOSAL_ALLOWED, lambda made: made.propose(1, external_init())),
    "nobody removed": (R.PROPOSAL_TARGET, lambda made: made.propose(1, remove(7))),
    "broken key package": (
        R.KEY_PACKAGE,
        lambda made: made.propose(1, add(key_package(LeafMaker(made.signer("x")), suite=2))),
    ),
    "old epoch": (R.WRONG_EPOCH, lambda made: made.propose(1, remove(2), epoch=5)),
    "not signed": (R.SIGNATURE, lambda made: made.propose(1, remove(2), signed_by=made.members[2])),
    "no external senders": (R.SENDER, lambda made: made.frame(2, remove(2), 0, kind=2)),
    "not the one who joins": (
        R.SIGNATURE,
        lambda made: made.frame(2, add(key_package(LeafMaker(made.signer("x")))), 0, kind=3),
    ),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_each_rule_for_a_proposal_alone(name: str) -> None:
    reason, make = PROPOSALS[name]
    made = Made.of("abcd")
    with pytest.raises(FollowError) as refused:
        made.state.propose(make(made), ANYBODY, NOW_S)
    assert refused.value.reason is reason
    made.state.propose(made.propose(1, remove(2)), ANYBODY, NOW_S)


def test_an_external_sender_may_not_update() -> None:
    outside = Signer(Made.of("a").suite, "outside")
    sender = Writer().opaque(outside.public).u16(1).opaque(b"a server").done()
    made = Made.of("ab", 1, (Extension(5, Writer().opaque(sender).done()),))
    forbidden = made.frame(2, update(LeafMaker(outside).for_update(0)), 0, kind=2, signed_by=outside)
    with pytest.raises(FollowError) as refused:
        made.state.propose(forbidden, ANYBODY, NOW_S)
    assert refused.value.reason is R.PROPOSAL_ALLOWED
    made.state.propose(made.frame(2, remove(1), 0, kind=2, signed_by=outside), ANYBODY, NOW_S)


def test_waiting_proposals_are_bounded() -> None:
    made = Made.of("abcd")
    for number in range(MAX_WAITING):
        made.state = made.state.propose(made.propose(1, psk(number.to_bytes(32, "big"))), ANYBODY, NOW_S)
    with pytest.raises(FollowError) as refused:
        made.state.propose(made.propose(1, psk(b"N" * 32)), ANYBODY, NOW_S)
    assert refused.value.reason is R.TOO_LARGE


# -- anchors ---------------------------------------------------------------------------------------------------------


def parents(made: Made, change: Callable[[ParentNode], ParentNode]) -> RatchetTree:
    """The state's tree with one parent node changed."""
    nodes = list(made.state.tree.nodes)
    place, node = next((n, one) for n, one in enumerate(nodes) if isinstance(one, ParentNode))
    nodes[place] = change(node)
    return tree_of(made.suite, nodes)


def with_path(made: Made) -> Made:
    made.follow(made.commit(0, path=made.path(0)))
    return made


def leaves_tree(made: Made, **changes: object) -> RatchetTree:
    good = [LeafMaker(made.signer(name)).for_key_package() for name in "abc"]
    return made.tree([*good, LeafMaker(made.signer("d"), **changes).for_key_package()])  # type: ignore[arg-type]


ANCHORS: dict[str, tuple[FollowReason, Case]] = {
    "not a GroupInfo": (R.MALFORMED, lambda made: made.commit(1, path=made.path(1))),
    "trailing byte": (R.MALFORMED, lambda made: made.group_info() + b"\0"),
    "no tree": (R.NO_TREE, lambda made: made.group_info(with_tree=False)),
    "tree malformed": (R.MALFORMED, lambda made: made.group_info(tree_data=b"\x05\x01\x01")),
    "tree empty": (R.BLANK_AT_END, lambda made: made.group_info(tree_data=b"\x00")),
    "blank at the end": (R.BLANK_AT_END, lambda made: made.group_info(tree_data=b"\x02\x00\x00")),
    "parent at a leaf's place": (
        R.NODE_KIND,
        lambda made: made.group_info(tree_data=Writer().opaque(b"\x01\x02" + b"\x01k" + b"\x00\x00").done()),
    ),
    "too many leaves": (
        R.TOO_LARGE,
        lambda made: made.group_info(tree_data=Writer().opaque(bytes(2 * MAX_LEAVES)).done()),
    ),
    "tree of another group": (R.TREE_HASH, lambda made: made.group_info(tree_hash=b"T" * 32)),
    "signer blank": (R.SIGNER, lambda made: made.group_info(signer=9)),
    "signed by another": (R.GROUP_INFO_SIGNATURE, lambda made: made.group_info(signed_by=made.members[1])),
    "leaf expired": (R.LIFETIME, lambda made: made.group_info(leaves_tree(made, lifetime=(0, 1)))),
    "leaf forged": (R.LEAF_SIGNATURE, lambda made: made.group_info(leaves_tree(made, signed_by=made.signer("y")))),
    "signature key twice": (
        R.DUPLICATE_KEY,
        lambda made: made.group_info(
            leaves_tree(made, signature_key=made.signer("a").public, signed_by=made.signer("a"))
        ),
    ),
    "leaf key of a wrong size": (R.KEY_SIZE, lambda made: made.group_info(leaves_tree(made, encryption_key=b"k"))),
    "credential not understood by all": (
        R.CAPABILITIES,
        lambda made: made.group_info(leaves_tree(made, credentials=(2,), certificates=(b"x",))),
    ),
    "extension not supported": (R.CAPABILITIES, lambda made: made.group_info(extensions=(Extension(0xF003, b""),))),
    "parent hash broken": (
        R.PARENT_HASH,
        lambda made: made.group_info(parents(with_path(made), lambda one: replace(one, encryption_key=b"k" * 32))),
    ),
    "parent key twice": (
        R.DUPLICATE_KEY,
        lambda made: made.group_info(
            parents(with_path(made), lambda one: replace(one, encryption_key=made.state.tree.leaf(3).encryption_key))  # type: ignore[union-attr]
        ),
    ),
    "unmerged leaf elsewhere": (
        R.UNMERGED_LEAVES,
        lambda made: made.group_info(parents(with_path(made), lambda one: replace(one, unmerged=(3,)))),
    ),
    "unmerged leaves out of order": (
        R.UNMERGED_LEAVES,
        lambda made: made.group_info(parents(with_path(made), lambda one: replace(one, unmerged=(1, 0)))),
    ),
    "unmerged where it was merged": (
        R.PARENT_HASH,
        lambda made: made.group_info(parents(with_path(made), lambda one: replace(one, unmerged=(1,)))),
    ),
}


@pytest.mark.parametrize("name", ANCHORS)
def test_each_rule_for_an_anchor_alone(name: str) -> None:
    reason, make = ANCHORS[name]
    made = Made.of("abcd")
    with pytest.raises(FollowError) as refused:
        anchor(make(made), ANYBODY, NOW_S)
    assert refused.value.reason is reason
    assert refused.value.__context__ is None
    group = anchor(made.group_info(epoch=7), ANYBODY, NOW_S)
    assert (group.epoch, group.anchored) == (7, 7)


def test_a_tree_beside_its_group_info() -> None:
    made = Made.of("abcd")
    info = made.group_info(with_tree=False)
    group = anchor(info, ANYBODY, NOW_S, tree=made.state.tree.encode())
    assert group.roster() == made.state.roster()


# -- forks, gaps, time -----------------------------------------------------------------------------------------------


def test_two_commits_of_one_epoch_are_a_fork() -> None:
    made = Made.of("abcd")
    one = made.state.follow(made.commit(0, path=made.path(0)), ANYBODY, NOW_S)
    other = made.state.follow(made.commit(1, path=made.path(1)), ANYBODY, NOW_S)
    assert one.fingerprint != other.fingerprint
    state = made.state = one
    tag = b"T" * 32
    told = made.group_info(epoch=1, confirmed=one.fingerprint, tag=tag)
    state.agrees(told)
    refusals = {
        R.FORK: made.group_info(other.tree, epoch=1, confirmed=other.fingerprint, tag=tag),
        R.WRONG_EPOCH: made.group_info(epoch=2, confirmed=one.fingerprint, tag=tag),
        R.WRONG_GROUP: made.group_info(epoch=1, confirmed=one.fingerprint, tag=tag, group_id=b"other"),
        R.SIGNER: made.group_info(epoch=1, confirmed=one.fingerprint, tag=tag, signer=8),
        R.GROUP_INFO_SIGNATURE: told[:-1] + bytes([told[-1] ^ 1]),
        R.MALFORMED: told[:-1],
    }
    for reason, data in refusals.items():
        with pytest.raises(FollowError) as refused:
            state.agrees(data)
        assert refused.value.reason is reason
    with pytest.raises(FollowError) as another_tag:
        state.agrees(made.group_info(epoch=1, confirmed=one.fingerprint, tag=b"U" * 32))
    assert another_tag.value.reason is R.FORK


def test_a_private_commit_leaves_a_gap_on_record() -> None:
    made = Made.of("abcd")
    with pytest.raises(FollowError) as refused:
        made.state.follow(private(GROUP, 0, 3), ANYBODY, NOW_S)
    assert refused.value.reason is R.PRIVATE_HANDSHAKE
    before = made.state
    later = reanchor(before, made.group_info(epoch=2, confirmed=b"H" * 32), ANYBODY, NOW_S)
    assert (later.gaps, later.last_gap, later.anchored) == (1, Gap(0, 2), 2)
    again = reanchor(later, made.group_info(epoch=9, confirmed=b"H" * 32), ANYBODY, NOW_S)
    assert (again.gaps, again.last_gap) == (2, Gap(2, 9))
    assert unpack(pack(again)).last_gap == Gap(2, 9)
    for reason, data in {
        R.NOT_LATER: made.group_info(epoch=2, confirmed=b"H" * 32),
        R.WRONG_GROUP: made.group_info(epoch=3, confirmed=b"H" * 32, group_id=b"other"),
    }.items():
        with pytest.raises(FollowError) as stays:
            reanchor(later, data, ANYBODY, NOW_S)
        assert stays.value.reason is reason
    foreign = Made.of("abcd", 2)
    with pytest.raises(FollowError) as suite:
        reanchor(later, foreign.group_info(epoch=3, confirmed=b"H" * 32), ANYBODY, NOW_S)
    assert suite.value.reason is R.SUITE


def test_a_leaf_ends_while_nobody_commits() -> None:
    made = Made.of("abc")
    made.follow(made.commit(0, [fresh(made, "x", lifetime=(0, NOW_S + 10))]))
    assert made.state.good_until == NOW_S + 10
    assert made.state.expired(NOW_S + 10) == ()
    assert made.state.expired(NOW_S + 11) == (3,)
    assert unpack(pack(made.state)).expired(NOW_S + 11) == (3,)
    with pytest.raises(FollowError) as refused:
        made.state.recheck(ANYBODY, NOW_S + 11)
    assert refused.value.reason is R.LIFETIME
    # A commit of that member brings a leaf without a lifetime of its own.
    made.members[3] = made.signer("x")
    made.follow(made.commit(3, path=made.path(3)))
    assert made.state.expired(NOW_S + 11) == ()


# -- stored ----------------------------------------------------------------------------------------------------------


@SUITES
def test_a_stored_state_follows_like_the_one_it_was(suite: int) -> None:
    made = Made.of("abcde", suite)
    made.follow(made.commit(0, path=made.path(0)))
    made.state = made.state.propose(made.propose(1, remove(4)), ANYBODY, NOW_S)
    restored = unpack(pack(made.state))
    message = made.commit(
        2,
        [by_reference(made.suite, next(iter(made.state.waiting.values())).message)],
        made.path(2, after=after_remove(made, 4)),
    )
    after = restored.follow(message, ANYBODY, NOW_S)
    assert pack(after) == pack(made.follow(message))
    assert after.roster() == made.state.roster()


def test_a_damaged_state_is_refused() -> None:
    made = with_path(Made.of("abcd"))
    made.state = made.state.propose(made.propose(1, remove(2)), ANYBODY, NOW_S)
    data = pack(made.state)
    unpack(data)
    for broken in (b"", b"\x02" + data[1:], data[:-1], data + b"\0", b"\x01\0\x01\0\x03" + data[5:]):
        with pytest.raises(FollowError) as refused:
            unpack(broken)
        assert refused.value.reason is R.STATE_DAMAGED
    held = made.state.tree.leaf(1)
    assert held is not None
    at = data.index(held.encryption_key)
    with pytest.raises(FollowError) as tampered:
        unpack(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert tampered.value.reason is R.STATE_DAMAGED


def test_nothing_is_shown_of_who_is_in_a_group() -> None:
    made = Made.of("ab")
    state: PublicGroup = made.state
    text = repr(state) + str(state) + repr(state.roster()[0]) + repr(state.tree)
    assert "b'" not in text
    assert GROUP.decode() not in text
