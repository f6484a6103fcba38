"""Named parts as one opaque blob, and back: ``u32 count``, then each ``u16 name length, name, u32 length, content``."""

from typing import Final

from letterlock.client.errors import EngineError, EngineReason

MAX_PARTS: Final = 4096
"""Files of one group: a few; of one pending commit: as many."""


def pack(parts: dict[str, bytes]) -> bytes:
    """One spelling for each set of parts."""
    out = [len(parts).to_bytes(4)]
    for name, content in sorted(parts.items()):
        spelled = name.encode()
        out += (len(spelled).to_bytes(2), spelled, len(content).to_bytes(4), content)
    return b"".join(out)


def unpack(blob: bytes) -> dict[str, bytes]:
    """Reads what :func:`pack` wrote.

    Raises:
        EngineError: STATE_DAMAGED.
    """
    at = 4
    count = int.from_bytes(blob[:4])
    parts: dict[str, bytes] = {}
    if len(blob) < 4 or count > MAX_PARTS:
        raise EngineError(EngineReason.STATE_DAMAGED)
    for _ in range(count):
        name, at = _field(blob, at, 2)
        content, at = _field(blob, at, 4)
        try:
            parts[name.decode()] = content
        except UnicodeDecodeError:
            raise EngineError(EngineReason.STATE_DAMAGED) from None
    if at != len(blob) or len(parts) != count:
        raise EngineError(EngineReason.STATE_DAMAGED)
    return parts


def _field(blob: bytes, at: int, width: int) -> tuple[bytes, int]:
    start = at + width
    end = start + int.from_bytes(blob[at:start])
    if end > len(blob):
        raise EngineError(EngineReason.STATE_DAMAGED)
    return blob[start:end], end
