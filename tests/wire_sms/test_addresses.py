"""Phone numbers: one spelling each, and values that do not show themselves."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.wire.sms.address import PhoneNumber, SmppAddress, sender_address
from letterlock.wire.sms.errors import AddressError, AddressReason
from letterlock.wire.sms.terms import Npi, Ton

SPELLINGS = [
    "+491701234567",
    "+49 170 1234567",
    " +49-170-1234567 ",
    "+49 (170) 123.45.67",
    "0049 170 1234567",
    "tel:+49-170-1234567",
    "TEL:+491701234567",
    "+49\u00a0170\u00a01234567",
]


@pytest.mark.attack("A7")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_one_number(spelling: str) -> None:
    number = PhoneNumber.parse(spelling)
    assert number == PhoneNumber.parse("+491701234567")
    assert hash(number) == hash(PhoneNumber("491701234567"))
    assert (number.digits(), number.e164()) == ("491701234567", "+491701234567")


@pytest.mark.attack("A7")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", AddressReason.EMPTY),
        ("+", AddressReason.EMPTY),
        ("tel:", AddressReason.EMPTY),
        ("01701234567", AddressReason.NOT_INTERNATIONAL),
        ("491701234567", AddressReason.NOT_INTERNATIONAL),
        ("+49 (0)170 1234567", AddressReason.TRUNK_ZERO),
        ("+49 ( 0 ) 170 1234567", AddressReason.TRUNK_ZERO),
        ("+4901701234567", AddressReason.TRUNK_ZERO),
        ("+4407911123456", AddressReason.TRUNK_ZERO),
        ("+35308712345", AddressReason.TRUNK_ZERO),
        ("+123456", AddressReason.BAD_LENGTH),
        ("+1234567890123456", AddressReason.BAD_LENGTH),
        ("+" + "1" * 64, AddressReason.BAD_LENGTH),
        ("+0491701234567", AddressReason.UNKNOWN_COUNTRY),
        ("+49170123456\0", AddressReason.BAD_CHARACTER),
        ("+49170123456x", AddressReason.BAD_CHARACTER),
        ("+４９1701234567", AddressReason.BAD_CHARACTER),
        ("+٤٩1701234567", AddressReason.BAD_CHARACTER),
        ("++491701234567", AddressReason.BAD_CHARACTER),
        ("tel:+491701234567;ext=1", AddressReason.BAD_CHARACTER),
        ("+49170\n1234567", AddressReason.BAD_CHARACTER),
        ("alice", AddressReason.BAD_CHARACTER),
    ],
)
def test_what_may_be_another_number_is_refused(text: str, reason: AddressReason) -> None:
    with pytest.raises(AddressError) as caught:
        PhoneNumber.parse(text)
    assert caught.value.reason is reason
    assert "170" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize("text", ["+390612345678", "+2250123456789", "+12125550123", "+79261234567", "+6834000"])
def test_zeros_that_belong_to_the_number_stay(text: str) -> None:
    assert PhoneNumber.parse(text).e164() == text


@given(st.text(max_size=30))
def test_parsing_is_total_and_has_one_spelling(text: str) -> None:
    try:
        number = PhoneNumber.parse(text)
    except AddressError:
        return
    assert PhoneNumber.parse(number.e164()) == number


def test_a_number_never_shows_itself() -> None:
    number = PhoneNumber.parse("+491701234567")
    address = SmppAddress.of_number(number)
    shown = f"{number} {number!r} {number!s:>30} {address} {address!r} {[number]} {(address,)} %s" % (number,)
    assert "170" not in shown
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            spread(number)


@pytest.mark.parametrize(
    ("sender", "address"),
    [
        ("+49 170 1234567", (Ton.INTERNATIONAL, Npi.E164, "491701234567")),
        ("0049 170 1234567", (Ton.INTERNATIONAL, Npi.E164, "491701234567")),
        ("22122", (Ton.NETWORK_SPECIFIC, Npi.UNKNOWN, "22122")),
        ("My Bank 24", (Ton.ALPHANUMERIC, Npi.UNKNOWN, "My Bank 24")),
    ],
)
def test_senders(sender: str, address: tuple[Ton, Npi, str]) -> None:
    found = sender_address(sender)
    assert (found.ton, found.npi, found.value) == address
    found.check()


@pytest.mark.parametrize("sender", ["", "12", "123456789", "twelve chars", "a\0b", "ä", "a\tb", "+49", "^"])
def test_senders_that_are_none(sender: str) -> None:
    with pytest.raises(AddressError):
        sender_address(sender)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (SmppAddress(Ton.INTERNATIONAL, Npi.E164, "49170\x001"), AddressReason.BAD_CHARACTER),
        (SmppAddress(Ton.UNKNOWN, Npi.E164, "1" * 21), AddressReason.BAD_LENGTH),
        (SmppAddress(Ton.ALPHANUMERIC, Npi.UNKNOWN, ""), AddressReason.EMPTY),
        (SmppAddress(Ton.UNKNOWN, Npi.UNKNOWN, "abc"), AddressReason.BAD_CHARACTER),
    ],
)
def test_addresses_that_we_do_not_send(address: SmppAddress, reason: AddressReason) -> None:
    with pytest.raises(AddressError) as caught:
        address.check()
    assert caught.value.reason is reason


def test_the_number_behind_an_address() -> None:
    number = PhoneNumber.parse("+491701234567")
    for address in (
        SmppAddress(Ton.INTERNATIONAL, Npi.E164, "491701234567"),
        SmppAddress(Ton.INTERNATIONAL, Npi.E164, "+491701234567"),
        SmppAddress(Ton.UNKNOWN, Npi.UNKNOWN, "+491701234567"),
    ):
        assert address.number() == number
    for other in (Ton.UNKNOWN, Ton.NATIONAL, Ton.ALPHANUMERIC):
        with pytest.raises(AddressError) as caught:
            SmppAddress(other, Npi.E164, "491701234567").number()
        assert caught.value.reason is AddressReason.BAD_TYPE
