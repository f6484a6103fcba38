"""What a phone's process is told: one JSON object a line, closed, answered by one line each."""

from typing import Final

import msgspec

MAX_LINE: Final = 1 << 20


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """The base of all commands."""


class Enrol(_Command, frozen=True, tag="enrol"):
    """Registers an account and this phone as its device; later calls need no tenant key."""

    url: str
    tenant_key: str

    def __repr__(self) -> str:
        return "<Enrol>"


class Moved(_Command, frozen=True, tag="moved"):
    """The gateway is at another address now."""

    url: str


class Connect(_Command, frozen=True, tag="connect"):
    """Opens the stream and keeps it open."""


class Disconnect(_Command, frozen=True, tag="disconnect"):
    """Closes the stream."""


class CreateGroup(_Command, frozen=True, tag="create_group"):
    """Makes a group with this phone alone."""


class Add(_Command, frozen=True, tag="add"):
    """Adds all devices of an account to a group."""

    group: str
    account: str


class Say(_Command, frozen=True, tag="say"):
    """Encrypts and sends a text."""

    group: str
    text: str

    def __repr__(self) -> str:
        return "<Say>"


class Read(_Command, frozen=True, tag="read"):
    """Sends a read receipt for a message that was shown."""

    message: str


class Screen(_Command, frozen=True, tag="screen"):
    """What was shown since the last call, in order."""


class Status(_Command, frozen=True, tag="status"):
    """Cursor, outbox, groups, connection."""


class Raw(_Command, frozen=True, tag="raw"):
    """Submits bytes beside the SDK, as a dishonest app could."""

    group: str
    body: bytes
    reference: bytes = b""


class Stop(_Command, frozen=True, tag="stop"):
    """Ends the phone in order."""


Command = Enrol | Moved | Connect | Disconnect | CreateGroup | Add | Say | Read | Screen | Status | Raw | Stop
DECODER: Final[msgspec.json.Decoder[Command]] = msgspec.json.Decoder(Command)
