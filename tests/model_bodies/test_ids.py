"""Ids: one spelling each, strict, and an error that never repeats the input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.model import ids
from letterlock.model.ids import Id

KINDS: list[type[Id]] = [Id, *Id.__subclasses__()]


@given(st.sampled_from(KINDS), st.binary(min_size=16, max_size=16))
def test_round_trip(kind: type[Id], value: bytes) -> None:
    one = kind(value)
    assert kind.parse(str(one)) == one
    assert str(one) == f"{kind.prefix}_{value.hex()}"
    assert repr(one) == f"{kind.__name__}({one})"
    assert hash(one) == hash(kind(value))


def test_prefixes_tell_kinds_apart() -> None:
    assert len({kind.prefix for kind in KINDS}) == len(KINDS)
    assert all(getattr(ids, kind.__name__) is kind for kind in KINDS)
    for one in KINDS:
        for other in KINDS:
            text = str(other(b"x" * 16))
            if one is other:
                assert one.parse(text) == one(b"x" * 16)
            else:
                assert one(b"x" * 16) != other(b"x" * 16)
                with pytest.raises(ValueError, match="not an id"):
                    one.parse(text)


@pytest.mark.parametrize("size", [0, 1, 15, 17, 32])
def test_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Id(b"x" * size)


GOOD = "msg_" + "0123456789abcdef" * 2
BAD = [
    "",
    "_",
    "msg",
    "msg_",
    GOOD.upper(),
    GOOD[:-1],
    GOOD + "0",
    " " + GOOD,
    GOOD + "\n",
    GOOD.replace("_", "-"),
    GOOD.replace("0", "٠"),
    GOOD[:-1] + "g",
    GOOD[:-2] + " f",
    "MSG_" + GOOD[4:],
    "msg__" + GOOD[5:],
    "ten_" + GOOD[4:],
]


@pytest.mark.parametrize("text", BAD)
def test_other_spellings_are_refused(text: str) -> None:
    assert ids.MessageId.parse(GOOD).value == bytes.fromhex(GOOD[4:])
    with pytest.raises(ValueError, match="not an id"):
        ids.MessageId.parse(text)


@given(st.text(max_size=60))
def test_anything_is_an_id_or_a_value_error_without_the_input(text: str) -> None:
    try:
        parsed = ids.MessageId.parse(text)
    except ValueError as error:
        told = str(error)
    else:
        told = str(parsed)
    assert told in {text, "not an id of the form msg_<32 hex digits>"}


def test_frozen() -> None:
    one = ids.TenantId(b"x" * 16)
    with pytest.raises((AttributeError, TypeError)):
        one.value = b"y" * 16  # type: ignore[misc]
