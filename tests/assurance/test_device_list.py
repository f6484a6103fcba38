"""The account's signed device list: what is accepted, and every way to be refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.assurance.samples import (
    ACCOUNT,
    ENVIRONMENT,
    IDENTITY,
    OTHER_ACCOUNT,
    OTHER_IDENTITY,
    OTHER_TENANT,
    TENANT,
    device,
    first_list,
    key,
)

from letterlock.assurance.device_list import (
    MAX_DEVICES,
    Device,
    DeviceKind,
    DeviceList,
    DeviceListError,
    ListReason,
    SignedDeviceList,
    changes,
    device_of_leaf,
    first,
    leaf_key_listed,
    parse_body,
    parse_signed,
    sign_list,
    successor,
    verify_chain,
    verify_first,
    verify_next,
)
from letterlock.model.ids import DeviceId
from letterlock.wire.preimage import KeyFamily, PublicKey, Signature, SoftwareKey, Suite

V1 = sign_list(first_list(1, 2), TENANT, ENVIRONMENT, IDENTITY)
V2 = sign_list(successor(V1.content, 5, [device(1), device(2), device(3)]), TENANT, ENVIRONMENT, IDENTITY)


def refused(reason: ListReason) -> pytest.RaisesExc[DeviceListError]:
    return pytest.RaisesExc(DeviceListError, check=lambda error: error.reason is reason)


def resigned(content: DeviceList, signer: SoftwareKey = IDENTITY) -> SignedDeviceList:
    return sign_list(content, TENANT, ENVIRONMENT, signer)


def test_a_chain_verifies_from_its_first_version_to_its_head() -> None:
    assert verify_first(V1, ACCOUNT, TENANT, ENVIRONMENT) is V1.content
    assert verify_next(V1.content, V2, TENANT, ENVIRONMENT) is V2.content
    assert verify_chain([V1, V2], ACCOUNT, TENANT, ENVIRONMENT, IDENTITY.public) is V2.content
    assert verify_next(V2.content, V2, TENANT, ENVIRONMENT) is V2.content


def test_the_signed_form_comes_back_from_its_bytes() -> None:
    for signed in (V1, V2):
        assert parse_signed(signed.encode()) == signed
        assert parse_body(signed.content.body()) == signed.content


def test_an_empty_list_is_a_statement_too() -> None:
    empty = resigned(successor(V1.content, 6, []))
    assert verify_next(V1.content, parse_signed(empty.encode()), TENANT, ENVIRONMENT).devices == ()


@pytest.mark.attack("A1")
def test_a_leaf_key_counts_only_when_the_account_listed_it() -> None:
    assert leaf_key_listed(V1.content, bytes([1]) * 32)
    assert device_of_leaf(V1.content, bytes([2]) * 32) == device(2)
    assert not leaf_key_listed(V1.content, bytes([3]) * 32)
    assert leaf_key_listed(V2.content, bytes([3]) * 32)
    assert not leaf_key_listed(V1.content, b"")


@pytest.mark.attack("A1")
def test_a_ghost_device_needs_the_identity_keys_signature() -> None:
    ghost = replace(successor(V1.content, 5, [device(1), device(2), device(9)]))
    stolen = SignedDeviceList(ghost, V2.signature)
    with refused(ListReason.SIGNATURE_REFUSED):
        verify_next(V1.content, stolen, TENANT, ENVIRONMENT)
    assert verify_next(V1.content, resigned(ghost), TENANT, ENVIRONMENT) == ghost


@pytest.mark.attack("A21")
def test_a_list_holds_in_its_tenant_and_environment_only() -> None:
    verify_first(V1, ACCOUNT, TENANT, ENVIRONMENT)
    for tenant, environment in ((OTHER_TENANT, ENVIRONMENT), (TENANT, "prod")):
        with refused(ListReason.SIGNATURE_REFUSED):
            verify_first(V1, ACCOUNT, tenant, environment)


def test_another_account_is_refused() -> None:
    with refused(ListReason.ANOTHER_ACCOUNT):
        verify_first(V1, OTHER_ACCOUNT, TENANT, ENVIRONMENT)
    moved = resigned(replace(V2.content, account=OTHER_ACCOUNT))
    with refused(ListReason.ANOTHER_ACCOUNT):
        verify_next(V1.content, moved, TENANT, ENVIRONMENT)


def test_another_identity_key_is_refused_whoever_signs() -> None:
    with refused(ListReason.ANOTHER_IDENTITY_KEY):
        verify_first(V1, ACCOUNT, TENANT, ENVIRONMENT, OTHER_IDENTITY.public)
    rotated = replace(V2.content, identity_key=OTHER_IDENTITY.public)
    with refused(ListReason.ANOTHER_IDENTITY_KEY):
        verify_next(V1.content, resigned(rotated, OTHER_IDENTITY), TENANT, ENVIRONMENT)
    with refused(ListReason.ANOTHER_IDENTITY_KEY):
        resigned(rotated, IDENTITY)


def test_versions_go_up_one_by_one() -> None:
    with refused(ListReason.FIRST_VERSION_EXPECTED):
        verify_first(V2, ACCOUNT, TENANT, ENVIRONMENT)
    with refused(ListReason.FIRST_VERSION_EXPECTED):
        verify_chain([], ACCOUNT, TENANT, ENVIRONMENT)
    with refused(ListReason.VERSION_NOT_NEXT):
        verify_next(V2.content, V1, TENANT, ENVIRONMENT)
    skipped = resigned(replace(V2.content, version=3))
    with refused(ListReason.VERSION_NOT_NEXT):
        verify_next(V1.content, skipped, TENANT, ENVIRONMENT)


def test_a_version_names_the_hash_of_the_one_before() -> None:
    cut = resigned(replace(V2.content, previous=bytes([7]) * 32))
    with refused(ListReason.PREVIOUS_HASH_WRONG):
        verify_next(V1.content, cut, TENANT, ENVIRONMENT)
    with refused(ListReason.PREVIOUS_HASH_WRONG):
        replace(V2.content, previous=bytes(32))
    with refused(ListReason.PREVIOUS_HASH_WRONG):
        replace(V1.content, previous=bytes([7]) * 32)


def test_two_signed_lists_with_one_number_are_a_fork() -> None:
    other = resigned(successor(V1.content, 5, [device(1)]))
    with refused(ListReason.FORKED):
        verify_next(V2.content, other, TENANT, ENVIRONMENT)
    unsigned = SignedDeviceList(other.content, V2.signature)
    with refused(ListReason.SIGNATURE_REFUSED):
        verify_next(V2.content, unsigned, TENANT, ENVIRONMENT)


def test_no_device_and_no_key_stands_twice() -> None:
    cases = [
        (ListReason.DUPLICATE_DEVICE, [device(1), device(2, device=DeviceId(bytes([1]) * 16))]),
        (ListReason.DUPLICATE_KEY, [device(1), device(2, leaf_key=bytes([1]) * 32)]),
        (ListReason.DUPLICATE_KEY, [device(1), device(2, envelope_key=device(1).envelope_key)]),
        (ListReason.DUPLICATE_KEY, [device(1), device(2, session_key=device(1).session_key)]),
        (ListReason.DUPLICATE_KEY, [device(1, session_key=key(KeyFamily.SESSION, 101).public)]),
        (ListReason.DUPLICATE_KEY, [device(1, leaf_key=IDENTITY.public.raw)]),
    ]
    for reason, devices in cases:
        with refused(reason):
            first(ACCOUNT, 0, IDENTITY.public, devices)
    with refused(ListReason.OUT_OF_ORDER):
        replace(V1.content, devices=(device(2), device(1)))


def test_lists_are_bounded() -> None:
    def many(count: int) -> list[Device]:
        return [
            Device(
                DeviceId(number.to_bytes(16)),
                DeviceKind.WEB,
                key_of(KeyFamily.ENVELOPE, number),
                number.to_bytes(133),
                key_of(KeyFamily.SESSION, number),
                frozenset(f"{number:032d}"[:30] + f"{index:02d}" for index in range(16)),
            )
            for number in range(1, count + 1)
        ]

    def key_of(family: KeyFamily, number: int) -> PublicKey:
        start = 0 if family is KeyFamily.ENVELOPE else 1000
        return SoftwareKey(family, Suite.ECDSA_P256, (start + number).to_bytes(32)).public

    # The largest list there can be: every bound at its end.
    largest = sign_list(first(ACCOUNT, 0, IDENTITY.public, many(MAX_DEVICES)), TENANT, ENVIRONMENT, IDENTITY)
    assert verify_first(parse_signed(largest.encode()), ACCOUNT, TENANT, ENVIRONMENT) == largest.content
    assert len(largest.content.body()) <= 52 * 1024
    with refused(ListReason.TOO_MANY_DEVICES):
        first(ACCOUNT, 0, IDENTITY.public, many(MAX_DEVICES + 1))
    with refused(ListReason.TOO_MANY_CAPABILITIES):
        device(1, capabilities=frozenset(f"c{number}" for number in range(17)))
    for wrong in ("", "Upper", "a b", "x" * 33, "é", "-a", "a\n"):
        with refused(ListReason.CAPABILITY_MALFORMED):
            device(1, capabilities=frozenset({wrong}))
    for length in (0, 134):
        with refused(ListReason.LEAF_KEY_LENGTH):
            device(1, leaf_key=bytes(length))
    for version in (0, -1, 2**63):
        with refused(ListReason.VERSION_OUT_OF_RANGE):
            replace(V2.content, version=version)
    with refused(ListReason.TIME_OUT_OF_RANGE):
        replace(V2.content, issued_ms=-1)
    with refused(ListReason.KEY_MALFORMED):
        device(1, envelope_key=key(KeyFamily.SESSION, 5).public)
    with refused(ListReason.KEY_MALFORMED):
        replace(V1.content, identity_key=key(KeyFamily.SESSION, 5).public)
    with refused(ListReason.TOO_LARGE):
        parse_signed(bytes(70_000))
    with refused(ListReason.TOO_LARGE):
        parse_body(bytes(70_000))


def test_every_cut_and_every_extra_byte_is_refused() -> None:
    data = V2.encode()
    assert parse_signed(data) == V2
    for length in range(len(data)):
        with pytest.raises(DeviceListError):
            parse_signed(data[:length])
    with refused(ListReason.TRAILING_BYTES):
        parse_signed(data + b"\0")


def test_every_flipped_bit_is_refused() -> None:
    data = V1.encode()
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            with pytest.raises(DeviceListError):
                verify_first(parse_signed(bytes(changed)), ACCOUNT, TENANT, ENVIRONMENT, IDENTITY.public)


def test_capabilities_have_one_order_and_stand_once() -> None:
    data = first_list(1).body()
    good, other, twice = b"\x05mls10\x08receipts", b"\x08receipts\x05mls10", b"\x05mls10\x05mls10"
    assert data.endswith(b"\x02" + good)
    assert parse_body(data) == first_list(1)
    for wrong in (other, twice):
        with refused(ListReason.OUT_OF_ORDER):
            parse_body(data.removesuffix(good) + wrong)
    with refused(ListReason.CAPABILITY_MALFORMED):
        parse_body(data.removesuffix(good) + b"\x05mls10\x08receipt\xff")
    native = data.index(b"\x01\x00\x21\x01" + device(1).envelope_key.raw)
    assert parse_body(data[:native] + b"\x02" + data[native + 1 :]).devices[0].kind is DeviceKind.WEB
    with refused(ListReason.UNKNOWN_KIND):
        parse_body(data[:native] + b"\x03" + data[native + 1 :])
    with refused(ListReason.UNKNOWN_FORMAT):
        parse_body(b"\x02" + data[1:])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_list_or_a_typed_error(data: bytes) -> None:
    try:
        parsed = parse_body(data)
    except DeviceListError:
        return
    assert parsed.body() == data


@given(st.integers(0, 600), st.binary(max_size=8))
def test_what_parses_has_one_spelling(at: int, patch: bytes) -> None:
    data = V2.encode()
    mixed = data[:at] + patch + data[at + len(patch) :]
    try:
        parsed = parse_signed(mixed)
    except DeviceListError:
        return
    assert parsed.encode() == mixed


def test_a_second_signature_over_the_same_body_is_the_same_version() -> None:
    signer = SoftwareKey(KeyFamily.IDENTITY, Suite.ECDSA_P256, bytes([9]) * 32)
    content = first(ACCOUNT, 0, signer.public, [device(1)])
    one = resigned(content, signer)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    flipped = one.signature.raw[:32] + (order - int.from_bytes(one.signature.raw[32:])).to_bytes(32)
    two = SignedDeviceList(content, Signature(Suite.ECDSA_P256, flipped))
    assert one != two
    assert verify_next(one.content, two, TENANT, ENVIRONMENT) is one.content


def test_changes_are_told() -> None:
    after = successor(V1.content, 9, [device(2, kind=DeviceKind.WEB), device(3)])
    told = changes(V1.content, after)
    assert told.added == {device(3).device}
    assert told.removed == {device(1).device}
    assert told.altered == {device(2).device}
    assert changes(V1.content, V1.content).altered == frozenset()


def test_find_by_id() -> None:
    assert V1.content.find(device(1).device) == device(1)
    assert V1.content.find(device(3).device) is None


def test_reprs_hold_no_key() -> None:
    shown = repr(V2)
    for secret in (device(1).leaf_key, device(1).session_key.raw, IDENTITY.public.raw, V2.signature.raw):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
