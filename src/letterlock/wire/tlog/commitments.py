"""Commitments, digests and tags: the only way in which anything but numbers and words enters the ledger.

A commitment hides an identifier behind a salt; whoever holds the opening (salt and value) can show what it
stands for, and when the opening is erased nobody can. Salts come from the caller, fresh for each entry.
"""

from dataclasses import dataclass
from enum import Enum, unique
from functools import lru_cache
from hashlib import sha256, shake_256
from typing import Final, Self

from letterlock.wire.tlog.errors import EntryError, EntryReason

MIN_SALT: Final = 16
"""Bytes. Phone numbers can be counted through, so the salt alone keeps a commitment closed."""
MAX_SALT: Final = 64
_DIGEST_BYTES: Final = 32
_TAG_BYTES: Final = 8
_HEX: Final = frozenset("0123456789abcdef")
_DOMAIN: Final = b"letterlock/v1/commitment/"


@unique
class CommitmentKind(Enum):
    """What kind of identifier is committed to; each kind is its own domain."""

    MESSAGE = b"message"
    ACCOUNT = b"account"
    TENANT = b"tenant"
    PEER = b"peer"
    SUBJECT = b"subject"
    MAILBOX = b"mailbox"
    RANGE = b"range"
    CHALLENGE = b"challenge"
    CONSENT = b"consent"
    API_KEY = b"api_key"
    GROUP = b"group"


def _unhex(text: str, length: int) -> bytes:
    if len(text) != 2 * length or not _HEX.issuperset(text):
        raise EntryError(EntryReason.BAD_VALUE)
    return bytes.fromhex(text)


@dataclass(frozen=True, slots=True)
class Digest:
    """A SHA-256 digest of something that is no secret: a policy file, a device list, a tree's root."""

    value: bytes

    def __post_init__(self) -> None:
        if type(self.value) is not bytes or len(self.value) != _DIGEST_BYTES:
            raise EntryError(EntryReason.BAD_VALUE)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The digest of these bytes."""
        return cls(sha256(data).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads 64 lower-case hex digits.

        Raises:
            EntryError: anything else.
        """
        return cls(_unhex(text, _DIGEST_BYTES))

    def __str__(self) -> str:
        return self.value.hex()


@dataclass(frozen=True, slots=True)
class Commitment:
    """The outcome of :func:`commit`, 32 bytes."""

    value: bytes

    def __post_init__(self) -> None:
        if type(self.value) is not bytes or len(self.value) != _DIGEST_BYTES:
            raise EntryError(EntryReason.BAD_VALUE)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads 64 lower-case hex digits.

        Raises:
            EntryError: anything else.
        """
        return cls(_unhex(text, _DIGEST_BYTES))

    def __str__(self) -> str:
        return self.value.hex()


@dataclass(frozen=True, slots=True)
class RuleTag:
    """Eight bytes that name a rule of a policy file: whoever has the file can say which, the name stays out."""

    value: bytes

    def __post_init__(self) -> None:
        if type(self.value) is not bytes or len(self.value) != _TAG_BYTES:
            raise EntryError(EntryReason.BAD_VALUE)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads 16 lower-case hex digits.

        Raises:
            EntryError: anything else.
        """
        return cls(_unhex(text, _TAG_BYTES))

    def __str__(self) -> str:
        return self.value.hex()


@lru_cache(maxsize=4096)
def rule_tag(rule: str) -> RuleTag:
    """The tag of a rule's name."""
    return RuleTag(sha256(b"letterlock/v1/rule\x00" + rule.encode()).digest()[:_TAG_BYTES])


_PREFIX: Final = {kind: _DOMAIN + kind.value + b"\x00" for kind in CommitmentKind}


def commit(kind: CommitmentKind, salt: bytes, value: bytes) -> Commitment:
    """Commits to a value: SHA-256 over domain, kind, zero byte, salt length (one byte), salt, value.

    Raises:
        EntryError: the salt is shorter than 16 or longer than 64 bytes.
    """
    if not MIN_SALT <= len(salt) <= MAX_SALT:
        raise EntryError(EntryReason.SALT_TOO_SHORT, length=len(salt))
    return Commitment(sha256(_PREFIX[kind] + bytes((len(salt),)) + salt + value).digest())


def opens(commitment: Commitment, kind: CommitmentKind, salt: bytes, value: bytes) -> bool:
    """Whether salt and value are the opening of a commitment. False for a salt of a wrong length."""
    try:
        return commit(kind, salt, value) == commitment
    except EntryError:
        return False


_MESSAGE_16: Final = _PREFIX[CommitmentKind.MESSAGE] + b"\x10"


def message_commitment(salt: bytes, message_id: bytes) -> bytes:
    """The bytes of ``commit(CommitmentKind.MESSAGE, salt, message_id)`` for a salt of exactly 16 bytes: the hot path.

    Raises:
        EntryError: the salt has another length.
    """
    if len(salt) != MIN_SALT:
        raise EntryError(EntryReason.SALT_TOO_SHORT, length=len(salt))
    return sha256(_MESSAGE_16 + salt + message_id).digest()


def record_salts(seed: bytes, count: int) -> bytes:
    """The salts of a batch's first records, 16 bytes each, from its random seed (32 bytes, kept in an erasable row).

    SHAKE256 (FIPS 202) of domain and seed: one call for a whole commit, and more of it begins with the same bytes.
    """
    return shake_256(b"letterlock/v1/record-salt\x00" + seed).digest(count * MIN_SALT)


def record_salt(seed: bytes, slot: int) -> bytes:
    """The salt of one record."""
    return record_salts(seed, slot + 1)[-MIN_SALT:]
