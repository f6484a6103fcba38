"""Reads device lists, strictly: the one encoding of a list within bounds, to its last byte, or a typed error."""

from itertools import pairwise
from typing import Final, final

from letterlock.assurance.devices import (
    FORMAT,
    KIND_CODE,
    MAX_CAPABILITIES,
    MAX_DEVICES,
    Device,
    DeviceList,
    DeviceListError,
    ListReason,
    SignedDeviceList,
)
from letterlock.model.ids import ID_BYTES, AccountId, DeviceId
from letterlock.wire.preimage import HASH_BYTES, MAX_BODY, KeyFamily, PublicKey, Signature, SignatureError

_SIGNATURE_FIELD: Final = 66
_KIND: Final = {code: kind for kind, code in KIND_CODE.items()}


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


@final
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
