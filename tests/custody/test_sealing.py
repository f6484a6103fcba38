"""Sealed blobs open where they were sealed, and nowhere else."""

import os
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from tests.custody.keys import OTHER_TENANT, TENANT

from letterlock.custody.sealing import (
    ADDRESS_BLOCK,
    MAX_ADDRESS,
    MAX_BLOB,
    OVERHEAD,
    SealingError,
    SealingReason,
    StorageKey,
    reseal,
    rewrap,
    seal,
    seal_address,
    seal_sealed,
    shred_seal,
    unseal,
    unseal_address,
    unseal_sealed,
    unshred,
)
from letterlock.model.bodies import OpenBody, RevealPurpose, ShreddableBody
from letterlock.model.ids import Id, MessageId

ONE = StorageKey(1, AESGCM(b"1" * 32))
TWO = StorageKey(2, AESGCM(b"2" * 32))
MESSAGE = MessageId(b"m" * 16)
OTHER = MessageId(b"n" * 16)


def refused(reason: SealingReason) -> pytest.RaisesExc[SealingError]:
    return pytest.RaisesExc(SealingError, check=lambda error: error.reason is reason)


def content_of(body: OpenBody) -> bytes:
    with body.reveal(RevealPurpose.MEASURE) as view:
        return bytes(view)


@given(st.binary(max_size=3000))
def test_round_trip(content: bytes) -> None:
    blob = seal_sealed(ONE, TENANT, MESSAGE, content)
    assert len(blob) == len(content) + OVERHEAD
    assert unseal_sealed(ONE, TENANT, MESSAGE, blob) == content


def test_moved_blobs_do_not_open() -> None:
    blob = seal(ONE, TENANT, MESSAGE, "sealed", b"content")
    assert unseal(ONE, TENANT, MESSAGE, "sealed", blob) == b"content"
    for key, tenant, row, column in (
        (TWO, TENANT, MESSAGE, "sealed"),
        (ONE, OTHER_TENANT, MESSAGE, "sealed"),
        (ONE, TENANT, OTHER, "sealed"),
        (ONE, TENANT, MESSAGE, "body"),
        (ONE, TENANT, MESSAGE, "sealed2"),
        (ONE, TENANT, MESSAGE, ""),
    ):
        with refused(SealingReason.NOT_AUTHENTIC):
            unseal(key, tenant, row, column, blob)


def test_versions_lengths_and_every_bit() -> None:
    blob = seal(ONE, TENANT, MESSAGE, "sealed", b"content")
    for version in (0, 2, 255):
        with refused(SealingReason.UNKNOWN_VERSION):
            unseal(ONE, TENANT, MESSAGE, "sealed", bytes((version,)) + blob[1:])
    for length in range(OVERHEAD):
        with refused(SealingReason.TOO_SHORT):
            unseal(ONE, TENANT, MESSAGE, "sealed", blob[:length])
    for length in range(OVERHEAD, len(blob)):
        with refused(SealingReason.NOT_AUTHENTIC):
            unseal(ONE, TENANT, MESSAGE, "sealed", blob[:length])
    for at in range(1, len(blob)):
        for bit in range(8):
            with refused(SealingReason.NOT_AUTHENTIC):
                unseal(ONE, TENANT, MESSAGE, "sealed", blob[:at] + bytes((blob[at] ^ 1 << bit,)) + blob[at + 1 :])


@given(st.binary(max_size=200))
def test_anything_is_a_value_or_a_typed_error(blob: bytes) -> None:
    for opener in (unseal_sealed, unseal_address):
        with pytest.raises(SealingError):
            opener(ONE, TENANT, MESSAGE, blob)


def test_too_large_is_refused() -> None:
    limit = bytes(MAX_BLOB)
    assert unseal(ONE, TENANT, MESSAGE, "c", seal(ONE, TENANT, MESSAGE, "c", limit)) == limit
    with refused(SealingReason.TOO_LARGE):
        seal(ONE, TENANT, MESSAGE, "c", limit + b"x")


def test_nonces_come_from_the_given_source() -> None:
    def stuck(length: int) -> bytes:
        return b"n" * length

    assert seal(ONE, TENANT, MESSAGE, "c", b"x", stuck) == seal(ONE, TENANT, MESSAGE, "c", b"x", stuck)
    many = {seal(ONE, TENANT, MESSAGE, "c", b"x")[1:13] for _ in range(1_000)}
    assert len(many) == 1_000


def test_a_waiting_body_opens_with_its_generation_and_place_only() -> None:
    body = OpenBody(b"meet me at noon")
    waiting = shred_seal(body, ONE, TENANT, MESSAGE)
    assert waiting.generation == 1
    assert b"noon" not in waiting.sealed + waiting.wrapped_key
    assert content_of(unshred(waiting, ONE, TENANT, MESSAGE)) == b"meet me at noon"
    assert content_of(body) == b"meet me at noon"  # the owner destroys it
    with refused(SealingReason.OTHER_GENERATION):
        unshred(waiting, TWO, TENANT, MESSAGE)
    impostor = StorageKey(1, AESGCM(os.urandom(32)))
    for key, tenant, message in ((impostor, TENANT, MESSAGE), (ONE, OTHER_TENANT, MESSAGE), (ONE, TENANT, OTHER)):
        with refused(SealingReason.NOT_AUTHENTIC):
            unshred(waiting, key, tenant, message)


def test_each_body_has_a_data_key_of_its_own() -> None:
    first = shred_seal(OpenBody(b"same"), ONE, TENANT, MESSAGE)
    second = shred_seal(OpenBody(b"same"), ONE, TENANT, MESSAGE)
    assert first.sealed != second.sealed
    mixed = ShreddableBody(first.sealed, second.wrapped_key, 1)
    with refused(SealingReason.NOT_AUTHENTIC):
        unshred(mixed, ONE, TENANT, MESSAGE)
    swapped = ShreddableBody(first.wrapped_key, first.sealed, 1)
    with refused(SealingReason.NOT_AUTHENTIC):
        unshred(swapped, ONE, TENANT, MESSAGE)
    not_a_key = ShreddableBody(first.sealed, seal(ONE, TENANT, MESSAGE, "body_key", b"k" * 16), 1)
    with refused(SealingReason.NOT_AUTHENTIC):
        unshred(not_a_key, ONE, TENANT, MESSAGE)


def test_rewrapping_moves_the_key_and_leaves_the_body() -> None:
    waiting = shred_seal(OpenBody(b"still here"), ONE, TENANT, MESSAGE)
    moved = rewrap(waiting, ONE, TWO, TENANT, MESSAGE)
    assert moved.generation == 2
    assert moved.sealed == waiting.sealed
    assert content_of(unshred(moved, TWO, TENANT, MESSAGE)) == b"still here"
    with refused(SealingReason.OTHER_GENERATION):
        unshred(moved, ONE, TENANT, MESSAGE)
    with refused(SealingReason.OTHER_GENERATION):
        rewrap(waiting, TWO, ONE, TENANT, MESSAGE)
    blob = reseal(ONE, TWO, TENANT, MESSAGE, "sealed", seal_sealed(ONE, TENANT, MESSAGE, b"ciphertext"))
    assert unseal_sealed(TWO, TENANT, MESSAGE, blob) == b"ciphertext"
    with refused(SealingReason.NOT_AUTHENTIC):
        unseal_sealed(ONE, TENANT, MESSAGE, blob)


@given(st.binary(min_size=1, max_size=MAX_ADDRESS))
def test_addresses_round_trip_and_hide_their_length(address: bytes) -> None:
    blob = seal_address(ONE, TENANT, MESSAGE, address)
    assert unseal_address(ONE, TENANT, MESSAGE, blob) == address
    assert (len(blob) - OVERHEAD) % ADDRESS_BLOCK == 0


def test_phone_numbers_all_look_alike() -> None:
    sizes = {len(seal_address(ONE, TENANT, MESSAGE, b"1" * digits)) for digits in range(3, 16)}
    assert len(sizes) == 1


@pytest.mark.parametrize("address", [b"", b"x" * (MAX_ADDRESS + 1)])
def test_bad_addresses_are_refused(address: bytes) -> None:
    with refused(SealingReason.BAD_ADDRESS):
        seal_address(ONE, TENANT, MESSAGE, address)


@pytest.mark.parametrize("frame", [b"", b"\x00" * 32, b"\x05abc", b"\x02ab" + b"\x00" * 28 + b"x"])
def test_a_frame_that_is_not_ours_is_refused(frame: bytes) -> None:
    with refused(SealingReason.BAD_ADDRESS):
        unseal_address(ONE, TENANT, MESSAGE, seal(ONE, TENANT, MESSAGE, "address", frame))


def test_bodies_and_addresses_do_not_cross() -> None:
    openers: tuple[Callable[[StorageKey, Id], object], ...] = (
        lambda key, row: unseal_sealed(key, TENANT, MessageId(row.value), seal_address(key, TENANT, row, b"1234")),
        lambda key, row: unseal_address(key, TENANT, row, seal_sealed(key, TENANT, MessageId(row.value), b"\x041234")),
    )
    for opener in openers:
        with refused(SealingReason.NOT_AUTHENTIC):
            opener(ONE, MESSAGE)


def test_the_key_does_not_print() -> None:
    assert repr(StorageKey(7, AESGCM(b"k" * 32))) == "StorageKey(generation=7)"
