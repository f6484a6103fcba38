"""Ids as that API spells them: two letters for the kind, then 32 hex digits."""

import re
from enum import StrEnum, unique
from typing import Final

from letterlock.model.ids import ID_BYTES

_SID: Final = re.compile(r"([A-Z]{2})([0-9a-f]{32})")


@unique
class Kind(StrEnum):
    """What an id is the id of."""

    ACCOUNT = "AC"
    API_KEY = "SK"
    MESSAGE = "SM"
    SERVICE = "MG"


def sid(kind: Kind, value: bytes) -> str:
    """An id of ours, 16 bytes, in that spelling."""
    return f"{kind.value}{value.hex()}"


def parse_sid(kind: Kind, text: str) -> bytes | None:
    """The 16 bytes of an id of this kind; None for everything else."""
    match = _SID.fullmatch(text)
    if match is None or match[1] != kind.value:
        return None
    value = bytes.fromhex(match[2])
    return value if len(value) == ID_BYTES else None
