"""The account's signed device list: versioned, hash-chained, one spelling for each list.

The account's identity key signs every version. A version names the hash of the one before it, so two lists with
the same number and different hashes are evidence that somebody shows different peers different devices.
Body, all numbers big-endian; ``lp16`` is a two-byte length and the bytes::

    1 format = 1 | 16 account | 8 version | 32 previous hash | 8 time (ms) | lp16 identity key | 2 count of devices
    a device:  16 id | 1 kind (1 native, 2 web) | lp16 envelope key | lp16 leaf key | lp16 session key
               | 1 count of capabilities | each: 1 length, name

Devices stand in the order of their ids, capabilities in the order of their bytes. The signed form is the body as
``lp32`` and then the 66 bytes of the signature (``wire.preimage``, purpose ``device_list``). The hash covers the
body alone: a second valid signature over the same body is the same version.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, unique
from itertools import pairwise
from typing import ClassVar, Final

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.ids import ID_BYTES, AccountId, DeviceId, TenantId
from letterlock.wire.preimage import (
    HASH_BYTES,
    MAX_BODY,
    KeyFamily,
    PublicKey,
    Purpose,
    Scope,
    Signature,
    SignatureError,
    Signer,
    context_hash,
    sign,
    verify,
)

FORMAT: Final = 1
AUDIENCE: Final = "device-list"
NO_PREVIOUS: Final = bytes(HASH_BYTES)
MAX_DEVICES: Final = 64
"""A person's devices and a business's agents fit; a body stays under 64 KiB and a check under a millisecond."""
MAX_CAPABILITIES: Final = 16
"""With names of 32 characters the largest list there can be still fits a signed body (``wire.preimage.MAX_BODY``)."""
MAX_LEAF_KEY: Final = 133
"""The largest public key of an RFC 9420 cipher suite: an uncompressed P-521 point."""
MAX_VERSION: Final = 2**63 - 1
"""What every store can hold."""
_SIGNATURE_FIELD: Final = 66
_HASH_LABEL: Final = b"letterlock/v1/hash/device_list\0"
_CAPABILITY: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


@unique
class DeviceKind(Enum):
    """Where a device's keys live. A web device is as good as whoever serves its script."""

    NATIVE = "native"
    WEB = "web"


_KIND_CODE: Final = {DeviceKind.NATIVE: 1, DeviceKind.WEB: 2}
_KIND: Final = {code: kind for kind, code in _KIND_CODE.items()}


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
    """One version of an account's devices. Being one proves nothing; :func:`verify_first` and :func:`verify_next` do.

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
                bytes((_KIND_CODE[entry.kind],)),
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


@dataclass(frozen=True, slots=True)
class ListChange:
    """What a version changed, for people and for the gate that screens commits."""

    added: frozenset[DeviceId]
    removed: frozenset[DeviceId]
    altered: frozenset[DeviceId]


def sign_list(content: DeviceList, tenant: TenantId, environment: str, signer: Signer) -> SignedDeviceList:
    """Signs a version with the account's identity key.

    Raises:
        DeviceListError: the signer is not the identity key that the list names.
        PreimageError: the arguments make no preimage.
    """
    if signer.public != content.identity_key:
        raise DeviceListError(ListReason.ANOTHER_IDENTITY_KEY)
    scope = _scope(content.account, tenant, environment)
    return SignedDeviceList(content, sign(signer, Purpose.DEVICE_LIST, scope, content.body()))


def parse_signed(data: bytes) -> SignedDeviceList:
    """Reads a signed list to its last byte, without believing it.

    Raises:
        DeviceListError: anything but the one encoding of a list within bounds.
    """
    if len(data) > 4 + MAX_BODY + _SIGNATURE_FIELD:
        raise DeviceListError(ListReason.TOO_LARGE, length=len(data))
    source = _Source(data)
    content = parse_body(source.take(source.number(4)))
    try:
        signature = Signature.parse(source.take(_SIGNATURE_FIELD))
    except SignatureError:
        raise DeviceListError(ListReason.SIGNATURE_REFUSED) from None
    source.end()
    return SignedDeviceList(content, signature)


def parse_body(data: bytes) -> DeviceList:
    """Reads the body of a list to its last byte.

    Raises:
        DeviceListError: anything but the one encoding of a list within bounds.
    """
    if len(data) > MAX_BODY:
        raise DeviceListError(ListReason.TOO_LARGE, length=len(data))
    source = _Source(data)
    if source.number(1) != FORMAT:
        raise DeviceListError(ListReason.UNKNOWN_FORMAT)
    account = AccountId(source.take(ID_BYTES))
    version, previous, issued_ms = source.number(8), source.take(HASH_BYTES), source.number(8)
    identity_key = source.key(KeyFamily.IDENTITY)
    count = source.number(2)
    if count > MAX_DEVICES:
        raise DeviceListError(ListReason.TOO_MANY_DEVICES, count=count)
    devices = tuple([_device(source) for _ in range(count)])
    source.end()
    return DeviceList(account, version, previous, issued_ms, identity_key, devices)


def verify_first(
    signed: SignedDeviceList,
    account: AccountId,
    tenant: TenantId,
    environment: str,
    identity_key: PublicKey | None = None,
) -> DeviceList:
    """Checks version 1 of an account: the start of a chain.

    Args:
        signed: what was shown.
        account: whose list it must be.
        tenant: where it holds.
        environment: where it holds.
        identity_key: the key that is already believed, when there is one; without it this is trust on first use.

    Raises:
        DeviceListError: another account or key, not a first version, or a signature that does not verify.
    """
    if signed.content.version != 1:
        raise DeviceListError(ListReason.FIRST_VERSION_EXPECTED, version=signed.content.version)
    if identity_key is not None and signed.content.identity_key != identity_key:
        raise DeviceListError(ListReason.ANOTHER_IDENTITY_KEY)
    return _verified(signed, account, tenant, environment)


def verify_next(held: DeviceList, signed: SignedDeviceList, tenant: TenantId, environment: str) -> DeviceList:
    """Checks that a list follows the one held, or is the one held.

    A new identity key is refused, whoever signs: a person with a new identity key is a new account to its peers.

    Raises:
        DeviceListError: another account or key, a gap, a step back, a fork, or a bad signature.
    """
    shown = signed.content
    if shown.account != held.account:
        raise DeviceListError(ListReason.ANOTHER_ACCOUNT)
    if shown.identity_key != held.identity_key:
        raise DeviceListError(ListReason.ANOTHER_IDENTITY_KEY)
    # The signature comes first: an unsigned "fork" is no evidence against anybody.
    _verified(signed, held.account, tenant, environment)
    if shown.version == held.version:
        if shown.digest() != held.digest():
            raise DeviceListError(ListReason.FORKED, version=shown.version)
        return held
    if shown.version != held.version + 1:
        raise DeviceListError(ListReason.VERSION_NOT_NEXT, held=held.version, shown=shown.version)
    if shown.previous != held.digest():
        raise DeviceListError(ListReason.PREVIOUS_HASH_WRONG, version=shown.version)
    return shown


def verify_chain(
    versions: Iterable[SignedDeviceList],
    account: AccountId,
    tenant: TenantId,
    environment: str,
    identity_key: PublicKey | None = None,
) -> DeviceList:
    """Checks a chain from version 1 to its head, and returns the head.

    Raises:
        DeviceListError: the first fault found; an empty chain is FIRST_VERSION_EXPECTED.
    """
    head: DeviceList | None = None
    for signed in versions:
        head = (
            verify_first(signed, account, tenant, environment, identity_key)
            if head is None
            else verify_next(head, signed, tenant, environment)
        )
    if head is None:
        raise DeviceListError(ListReason.FIRST_VERSION_EXPECTED, version=0)
    return head


def first(account: AccountId, issued_ms: int, identity_key: PublicKey, devices: Iterable[Device]) -> DeviceList:
    """Version 1 with these devices, in any order.

    Raises:
        DeviceListError: out of bounds, or a device or key that stands twice.
    """
    return DeviceList(account, 1, NO_PREVIOUS, issued_ms, identity_key, _ordered(devices))


def successor(held: DeviceList, issued_ms: int, devices: Iterable[Device]) -> DeviceList:
    """The next version after ``held``, with these devices, in any order.

    Raises:
        DeviceListError: out of bounds, or a device or key that stands twice.
    """
    return DeviceList(held.account, held.version + 1, held.digest(), issued_ms, held.identity_key, _ordered(devices))


def device_of_leaf(held: DeviceList, leaf_key: bytes) -> Device | None:
    """The device whose MLS leaf uses this signature key, or None (a ghost: refuse it)."""
    return next((entry for entry in held.devices if entry.leaf_key == leaf_key), None)


def leaf_key_listed(held: DeviceList, leaf_key: bytes) -> bool:
    """Whether the account itself listed this MLS signature key."""
    return device_of_leaf(held, leaf_key) is not None


def changes(before: DeviceList, after: DeviceList) -> ListChange:
    """What changed between two versions of one account."""
    old = {entry.device: entry for entry in before.devices}
    new = {entry.device: entry for entry in after.devices}
    return ListChange(
        added=frozenset(new.keys() - old.keys()),
        removed=frozenset(old.keys() - new.keys()),
        altered=frozenset(device for device in old.keys() & new.keys() if old[device] != new[device]),
    )


class _Source:
    """Bytes that are taken from the front, never past the end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise DeviceListError(ListReason.TRUNCATED, offset=self._at)
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def key(self, family: KeyFamily) -> PublicKey:
        try:
            return PublicKey.parse(self.take(self.number(2)), family)
        except SignatureError:
            raise DeviceListError(ListReason.KEY_MALFORMED, offset=self._at) from None

    def end(self) -> None:
        if self._at != len(self._data):
            raise DeviceListError(ListReason.TRAILING_BYTES, offset=self._at)


def _device(source: _Source) -> Device:
    device = DeviceId(source.take(ID_BYTES))
    kind = _KIND.get(source.number(1))
    if kind is None:
        raise DeviceListError(ListReason.UNKNOWN_KIND)
    envelope_key = source.key(KeyFamily.ENVELOPE)
    leaf_key = source.take(source.number(2))
    session_key = source.key(KeyFamily.SESSION)
    count = source.number(1)
    if count > MAX_CAPABILITIES:
        raise DeviceListError(ListReason.TOO_MANY_CAPABILITIES, count=count)
    names = [source.take(source.number(1)) for _ in range(count)]
    if any(left >= right for left, right in pairwise(names)):
        raise DeviceListError(ListReason.OUT_OF_ORDER)
    if not all(map(bytes.isascii, names)):
        raise DeviceListError(ListReason.CAPABILITY_MALFORMED)
    return Device(device, kind, envelope_key, leaf_key, session_key, frozenset(name.decode("ascii") for name in names))


def _verified(signed: SignedDeviceList, account: AccountId, tenant: TenantId, environment: str) -> DeviceList:
    content = signed.content
    if content.account != account:
        raise DeviceListError(ListReason.ANOTHER_ACCOUNT)
    scope = _scope(account, tenant, environment)
    try:
        verify(content.identity_key, Purpose.DEVICE_LIST, scope, content.body(), signed.signature)
    except SignatureError:
        raise DeviceListError(ListReason.SIGNATURE_REFUSED, version=content.version) from None
    return content


def _scope(account: AccountId, tenant: TenantId, environment: str) -> Scope:
    return Scope(tenant, environment, AUDIENCE, context_hash(account.value))


def _ordered(devices: Iterable[Device]) -> tuple[Device, ...]:
    return tuple(sorted(devices, key=lambda entry: entry.device.value))


def _lp16(value: bytes) -> bytes:
    return len(value).to_bytes(2) + value
