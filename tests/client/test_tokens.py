"""Delivery tokens, as bytes: what comes from a seed, what a delivery shows, what is refused."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.client import tokens
from letterlock.client.errors import TokenError, TokenReason
from letterlock.client.tokens import BUNDLE, Bundle, Entry
from letterlock.wire import delivery as wire

SEED = bytes(range(32))


def sealed(place: int = 0, message: bytes = b"an MLS message") -> bytes:
    return tokens.seal(tokens.derive(SEED, place), message, os.urandom(wire.NONCE_BYTES))


def test_both_sides_derive_the_same_and_no_two_places_share_anything() -> None:
    made = [tokens.derive(SEED, place) for place in range(BUNDLE)]
    assert made == [tokens.derive(SEED, place) for place in range(BUNDLE)]
    parts = [one.shown for one in made] + [one.key for one in made] + tokens.hashes(SEED, BUNDLE)
    assert len(set(parts)) == 3 * BUNDLE, "nor does a key equal what the relay is shown, or keeps"
    assert tokens.derive(bytes(32), 0) != made[0]
    # RFC 5869's Expand for one block of each half: written out, so that both ends of every version agree.
    import hashlib
    import hmac

    info = tokens.LABEL + (7).to_bytes(4)
    first = hmac.digest(SEED, info + b"\1", hashlib.sha256)
    second = hmac.digest(SEED, first + info + b"\2", hashlib.sha256)
    assert (made[7].shown, made[7].key) == (first, second)


@given(st.binary(min_size=1, max_size=2_000), st.integers(0, BUNDLE - 1))
def test_a_delivery_opens_with_its_own_token_alone(message: bytes, place: int) -> None:
    data = sealed(place, message)
    found = tokens.read_delivery(data)
    assert found.name == wire.name_of(wire.hash_of(tokens.derive(SEED, place).shown))
    assert tokens.open_delivery(found, tokens.derive(SEED, place)) == message
    assert len(data) == len(message) + wire.HEAD_BYTES + wire.TAG_BYTES, "eight sizes stay eight"
    with pytest.raises(TokenError) as caught:
        tokens.open_delivery(found, tokens.derive(SEED, (place + 1) % BUNDLE))
    assert caught.value.reason is TokenReason.NOT_AUTHENTIC


def test_every_spoilt_byte_is_noticed() -> None:
    data = sealed()
    for at in range(len(data)):
        spoilt = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        with pytest.raises(TokenError):
            tokens.open_delivery(tokens.read_delivery(spoilt), tokens.derive(SEED, 0))
    with pytest.raises(TokenError):
        tokens.read_delivery(data[: wire.MIN_DELIVERY - 1])


ENTRIES = st.lists(
    st.builds(
        Entry, st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), st.integers(1, BUNDLE),
        st.integers(0, 2**63 - 1),
    ),
    min_size=1, max_size=20,
)  # fmt: skip


@given(ENTRIES)
def test_what_is_handed_out_survives(entries: list[Entry]) -> None:
    assert tokens.decode(tokens.encode(entries)) == entries


@given(st.binary(max_size=300))
def test_any_bytes_are_entries_or_a_typed_error(data: bytes) -> None:
    for one in (data, b"\1" + data):
        try:
            found = tokens.decode(one)
        except TokenError:
            continue
        assert tokens.encode(found) == one


def test_tokens_are_taken_in_order_each_once_and_none_that_is_over() -> None:
    bundles = [Bundle(bytes(32), 2, 100), Bundle(SEED, 3, 200)]
    taken = []
    while True:
        token, bundles = tokens.take(bundles, 50)
        if token is None:
            break
        taken.append(token)
    assert taken == [tokens.derive(bytes(32), 0), tokens.derive(bytes(32), 1)] + [
        tokens.derive(SEED, place) for place in range(3)
    ]
    assert bundles == []
    token, left = tokens.take([Bundle(bytes(32), 2, 100), Bundle(SEED, 3, 200)], 100)
    assert (token, left) == (tokens.derive(SEED, 0), [Bundle(SEED, 3, 200, 1)])


def test_nothing_secret_is_printed() -> None:
    shown = repr(
        [tokens.derive(SEED, 0), Bundle(SEED, 2, 1), Entry(bytes(16), SEED, 1, 1), tokens.read_delivery(sealed())]
    )
    assert shown == "[<Token>, <Bundle, 2 left>, <Entry>, <SealedDelivery, 30 bytes>]"
