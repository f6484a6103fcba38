"""The device's own floors: below what it sends to nobody, whatever a gateway or relay says (DESIGN.md, "floor").

A floor belongs to a peer: an account, or a phone number in its one spelling. No group, era, conversation or alias has
one of its own, so none of them is a way around it. It rises on a message that this device verified and on a signed
device list that it verified. It falls by :meth:`DeviceFloors.consent` alone, which a person at this device calls; what
was agreed to is signed by this device and kept. Without a floor only end-to-end encryption is permitted.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, final

import msgspec

from letterlock.assurance.causes import OFFERS, Cause, ConsentScope
from letterlock.assurance.device_list import DeviceList
from letterlock.assurance.floors import (
    Floor,
    FloorBasis,
    floor_key,
    listed,
    lowered_by_consent,
    unset,
    verified_message,
)
from letterlock.client.errors import DeviceError, DeviceReason
from letterlock.client.keys import DeviceKeys
from letterlock.client.store import Change, DeviceStore
from letterlock.model.ids import AccountId, ConsentId, MessageId, SubjectId
from letterlock.model.protection import ConsentKind, Protection, permits
from letterlock.wire.preimage import Purpose, Scope, sign
from letterlock.wire.sms.address import PhoneNumber

FLOORS: Final = "floor"
CONSENTS: Final = "consent"
COPIES: Final = "clear_copy"
ALIASES: Final = "alias"
AUDIENCE: Final = "device-floor"
_SUBJECT: Final = b"letterlock/v1/hash/device_peer\0"
_FORMAT: Final = 1

Put = tuple[str, bytes, bytes]


@unique
class PeerKind(Enum):
    """What a peer is named by."""

    ACCOUNT = "account"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Peer:
    """Whose floor it is. Shows neither account nor number."""

    kind: PeerKind
    subject: SubjectId

    def __repr__(self) -> str:
        return f"<Peer {self.kind.value}>"


def of_account(account: AccountId) -> Peer:
    """An account is a peer."""
    return _peer(PeerKind.ACCOUNT, account.value)


def of_number(number: PhoneNumber) -> Peer:
    """A number is a peer; all its spellings are one."""
    return _peer(PeerKind.NUMBER, number.digits().encode())


def _peer(kind: PeerKind, name: bytes) -> Peer:
    return Peer(kind, SubjectId(hashlib.sha256(_SUBJECT + kind.value.encode() + b"\0" + name).digest()[:16]))


class Agreed(msgspec.Struct, frozen=True):
    """A consent as it is kept: what was agreed to, why, when, against which floor, and for which message it went.

    ``signature`` is by this device's envelope key, purpose ``consent``, audience :data:`AUDIENCE`, over
    :meth:`statement`.
    """

    consent: bytes
    peer: bytes
    before: Protection
    to: Protection
    cause: Cause
    scope: ConsentScope
    floor_versions: list[int]
    at_ms: int
    signature: bytes
    spent_on: bytes = b""

    def __repr__(self) -> str:
        return f"<Agreed to {self.to.value}>"

    def statement(self) -> bytes:
        """The signed bytes: format, consent id, peer, floors' versions, time, then each word with its length."""
        words = (self.before.value, self.to.value, self.cause.value, self.scope.value)
        return b"".join(
            (
                bytes((_FORMAT,)),
                self.consent,
                self.peer,
                bytes((len(self.floor_versions),)),
                *(version.to_bytes(8) for version in self.floor_versions),
                self.at_ms.to_bytes(8),
                *(bytes((len(word),)) + word.encode() for word in words),
            )
        )


class CopyMade(msgspec.Struct, frozen=True):
    """The record of one clear copy: to whom, on what path, on which consent, when. Never its words."""

    message: bytes
    peer: bytes
    path: Protection
    consent: bytes
    at_ms: int


class _Kept(msgspec.Struct, frozen=True):
    protection: Protection
    basis: FloorBasis
    version: int


@dataclass(frozen=True, slots=True)
class ClearCopy:
    """Leave to hand one message over readable: new traffic, made by this device, and nobody else's to make.

    Attributes:
        message: the new message's id.
        path: the protection of the path that it may take.
        consent: which consent it rests on; None when the floor itself permits the path.
    """

    message: MessageId
    path: Protection
    consent: ConsentId | None


@final
class DeviceFloors:
    """The floors of one device, in its sealed store.

    Args:
        store: the device's store.
        keys: the device's keys; the envelope key signs consents.
    """

    def __init__(self, store: DeviceStore, keys: DeviceKeys) -> None:
        self._store: Final = store
        self._keys: Final = keys

    def floor(self, peer: Peer) -> Floor:
        """A peer's own floor; UNKNOWN in version 0 when none was recorded."""
        key = floor_key(self._keys.tenant_id, peer.subject)
        data = self._store.get(FLOORS, peer.subject.value)
        if data is None:
            return unset(key)
        kept = msgspec.msgpack.decode(data, type=_Kept)
        return Floor(key, kept.protection, kept.basis, kept.version)

    def after_list(self, shown: DeviceList) -> tuple[Put, ...]:
        """What to store beside a device list that was just verified."""
        return self._changed(of_account(shown.account), listed(self.floor(of_account(shown.account)), shown))

    def after_message(self, account: AccountId) -> tuple[Put, ...]:
        """What to store beside a message that this device decrypted, and whose signed envelope it verified."""
        return self._changed(of_account(account), verified_message(self.floor(of_account(account))))

    def require(self, peers: Iterable[Peer], path: Protection) -> None:
        """Returns only when every peer's floor permits the path.

        Raises:
            DeviceError: BELOW_FLOOR.
        """
        if path is Protection.E2EE:
            return  # no floor is above it
        if path is Protection.UNKNOWN:
            # No floor permits it, and whoever reads there may be none of the peers.
            raise DeviceError(DeviceReason.BELOW_FLOOR, path=path)
        for peer in peers:
            self._require(peer, path)

    def link(self, number: PhoneNumber, account: AccountId) -> None:
        """This device's person says whose number it is. A link can only make the number's floor stricter.

        Raises:
            DeviceError: ALIAS_TAKEN: the number is linked to another account; a new owner is a new conversation.
        """
        name = of_number(number).subject.value
        held = self._store.get(ALIASES, name)
        if held is not None and held != account.value:
            raise DeviceError(DeviceReason.ALIAS_TAKEN)
        self._store.commit(Change(put=((ALIASES, name, account.value),)))

    def consent(
        self, peer: Peer, to: Protection, cause: Cause, scope: ConsentScope, now_ms: int, known: DeviceList | None
    ) -> ConsentId:
        """A person at this device agrees to a lesser path: the only thing that lowers a floor here.

        Args:
            peer: to whom.
            to: the protection agreed to.
            cause: why the secure path is not used. What a relay or network merely says is no cause: it holds.
            scope: for one message, or until the secure path is there again (a verified message or list ends it).
            now_ms: milliseconds UTC.
            known: the newest device list of the peer that this device verified.

        Raises:
            DeviceError: HELD: nothing lesser is offered for this cause; SCOPE_NOT_OFFERED.
            FloorError: ``to`` is no fall, or no floor.
        """
        offer = OFFERS[cause]
        # The device believes its own person, and signatures that it checked; not a gateway's logged statement.
        proven = cause is Cause.SENDER_CHOSE or (
            cause is Cause.PEER_HAS_NO_DEVICE
            and known is not None
            and not known.devices
            and of_account(known.account) in self._linked(peer)
        )
        if not offer.may_ask or not proven:
            raise DeviceError(DeviceReason.HELD, cause=cause)
        if scope not in offer.scopes:
            raise DeviceError(DeviceReason.SCOPE_NOT_OFFERED, cause=cause, scope=scope)
        floors = [self.floor(one) for one in self._linked(peer)]
        below = [floor for floor in floors if not permits(floor.protection, to)]
        lowered = [
            lowered_by_consent(floor, to, ConsentKind.DEVICE_SIGNED, ConsentScope.UNTIL_SECURE)
            for floor in below or floors[:1]
        ]
        made = ConsentId(os.urandom(16))
        versions = [floor.version for floor in floors]
        before = (below or floors)[0].protection
        agreed = self._signed(Agreed(made.value, peer.subject.value, before, to, cause, scope, versions, now_ms, b""))
        put: list[Put] = [(CONSENTS, made.value, msgspec.msgpack.encode(agreed))]
        if scope is ConsentScope.UNTIL_SECURE:
            put += [_put(floor) for floor in lowered]
        self._store.commit(Change(put=tuple(put)))
        return made

    def consents(self) -> list[Agreed]:
        """Everything that was agreed to at this device, oldest first."""
        held = (msgspec.msgpack.decode(data, type=Agreed) for data in self._store.entries(CONSENTS).values())
        return sorted(held, key=lambda agreed: agreed.at_ms)

    def copies(self) -> list[CopyMade]:
        """Every clear copy that this device gave leave for, oldest first."""
        held = (msgspec.msgpack.decode(data, type=CopyMade) for data in self._store.entries(COPIES).values())
        return sorted(held, key=lambda made: made.at_ms)

    def clear_copy(self, peer: Peer, path: Protection, now_ms: int) -> ClearCopy:
        """Leave for one message on a path, and the record of it. A consent for one message is spent by this.

        Raises:
            DeviceError: BELOW_FLOOR: no floor permits it, and no consent that still holds.
        """
        floors = [self.floor(one) for one in self._linked(peer)]
        agreed = self._permission(peer, floors, path)
        if agreed is None and not all(permits(floor.protection, path) for floor in floors):
            raise DeviceError(DeviceReason.BELOW_FLOOR, floor=floors[0].protection, path=path)
        message = MessageId(os.urandom(16))
        consent = b"" if agreed is None else agreed.consent
        record = CopyMade(message.value, peer.subject.value, path, consent, now_ms)
        put: list[Put] = [(COPIES, message.value, msgspec.msgpack.encode(record))]
        if agreed is not None and agreed.scope is ConsentScope.THIS_MESSAGE:
            spent = msgspec.structs.replace(agreed, spent_on=message.value)
            put.append((CONSENTS, agreed.consent, msgspec.msgpack.encode(spent)))
        self._store.commit(Change(put=tuple(put)))
        return ClearCopy(message, path, ConsentId(agreed.consent) if agreed else None)

    def _permission(self, peer: Peer, floors: list[Floor], path: Protection) -> Agreed | None:
        """The consent on which a message on this path rests: the one that lowered the floor, or one for a message."""
        mine = [agreed for agreed in reversed(self.consents()) if agreed.peer == peer.subject.value]
        if all(permits(floor.protection, path) for floor in floors):
            until = (agreed for agreed in mine if agreed.scope is ConsentScope.UNTIL_SECURE)
            return next(until, None) if any(floor.basis is FloorBasis.CONSENT for floor in floors) else None
        versions = [floor.version for floor in floors]
        for agreed in mine:
            # Whatever changed a floor since then changed what was agreed about.
            fresh = not agreed.spent_on and agreed.floor_versions == versions
            if fresh and agreed.scope is ConsentScope.THIS_MESSAGE and agreed.to is path:
                return agreed
        return None

    def _require(self, peer: Peer, path: Protection) -> None:
        for one in self._linked(peer):
            floor = self.floor(one)
            if not permits(floor.protection, path):
                raise DeviceError(DeviceReason.BELOW_FLOOR, floor=floor.protection, path=path)

    def _linked(self, peer: Peer) -> tuple[Peer, ...]:
        """The peer, and the account behind a number: the stricter of both counts."""
        account = self._store.get(ALIASES, peer.subject.value)
        return (peer,) if account is None else (peer, of_account(AccountId(account)))

    def _changed(self, peer: Peer, after: Floor) -> tuple[Put, ...]:
        return () if after == self.floor(peer) else (_put(after),)

    def _signed(self, agreed: Agreed) -> Agreed:
        scope = Scope(self._keys.tenant_id, self._keys.environment, AUDIENCE)
        signature = sign(self._keys.envelope_key(), Purpose.CONSENT, scope, agreed.statement())
        return msgspec.structs.replace(agreed, signature=signature.encode())


def _put(floor: Floor) -> Put:
    kept = _Kept(floor.protection, floor.basis, floor.version)
    return (FLOORS, floor.key.peer.value, msgspec.msgpack.encode(kept))
