"""Dates of the wire (RFC 3339) to integer milliseconds since 1970 UTC, and back."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_PATTERN: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
MAX_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, beyond which four digits do not reach."""


def parse_ms(text: str) -> int | None:
    """Milliseconds since 1970 UTC of a date with its time and offset; finer digits are cut off.

    Returns:
        None for whatever is not such a date, a leap second and a date before 1970 included.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    total = (moment - _EPOCH) // _MILLISECOND + int((match[7] or "0").ljust(3, "0")[:3])
    if match[8]:
        hours, minutes = int(match[9]), int(match[10])
        if hours > 23 or minutes > 59:
            return None
        offset = (hours * 60 + minutes) * 60_000
        total += offset if match[8] == "-" else -offset
    return total if 0 <= total <= MAX_MS else None


def format_ms(milliseconds: int) -> str:
    """The date in UTC with milliseconds.

    Raises:
        ValueError: before 1970 or after the year 9999.
    """
    if not 0 <= milliseconds <= MAX_MS:
        raise ValueError("a date of the wire lies between 1970 and 9999")
    moment = _EPOCH + milliseconds * _MILLISECOND
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"
