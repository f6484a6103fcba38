"""Who may be in a group: keys on device lists, and certificates of the RCC.16 profile, each rule violated alone."""

from dataclasses import replace
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.wire_mls.certificate_maker import (
    LEAF,
    MIDDLE,
    OTHER_KEY,
    ROOT,
    ROOT_KEY,
    SUITE,
    TEL,
    USER,
    Wish,
    rule,
)
from tests.wire_mls.group_maker import ANYBODY, NOW_S, LeafMaker, Made, Signer
from tests.wire_mls.making import check_total, mutate

from letterlock.wire.mls.codec import Reader
from letterlock.wire.mls.group import (
    CredentialError,
    CredentialReason,
    FollowError,
    FollowReason,
    ListedKeys,
    Root,
    anchor,
)
from letterlock.wire.mls.group.certificates import CLIENT_USE, DAY_S, VENDOR, telephone
from letterlock.wire.mls.structures import LeafNode, read_leaf_node
from letterlock.wire.mls.suites import CipherSuite

R = CredentialReason


def leaf(*chain: Wish | bytes, suite: int = 2) -> LeafNode:
    certificates = tuple(one if isinstance(one, bytes) else one.make() for one in chain)
    maker = LeafMaker(USER if suite == 2 else Signer(CipherSuite(1), "user"), certificates=certificates)
    return read_leaf_node(Reader(maker.for_key_package()))


def test_a_certificate_of_the_profile_is_taken_until_too_little_is_left() -> None:
    checks = rule()
    for chain in ((LEAF, MIDDLE), (LEAF, MIDDLE, ROOT)):
        assert checks.check(leaf(*chain), NOW_S) == LEAF.until - 30 * DAY_S
    checks.check(leaf(LEAF, MIDDLE), LEAF.until - 30 * DAY_S)
    with pytest.raises(CredentialError) as refused:
        checks.check(leaf(LEAF, MIDDLE), LEAF.until - 30 * DAY_S + 1)
    assert refused.value.reason is R.TOO_LITTLE_LEFT
    assert telephone(LEAF.make()) == "+33123456789"
    direct = replace(LEAF, by=ROOT_KEY, issuer="root")
    assert checks.check(leaf(direct), NOW_S) == LEAF.until - 30 * DAY_S


REFUSED: dict[str, tuple[CredentialReason, tuple[Wish | bytes, ...]]] = {
    "not a certificate": (R.CERTIFICATE_MALFORMED, (b"nonsense", MIDDLE)),
    "cut off": (R.CERTIFICATE_MALFORMED, (LEAF.make()[:-1], MIDDLE)),
    "huge": (R.CERTIFICATE_MALFORMED, (LEAF.make() + bytes(20_000), MIDDLE)),
    "too many": (R.CHAIN, (LEAF, MIDDLE, MIDDLE, MIDDLE, ROOT)),
    "no intermediate": (R.CHAIN, (LEAF,)),
    "a root alone": (R.KEY_DIFFERS, (ROOT,)),
    "signed by another": (R.CHAIN, (replace(LEAF, by=OTHER_KEY), MIDDLE)),
    "of another authority": (R.CHAIN, (LEAF, replace(MIDDLE, by=OTHER_KEY))),
    "another root": (R.CHAIN, (LEAF, replace(MIDDLE, by=OTHER_KEY, issuer="other"))),
    "another key": (R.KEY_DIFFERS, (replace(LEAF, key=OTHER_KEY.public_key()), MIDDLE)),
    "another curve": (R.ALGORITHM, (replace(LEAF, key=ec.derive_private_key(9, ec.SECP384R1()).public_key()), MIDDLE)),
    "another hash": (R.ALGORITHM, (replace(LEAF, hash=SHA384()), MIDDLE)),
    "no address": (R.SUBJECT, (replace(LEAF, names=()), MIDDLE)),
    "two addresses": (
        R.SUBJECT,
        (replace(LEAF, names=(*TEL, x509.UniformResourceIdentifier("tel:+1234567890"))), MIDDLE),
    ),
    "an address of another kind": (R.SUBJECT, (replace(LEAF, names=(x509.DNSName("example.org"),)), MIDDLE)),
    "not E.164": (R.SUBJECT, (replace(LEAF, names=(x509.UniformResourceIdentifier("tel:0123456789"),)), MIDDLE)),
    "no extended use": (R.KEY_USE, (replace(LEAF, uses=()), MIDDLE)),
    "another extended use": (R.KEY_USE, (replace(LEAF, uses=(ExtendedKeyUsageOID.CLIENT_AUTH,)), MIDDLE)),
    "a second extended use": (
        R.KEY_USE,
        (replace(LEAF, uses=(CLIENT_USE, ExtendedKeyUsageOID.CLIENT_AUTH)), MIDDLE),
    ),
    "no policy": (R.KEY_USE, (replace(LEAF, policies=()), MIDDLE)),
    "another policy": (R.KEY_USE, (replace(LEAF, policies=(CLIENT_USE,)), MIDDLE)),
    "a critical policy": (R.KEY_USE, (replace(LEAF, policy_critical=True), MIDDLE)),
    "may not sign": (R.KEY_USE, (replace(LEAF, signs=False), MIDDLE)),
    "an authority as a user": (R.KEY_USE, (replace(LEAF, ca=True), MIDDLE)),
    "a user as an authority": (R.KEY_USE, (LEAF, replace(MIDDLE, ca=False))),
    "an authority that may not sign": (R.KEY_USE, (LEAF, replace(MIDDLE, signs=False))),
    "unknown and critical": (
        R.EXTENSION,
        (replace(LEAF, others=((x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00", True),)), MIDDLE),
    ),
    "unknown and critical above": (
        R.EXTENSION,
        (LEAF, replace(MIDDLE, others=((x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00", True),))),
    ),
    "expired": (R.VALIDITY, (replace(LEAF, until=NOW_S - 1), MIDDLE)),
    "not yet": (R.VALIDITY, (replace(LEAF, since=NOW_S + 1), MIDDLE)),
    "too long": (R.VALIDITY, (replace(LEAF, until=NOW_S + 67 * DAY_S), MIDDLE)),
    "authority too long": (R.VALIDITY, (LEAF, replace(MIDDLE, until=NOW_S + 1900 * DAY_S))),
    "authority expired": (R.VALIDITY, (LEAF, replace(MIDDLE, until=NOW_S - 1))),
    "little left": (R.TOO_LITTLE_LEFT, (replace(LEAF, until=NOW_S + 29 * DAY_S), MIDDLE)),
    "a vendor that the root is not of": (R.VENDOR, (replace(LEAF, others=((VENDOR, b"\x04\x01v", False),)), MIDDLE)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_rule_of_the_profile_alone(name: str) -> None:
    reason, chain = REFUSED[name]
    with pytest.raises(CredentialError) as refused:
        rule().check(leaf(*chain), NOW_S)
    assert refused.value.reason is reason
    assert rule().check(leaf(LEAF, MIDDLE), NOW_S) > NOW_S


def test_the_vendor_of_a_leaf_is_its_roots() -> None:
    vendor = ((VENDOR, b"\x04\x01v", False),)
    checks = rule(replace(ROOT, others=vendor))
    checks.check(leaf(replace(LEAF, others=vendor), MIDDLE), NOW_S)
    for others in ((), ((VENDOR, b"\x04\x01w", False),)):
        with pytest.raises(CredentialError) as refused:
            checks.check(leaf(replace(LEAF, others=others), MIDDLE), NOW_S)
        assert refused.value.reason is R.VENDOR


def test_a_short_path_is_kept() -> None:
    shallow = rule(replace(ROOT, path_length=0))
    with pytest.raises(CredentialError) as refused:
        shallow.check(leaf(LEAF, MIDDLE), NOW_S)
    assert refused.value.reason is R.KEY_USE
    rule(replace(ROOT, path_length=1)).check(leaf(LEAF, MIDDLE), NOW_S)


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        (replace(ROOT, by=OTHER_KEY), R.CHAIN),
        (replace(ROOT, ca=False), R.KEY_USE),
        (replace(ROOT, until=NOW_S + 3653 * DAY_S), R.VALIDITY),
        (replace(ROOT, until=NOW_S - 1), R.VALIDITY),
        (replace(ROOT, hash=SHA384()), R.ALGORITHM),
    ],
)
def test_a_root_must_be_one(root: Wish, reason: CredentialReason) -> None:
    with pytest.raises(CredentialError) as refused:
        Root.of(root.make(), NOW_S)
    assert refused.value.reason is reason
    Root.of(ROOT.make(), NOW_S)


def test_changed_certificates_give_a_value_or_a_typed_error() -> None:
    rng, checks, good = Random(16), rule(), LEAF.make()
    middle = MIDDLE.make()
    taken = sum(
        check_total(lambda one: checks.check(leaf(one, middle), NOW_S), CredentialError, mutate(good, rng) or b"x")
        for _ in range(400)
    )
    assert taken == 0
    checks.check(leaf(good, middle), NOW_S)


def test_a_basic_credential_is_its_own_key_and_listed() -> None:
    signer = Signer(CipherSuite(1), "a")
    checks = ListedKeys({signer.public}.__contains__)
    checks.check(read_leaf_node(Reader(LeafMaker(signer).for_key_package())), NOW_S)
    refusals = {
        R.NOT_THE_KEY: LeafMaker(signer, identity=b"alice"),
        R.NOT_LISTED: LeafMaker(Signer(CipherSuite(1), "b")),
        R.KIND: LeafMaker(signer, certificates=(b"x",)),
    }
    for reason, maker in refusals.items():
        with pytest.raises(CredentialError) as refused:
            checks.check(read_leaf_node(Reader(maker.for_key_package())), NOW_S)
        assert refused.value.reason is reason
    with pytest.raises(CredentialError) as basic:
        rule().check(read_leaf_node(Reader(LeafMaker(signer).for_key_package())), NOW_S)
    assert basic.value.reason is R.KIND


def test_an_rcs_group_is_followed_until_a_members_certificate_runs_out() -> None:
    made = Made(SUITE)
    wishes = {"a": LEAF, "b": replace(LEAF, until=NOW_S + 40 * DAY_S)}
    leaves: list[bytes] = []
    for index, (name, wish) in enumerate(wishes.items()):
        signer = made.members[index] = made.signer(name)
        chain = (replace(wish, key=signer.p256.public_key()).make(), MIDDLE.make())
        leaves.append(LeafMaker(signer, certificates=chain, lifetime=(0, NOW_S + 365 * DAY_S)).for_key_package())
    info = made.group_info(made.tree(leaves))
    state = anchor(info, rule(), NOW_S)
    assert state.good_until == NOW_S + 10 * DAY_S
    assert state.expired(NOW_S + 10 * DAY_S + 1) == (1,)
    made.state = anchor(info, ANYBODY, NOW_S)
    basic = made.commit(0, path=made.path(0))
    with pytest.raises(FollowError) as refused:
        state.follow(basic, rule(), NOW_S)
    assert refused.value.facts["credential"] is R.KIND
    renewed = (replace(LEAF, key=made.members[1].p256.public_key(), until=NOW_S + 66 * DAY_S).make(), MIDDLE.make())
    path = made.path(1, leaf=LeafMaker(made.members[1], certificates=renewed))
    after = state.follow(made.commit(1, path=path), rule(), NOW_S)
    assert after.good_until == NOW_S + 30 * DAY_S
    with pytest.raises(FollowError) as late:
        anchor(info, rule(), NOW_S + 11 * DAY_S)
    assert late.value.reason is FollowReason.CREDENTIAL
    assert late.value.facts == {"leaf": 1, "credential": R.TOO_LITTLE_LEFT}
