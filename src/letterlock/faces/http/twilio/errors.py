"""Refusals as that API spells them: an HTTP status, a number that stays, a sentence, and details.

Where Twilio has a number for the same thing, it is used; what only this gateway says has numbers from 99000 on, which
Twilio does not use.
"""

from enum import IntEnum, unique
from typing import Final

import msgspec

from letterlock.gateway.offers import SendReason

MORE: Final = "urn:letterlock:problem:"


@unique
class ErrorCode(IntEnum):
    """The numbers that this face gives."""

    BAD_PARAMETER = 20001
    AUTHENTICATE = 20003
    METHOD_NOT_ALLOWED = 20004
    NOT_FOUND = 20404
    TOO_LARGE = 20413
    OVERLOADED = 20503
    INTERNAL = 20500
    BAD_TO = 21211
    BODY_MISSING = 21602
    FROM_MISSING = 21603
    TO_MISSING = 21604
    FROM_NOT_YOURS = 21606
    CHANNEL_UNKNOWN = 21612
    BODY_TOO_LONG = 21617
    FALLBACK_WITHOUT_SERVICE = 21667
    SERVICE_UNKNOWN = 21701
    NOT_CANCELABLE = 30409
    NOT_FINAL = 20009
    REFUSED_BY_POLICY = 99000
    """Policy says no: ``details.reason`` is the code of the native API."""
    CONSENT_REQUIRED = 99409
    """It can go only less protected: ``details.challenge`` is to be answered first."""
    NOT_SUPPORTED = 99501
    """A parameter that means something which is not done here; it is named in ``details``."""
    NOTHING_IS_RETAINED = 99502
    """Content and numbers are not kept here, so nothing can be asked to be retained."""


class TwilioError(Exception):
    """An answer that is a refusal.

    Args:
        status: of HTTP.
        code: the number.
        message: a fixed sentence of ours; never text of the caller.
        details: fixed words, numbers and ids.
        problem: the code of the native API, for the link in ``more_info``.
    """

    def __init__(
        self,
        status: int,
        code: ErrorCode,
        message: str,
        details: dict[str, object] | None = None,
        *,
        problem: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(code.name)
        self.status = status
        self.code = code
        self.message = message
        self.details = details or {}
        self.problem = problem or code.name.lower()
        self.headers = headers

    def body(self) -> bytes:
        """The error object as JSON."""
        told: dict[str, object] = {
            "code": int(self.code),
            "message": self.message,
            "more_info": MORE + self.problem,
            "status": self.status,
        }
        if self.details:
            told["details"] = self.details
        return msgspec.json.encode(told)


def bad_parameter(name: str, message: str) -> TwilioError:
    """A parameter that has no meaning here, by its name in the API's own list."""
    return TwilioError(400, ErrorCode.BAD_PARAMETER, message, {"parameter": name})


def unsupported(name: str) -> TwilioError:
    """A parameter of the API that this gateway does not do: it says so instead of leaving it out."""
    return TwilioError(
        400, ErrorCode.NOT_SUPPORTED, "This gateway does not do what this parameter asks for. Nothing was sent.",
        {"parameter": name},
    )  # fmt: skip


_SENDING: Final[dict[SendReason, tuple[int, ErrorCode, str]]] = {
    SendReason.TEXT_TOO_LONG: (400, ErrorCode.BODY_TOO_LONG, "The text needs more parts than a message may have."),
    SendReason.TEXT_UNENCODABLE: (400, ErrorCode.BAD_PARAMETER, "The text has a character that cannot be sent."),
    SendReason.NO_ROUTE: (400, ErrorCode.CHANNEL_UNKNOWN, "There is no way for it."),
    SendReason.IDEMPOTENCY_CONFLICT: (409, ErrorCode.REFUSED_BY_POLICY, "This token was used for another request."),
    SendReason.ASKED_RECENTLY: (
        409, ErrorCode.CONSENT_REQUIRED, "This was asked a short while ago: answer that question, or wait.",
    ),
}  # fmt: skip


def of_sending(reason: SendReason, facts: dict[str, object]) -> TwilioError:
    """The answer for a message that was not taken."""
    status, code, message = _SENDING.get(
        reason, (403, ErrorCode.REFUSED_BY_POLICY, "Policy refuses it. Nothing was sent, and nothing is kept.")
    )
    return TwilioError(status, code, message, {"reason": reason.value, **facts}, problem=reason.value)
