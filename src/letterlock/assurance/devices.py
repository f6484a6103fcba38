"""The account's device list as a value, and its one encoding.

All numbers are big-endian; ``lp16`` is a two-byte length and the bytes::

    1 format = 1 | 16 account | 8 version | 32 previous hash | 8 time (ms) | lp16 identity key | 2 count of devices
    a device:  16 id | 1 kind (1 native, 2 web) | lp16 envelope key | lp16 leaf key | lp16 session key
               | 1 count of capabilities | each: 1 length, name

Devices stand in the order of their ids, capabilities in the order of their bytes. The signed form is the body with a
four-byte length and then the 66 bytes of the signature (``wire.preimage``, purpose ``device_list``). The hash covers
the body alone: a second valid signature over the same body is the same version.
"""

import hashlib
import re
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import ClassVar, Final

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import AccountId, DeviceId
from letterlock.wire.preimage import HASH_BYTES, KeyFamily, PublicKey, Signature

FORMAT: Final = 1
NO_PREVIOUS: Final = bytes(HASH_BYTES)
MAX_DEVICES: Final = 64
"""A person's devices and a business's agents fit; a body stays under 64 KiB and a check under a millisecond."""
MAX_CAPABILITIES: Final = 16
"""With names of 32 characters the largest list there can be still fits a signed body (``wire.preimage.MAX_BODY``)."""
MAX_LEAF_KEY: Final = 133
"""The largest public key of an RFC 9420 cipher suite: an uncompressed P-521 point."""
MAX_VERSION: Final = 2**63 - 1
"""What every store can hold."""
_HASH_LABEL: Final = b"letterlock/v1/hash/device_list\0"
_CAPABILITY: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


@unique
class DeviceKind(Enum):
    """Where a device's keys live. A web device is as good as whoever serves its script."""

    NATIVE = "native"
    WEB = "web"


KIND_CODE: Final = {DeviceKind.NATIVE: 1, DeviceKind.WEB: 2}
"""The byte that stands for a kind in the encoding."""


@unique
class ListReason(Reason):
    """Why a device list is refused."""

    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    UNKNOWN_FORMAT = "unknown_format"
    UNKNOWN_KIND = "unknown_kind"
    KEY_MALFORMED = "key_malformed"
    LEAF_KEY_LENGTH = "leaf_key_length"
    CAPABILITY_MALFORMED = "capability_malformed"
    VERSION_OUT_OF_RANGE = "version_out_of_range"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    TOO_MANY_DEVICES = "too_many_devices"
    TOO_MANY_CAPABILITIES = "too_many_capabilities"
    OUT_OF_ORDER = "out_of_order"
    DUPLICATE_DEVICE = "duplicate_device"
    DUPLICATE_KEY = "duplicate_key"
    TOO_LARGE = "too_large"
    SIGNATURE_REFUSED = "signature_refused"
    ANOTHER_ACCOUNT = "another_account"
    ANOTHER_IDENTITY_KEY = "another_identity_key"
    VERSION_NOT_NEXT = "version_not_next"
    PREVIOUS_HASH_WRONG = "previous_hash_wrong"
    FIRST_VERSION_EXPECTED = "first_version_expected"
    FORKED = "forked"
    """The same version number with another hash: keep both, they are evidence."""


class DeviceListError(OperationError[ListReason]):
    """A device list is refused; the one held before stays in force."""

    fault: ClassVar[Fault] = Fault.PEER


@dataclass(frozen=True, slots=True)
class Device:
    """One device of an account.

    Attributes:
        device: its id, and its mailbox.
        kind: native app or web page.
        envelope_key: signs envelopes, receipts and consents.
        leaf_key: the signature key of its MLS leaf nodes (RFC 9420, section 7.2), as it stands there.
        session_key: proves a login.
        capabilities: names such as ``mls10``; names that a reader does not know mean nothing to it.
    """

    device: DeviceId
    kind: DeviceKind
    envelope_key: PublicKey
    leaf_key: bytes = field(repr=False)
    session_key: PublicKey
    capabilities: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.envelope_key.family is not KeyFamily.ENVELOPE or self.session_key.family is not KeyFamily.SESSION:
            raise DeviceListError(ListReason.KEY_MALFORMED)
        if not 1 <= len(self.leaf_key) <= MAX_LEAF_KEY:
            raise DeviceListError(ListReason.LEAF_KEY_LENGTH, length=len(self.leaf_key))
        if len(self.capabilities) > MAX_CAPABILITIES:
            raise DeviceListError(ListReason.TOO_MANY_CAPABILITIES, count=len(self.capabilities))
        if not all(map(_CAPABILITY.fullmatch, self.capabilities)):
            raise DeviceListError(ListReason.CAPABILITY_MALFORMED)


@dataclass(frozen=True, slots=True)
class DeviceList:
    """One version of an account's devices. Being one proves nothing: ``assurance.device_list`` verifies.

    Attributes:
        account: whose devices.
        version: 1 for the first, then one more each.
        previous: :meth:`digest` of the version before; 32 zero bytes for the first.
        issued_ms: the account's own clock, for people; nothing is decided by it.
        identity_key: the key that signs.
        devices: in the order of their ids; none is a statement too.

    Raises:
        DeviceListError: out of bounds, out of order, or a device or key that stands twice.
    """

    account: AccountId
    version: int
    previous: bytes = field(repr=False)
    issued_ms: int
    identity_key: PublicKey
    devices: tuple[Device, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.version <= MAX_VERSION:
            raise DeviceListError(ListReason.VERSION_OUT_OF_RANGE)
        if not 0 <= self.issued_ms <= MAX_VERSION:
            raise DeviceListError(ListReason.TIME_OUT_OF_RANGE)
        if len(self.previous) != HASH_BYTES or (self.version == 1) != (self.previous == NO_PREVIOUS):
            raise DeviceListError(ListReason.PREVIOUS_HASH_WRONG, version=self.version)
        if self.identity_key.family is not KeyFamily.IDENTITY:
            raise DeviceListError(ListReason.KEY_MALFORMED)
        if len(self.devices) > MAX_DEVICES:
            raise DeviceListError(ListReason.TOO_MANY_DEVICES, count=len(self.devices))
        ids = [entry.device.value for entry in self.devices]
        if len(set(ids)) != len(ids):
            raise DeviceListError(ListReason.DUPLICATE_DEVICE)
        if ids != sorted(ids):
            raise DeviceListError(ListReason.OUT_OF_ORDER)
        # One key, one job: a key in two places would let a signature of one device pass for another's.
        keys = [self.identity_key.raw]
        for entry in self.devices:
            keys += (entry.envelope_key.raw, entry.leaf_key, entry.session_key.raw)
        if len(set(keys)) != len(keys):
            raise DeviceListError(ListReason.DUPLICATE_KEY)

    def body(self) -> bytes:
        """The one encoding of this list: what is hashed and signed. At most 52 KiB."""
        parts = [
            bytes((FORMAT,)),
            self.account.value,
            self.version.to_bytes(8),
            self.previous,
            self.issued_ms.to_bytes(8),
            _lp16(self.identity_key.encode()),
            len(self.devices).to_bytes(2),
        ]
        for entry in self.devices:
            parts += (
                entry.device.value,
                bytes((KIND_CODE[entry.kind],)),
                _lp16(entry.envelope_key.encode()),
                _lp16(entry.leaf_key),
                _lp16(entry.session_key.encode()),
                bytes((len(entry.capabilities),)),
            )
            parts += (bytes((len(name),)) + name for name in sorted(text.encode() for text in entry.capabilities))
        return b"".join(parts)

    def digest(self) -> bytes:
        """SHA-256 of the labelled body: what the next version names as ``previous``, and the ledger commits to."""
        return hashlib.sha256(_HASH_LABEL + self.body()).digest()

    def find(self, device: DeviceId) -> Device | None:
        """The entry of a device, or None."""
        return next((entry for entry in self.devices if entry.device == device), None)


@dataclass(frozen=True, slots=True)
class SignedDeviceList:
    """A list with its signature, checked or not."""

    content: DeviceList
    signature: Signature

    def encode(self) -> bytes:
        """The body as ``lp32``, then the signature."""
        body = self.content.body()
        return len(body).to_bytes(4) + body + self.signature.encode()


def _lp16(value: bytes) -> bytes:
    return len(value).to_bytes(2) + value
