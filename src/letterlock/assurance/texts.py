"""What people read when the secure path does not carry a message: one file a language, in ``locales/``.

A device shows these words and no others: a server names reasons, paths and readers by closed words, and never sends a
sentence. Each file has every text with exactly its placeholders, at most two sentences each, or it is not read at all;
no language stands in for another one.
"""

import re
import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar, cast

from letterlock.assurance.causes import Cause, ConsentScope, Says
from letterlock.assurance.consent import Alternative
from letterlock.assurance.fallback import FallbackState
from letterlock.assurance.faults import FaultOutcome, Repair
from letterlock.model.capability import Channel
from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.model.protection import ConsentKind, Protection

MAX_SENTENCES: Final = 2
MAX_CHARACTERS: Final = 170
"""Of a text: what a person takes in at a glance. The longest language of the five needs a fifth more than English."""


@unique
class Language(Enum):
    """The languages that there are texts in, by their tags (RFC 5646)."""

    ENGLISH = "en"
    SPANISH = "es"
    GERMAN = "de"
    HINDI = "hi"
    ARABIC = "ar"


@unique
class Direction(Enum):
    """In which direction a language is written; the value is what HTML's ``dir`` takes."""

    LEFT_TO_RIGHT = "ltr"
    RIGHT_TO_LEFT = "rtl"


@unique
class Reader(Enum):
    """Who can read on a path. The value is the name in the transports' rows; no other name is shown or signed for."""

    GATEWAY = "this gateway"
    CARRIER = "SMSC / carrier"


@unique
class Phrase(Enum):
    """The sentences of a question, around its words."""

    QUESTION = "question"
    FALL = "fall"
    READERS = "readers"
    READERS_UNKNOWN = "readers_unknown"
    TIME_LEFT = "time_left"
    AGREE = "agree"
    REFUSE = "refuse"
    BETWEEN = "between"
    """Stands between the members of a list."""


PLACEHOLDERS: Final[dict[Phrase, frozenset[str]]] = {
    Phrase.QUESTION: frozenset({"destination", "route"}),
    Phrase.FALL: frozenset({"before", "after"}),
    Phrase.READERS: frozenset({"readers"}),
    Phrase.READERS_UNKNOWN: frozenset(),
    Phrase.TIME_LEFT: frozenset({"minutes"}),
    Phrase.AGREE: frozenset(),
    Phrase.REFUSE: frozenset(),
    Phrase.BETWEEN: frozenset(),
}
"""What each sentence has to name. All other texts name nothing."""

INDICATORS: Final = frozenset(
    {
        "e2ee_verified", "e2ee_claimed", "e2ee_framed", "e2ee_group_checked", "e2ee_receipt_checked", "escrowed",
        "enclave", "provider_reads", "server_reads", "not_encrypted", "unknown_path", "fell_by_device",
        "fell_by_tenant", "fell_by_policy", "needs_answer", "held", "refused", "quarantined",
    }
)  # fmt: skip
"""The keys of indicators, without their prefix; tests hold them against the enums, which import this module."""


@unique
class TextsReason(Reason):
    """Why a file of texts is not read."""

    MALFORMED = "texts_malformed"
    OTHER_LANGUAGE = "texts_of_another_language"
    KEY_MISSING = "text_missing"
    KEY_UNKNOWN = "text_unknown"
    PLACEHOLDERS_DIFFER = "placeholders_differ"
    TOO_LONG = "text_too_long"
    SAME_TWICE = "two_texts_are_the_same"
    UNKNOWN_LANGUAGE = "no_texts_in_this_language"


class TextsError(OperationError[TextsReason]):
    """There are no texts that may be shown."""

    fault: ClassVar[Fault] = Fault.LOCAL


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts in one language. ``indicator`` is keyed by the indicator's value."""

    language: Language
    direction: Direction
    cause: Mapping[Cause, str]
    says: Mapping[Says, str]
    scope: Mapping[ConsentScope, str]
    alternative: Mapping[Alternative, str]
    consent_kind: Mapping[ConsentKind, str]
    loss: Mapping[Protection, str]
    state: Mapping[FallbackState, str]
    outcome: Mapping[FaultOutcome, str]
    repair: Mapping[Repair, str]
    indicator: Mapping[str, str]
    phrase: Mapping[Phrase, str]
    protection: Mapping[Protection, str]
    channel: Mapping[Channel, str]
    reader: Mapping[Reader, str]


SENTENCES: Final[dict[str, type[Enum]]] = {
    "cause": Cause,
    "says": Says,
    "scope": ConsentScope,
    "alternative": Alternative,
    "consent_kind": ConsentKind,
    "loss": Protection,
    "state": FallbackState,
    "outcome": FaultOutcome,
    "repair": Repair,
}
"""Tables of whole sentences, by their enums."""
NAMES: Final[dict[str, type[Enum]]] = {"protection": Protection, "channel": Channel, "reader": Reader}
"""Tables of names that stand inside sentences."""

_READER_KEYS: Final = {one: one.name.lower() for one in Reader}
_END: Final = re.compile(r"[.!?।؟](?:\s|$)")
_K = TypeVar("_K", bound=Enum)


def texts_in(tag: str) -> Texts:
    """The texts in the language with this tag. Nothing stands in for a language that is not there.

    Raises:
        TextsError: UNKNOWN_LANGUAGE.
    """
    try:
        language = Language(tag)
    except ValueError:
        raise TextsError(TextsReason.UNKNOWN_LANGUAGE) from None
    return texts_of(language)


@cache
def texts_of(language: Language) -> Texts:
    """The shipped texts in a language."""
    return read_texts(language, source_of(language))


def english() -> Texts:
    """The shipped English texts."""
    return texts_of(Language.ENGLISH)


def source_of(language: Language) -> str:
    """A shipped file."""
    return resources.files("letterlock.assurance").joinpath("locales", f"{language.value}.toml").read_text("utf-8")


def read_texts(language: Language, source: str) -> Texts:
    """Reads a file of texts.

    Raises:
        TextsError: it is not whole: a text is missing, unknown, too long, the same as another one of its table, or
            has other placeholders than it must have.
    """
    try:
        tree: dict[str, Any] = tomllib.loads(source)
    except tomllib.TOMLDecodeError:
        raise TextsError(TextsReason.MALFORMED, language=language) from None
    _only(tree, {"locale", *SENTENCES, *NAMES, "indicator", "phrase"}, language)
    locale = _table(tree, "locale", {"language", "direction"}, language)
    if locale["language"] != language.value:
        raise TextsError(TextsReason.OTHER_LANGUAGE, language=language)
    try:
        direction = Direction(locale["direction"])
    except ValueError:
        raise TextsError(TextsReason.MALFORMED, language=language) from None
    found: dict[str, Mapping[Any, str]] = {}
    for name, kind in SENTENCES.items():
        found[name] = _of_enum(_table(tree, name, _keys(kind), language), kind)
    for name, kind in NAMES.items():
        found[name] = _of_enum(_table(tree, name, _keys(kind), language), kind)
    shown = _table(tree, "indicator", INDICATORS, language)
    found["indicator"] = MappingProxyType({f"indicator.{key}": text for key, text in shown.items()})
    found["phrase"] = _of_enum(_table(tree, "phrase", _keys(Phrase), language, checked=False), Phrase)
    for phrase, text in found["phrase"].items():
        _check(text, PLACEHOLDERS[phrase], language)
    return Texts(language, direction, **found)


def _keys(kind: type[Enum]) -> frozenset[str]:
    return frozenset(_key(member) for member in kind)


def _key(member: Enum) -> str:
    return _READER_KEYS[member] if isinstance(member, Reader) else str(member.value)


def _of_enum(table: Mapping[str, str], kind: type[_K]) -> Mapping[_K, str]:
    return MappingProxyType({member: table[_key(member)] for member in kind})


def _only(found: Mapping[str, object], keys: frozenset[str] | set[str], language: Language) -> None:
    if keys - found.keys():
        raise TextsError(TextsReason.KEY_MISSING, language=language, missing=len(keys - found.keys()))
    if found.keys() - keys:
        raise TextsError(TextsReason.KEY_UNKNOWN, language=language, unknown=len(found.keys() - keys))


def _table(
    tree: Mapping[str, object], name: str, keys: frozenset[str] | set[str], language: Language, *, checked: bool = True
) -> dict[str, str]:
    table = tree[name]
    if not isinstance(table, dict):
        raise TextsError(TextsReason.MALFORMED, language=language)
    entries = cast("dict[str, object]", table)
    _only(entries, keys, language)
    texts = {key: text for key, text in entries.items() if isinstance(text, str) and text.strip()}
    if len(texts) != len(entries):
        raise TextsError(TextsReason.KEY_MISSING, language=language, missing=len(entries) - len(texts))
    if len(set(texts.values())) != len(texts):
        raise TextsError(TextsReason.SAME_TWICE, language=language)
    if checked:
        for text in texts.values():
            _check(text, frozenset(), language)
    return texts


def _check(text: str, placeholders: frozenset[str], language: Language) -> None:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        raise TextsError(TextsReason.PLACEHOLDERS_DIFFER, language=language) from None
    named = [name for _, name, _, _ in parts if name is not None]
    if sorted(named) != sorted(placeholders) or any(spec or conversion for _, _, spec, conversion in parts):
        raise TextsError(TextsReason.PLACEHOLDERS_DIFFER, language=language)
    if len(text) > MAX_CHARACTERS or len(_END.findall(text)) > MAX_SENTENCES:
        raise TextsError(TextsReason.TOO_LONG, language=language)
