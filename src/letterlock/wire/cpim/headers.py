"""The header block of message/cpim: namespaces, the headers that matter, and writing them without injection."""

import base64
import re
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from letterlock.wire import rfc3339
from letterlock.wire.cpim.errors import CpimError, CpimReason

MAX_HEADERS: Final = 64
"""Lines of one block."""
MAX_ERA: Final = 2**32 - 1
AUTHENTICATOR: Final = 32
"""Bytes of an epoch authenticator under the suites in use (SHA-256)."""

CORE: Final = "urn:ietf:params:cpim-headers:"
IMDN: Final = "urn:ietf:params:imdn"
MLS: Final = "http://www.gsma.com/rcs/mls"

_LINE: Final = re.compile(r"(?:([A-Za-z0-9!#$%&'*+^_`|~-]+)\.)?([A-Za-z0-9!#$%&'*+^_`|~-]+):(;[^ ]*)? (.*)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMESPACE: Final = re.compile(r"(?:([A-Za-z0-9!#$%&'*+^_`|~-]+) )?<([!-;=?-~]{1,255})>")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:[!#-;=?-\[\]_a-z~]{1,479}")
_MESSAGE_ID: Final = re.compile(r"[!-~]{1,128}")
_ERA: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@unique
class Notification(Enum):
    """Which receipts the sender asks for (RFC 5438, section 6.2); tokens beyond these are not kept."""

    POSITIVE_DELIVERY = "positive-delivery"
    NEGATIVE_DELIVERY = "negative-delivery"
    PROCESSING = "processing"
    DISPLAY = "display"
    INTERWORKING = "interworking"


_NOTIFICATIONS: Final = {wanted.value: wanted for wanted in Notification}


@dataclass(frozen=True, slots=True, repr=False)
class CpimHeaders:
    """The headers that matter, resolved. Display names, subjects and headers of strangers are not kept.

    Attributes:
        sender: URI; in one-to-one RCS ``sip:anonymous@anonymous.invalid``.
        recipients: URIs, at least one.
        message_id: ``imdn.Message-ID``.
        sent_at_ms: milliseconds since 1970 UTC.
        era_id: ``mls.Era-ID``; a receipt may carry it without an authenticator.
        epoch_authenticator: ``mls.Epoch-Authenticator``, 32 bytes.
    """

    sender: str
    recipients: tuple[str, ...]
    message_id: str | None = None
    sent_at_ms: int | None = None
    notifications: frozenset[Notification] = field(default_factory=frozenset[Notification])
    era_id: int | None = None
    epoch_authenticator: bytes | None = None


_ONCE: Final = frozenset(
    {
        (CORE, "from"),
        (CORE, "datetime"),
        (IMDN, "message-id"),
        (IMDN, "disposition-notification"),
        (MLS, "era-id"),
        (MLS, "epoch-authenticator"),
        (MLS, "mls-derived-content-signature"),
        (MLS, "original-message-id"),
    }
)
_UNDERSTOOD: Final = _ONCE | {(CORE, "to"), (CORE, "cc"), (CORE, "subject"), (CORE, "ns"), (CORE, "require")}

_Found = dict[tuple[str, str], list[str]]


def read_lines(block: bytes) -> list[str]:
    """The lines of a header block: UTF-8, CRLF, no control character.

    Raises:
        CpimError: otherwise, or more than :data:`MAX_HEADERS`.
    """
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None:
        # Outside the handler: that exception holds the bytes.
        raise CpimError(CpimReason.NOT_UTF8)
    lines = text.split("\r\n")
    if len(lines) > MAX_HEADERS:
        raise CpimError(CpimReason.TOO_MANY_HEADERS, count=len(lines))
    if any(_CONTROL.search(line) for line in lines):
        raise CpimError(CpimReason.CONTROL_CHARACTER)
    return lines


def _resolve(prefix: str | None, name: str, prefixes: dict[str, str]) -> tuple[str, str]:
    if prefix is None:
        return CORE, name.lower()
    namespace = prefixes.get(prefix)
    if namespace is None:
        raise CpimError(CpimReason.UNDECLARED_NAMESPACE)
    return namespace, name.lower()


def _collect(block: bytes) -> _Found:
    prefixes: dict[str, str] = {}
    found: _Found = {}
    for line in read_lines(block):
        match = _LINE.fullmatch(line)
        if match is None:
            raise CpimError(CpimReason.BAD_LINE)
        key = _resolve(match[1], match[2], prefixes)
        value = match[4]
        if match[3] and key in _ONCE:
            raise CpimError(CpimReason.BAD_LINE)  # a parameter there could change what the value means
        if key == (CORE, "ns"):
            declared = _NAMESPACE.fullmatch(value)
            if declared is None or declared[1] is None or declared[1] in prefixes:
                # A new default namespace, or a prefix that changes its meaning half-way, serves only confusion.
                raise CpimError(CpimReason.BAD_NAMESPACE)
            prefixes[declared[1]] = declared[2]
        elif key == (CORE, "require"):
            _check_required(value, prefixes)
        elif key in found and key in _ONCE:
            raise CpimError(CpimReason.DUPLICATE_HEADER)
        else:
            found.setdefault(key, []).append(value)
    return found


def _check_required(value: str, prefixes: dict[str, str]) -> None:
    for item in value.split(","):
        prefix, dot, name = item.strip().rpartition(".")
        if _resolve(prefix if dot else None, name, prefixes) not in _UNDERSTOOD:
            raise CpimError(CpimReason.UNSUPPORTED_REQUIREMENT)


def _address(value: str) -> str:
    start = value.rfind("<")
    if start < 0 or not value.endswith(">") or "<" in value[:start] or ">" in value[:-1]:
        raise CpimError(CpimReason.BAD_ADDRESS)
    uri = value[start + 1 : -1]
    if not _URI.fullmatch(uri):
        raise CpimError(CpimReason.BAD_ADDRESS)
    return uri


def _one(found: _Found, namespace: str, name: str) -> str | None:
    values = found.get((namespace, name))
    return values[0] if values else None


def _authenticator(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError:
        value = b""
    # Comparing with the one right encoding refuses spare bits, breaks and a missing pad.
    if len(value) != AUTHENTICATOR or base64.b64encode(value).decode("ascii") != text:
        raise CpimError(CpimReason.BAD_EPOCH_AUTHENTICATOR)
    return value


def _era(text: str | None) -> int | None:
    if text is None:
        return None
    if not _ERA.fullmatch(text) or int(text) > MAX_ERA:
        raise CpimError(CpimReason.BAD_ERA)
    return int(text)


def _notifications(text: str | None) -> frozenset[Notification]:
    if text is None:
        return frozenset()
    tokens = [token.strip() for token in text.split(",")]
    if len(set(tokens)) != len(tokens) or not all(_TOKEN.fullmatch(token) for token in tokens):
        raise CpimError(CpimReason.BAD_NOTIFICATION)
    return frozenset(_NOTIFICATIONS[token] for token in tokens if token in _NOTIFICATIONS)


def read_headers(block: bytes) -> CpimHeaders:
    """Reads the header block.

    Raises:
        CpimError: malformed, ambiguous, or a value that its header does not allow.
    """
    found = _collect(block)
    senders, recipients = found.get((CORE, "from"), []), found.get((CORE, "to"), [])
    if not senders or not recipients:
        raise CpimError(CpimReason.MISSING_ADDRESS)
    message_id = _one(found, IMDN, "message-id")
    if message_id is not None and not _MESSAGE_ID.fullmatch(message_id):
        raise CpimError(CpimReason.BAD_MESSAGE_ID)
    date = _one(found, CORE, "datetime")
    sent_at = None if date is None else rfc3339.parse_ms(date)
    if date is not None and sent_at is None:
        raise CpimError(CpimReason.BAD_DATETIME)
    return CpimHeaders(
        sender=_address(senders[0]),
        recipients=tuple(_address(value) for value in recipients),
        message_id=message_id,
        sent_at_ms=sent_at,
        notifications=_notifications(_one(found, IMDN, "disposition-notification")),
        era_id=_era(_one(found, MLS, "era-id")),
        epoch_authenticator=_authenticator(_one(found, MLS, "epoch-authenticator")),
    )


def _check(headers: CpimHeaders) -> None:
    if not headers.recipients:
        raise CpimError(CpimReason.MISSING_ADDRESS)
    if len(headers.recipients) > MAX_HEADERS - 10:
        raise CpimError(CpimReason.TOO_MANY_HEADERS, count=len(headers.recipients))
    if not all(_URI.fullmatch(uri) for uri in (headers.sender, *headers.recipients)):
        raise CpimError(CpimReason.BAD_ADDRESS)
    if headers.message_id is not None and not _MESSAGE_ID.fullmatch(headers.message_id):
        raise CpimError(CpimReason.BAD_MESSAGE_ID)
    if headers.sent_at_ms is not None and not 0 <= headers.sent_at_ms <= rfc3339.MAX_MS:
        raise CpimError(CpimReason.BAD_DATETIME)
    if headers.era_id is not None and not 0 <= headers.era_id <= MAX_ERA:
        raise CpimError(CpimReason.BAD_ERA)
    if headers.epoch_authenticator is not None and len(headers.epoch_authenticator) != AUTHENTICATOR:
        raise CpimError(CpimReason.BAD_EPOCH_AUTHENTICATOR)


def write_headers(headers: CpimHeaders) -> bytes:
    """The header block, in the order that deployed clients use, without its closing empty line.

    Raises:
        CpimError: a value that the parser would not give back; a line break in one is such a value.
    """
    _check(headers)
    with_imdn = headers.message_id is not None or bool(headers.notifications)
    with_mls = headers.era_id is not None or headers.epoch_authenticator is not None
    lines = [f"From: <{headers.sender}>", *(f"To: <{uri}>" for uri in headers.recipients)]
    if with_imdn:
        lines.append(f"NS: imdn <{IMDN}>")
    if with_mls:
        lines.append(f"NS: mls <{MLS}>")
    if headers.message_id is not None:
        lines.append(f"imdn.Message-ID: {headers.message_id}")
    if headers.sent_at_ms is not None:
        lines.append(f"DateTime: {rfc3339.format_ms(headers.sent_at_ms)}")
    if headers.notifications:
        wanted = ", ".join(one.value for one in Notification if one in headers.notifications)
        lines.append(f"imdn.Disposition-Notification: {wanted}")
    if headers.era_id is not None:
        lines.append(f"mls.Era-ID: {headers.era_id}")
    if headers.epoch_authenticator is not None:
        lines.append(f"mls.Epoch-Authenticator: {base64.b64encode(headers.epoch_authenticator).decode('ascii')}")
    return "\r\n".join(lines).encode("ascii")
