"""What the gateway asks the writer for: plain data, with the versions that the decision relied on.

A command holds no open content: ciphertext of endpoints, or bytes that custody has sealed. Numbers of enums are their
positions (:mod:`letterlock.storage.codes`).
"""

from msgspec import Struct

from letterlock.wire.tlog.records import AcceptedShape


class Relied(Struct, frozen=True, gc=False):
    """The versions behind a decision; the writer applies the command only while they hold."""

    policy: int
    session: int = -1
    """The revocation version that the session was checked at; -1 where the caller has no device session."""
    floor: int = -1
    """The version of the peer's floor; -1 where no floor was read."""


class Shown(Struct, frozen=True, gc=False):
    """What is said of a message on every surface."""

    protection: int
    grade: int
    verifier: int
    indicator: int
    decision: int
    rule: str
    fall: int
    shape: AcceptedShape
    """What the record of every message of this decision has in common."""


class AcceptSealed(Struct, frozen=True, gc=False):
    """An end-to-end encrypted message of a device: to a group's other devices, or to one mailbox."""

    tenant: int
    message_id: bytes
    request_mac: bytes
    sender: int
    group: int
    mailbox: int
    kind: int
    epoch: int
    sealed: bytes
    generation: int
    size_bucket: int
    shown: Shown
    state: int
    relied: Relied
    now_ms: int
    expires_ms: int
    state_counter: int = 0
    """What the sender stated; the store keeps the highest (A18)."""


class AcceptRcs(AcceptSealed, frozen=True, gc=False):
    """A message of an RCS client (GSMA RCC.16), in a group with an era."""

    authenticator: bytes = b""
    """A keyed digest of the epoch authenticator that it names."""


class Quarantine(Struct, frozen=True, gc=False):
    """A device's submission that claims to be end-to-end encrypted and is not MLS. Its bytes are not here."""

    tenant: int
    message_id: bytes
    request_mac: bytes
    sender: int
    shown: Shown
    size_bucket: int
    relied: Relied
    now_ms: int
    expires_ms: int
    state_counter: int = 0


class Ack(Struct, frozen=True, gc=False):
    """A device has applied its mailbox up to and including this sequence."""

    tenant: int
    mailbox: int
    applied: int
    now_ms: int
    state_counter: int = 0


class Accepted(Struct, frozen=True, gc=False):
    """What the writer says of an accepted message.

    Attributes:
        duplicate: it was accepted before; everything else is the first answer's.
        deliveries: the mailboxes and the sequence that the message has in each.
    """

    message_id: bytes
    record_hash: bytes
    entry: int
    slot: int
    seq: int
    duplicate: bool
    deliveries: tuple[tuple[int, int], ...]
    status: int


class Acked(Struct, frozen=True, gc=False):
    """How many mailbox items an acknowledgement deleted."""

    mailbox: int
    applied: int
    count: int
