"""Receipts by themselves: every field counts, every byte counts, and no failure leads to sending in clear."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.assurance import receipts, remedies
from letterlock.assurance.devices import Device, DeviceKind
from letterlock.assurance.receipts import Receipt, Receipted, ReceiptError, ReceiptReason, ReceiptType
from letterlock.assurance.remedies import Remedy
from letterlock.model.ids import AccountId, DeviceId, MessageId, TenantId
from letterlock.wire.imdn.receipts import ClientFailure, ServerFailure
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite

TENANT = TenantId(bytes([1]) * 16)
KEY = SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, bytes([2]) * 32)
SESSION = SoftwareKey(KeyFamily.SESSION, Suite.ED25519, bytes([3]) * 32)
ENTRY = Device(DeviceId(bytes([4]) * 16), DeviceKind.NATIVE, KEY.public, bytes([5]) * 32, SESSION.public)
SENDER = DeviceId(bytes([6]) * 16)
SENT = Receipted(MessageId(bytes([7]) * 16), SENDER, b"group", 0, 9, bytes([8]) * 32, bytes([9]) * 32)
TO = frozenset({ENTRY.device})
RECEIPT = Receipt(ReceiptType.DELIVERED, SENT, None, AccountId(bytes([10]) * 16), ENTRY.device, 2, bytes([11]) * 32)
UNOPENED = dataclasses.replace(SENT, message=receipts.NO_MESSAGE, sender=receipts.NO_SENDER)
FAILED = dataclasses.replace(RECEIPT, kind=ReceiptType.FAILED, about=UNOPENED, failure=ClientFailure.FAILED_TO_DECRYPT)


def signed(receipt: Receipt = RECEIPT, tenant: TenantId = TENANT, environment: str = "prod") -> bytes:
    return receipts.sign_receipt(receipt, tenant, environment, KEY).encode()


def why(data: bytes, sent: Receipted = SENT, to: frozenset[DeviceId] = TO, entry: Device = ENTRY) -> ReceiptReason:
    with pytest.raises(ReceiptError) as caught:
        receipts.check(receipts.parse(data), sent, to, entry, TENANT, "prod")
    assert isinstance(caught.value.reason, ReceiptReason)
    return caught.value.reason


@pytest.mark.parametrize("receipt", [RECEIPT, dataclasses.replace(RECEIPT, kind=ReceiptType.DISPLAYED), FAILED])
def test_a_receipt_travels_and_is_believed(receipt: Receipt) -> None:
    parsed = receipts.parse(signed(receipt))
    assert parsed.content == receipt
    assert receipts.check(parsed, SENT, TO, ENTRY, TENANT, "prod") == receipt


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("message", MessageId(bytes([70]) * 16), ReceiptReason.OTHER_MESSAGE),
        ("sender", DeviceId(bytes([60]) * 16), ReceiptReason.OTHER_SENDER),
        ("group_id", b"other", ReceiptReason.OTHER_GROUP),
        ("era", 1, ReceiptReason.OTHER_EPOCH),
        ("epoch", 8, ReceiptReason.OTHER_EPOCH),
        ("ciphertext", bytes(32), ReceiptReason.OTHER_CIPHERTEXT),
        ("roster", bytes(32), ReceiptReason.OTHER_ROSTER),
    ],
)
def test_a_receipt_of_anything_else_proves_nothing(field: str, value: object, reason: ReceiptReason) -> None:
    other = dataclasses.replace(SENT, **{field: value})  # type: ignore[arg-type]
    assert why(signed(), sent=other) is reason
    assert why(signed(dataclasses.replace(RECEIPT, about=other))) is reason
    if field not in {"message", "sender"}:
        unopened = dataclasses.replace(UNOPENED, **{field: value})  # type: ignore[arg-type]
        assert why(signed(dataclasses.replace(FAILED, about=unopened))) is reason


@pytest.mark.attack("A21")
def test_a_receipt_holds_for_its_device_key_tenant_and_environment_alone() -> None:
    assert why(signed(), to=frozenset()) is ReceiptReason.NOT_A_RECIPIENT
    assert why(signed(), entry=dataclasses.replace(ENTRY, device=SENDER)) is ReceiptReason.OTHER_DEVICE
    stranger = SoftwareKey(KeyFamily.ENVELOPE, Suite.ED25519, bytes([12]) * 32).public
    assert why(signed(), entry=dataclasses.replace(ENTRY, envelope_key=stranger)) is ReceiptReason.BAD_SIGNATURE
    assert why(signed(tenant=TenantId(bytes(16)))) is ReceiptReason.BAD_SIGNATURE
    assert why(signed(environment="dev")) is ReceiptReason.BAD_SIGNATURE


def test_every_byte_of_a_receipt_counts() -> None:
    data = signed()
    for at in range(len(data)):
        spoilt = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(ReceiptError):
            receipts.check(receipts.parse(spoilt), SENT, TO, ENTRY, TENANT, "prod")
    for end in range(len(data)):
        with pytest.raises(ReceiptError):
            receipts.parse(data[:end])
    with pytest.raises(ReceiptError):
        receipts.parse(data + b"\0")


@given(st.binary(max_size=400))
def test_any_bytes_give_a_receipt_or_a_typed_error(data: bytes) -> None:
    for candidate in (data, signed()[:100] + data):
        try:
            receipts.parse(candidate)
        except ReceiptError:
            continue


@pytest.mark.parametrize(
    "fields",
    [
        {"failure": ClientFailure.FAILED_TO_DECRYPT},
        {"kind": ReceiptType.FAILED},
        {"kind": ReceiptType.FAILED, "failure": ClientFailure.INVALID_COMMIT},
        {"about": UNOPENED},
        {"list_version": 0},
        {"list_hash": b""},
        {"about": dataclasses.replace(SENT, group_id=b"")},
        {"about": dataclasses.replace(SENT, group_id=bytes(256))},
        {"about": dataclasses.replace(SENT, epoch=1 << 64)},
        {"about": dataclasses.replace(SENT, era=-1)},
        {"about": dataclasses.replace(SENT, roster=b"")},
    ],
)
def test_a_receipt_that_says_two_things_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ReceiptError) as caught:
        dataclasses.replace(RECEIPT, **fields)  # type: ignore[arg-type]
    assert caught.value.reason is ReceiptReason.MALFORMED


def test_a_roster_is_named_by_everything_in_it() -> None:
    leaves = [(0, b"a"), (1, b"b")]
    base = receipts.roster_hash(b"g", 1, leaves)
    assert receipts.roster_hash(b"g", 1, reversed(leaves)) == base
    others = (
        receipts.roster_hash(b"h", 1, leaves),
        receipts.roster_hash(b"g", 2, leaves),
        receipts.roster_hash(b"g", 1, leaves[:1]),
        receipts.roster_hash(b"g", 1, [(0, b"b"), (1, b"a")]),
        receipts.roster_hash(b"g", 1, [(0, b"a"), (2, b"b")]),
    )
    assert len({base, *others}) == 6


def test_every_failure_has_a_remedy_and_outcomes_are_never_sent_again() -> None:
    assert set(remedies.CLIENT) == set(ClientFailure)
    assert set(remedies.SERVER) == set(ServerFailure)
    assert {failure for failure in ClientFailure if remedies.forbids_resend(failure)} == {
        failure for failure in ClientFailure if 7 <= failure <= 12
    }
    for failure in ClientFailure:
        if remedies.forbids_resend(failure):
            assert remedies.remedy(failure) is Remedy.NOTHING
    assert remedies.remedy(ClientFailure.FAILED_TO_DECRYPT) is Remedy.RESEND
    assert remedies.remedy(ServerFailure.ENCRYPTION_NOT_AVAILABLE) is Remedy.HOLD
    assert remedies.remedy(ServerFailure.TRANSIENT_ERROR) is Remedy.RETRY_SAME_BYTES
