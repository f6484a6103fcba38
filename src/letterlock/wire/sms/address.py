"""Addresses: one spelling for each phone number, and values that never show what they hold.

Floors are keyed by the normalised peer, so a second spelling of a number would be a way around a floor: what
cannot be brought to one spelling with certainty is refused (ITU-T E.164; RFC 3966 for the separators).
"""

from dataclasses import dataclass, field
from typing import Final, NoReturn, final

from letterlock.wire.sms.errors import AddressError, AddressReason
from letterlock.wire.sms.terms import Npi, Ton

MIN_DIGITS: Final = 7
"""The shortest international numbers in use (+683 and four digits)."""
MAX_DIGITS: Final = 15
"""E.164, section 6.1."""
MAX_INPUT: Final = 64
"""Fifteen digits with a separator after each, and some room."""
MAX_SENDER_NAME: Final = 11
"""An alphanumeric address on the air interface: 11 septets (TS 23.040, section 9.1.2.5)."""
MAX_ADDRESS: Final = 20
"""``source_addr`` and ``destination_addr`` without their NUL (SMPP 3.4, section 4.4.1)."""

_DIGITS: Final = "0123456789"
_SEPARATORS: Final = str.maketrans("", "", " -.()\u00a0\u202f")
_ONE_DIGIT_CODES: Final = frozenset({"1", "7"})
_TWO_DIGIT_CODES: Final = frozenset(
    first + second
    for first, seconds in {
        "2": "07",
        "3": "0123469",
        "4": "013456789",
        "5": "12345678",
        "6": "0123456",
        "8": "1246",
        "9": "0123458",
    }.items()
    for second in seconds
)
"""ITU-T E.164: country codes of two digits; those of one are 1 and 7, all others have three."""
_ZERO_IS_PART_OF_NUMBER: Final = frozenset({"39", "225", "229", "241", "242", "378", "379"})
"""Countries whose national numbers begin with a zero that is dialled from abroad as well."""
_SENDER_MARKS: Final = frozenset(" !\"#%&'()*+,-./:;<=>?_@$")


@final
@dataclass(frozen=True, slots=True, repr=False)
class PhoneNumber:
    """An international number. Shows nothing of itself; the digits come by :meth:`digits` and :meth:`e164` only."""

    _digits: str

    def __post_init__(self) -> None:
        _check_international(self._digits)

    @classmethod
    def parse(cls, text: str) -> "PhoneNumber":
        """Reads ``+49 170 1234567``, ``0049-170-1234567`` or ``tel:+49-170-1234567``.

        Raises:
            AddressError: anything that is not surely one international number; see :class:`AddressReason`.
        """
        if len(text) > MAX_INPUT:
            raise AddressError(AddressReason.BAD_LENGTH)
        bare = text.strip(" ")
        if bare[:4].lower() == "tel:":
            bare = bare[4:]
        if not bare:
            raise AddressError(AddressReason.EMPTY)
        if "(0)" in bare.replace(" ", ""):
            raise AddressError(AddressReason.TRUNK_ZERO)
        bare = bare.translate(_SEPARATORS)
        if bare.startswith("+"):
            return cls(bare[1:])
        if bare.startswith("00"):
            return cls(bare[2:])
        if bare.strip(_DIGITS):
            raise AddressError(AddressReason.BAD_CHARACTER)
        raise AddressError(AddressReason.NOT_INTERNATIONAL)

    def digits(self) -> str:
        """The number as SMPP sends it: country code and the rest, no ``+``."""
        return self._digits

    def e164(self) -> str:
        """The number with its ``+``: the one spelling."""
        return f"+{self._digits}"

    def __repr__(self) -> str:
        return "<PhoneNumber>"

    def __str__(self) -> str:
        return "<PhoneNumber>"

    def __format__(self, spec: str, /) -> str:
        return "<PhoneNumber>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a phone number is not pickled or copied; ask for its digits")


def _check_international(digits: str) -> None:
    if not digits:
        raise AddressError(AddressReason.EMPTY)
    if digits.strip(_DIGITS):
        raise AddressError(AddressReason.BAD_CHARACTER)
    if not MIN_DIGITS <= len(digits) <= MAX_DIGITS:
        raise AddressError(AddressReason.BAD_LENGTH)
    if digits[0] == "0":
        raise AddressError(AddressReason.UNKNOWN_COUNTRY)
    length = 1 if digits[0] in _ONE_DIGIT_CODES else 2 if digits[:2] in _TWO_DIGIT_CODES else 3
    if digits[length] == "0" and digits[:length] not in _ZERO_IS_PART_OF_NUMBER:
        raise AddressError(AddressReason.TRUNK_ZERO)


@final
@dataclass(frozen=True, slots=True)
class SmppAddress:
    """An address as a PDU has it. ``repr`` shows the type and the plan, never the address."""

    ton: Ton
    npi: Npi
    value: str = field(repr=False)

    @classmethod
    def of_number(cls, number: PhoneNumber) -> "SmppAddress":
        """The address of a phone."""
        return cls(Ton.INTERNATIONAL, Npi.E164, number.digits())

    def number(self) -> PhoneNumber:
        """The phone number behind an international address; a leading ``+`` is taken off.

        Type ``UNKNOWN`` is taken as international when it has the ``+``: some centres send their numbers so.

        Raises:
            AddressError: BAD_TYPE, or what makes it no international number.
        """
        plus = self.value.startswith("+")
        if self.ton is not Ton.INTERNATIONAL and not (plus and self.ton is Ton.UNKNOWN):
            raise AddressError(AddressReason.BAD_TYPE)
        return PhoneNumber(self.value[1:] if plus else self.value)

    def check(self) -> None:
        """Refuses an address that we would not send.

        Raises:
            AddressError: BAD_LENGTH over 20 octets, BAD_CHARACTER (a NUL above all), BAD_TYPE.
        """
        if len(self.value) > MAX_ADDRESS:
            raise AddressError(AddressReason.BAD_LENGTH)
        if self.ton is Ton.ALPHANUMERIC:
            if not self.value:
                raise AddressError(AddressReason.EMPTY)
            _check_name(self.value)
        elif self.value.strip(_DIGITS):
            raise AddressError(AddressReason.BAD_CHARACTER)
        elif self.ton is Ton.INTERNATIONAL:
            _check_international(self.value)


NO_ADDRESS: Final = SmppAddress(Ton.UNKNOWN, Npi.UNKNOWN, "")
"""As a source: the centre puts its own."""


def _check_name(text: str) -> None:
    if len(text) > MAX_SENDER_NAME:
        raise AddressError(AddressReason.BAD_LENGTH)
    if not all(char in _SENDER_MARKS or (char.isascii() and char.isalnum()) for char in text):
        raise AddressError(AddressReason.BAD_CHARACTER)


def sender_address(sender: str) -> SmppAddress:
    """Reads what a sender is called: ``+49...`` a number, 3 to 8 digits a short code, else a name (11 characters).

    Raises:
        AddressError: none of these.
    """
    if not sender:
        raise AddressError(AddressReason.EMPTY)
    if sender.startswith(("+", "00", "tel:")):
        return SmppAddress.of_number(PhoneNumber.parse(sender))
    if not sender.strip(_DIGITS):
        if not 3 <= len(sender) <= 8:
            raise AddressError(AddressReason.NOT_INTERNATIONAL)
        return SmppAddress(Ton.NETWORK_SPECIFIC, Npi.UNKNOWN, sender)
    _check_name(sender)
    return SmppAddress(Ton.ALPHANUMERIC, Npi.UNKNOWN, sender)
