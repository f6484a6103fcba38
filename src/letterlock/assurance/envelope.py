"""Our signed envelope inside an MLS application message: who wrote it, whichever engine opened it.

All numbers big-endian::

    u8 version | u8 kind | 16 account | 16 device | u64 list version | 32 list hash | u8 length, group id
    | u64 epoch | 16 message id | u64 number | u64 settled | u64 newest | version 2: 32 agreement | u32 length, body
    | 66 signature | zeros

Version 2 is version 1 bound to the agreement of a session handshake (docs/protocol/handshake.md).

The zeros fill it up to the first of :data:`SIZES` with room: all that the relay learns of a text's length is which.

The signature is by the device's envelope key: purpose ``envelope``, audience ``mls-group``; context over group id,
epoch, account, device, list version and hash, and in version 2 the agreement; body
``kind || message id || number || settled || newest || SHA-256(body)``. The
number counts the device's messages in the group from 1. The relay had answered all up to ``settled`` when this was
sealed: what of them has not come then is missing, and what is sealed anew under a later epoch only comes later. All up
to ``newest`` had a number then: who joins in between cannot tell which of them were taken before, and awaits none.
"""

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import ClassVar, Final

from letterlock.assurance.device_list import Device as ListedDevice
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import ID_BYTES, AccountId, DeviceId, MessageId, TenantId
from letterlock.wire.preimage import (
    HASH_BYTES,
    Purpose,
    Scope,
    Signature,
    SignatureError,
    Signer,
    context_hash,
    sign,
    verify,
)

VERSION: Final = 1
BOUND: Final = 2
AUDIENCE: Final = "mls-group"
MAX_CONTENT: Final = 48 * 1024
"""Bytes of content: with envelope, padding and MLS framing it stays under the relay's 64 KiB for one message."""
MAX_GROUP_ID: Final = 255
SIZES: Final = (512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 50_176)
"""Bytes of an envelope with its padding: each step doubles what fits; the last one holds :data:`MAX_CONTENT`."""
_SIGNATURE: Final = 66


@unique
class EnvelopeReason(Reason):
    """Why the envelope inside an MLS message is refused."""

    MALFORMED = "envelope_malformed"
    UNKNOWN_VERSION = "envelope_version_unknown"
    TOO_LARGE = "envelope_too_large"
    ANOTHER_GROUP = "envelope_of_another_group_or_epoch"
    SENDER_NOT_LISTED = "sender_not_on_the_signed_list"
    SENDER_MISMATCH = "sender_is_not_the_leaf_that_sent"
    BAD_SIGNATURE = "envelope_signature_refused"
    BAD_PADDING = "envelope_padding_refused"
    REPLAYED = "message_id_seen_before"


class EnvelopeError(OperationError[EnvelopeReason]):
    """A decrypted message does not prove who wrote it."""

    fault: ClassVar[Fault] = Fault.PEER


@unique
class EnvelopeKind(IntEnum):
    """What an envelope carries."""

    CONTENT = 1
    """Bytes that mean something to the application alone."""
    RECEIPT = 2
    """A signed receipt (:mod:`letterlock.assurance.receipts`), which has a signature of its own."""
    PAYLOAD = 3
    """What a person says: a typed payload (docs/protocol/devices.md, section 9)."""
    TOKENS = 4
    """Delivery tokens for members' devices (docs/protocol/devices.md, section 15)."""
    HANDSHAKE = 5
    """An element of a session handshake (docs/protocol/handshake.md)."""

    @property
    def speaks(self) -> bool:
        """Whether it is a message to people or applications: bound by floors, receipted."""
        return self in {EnvelopeKind.CONTENT, EnvelopeKind.PAYLOAD}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is signed, in words."""

    kind: EnvelopeKind
    account: AccountId
    device: DeviceId
    list_version: int
    list_hash: bytes = field(repr=False)
    group_id: bytes = field(repr=False)
    epoch: int
    message: MessageId
    number: int
    settled: int
    newest: int
    body: bytes = field(repr=False)
    agreement: bytes = field(default=b"", repr=False)
    """What its conversation agreed on; empty where nothing was."""


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    """An envelope with its signature, checked or not."""

    content: Envelope
    signature: Signature = field(repr=False)


def digest(body: bytes) -> bytes:
    """SHA-256 of a content, as signatures name it."""
    return hashlib.sha256(body).digest()


def seal(envelope: Envelope, tenant: TenantId, environment: str, signer: Signer) -> bytes:
    """Signs, encodes and pads: its length is one of :data:`SIZES`.

    Raises:
        EnvelopeError: TOO_LARGE, MALFORMED.
        PreimageError: the signer is not an envelope key.
    """
    if len(envelope.body) > MAX_CONTENT:
        raise EnvelopeError(EnvelopeReason.TOO_LARGE, length=len(envelope.body), limit=MAX_CONTENT)
    bound = len(envelope.agreement) in {0, HASH_BYTES}
    if not 1 <= len(envelope.group_id) <= MAX_GROUP_ID or len(envelope.list_hash) != HASH_BYTES or not bound:
        raise EnvelopeError(EnvelopeReason.MALFORMED)
    signature = sign(signer, Purpose.ENVELOPE, _scope(envelope, tenant, environment), _signed_body(envelope))
    data = encode(SignedEnvelope(envelope, signature))
    return data.ljust(_padded(len(data)), b"\0")


def encode(signed: SignedEnvelope) -> bytes:
    """The envelope without its padding."""
    envelope = signed.content
    return b"".join(
        (
            bytes((BOUND if envelope.agreement else VERSION, envelope.kind)),
            envelope.account.value,
            envelope.device.value,
            envelope.list_version.to_bytes(8),
            envelope.list_hash,
            bytes((len(envelope.group_id),)),
            envelope.group_id,
            envelope.epoch.to_bytes(8),
            envelope.message.value,
            envelope.number.to_bytes(8),
            envelope.settled.to_bytes(8),
            envelope.newest.to_bytes(8),
            envelope.agreement,
            len(envelope.body).to_bytes(4),
            envelope.body,
            signed.signature.encode(),
        )
    )


def _padded(length: int) -> int:
    return next(size for size in SIZES if size >= length)


def parse(data: bytes) -> SignedEnvelope:
    """Reads an envelope with its padding to the last byte, without believing it.

    Raises:
        EnvelopeError: MALFORMED, UNKNOWN_VERSION, TOO_LARGE, BAD_PADDING, BAD_SIGNATURE.
    """
    if not data:
        raise EnvelopeError(EnvelopeReason.MALFORMED)
    if data[0] not in {VERSION, BOUND}:
        raise EnvelopeError(EnvelopeReason.UNKNOWN_VERSION, version=data[0])
    if len(data) > SIZES[-1]:
        raise EnvelopeError(EnvelopeReason.TOO_LARGE, length=len(data))
    at = 1

    def take(count: int) -> bytes:
        nonlocal at
        end = at + count
        if end > len(data):
            raise EnvelopeError(EnvelopeReason.MALFORMED, offset=at)
        piece, at = data[at:end], end
        return piece

    try:
        kind = EnvelopeKind(take(1)[0])
    except ValueError:
        raise EnvelopeError(EnvelopeReason.MALFORMED, offset=1) from None
    account, device = AccountId(take(ID_BYTES)), DeviceId(take(ID_BYTES))
    version, list_hash = int.from_bytes(take(8)), take(HASH_BYTES)
    group_id = take(take(1)[0])
    epoch, message, number = int.from_bytes(take(8)), MessageId(take(ID_BYTES)), int.from_bytes(take(8))
    settled, newest = int.from_bytes(take(8)), int.from_bytes(take(8))
    agreement = take(HASH_BYTES) if data[0] == BOUND else b""
    body = take(int.from_bytes(take(4)))
    try:
        signature = Signature.parse(take(_SIGNATURE))
    except SignatureError:
        raise EnvelopeError(EnvelopeReason.BAD_SIGNATURE) from None
    if not group_id or len(body) > MAX_CONTENT or not settled < max(number, 1) <= max(newest, 1):
        raise EnvelopeError(EnvelopeReason.MALFORMED, offset=at)
    if len(data) != _padded(at) or data.count(0, at) != len(data) - at:
        raise EnvelopeError(EnvelopeReason.BAD_PADDING, offset=at)
    return SignedEnvelope(
        Envelope(
            kind,
            account,
            device,
            version,
            list_hash,
            group_id,
            epoch,
            message,
            number,
            settled,
            newest,
            body,
            agreement,
        ),
        signature,
    )


def check(
    signed: SignedEnvelope,
    entry: ListedDevice,
    group_id: bytes,
    epoch: int,
    leaf_identity: bytes | None,
    tenant: TenantId,
    environment: str,
) -> Envelope:
    """Believes an envelope, or says why not.

    Args:
        signed: the envelope.
        entry: the sender's entry on its account's verified device list.
        group_id: of the MLS message that it was in.
        epoch: of that message.
        leaf_identity: who the engine says sent it; None where the engine cannot say.
        tenant: where it holds.
        environment: where it holds.

    Raises:
        EnvelopeError: ANOTHER_GROUP, SENDER_NOT_LISTED, SENDER_MISMATCH, BAD_SIGNATURE.
    """
    content = signed.content
    if content.group_id != group_id or content.epoch != epoch:
        raise EnvelopeError(EnvelopeReason.ANOTHER_GROUP, epoch=epoch)
    if entry.device != content.device:
        raise EnvelopeError(EnvelopeReason.SENDER_NOT_LISTED)
    if leaf_identity is not None and leaf_identity != entry.leaf_key:
        raise EnvelopeError(EnvelopeReason.SENDER_MISMATCH)
    try:
        verify(
            entry.envelope_key,
            Purpose.ENVELOPE,
            _scope(content, tenant, environment),
            _signed_body(content),
            signed.signature,
        )
    except SignatureError:
        raise EnvelopeError(EnvelopeReason.BAD_SIGNATURE) from None
    return content


def _signed_body(envelope: Envelope) -> bytes:
    numbers = (envelope.number, envelope.settled, envelope.newest)
    counted = b"".join(number.to_bytes(8) for number in numbers)
    return bytes((envelope.kind,)) + envelope.message.value + counted + digest(envelope.body)


def _scope(envelope: Envelope, tenant: TenantId, environment: str) -> Scope:
    fields = (
        envelope.group_id,
        envelope.epoch.to_bytes(8),
        envelope.account.value,
        envelope.device.value,
        envelope.list_version.to_bytes(8),
        envelope.list_hash,
    )
    bound = (envelope.agreement,) if envelope.agreement else ()
    return Scope(tenant, environment, AUDIENCE, context_hash(*fields, *bound))
