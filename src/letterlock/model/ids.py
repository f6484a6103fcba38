"""Ids: frozen, slotted values. External ids are 128 random bits; nothing can be read from them, time included.

The text form is a prefix and 32 hex digits (``msg_5f3a...``). Parsing is strict: one spelling for each id.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Self

ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, order=True)
class Id:
    """128 random bits. Make one from ``os.urandom(16)`` at the edge, never inside a pure room."""

    value: bytes
    prefix: ClassVar[str] = "id"

    def __post_init__(self) -> None:
        if len(self.value) != ID_BYTES:
            raise ValueError(f"an id has {ID_BYTES} bytes")

    def __str__(self) -> str:
        return f"{self.prefix}_{self.value.hex()}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the text form.

        Raises:
            ValueError: another prefix, length or spelling. The message never repeats the input.
        """
        head, mark, digits = text.partition("_")
        if head != cls.prefix or not mark or len(digits) != 2 * ID_BYTES or digits.strip("0123456789abcdef"):
            raise ValueError(f"not an id of the form {cls.prefix}_<32 hex digits>")
        return cls(bytes.fromhex(digits))


class TenantId(Id):
    """A tenant: first in every key."""

    __slots__ = ()
    prefix = "ten"


class MessageId(Id):
    """One message, whatever path it takes."""

    __slots__ = ()
    prefix = "msg"


class AccountId(Id):
    """A person or business with devices; its identity key signs the device list."""

    __slots__ = ()
    prefix = "acc"


class DeviceId(Id):
    """One device of an account; it has one mailbox."""

    __slots__ = ()
    prefix = "dev"


class ChallengeId(Id):
    """A question to which consent is the answer."""

    __slots__ = ()
    prefix = "chl"


class ConsentId(Id):
    """An answer to one challenge."""

    __slots__ = ()
    prefix = "con"


class SubjectId(Id):
    """What the vault gives for an identifier; state tables hold only this."""

    __slots__ = ()
    prefix = "sub"


class ApiKeyId(Id):
    """Names an API key without being it."""

    __slots__ = ()
    prefix = "key"


class GroupRef(Id):
    """The gateway's own name for an MLS group; the group id itself is 1 to 255 bytes chosen by clients."""

    __slots__ = ()
    prefix = "grp"


class AttachmentId(Id):
    """An encrypted attachment on the relay: 128 bits that its sender drew, told inside the MLS message alone."""

    __slots__ = ()
    prefix = "att"
