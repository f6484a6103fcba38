"""The parameters of a message to be made: each is done, or refused by name. None is left out in silence."""

import re
from dataclasses import dataclass, field
from typing import Final

from letterlock.faces.http.twilio.errors import ErrorCode, TwilioError, bad_parameter, unsupported
from letterlock.model.ids import ConsentId
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.errors import AddressError

MAX_BODY: Final = 1600
"""Characters, as that API has it."""
MAX_VALIDITY_S: Final = 36_000
MAX_TOKEN: Final = 128
CONSENT: Final = "letterlock:consent="
"""A ``PersistentAction`` that brings the answer to an earlier question."""
_CHANNEL: Final = re.compile(r"([a-z]{2,16}):")
_UNSUPPORTED: Final = frozenset(
    {
        "ApplicationSid", "ContentSid", "ContentVariables", "MaxPrice", "MediaUrl", "MessageIntent", "ProvideFeedback",
        "ScheduleType", "SendAsMms", "SendAt", "ShortenUrls", "StatusCallback", "TrafficType",
    }
)  # fmt: skip
"""What only means something when it is done, and is not done here."""
_SINGLE: Final = frozenset(
    {
        "To", "From", "MessagingServiceSid", "Body", "ValidityPeriod", "FallbackFrom", "ContentRetention",
        "AddressRetention", "Attempt", "ForceDelivery", "RiskCheck", "SmartEncoded",
    }
)  # fmt: skip
_WITHOUT_EFFECT: Final = {"ForceDelivery": {"false"}, "RiskCheck": {"disable"}, "SmartEncoded": {"false"}}
"""Taken where it asks for what is the case anyway."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What a caller wants sent. The text belongs to the request and is wiped by whoever takes it over.

    Attributes:
        to: the spelling of the recipient that the caller used.
    """

    number: PhoneNumber
    to: str = field(repr=False)
    text: str = field(repr=False)
    sender: str | None
    service: str | None
    expires_in_ms: int | None
    consent: ConsentId | None


def new_message(form: dict[str, list[str]]) -> NewMessage:
    """The message of a form.

    Raises:
        TwilioError: with the parameter's name; nothing was sent.
    """
    for name, values in form.items():
        if name in _UNSUPPORTED:
            raise unsupported(name)
        if name not in _SINGLE and name != "PersistentAction":
            raise TwilioError(400, ErrorCode.BAD_PARAMETER, "There is a parameter that the API does not have.")
        if name in _SINGLE and len(values) > 1:
            raise bad_parameter(name, "This parameter is given twice.")
    one = {name: values[0] for name, values in form.items() if name in _SINGLE}
    for name, harmless in _WITHOUT_EFFECT.items():
        if name in one and one[name].lower() not in harmless:
            raise unsupported(name)
    _check_retention(one)
    text = one.get("Body", "")
    if not text:
        raise TwilioError(400, ErrorCode.BODY_MISSING, "A message needs a Body.")
    if len(text) > MAX_BODY:
        raise TwilioError(400, ErrorCode.BODY_TOO_LONG, "The Body is longer than 1,600 characters.")
    sender, service = one.get("From"), one.get("MessagingServiceSid")
    if not sender and not service:
        raise TwilioError(400, ErrorCode.FROM_MISSING, "A message needs a From or a MessagingServiceSid.")
    if "FallbackFrom" in one and not service:
        raise TwilioError(400, ErrorCode.FALLBACK_WITHOUT_SERVICE, "FallbackFrom needs a MessagingServiceSid.")
    if "FallbackFrom" in one:
        # A way down that nobody is asked about: the gateway owns every fallback, so none is taken from a caller.
        raise unsupported("FallbackFrom")
    return NewMessage(
        number=_number(one.get("To", "")),
        to=one["To"],
        text=text,
        sender=sender or None,
        service=service or None,
        expires_in_ms=_validity(one),
        consent=_consent(form.get("PersistentAction", [])),
    )


def _check_retention(one: dict[str, str]) -> None:
    """Neither content nor numbers are kept, so the parameters can say that, and nothing else."""
    for name, kept_not in (("ContentRetention", "discard"), ("AddressRetention", "obfuscate")):
        value = one.get(name)
        if value is None or value == kept_not:
            continue
        if value == "retain":
            raise TwilioError(
                400, ErrorCode.NOTHING_IS_RETAINED, "Content and numbers are not kept here: nothing can be retained.",
                {"parameter": name},
            )  # fmt: skip
        raise bad_parameter(name, "This parameter has no such value.")
    attempt = one.get("Attempt")
    if attempt is not None and not (attempt.isascii() and attempt.isdigit() and len(attempt) < 4):
        raise bad_parameter("Attempt", "Attempt is a small whole number.")


def _number(to: str) -> PhoneNumber:
    if not to:
        raise TwilioError(400, ErrorCode.TO_MISSING, "A message needs a To.")
    if _CHANNEL.match(to) and not to.startswith("tel:"):
        raise TwilioError(400, ErrorCode.CHANNEL_UNKNOWN, "There is no way of this kind here. Nothing was sent.")
    try:
        return PhoneNumber.parse(to)
    except AddressError as error:
        raise TwilioError(
            400, ErrorCode.BAD_TO, "To is an international number with '+'.", {"reason": error.reason.value}
        ) from None


def _validity(one: dict[str, str]) -> int | None:
    value = one.get("ValidityPeriod")
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()) or not 1 <= int(value[:6]) <= MAX_VALIDITY_S or len(value) > 5:
        raise bad_parameter("ValidityPeriod", "ValidityPeriod is 1 to 36000 seconds.")
    return int(value) * 1000


def _consent(actions: list[str]) -> ConsentId | None:
    if not actions:
        return None
    if len(actions) > 1 or not actions[0].startswith(CONSENT):
        raise unsupported("PersistentAction")
    try:
        return ConsentId.parse(actions[0].removeprefix(CONSENT))
    except ValueError:
        raise bad_parameter("PersistentAction", "This is no consent: letterlock:consent=con_<32 hex digits>.") from None
