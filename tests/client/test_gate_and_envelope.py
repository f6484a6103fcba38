"""The gate and the envelope by themselves: each field spoilt, each kind of sender and proposal, junk."""

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.assurance import envelope as envelopes
from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.assurance.device_list import DeviceKind
from letterlock.assurance.envelope import Envelope, EnvelopeError, EnvelopeKind, EnvelopeReason
from letterlock.client import lifetimes
from letterlock.client.engine import CommitBundle, Member
from letterlock.client.errors import GateError, GateReason
from letterlock.client.gate import (
    END_MLS,
    added_leaf_keys,
    follow_commit,
    screen_commit,
    screen_followed,
    screen_key_package,
    screen_roster,
)
from letterlock.client.groups import chain_next, chain_start
from letterlock.client.rine import RineEngine
from letterlock.client.tree import leaves
from letterlock.model.errors import Reason
from letterlock.model.ids import AccountId, DeviceId, MessageId, TenantId
from letterlock.wire.mls import FramingError, parse_public_commit
from letterlock.wire.mls.group import FollowReason
from letterlock.wire.mls.proposals import (
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ProposalReference,
    PskKind,
    ReInit,
    Remove,
)
from letterlock.wire.mls.structures import Extension
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite

GROUP = b"gate group"
NOW = time.time_ns() // 1_000_000
"""The engine takes the time of its key packages from the system."""
TENANT = TenantId(bytes(16))
SIGNER = SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, bytes([1]) * 32)
SESSION = SoftwareKey(KeyFamily.SESSION, Suite.ED25519, bytes([2]) * 32)
LEAF = bytes([9]) * 32
ENTRY = ListedDevice(DeviceId(bytes([5]) * 16), DeviceKind.NATIVE, SIGNER.public, LEAF, SESSION.public)
PLAIN = Envelope(
    EnvelopeKind.CONTENT,
    AccountId(bytes([4]) * 16),
    ENTRY.device,
    3,
    bytes([6]) * 32,
    GROUP,
    7,
    MessageId(bytes([8]) * 16),
    5,
    4,
    6,
    b"the words",
)


def everybody(key: bytes) -> bool:
    return True


def nobody(key: bytes) -> bool:
    return False


def why(commit: bytes, roster: tuple[Member, ...], epoch: int = 2, group: bytes = GROUP) -> GateReason:
    with pytest.raises(GateError) as caught:
        screen_commit(commit, group, epoch, roster, everybody, NOW)
    assert isinstance(caught.value.reason, GateReason)
    return caught.value.reason


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[RineEngine, RineEngine, CommitBundle, tuple[Member, ...]]]:
    alice, bob, carol = (RineEngine(os.urandom(32)) for _ in range(3))
    alice.create(GROUP)
    first = alice.add(GROUP, bob.key_packages(1))
    alice.confirm(GROUP)
    bob.join(first.welcomes[0])
    bob.confirm(GROUP)
    bundle = alice.add(GROUP, carol.key_packages(1))
    yield alice, carol, bundle, alice.roster(GROUP)
    for engine in (alice, bob, carol):
        engine.close()


Scene = tuple[RineEngine, RineEngine, CommitBundle, tuple[Member, ...]]


def test_a_good_commit_passes_and_each_condition_stops_it(scene: Scene) -> None:
    _, carol, bundle, roster = scene
    assert screen_commit(bundle.commit, GROUP, 2, roster, everybody, NOW).epoch == 2
    assert added_leaf_keys(bundle.commit) == (carol.leaf_key,)
    assert why(bundle.commit, roster, epoch=3) is GateReason.WRONG_EPOCH
    assert why(bundle.commit, roster, group=b"another") is GateReason.WRONG_GROUP
    assert why(bundle.commit, roster[1:]) is GateReason.SENDER_UNKNOWN
    other = dataclasses.replace(roster[0], signature_key=bytes(32))
    assert why(bundle.commit, (other, *roster[1:])) is GateReason.LEAF_CHANGED
    with pytest.raises(GateError) as caught:
        screen_commit(bundle.commit, GROUP, 2, roster, nobody, NOW)
    assert caught.value.reason is GateReason.LEAF_NOT_LISTED


def test_the_gate_computes_where_a_commit_leads_before_the_engine_is_called() -> None:
    alice, bob, carol = (RineEngine(os.urandom(32)) for _ in range(3))
    now = time.time_ns() // 1_000_000
    try:
        alice.create(GROUP)
        first = alice.add(GROUP, bob.key_packages(1))
        alice.confirm(GROUP)
        bob.join(first.welcomes[0])
        bob.confirm(GROUP)
        other = alice.update(GROUP)
        alice.discard(GROUP)
        bundle = alice.add(GROUP, carol.key_packages(1))
        before = bob.group_info(GROUP)
        followed = follow_commit(before, bundle.commit, now)
        assert len(followed.roster()) == 3
        day = 86_400_000
        late = follow_commit(before, bundle.commit, now + 380 * day)
        assert late.epoch == followed.epoch, "a leaf may have ended while its commit waited in the mailbox"
        with pytest.raises(GateError) as ended:
            follow_commit(before, bundle.commit, now + 400 * day)
        assert ended.value.facts == {"follow": FollowReason.LIFETIME}
        # The byte lies in the commit's signature: everything that the gate screened so far is as it was.
        at = len(bundle.commit) - 67
        forged = bundle.commit[:at] + bytes([bundle.commit[at] ^ 1]) + bundle.commit[at + 1 :]
        assert screen_commit(forged, GROUP, 2, bob.roster(GROUP), everybody, NOW).epoch == 2
        with pytest.raises(GateError) as refused:
            follow_commit(before, forged, now)
        assert refused.value.reason is GateReason.COMMIT_INVALID
        assert refused.value.facts == {"follow": FollowReason.SIGNATURE}
        assert refused.value.__context__ is None
        bob.process(bundle.commit)
        screen_followed(followed, bob.group_info(GROUP))
        with pytest.raises(GateError) as differs:
            screen_followed(follow_commit(before, other.commit, now), bob.group_info(GROUP))
        assert differs.value.reason is GateReason.ENGINE_DIFFERS
    finally:
        for engine in (alice, bob, carol):
            engine.close()


def test_what_is_no_public_commit_is_refused(scene: Scene) -> None:
    _, _, bundle, roster = scene
    for junk in (b"", bundle.welcomes[0], bundle.group_info, bundle.commit[:-1], bundle.commit + b"\0"):
        assert why(junk, roster) is GateReason.NOT_PARSED
        with pytest.raises(GateError):
            added_leaf_keys(junk)


@pytest.mark.attack("A2")
def test_external_commits_and_other_proposals_of_foreign_implementations(vectors: Path) -> None:
    class Case(msgspec.Struct):
        public_message_commit: str
        public_message_proposal: str
        mls_welcome: str

    cases = msgspec.json.decode((vectors / "mls" / "messages.json").read_bytes(), type=list[Case])
    seen: set[GateReason] = set()
    for case in cases[:100]:
        commit = bytes.fromhex(case.public_message_commit)
        with pytest.raises(GateError) as caught:
            screen_commit(commit, GROUP, 2, (), everybody, NOW)
        assert isinstance(caught.value.reason, GateReason)
        seen.add(caught.value.reason)
        for other in (case.public_message_proposal, case.mls_welcome):
            assert why(bytes.fromhex(other), ()) is GateReason.NOT_PARSED
    assert seen <= {GateReason.WRONG_GROUP, GateReason.NOT_PARSED}


@pytest.mark.attack("A14")
def test_no_commit_changes_more_than_who_is_in(scene: Scene) -> None:
    _, _, bundle, roster = scene
    whole = parse_public_commit(bundle.commit)

    def screened(*inside: Proposal | ProposalReference) -> Reason | None:
        changed = dataclasses.replace(whole, proposals=inside)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("letterlock.client.gate.parse_public_commit", lambda commit: changed)
            try:
                screen_commit(bundle.commit, GROUP, 2, roster, everybody, NOW)
            except GateError as error:
                return error.reason
        return None

    assert screened(*whole.proposals) is None
    assert screened(Remove(1)) is None
    assert screened(Remove(77)) is GateReason.SENDER_UNKNOWN
    ends = GroupContextExtensions((Extension(END_MLS, b"end_mls"),))
    for other in (
        ends,
        GroupContextExtensions(()),
        ReInit(b"other", 1, ()),
        ExternalInit(bytes(32)),
        PreSharedKey(PskKind.EXTERNAL, 0, b"id", b"", 0, b"nonce"),
    ):
        assert screened(other) is GateReason.PROPOSAL_KIND
        assert screened(*whole.proposals, other) is GateReason.PROPOSAL_KIND
    assert screened(ProposalReference(bytes(32))) is GateReason.PROPOSAL_BY_REFERENCE


def test_key_packages_must_be_of_the_listed_leaf_and_really_signed(scene: Scene) -> None:
    _, carol, _, _ = scene
    package = carol.key_packages(1)[0]
    entry = dataclasses.replace(ENTRY, leaf_key=carol.leaf_key)
    assert screen_key_package(package, entry, NOW).identity == carol.leaf_key
    with pytest.raises(GateError) as caught:
        screen_key_package(package, ENTRY, NOW)
    assert caught.value.reason is GateReason.LEAF_NOT_LISTED
    for at in (len(package) - 1, 20, 60):
        spoilt = package[:at] + bytes([package[at] ^ 1]) + package[at + 1 :]
        with pytest.raises(GateError) as caught:
            screen_key_package(spoilt, entry, NOW)
        assert caught.value.reason is GateReason.NOT_PARSED


DAY_MS = 24 * 3600 * 1000
YEAR_S = 365 * 24 * 3600


def over(lifetime: lifetimes.Lifetime | None, now_ms: int, late_s: int = 0) -> GateReason:
    with pytest.raises(GateError) as caught:
        lifetimes.check(lifetime, now_ms, late_s)
    assert isinstance(caught.value.reason, GateReason)
    return caught.value.reason


def test_a_lifetime_has_a_beginning_an_end_and_a_bound() -> None:
    start = NOW // 1000
    good = (start, start + YEAR_S)
    skew, late = lifetimes.SKEW_S, lifetimes.LATE_S
    for lifetime, at_s in (
        (None, 0),
        (good, start),
        (good, start - skew),
        (good, good[1] + skew),
        ((start, start + lifetimes.MAX_LIFETIME_S + skew), start),
    ):
        lifetimes.check(lifetime, at_s * 1000)
    lifetimes.check(good, (good[1] + skew + late) * 1000, late)
    assert over(good, (start - skew - 1) * 1000) is GateReason.NOT_YET_VALID
    assert over(good, (good[1] + skew + 1) * 1000) is GateReason.EXPIRED
    assert over(good, (good[1] + skew + late + 1) * 1000, late) is GateReason.EXPIRED
    for lifetime in ((start, start + lifetimes.MAX_LIFETIME_S + skew + 1), (start, start - 1), (0, 2**64 - 1)):
        assert over(lifetime, NOW) is GateReason.LIFETIME_TOO_LONG


def test_expired_leaves_enter_by_no_claim_commit_or_welcome(scene: Scene) -> None:
    _, carol, bundle, roster = scene
    package, entry = carol.key_packages(1)[0], dataclasses.replace(ENTRY, leaf_key=carol.leaf_key)
    before, late, after = NOW - DAY_MS, NOW + 370 * DAY_MS, NOW + 400 * DAY_MS
    for now, reason in ((before, GateReason.NOT_YET_VALID), (late, GateReason.EXPIRED)):
        with pytest.raises(GateError) as caught:
            screen_key_package(package, entry, now)
        assert caught.value.reason is reason
    # What waited in the mailbox was taken in time by those who sent it.
    assert screen_commit(bundle.commit, GROUP, 2, roster, everybody, late).epoch == 2
    screen_roster(roster, everybody, late)
    for now, reason in ((before, GateReason.NOT_YET_VALID), (after, GateReason.EXPIRED)):
        with pytest.raises(GateError) as caught:
            screen_commit(bundle.commit, GROUP, 2, roster, everybody, now)
        assert caught.value.reason is reason
        with pytest.raises(GateError) as caught:
            screen_roster(roster, everybody, now)
        assert caught.value.reason is reason
    # A leaf that its owner has refreshed carries no lifetime: alice made commits, bob never did.
    assert [member.lifetime is None for member in roster] == [True, False]


def test_rosters_need_every_leaf_listed_and_every_name_to_be_its_key(scene: Scene) -> None:
    roster = scene[3]
    screen_roster(roster, everybody, NOW)
    with pytest.raises(GateError) as caught:
        screen_roster(roster, lambda key: key == roster[0].identity, NOW)
    assert caught.value.reason is GateReason.LEAF_NOT_LISTED
    borrowed = (roster[0], dataclasses.replace(roster[1], identity=LEAF))
    with pytest.raises(GateError) as caught:
        screen_roster(borrowed, everybody, NOW)
    assert caught.value.reason is GateReason.CREDENTIAL_MISMATCH


def test_the_tree_is_read_to_its_last_byte(scene: Scene) -> None:
    _, carol, bundle, roster = scene
    found = leaves(bundle.group_info)
    assert [leaf.signature_key for leaf in found] == [*(member.signature_key for member in roster), carol.leaf_key]
    for cut in range(0, len(bundle.group_info), 17):
        with pytest.raises(FramingError):
            leaves(bundle.group_info[:cut])


# -- envelopes --------------------------------------------------------------------------------------------------------


def sealed(plain: Envelope = PLAIN) -> bytes:
    return envelopes.seal(plain, TENANT, "test", SIGNER)


def refused(data: bytes, leaf: bytes | None = LEAF, **given: object) -> EnvelopeReason:
    wanted = {"group_id": GROUP, "epoch": 7, "tenant": TENANT, "environment": "test", "entry": ENTRY} | given
    with pytest.raises(EnvelopeError) as caught:
        envelopes.check(envelopes.parse(data), leaf_identity=leaf, **wanted)  # type: ignore[arg-type]
    assert isinstance(caught.value.reason, EnvelopeReason)
    return caught.value.reason


@pytest.mark.parametrize("kind", list(EnvelopeKind))
def test_an_envelope_survives_and_is_believed(kind: EnvelopeKind) -> None:
    plain = dataclasses.replace(PLAIN, kind=kind)
    signed = envelopes.parse(sealed(plain))
    for leaf in (LEAF, None):
        assert envelopes.check(signed, ENTRY, GROUP, 7, leaf, TENANT, "test") == plain


def test_each_condition_of_an_envelope_stops_it() -> None:
    assert refused(sealed(), group_id=b"other") is EnvelopeReason.ANOTHER_GROUP
    assert refused(sealed(), epoch=8) is EnvelopeReason.ANOTHER_GROUP
    assert refused(sealed(), leaf=bytes(32)) is EnvelopeReason.SENDER_MISMATCH
    assert refused(sealed(), tenant=TenantId(bytes([1]) * 16)) is EnvelopeReason.BAD_SIGNATURE
    assert refused(sealed(), environment="prod") is EnvelopeReason.BAD_SIGNATURE
    other = dataclasses.replace(ENTRY, device=DeviceId(bytes(16)))
    assert refused(sealed(), entry=other) is EnvelopeReason.SENDER_NOT_LISTED
    stranger = SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, bytes([3]) * 32).public
    assert refused(sealed(), entry=dataclasses.replace(ENTRY, envelope_key=stranger)) is EnvelopeReason.BAD_SIGNATURE


def test_every_spoilt_byte_of_an_envelope_is_refused() -> None:
    data = sealed()
    for at in range(len(data)):
        spoilt = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(EnvelopeError):
            envelopes.check(envelopes.parse(spoilt), ENTRY, GROUP, 7, LEAF, TENANT, "test")
    for end in range(len(data)):
        with pytest.raises(EnvelopeError):
            envelopes.parse(data[:end])
    with pytest.raises(EnvelopeError):
        envelopes.parse(data + b"\0")


@given(st.integers(0, envelopes.MAX_CONTENT), st.integers(1, envelopes.MAX_GROUP_ID))
def test_every_envelope_has_one_of_eight_sizes(size: int, name: int) -> None:
    plain = dataclasses.replace(PLAIN, body=bytes([7]) * size, group_id=bytes([1]) * name)
    data = sealed(plain)
    assert len(data) in envelopes.SIZES
    assert len(envelopes.SIZES) == 8
    smaller = [one for one in envelopes.SIZES if one < len(data)]
    assert not smaller or len(data.rstrip(b"\0")) > smaller[-1] - 66, "the next smaller one had no room"
    assert envelopes.parse(data).content == plain


def test_padding_is_zeros_up_to_the_first_size_with_room_and_nothing_else() -> None:
    data = sealed()
    bare = len(envelopes.encode(envelopes.parse(data)))
    assert bare < len(data) == envelopes.SIZES[0]
    for at in (bare, (bare + len(data)) // 2, len(data) - 1):
        with pytest.raises(EnvelopeError) as caught:
            envelopes.parse(data[:at] + b"\1" + data[at + 1 :])
        assert caught.value.reason is EnvelopeReason.BAD_PADDING
    for other in (bare, bare + 1, envelopes.SIZES[0] - 1, envelopes.SIZES[0] + 1, envelopes.SIZES[1]):
        with pytest.raises(EnvelopeError) as caught:
            envelopes.parse(data[:bare].ljust(other, b"\0"))
        assert caught.value.reason is EnvelopeReason.BAD_PADDING, "a larger size than needed would be a channel"


@given(st.binary(max_size=400))
def test_any_bytes_give_an_envelope_or_a_typed_error(data: bytes) -> None:
    for candidate in (data, sealed()[:60] + data):
        try:
            envelopes.parse(candidate)
        except EnvelopeError:
            continue


def test_limits() -> None:
    largest = dataclasses.replace(PLAIN, body=bytes(envelopes.MAX_CONTENT))
    assert envelopes.parse(sealed(largest)).content == largest
    for plain in (
        dataclasses.replace(PLAIN, body=bytes(envelopes.MAX_CONTENT + 1)),
        dataclasses.replace(PLAIN, group_id=b""),
        dataclasses.replace(PLAIN, list_hash=b""),
    ):
        with pytest.raises(EnvelopeError):
            sealed(plain)
    assert "words" not in repr(PLAIN)


def test_the_chain_tells_histories_apart() -> None:
    start = chain_start(GROUP, 1)
    assert len({start, chain_start(GROUP, 0), chain_start(b"other", 1), chain_next(start, 1, b"a")}) == 4
    assert chain_next(start, 1, b"a") != chain_next(start, 2, b"a") != chain_next(start, 1, b"b")


@pytest.mark.parametrize(("number", "settled", "newest"), [(5, 5, 6), (5, 6, 6), (5, 4, 4), (5, 4, 0)])
def test_numbers_that_contradict_each_other_are_refused(number: int, settled: int, newest: int) -> None:
    """What was answered before it was sent, or was sent and had no number yet."""
    data = envelopes.seal(
        dataclasses.replace(PLAIN, number=number, settled=settled, newest=newest), TENANT, "test", SIGNER
    )
    with pytest.raises(EnvelopeError) as caught:
        envelopes.parse(data)
    assert caught.value.reason is EnvelopeReason.MALFORMED
    assert envelopes.parse(envelopes.seal(PLAIN, TENANT, "test", SIGNER)).content == PLAIN
