"""Problem details (RFC 9457): every refusal of the API has a stable code, and none repeats what was sent."""

import re
from enum import StrEnum, unique
from typing import Final

import msgspec

from letterlock.model.errors import Fact

_INDEX: Final = re.compile(r"\[(?:[0-9]{1,9}|\.{3})\]")
PROBLEM_TYPE: Final = "urn:letterlock:problem:"
MEDIA_TYPE: Final = b"application/problem+json"
RETRY_AFTER_S: Final = 1
"""When to come back after an overload: the queue holds well under a second of work."""


@unique
class Code(StrEnum):
    """The stable codes that are not an operation's own reasons."""

    MALFORMED_JSON = "malformed_json"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    BAD_PARAMETER = "bad_parameter"
    UNAUTHENTICATED = "unauthenticated"
    SCOPE_MISSING = "scope_missing"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    OVERLOADED = "overloaded"
    STORE_FAILED = "store_failed"
    INTERNAL = "internal_error"


_STATUS: Final[dict[str, int]] = {
    Code.MALFORMED_JSON: 400,
    Code.UNKNOWN_FIELD: 422,
    Code.MISSING_FIELD: 422,
    Code.WRONG_TYPE: 422,
    Code.TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.BAD_PARAMETER: 422,
    Code.UNAUTHENTICATED: 401,
    Code.SCOPE_MISSING: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.OVERLOADED: 503,
    Code.STORE_FAILED: 503,
    Code.INTERNAL: 500,
}


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer that is a refusal.

    Args:
        code: a stable code; one of :class:`Code`, or an operation's own reason.
        status: the HTTP status; known for the codes of :class:`Code`.
        detail: a fixed sentence of ours that says what to do; never text of the caller.
        members: further members of the problem object: numbers, ids as text, fixed words.
        headers: further header fields.
    """

    def __init__(
        self,
        code: str,
        status: int = 0,
        detail: str = "",
        *,
        members: dict[str, object] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status = status or _STATUS[code]
        self.detail = detail
        self.members = members or {}
        self.headers = headers

    def body(self) -> bytes:
        """The problem object as JSON."""
        told: dict[str, object] = {
            "type": PROBLEM_TYPE + self.code,
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "code": self.code,
        }
        if self.detail:
            told["detail"] = self.detail
        told.update(self.members)
        return msgspec.json.encode(told)

    def header_fields(self) -> list[tuple[bytes, bytes]]:
        """Header fields of the answer, length excluded."""
        fields = [(b"content-type", MEDIA_TYPE), (b"cache-control", b"no-store"), *self.headers]
        if self.status == 503:
            fields.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        if self.status == 401:
            fields.append((b"www-authenticate", b"Bearer"))
        return fields


def facts_as_members(facts: dict[str, Fact]) -> dict[str, object]:
    """The facts of one of our errors, as members of a problem object."""
    return {name: value if isinstance(value, int) else str(value) for name, value in facts.items()}


def field_names(request: type[msgspec.Struct]) -> frozenset[str]:
    """All names of fields that a request's JSON may have."""
    names: set[str] = set()
    _collect(msgspec.inspect.type_info(request), names)
    return frozenset(names)


def _collect(found: object, names: set[str]) -> None:
    if isinstance(found, msgspec.inspect.Field):
        names.add(found.encode_name)
        _collect(found.type, names)
    elif isinstance(found, (list, tuple)):
        for one in found:
            _collect(one, names)
    elif isinstance(found, msgspec.inspect.StructType):
        _collect(found.fields, names)
    elif isinstance(found, msgspec.inspect.Type):
        for name in found.__struct_fields__:
            _collect(getattr(found, name), names)


def of_validation(error: Exception, names: frozenset[str] = frozenset()) -> Problem:
    """What msgspec found wrong, without the caller's text: only our own field names are repeated.

    Args:
        error: of the decoder.
        names: the request's field names; a place that is made of anything else is not told, because the name of
            an unknown field may look like one.
    """
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Problem(Code.MALFORMED_JSON, detail="The body is not JSON (RFC 8259) in UTF-8.")
    _, mark, at = text.rpartition(" - at `$")
    path = at.rstrip("`")
    ours = mark and all(not part or part in names for part in _INDEX.sub("", path).split("."))
    where: dict[str, object] = {"at": "$" + path if ours else "$"}
    if "unknown field" in text:
        return Problem(Code.UNKNOWN_FIELD, detail="The object at this place has a field we do not know.", members=where)
    if "missing required field" in text:
        name = text.partition("required field `")[2].partition("`")[0]
        return Problem(Code.MISSING_FIELD, detail="A required field is missing.", members={**where, "field": name})
    return Problem(Code.WRONG_TYPE, detail="A value has the wrong type, form or size.", members=where)
