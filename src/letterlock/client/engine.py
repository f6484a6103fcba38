"""What a device asks of an MLS engine (RFC 9420), whichever it is.

Engines differ in what they expose, so an adapter says in :attr:`MlsEngine.capabilities` what is there. What is
absent is absent: nothing is derived in its stead. The state is opaque: a set of named parts, of which an adapter
reports the changed ones, so that a device with many groups writes only what a message touched.

The order of a send is always: ``encrypt``, store :meth:`MlsEngine.take_changes` durably, then hand the ciphertext on.
A commit is proposed by ``add``, ``remove`` or ``update``; the group stands still until ``confirm`` (the relay took
it) or ``discard`` (another won).
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final, Protocol

PAST_EPOCHS: Final = 5
"""Earlier epochs whose messages still open: one more than the relay takes them of (docs/protocol/devices.md,
PAST_EPOCHS), for what it took just before this device's own commit is read after it."""
MAX_KEY_PACKAGES: Final = 32
"""Key packages that an engine makes in one call."""
_FINGERPRINT: Final = b"letterlock group fingerprint v1\0"


@unique
class EngineCapability(Enum):
    """A function that an engine may expose to us."""

    SENDER_LEAF = "sender_leaf"
    """Decryption names the sender's leaf."""
    ROSTER_IDENTITIES = "roster_identities"
    """The members' credential identities are readable."""
    ROSTER_SIGNATURE_KEYS = "roster_signature_keys"
    """The members' leaf signature keys are readable apart from the credential."""
    AUTHENTICATED_DATA = "authenticated_data"
    """AAD can be set on a PrivateMessage, and read (RFC 9420, section 6.3)."""
    EPOCH_AUTHENTICATOR = "epoch_authenticator"
    """RFC 9420, section 8.7."""
    EXPORTER = "exporter"
    """RFC 9420, section 8.5."""
    PRE_SHARED_KEYS = "pre_shared_keys"
    PRIVATE_HANDSHAKES = "private_handshakes"
    """Commits can be sent as PrivateMessage."""
    STANDALONE_PROPOSALS = "standalone_proposals"
    SELF_UPDATE = "self_update"
    """A commit that only refreshes this device's own leaf."""
    EXTERNAL_COMMIT = "external_commit"
    LAST_RESORT_PACKAGES = "last_resort_packages"
    """A key package can be joined with more than once."""
    POST_QUANTUM = "post_quantum"
    """A hybrid suite that interoperates with other implementations."""


@dataclass(frozen=True, slots=True)
class EngineCapabilities:
    """What one adapter exposes; ``name`` and ``version`` say which engine."""

    name: str
    version: str
    present: frozenset[EngineCapability]

    @property
    def absent(self) -> frozenset[EngineCapability]:
        """What it does not expose."""
        return frozenset(EngineCapability) - self.present


@dataclass(frozen=True, slots=True)
class CommitBundle:
    """A proposed commit, as the relay wants it. The group is still at ``base_epoch``.

    Attributes:
        group_id: the MLS group id.
        base_epoch: the epoch on which the commit builds.
        commit: MLSMessage.
        welcomes: one MLSMessage for each added key package, in their order; empty without additions.
        group_info: MLSMessage for the epoch after.
        pending_state: opaque; store it before the commit is sent, so that a crash cannot lose a won race.
    """

    group_id: bytes
    base_epoch: int
    commit: bytes = field(repr=False)
    welcomes: tuple[bytes, ...] = field(repr=False)
    group_info: bytes = field(repr=False)
    pending_state: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One occupied leaf.

    Attributes:
        leaf: its index.
        identity: of the basic credential.
        signature_key: what it signs with; None where the engine does not tell it apart from the credential.
        lifetime: of a leaf that still is the one of its key package (RFC 9420, section 7.2); None for one that its
            owner's commit has replaced.
    """

    leaf: int
    identity: bytes = field(repr=False)
    signature_key: bytes | None = field(repr=False)
    lifetime: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Decrypted:
    """An application message. ``sender_leaf`` is None where the engine does not say."""

    group_id: bytes
    epoch: int
    sender_leaf: int | None
    sender_identity: bytes | None = field(repr=False)
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EpochAdvanced:
    """A commit was applied; ``active`` is False when it removed this device."""

    group_id: bytes
    epoch: int
    active: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """A welcome was opened. It counts only after ``confirm``; look at the roster first.

    ``context_extensions`` are the types of the group context's extensions (RFC 9420, section 8.1).
    """

    group_id: bytes
    epoch: int
    roster: tuple[Member, ...]
    context_extensions: tuple[int, ...]


EngineEvent = Decrypted | EpochAdvanced


@dataclass(frozen=True, slots=True)
class StateChanges:
    """What a call changed: parts to store, and names of parts to delete. Both in one transaction."""

    put: tuple[tuple[str, bytes], ...] = field(repr=False)
    gone: tuple[str, ...] = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self.put or self.gone)


class MlsEngine(Protocol):
    """One device's MLS. Every method raises :class:`letterlock.client.errors.EngineError`; then nothing changed."""

    @property
    def capabilities(self) -> EngineCapabilities:
        """What this engine exposes."""
        ...

    @property
    def leaf_key(self) -> bytes:
        """The signature public key of this device's leaves: what the signed device list must name."""
        ...

    def key_packages(self, count: int) -> list[bytes]:
        """Fresh key packages, at most :data:`MAX_KEY_PACKAGES`, as MLSMessage; their private halves are state."""
        ...

    def create(self, group_id: bytes) -> int:
        """Makes a group with this device alone; returns the epoch at which it stands (0, or 1 for some engines)."""
        ...

    def add(self, group_id: bytes, key_packages: list[bytes]) -> CommitBundle:
        """Proposes to add members."""
        ...

    def remove(self, group_id: bytes, leaf_indexes: list[int]) -> CommitBundle:
        """Proposes to remove members by leaf index."""
        ...

    def update(self, group_id: bytes) -> CommitBundle:
        """Proposes a commit that only refreshes this device's own keys."""
        ...

    def resume(self, group_id: bytes, pending_state: bytes) -> None:
        """After a restart: the proposal of this group is pending again."""
        ...

    def confirm(self, group_id: bytes) -> None:
        """The relay accepted the pending commit, or the roster of the pending join is right: it counts."""
        ...

    def discard(self, group_id: bytes) -> None:
        """The pending commit lost, or the pending join is refused: as if it had never been."""
        ...

    def join(self, welcome: bytes) -> Joined:
        """Opens a welcome; pending until ``confirm`` or ``discard``. A group that this device is in is not replaced."""
        ...

    def process(self, message: bytes) -> EngineEvent:
        """Takes a commit (screened before!) or an application message of another member."""
        ...

    def encrypt(self, group_id: bytes, plaintext: bytes) -> bytes:
        """An application message as MLSMessage. Store the changes before it leaves."""
        ...

    def roster(self, group_id: bytes) -> tuple[Member, ...]:
        """The members at the current epoch."""
        ...

    def own_leaf(self, group_id: bytes) -> int:
        """This device's own leaf index."""
        ...

    def epoch(self, group_id: bytes) -> int:
        """The current epoch."""
        ...

    def group_ids(self) -> tuple[bytes, ...]:
        """All groups in the state."""
        ...

    def fingerprint(self, group_id: bytes) -> bytes:
        """:func:`group_fingerprint` of the current epoch. Not the epoch authenticator."""
        ...

    def group_info(self, group_id: bytes) -> bytes:
        """MLSMessage with the GroupInfo of the current epoch and its tree, for the gate; signed by this device."""
        ...

    def forget(self, group_id: bytes) -> None:
        """Drops a group and its keys."""
        ...

    def take_changes(self) -> StateChanges:
        """What changed since the last call; to be stored durably before anything leaves the device."""
        ...

    def close(self) -> None:
        """Removes every trace from memory-backed storage. Harmless when repeated."""
        ...


EngineFactory = Callable[[bytes, dict[str, bytes]], MlsEngine]
"""Makes an engine from the leaf seed and the stored parts."""


def group_fingerprint(group_id: bytes, epoch: int, confirmation_tag: bytes, identities: Iterable[bytes]) -> bytes:
    """32 bytes that two members compare out of band, whichever engines they run.

    SHA-256 over group id, epoch, confirmation tag (RFC 9420, section 8.1) and the sorted identities. The tag is a MAC
    under the epoch's own key over all commits up to it: members whom a relay showed different histories do not agree,
    even where the rosters are the same.
    """
    fields = [group_id, epoch.to_bytes(8), confirmation_tag, *sorted(identities)]
    return hashlib.sha256(_FINGERPRINT + b"".join(len(part).to_bytes(4) + part for part in fields)).digest()
