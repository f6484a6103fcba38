"""``application/x-www-form-urlencoded``, strictly: what is not well formed is refused, and nothing is guessed."""

from typing import ClassVar, Final
from urllib.parse import parse_qsl

from letterlock.model.errors import Fault, OperationError, Reason

MAX_FIELDS: Final = 64
"""Twice the parameters that the API has: lists repeat their name."""


class FormReason(Reason):
    """Why a form was not taken."""

    NOT_ASCII = "form_not_ascii"
    MALFORMED = "form_malformed"
    NOT_UTF8 = "form_not_utf8"


class FormError(OperationError[FormReason]):
    """The bytes are no form."""

    fault: ClassVar[Fault] = Fault.PEER


def parse_form(raw: bytes) -> dict[str, list[str]]:
    """The values of each field in their order; an empty body has none.

    Raises:
        FormError: bytes outside ASCII, a field without a sign of equality, too many fields, percent escapes that are
            no UTF-8.
    """
    if not raw:
        return {}
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise FormError(FormReason.NOT_ASCII) from None
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise FormError(FormReason.NOT_UTF8) from None
    except ValueError:
        raise FormError(FormReason.MALFORMED) from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
