"""What must not be in a log: found line by line, named by line and field, never repeated."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from letterlock.app.logging import ALLOWED, MAX_VALUE

MAX_LINE: Final = 65_536
"""Characters; our own lines have a few hundred."""
OUR_OWN: Final = ALLOWED | {"fields_dropped"}
_TIMES: Final = frozenset({"timestamp"})
_NUMBER: Final = re.compile(r"(?<![\w.])\+?\d(?:[ ()/-]?\d){8,14}(?![\w.])")
"""Nine to fifteen digits, as people and machines write phone numbers (E.164 has at most fifteen)."""
_HEX: Final = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{128}|[0-9a-fA-F]{64}|[0-9a-fA-F]{56}|[0-9a-fA-F]{40}|"
                         r"[0-9a-fA-F]{32}|[0-9a-fA-F]{16})(?![0-9A-Za-z])")  # fmt: skip
_BODIES: Final = re.compile(r"body|text|content|payload|message|subject|sms|short_message|query|header|authoriz|cookie",
                            re.IGNORECASE)  # fmt: skip
_HASHES: Final = ("md5", "sha1", "sha224", "sha256", "sha512", "blake2b", "blake2s", "sha3_256")
_SHORT: Final = (16, 32, 40, 56, 64, 128)


@unique
class Kind(StrEnum):
    """What was found."""

    NOT_JSON = "not_json"
    TOO_LONG = "line_too_long"
    FIELD = "field_not_on_the_list"
    BODY = "field_that_carries_content"
    LONG_VALUE = "value_too_long"
    NUMBER = "phone_number"
    HASH = "hash_like_value"
    HASH_OF_NUMBER = "unsalted_hash_of_a_phone_number"

    @property
    def why(self) -> str:
        """Why it matters."""
        return _WHY[self]


_WHY: Final[dict[Kind, str]] = {
    Kind.NOT_JSON: "a line that is no JSON object was not written by the log: it may hold anything",
    Kind.TOO_LONG: "a line of this length holds more than an event",
    Kind.FIELD: "the list of fields is closed, so that nothing slips in",
    Kind.BODY: "events are logged, never content",
    Kind.LONG_VALUE: "a value of this length holds more than a word",
    Kind.NUMBER: "looks like a phone number; use a token of the vault",
    Kind.HASH: "looks like a hash of an identifier; without a key such a hash can be counted through",
    Kind.HASH_OF_NUMBER: "is the hash of a phone number that was given: whoever has the log has the number",
}


@dataclass(frozen=True, slots=True)
class Smell:
    """A finding. It says where, never what was there.

    Attributes:
        line: counted from 1.
        field: the field's name, as far as it is one of ours; else its place.
        kind: what it is.
    """

    line: int
    field: str
    kind: Kind


def hashes_of(numbers: Iterable[str]) -> frozenset[str]:
    """The unsalted hashes under which phone numbers are usually written, whole and cut to half."""
    found: set[str] = set()
    for number in numbers:
        digits = re.sub(r"\D", "", number)
        for spelling in (number, digits, f"+{digits}", f"00{digits}", f"tel:+{digits}"):
            for name in _HASHES:
                whole = hashlib.new(name, spelling.encode(), usedforsecurity=False).hexdigest()
                found.update(whole[:length] for length in _SHORT if length <= len(whole))
    return frozenset(found)


def lint(lines: Iterable[str], known: frozenset[str] = frozenset()) -> Iterator[Smell]:
    """Looks at every line.

    Args:
        lines: of a log, JSON objects by themselves.
        known: hashes to recognise for certain, see :func:`hashes_of`.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            yield Smell(number, "the line", Kind.TOO_LONG)
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            yield Smell(number, "the line", Kind.NOT_JSON)
            yield from _value(number, "the line", line, known)
            continue
        for place, (name, value) in enumerate(event.items(), 1):
            yield from _field(number, place, name, value, known)


def _field(line: int, place: int, name: str, value: object, known: frozenset[str]) -> Iterator[Smell]:
    # A name that is not ours may itself be an address: then only its place is told.
    shown = name if name in OUR_OWN else f"field {place}"
    if name not in OUR_OWN:
        yield Smell(line, shown, Kind.BODY if _BODIES.search(name) else Kind.FIELD)
        yield from _value(line, shown, name, known)
    if isinstance(value, str):
        if len(value) > MAX_VALUE:
            yield Smell(line, shown, Kind.LONG_VALUE)
        if name not in _TIMES:
            yield from _value(line, shown, value, known)
    elif isinstance(value, dict | list):
        if name in OUR_OWN:
            yield Smell(line, shown, Kind.FIELD)
        yield from _value(line, shown, json.dumps(value), known)
    elif isinstance(value, int) and not isinstance(value, bool) and name not in OUR_OWN:
        yield from _value(line, shown, str(value), known)


def _value(line: int, field: str, value: str, known: frozenset[str]) -> Iterator[Smell]:
    found = _HEX.findall(value)
    digits_alone = [one for one in found if one.isdigit()]
    if any(one.lower() in known for one in found):
        yield Smell(line, field, Kind.HASH_OF_NUMBER)
    elif len(found) > len(digits_alone):
        yield Smell(line, field, Kind.HASH)
    if _NUMBER.search(value):
        yield Smell(line, field, Kind.NUMBER)
