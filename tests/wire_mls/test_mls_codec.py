import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.wire.mls.codec import MAX_ELEMENTS, MAX_LENGTH, Reader, Writer, length_header, read_length
from letterlock.wire.mls.errors import FramingError, FramingReason


def test_official_headers(vectors: Path) -> None:
    cases = json.loads((vectors / "mls" / "deserialization.json").read_text())
    assert len(cases) == 14
    for case in cases:
        header = bytes.fromhex(case["vlbytes_header"])
        assert read_length(header, 0, len(header)) == (case["length"], len(header))
        assert length_header(case["length"]) == header


@pytest.mark.parametrize("header", ["4000", "403f", "80000000", "8000003f", "80003fff", "c0", "c000000000000000", "ff"])
def test_longer_than_needed_or_prefix_11_is_refused(header: str) -> None:
    data = bytes.fromhex(header)
    with pytest.raises(FramingError) as caught:
        read_length(data, 0, len(data))
    assert caught.value.reason is FramingReason.LENGTH_NOT_MINIMAL


@pytest.mark.parametrize("header", ["", "40", "7f", "80", "8000", "800040"])
def test_a_header_cut_off_is_refused(header: str) -> None:
    data = bytes.fromhex(header)
    with pytest.raises(FramingError) as caught:
        read_length(data, 0, len(data))
    assert caught.value.reason is FramingReason.TRUNCATED


@given(st.integers(0, MAX_LENGTH))
def test_each_length_has_one_header(length: int) -> None:
    header = length_header(length)
    assert read_length(header, 0, len(header)) == (length, len(header))


@pytest.mark.parametrize("length", [-1, MAX_LENGTH + 1])
def test_lengths_beyond_the_range_are_not_written(length: int) -> None:
    with pytest.raises(FramingError):
        length_header(length)


@given(st.binary(max_size=8))
def test_a_header_that_is_read_is_the_one_that_would_be_written(data: bytes) -> None:
    try:
        length, at = read_length(data, 0, len(data))
    except FramingError:
        return
    assert data[:at] == length_header(length)


@given(
    st.integers(0, 255),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=300),
    st.binary(max_size=5),
)
def test_round_trip(a: int, b: int, c: int, d: int, e: bytes, f: bytes) -> None:
    reader = Reader(Writer().u8(a).u16(b).u32(c).u64(d).opaque(e).raw(f).done())
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64()) == (a, b, c, d)
    assert reader.opaque() == e
    assert reader.take(len(f)) == f
    reader.finish()


def test_numbers_too_large_are_not_written() -> None:
    with pytest.raises(FramingError):
        Writer().u8(256)
    with pytest.raises(FramingError):
        Writer().u16(-1)
    assert Writer().u8(255).done() == b"\xff"


def test_a_vector_cannot_borrow_from_its_neighbour() -> None:
    reader = Reader(bytes.fromhex("02000102"))
    inner = reader.vector()
    with pytest.raises(FramingError) as caught:
        inner.u32()
    assert caught.value.reason is FramingReason.TRUNCATED
    assert reader.u8() == 2
    with pytest.raises(FramingError):
        Reader(bytes.fromhex("030001")).vector()
    with pytest.raises(FramingError):
        Reader(bytes.fromhex("030001")).opaque()


def test_vectors_of_halves_and_bounds() -> None:
    assert Reader(bytes.fromhex("0400010002")).items(Reader.u16) == (1, 2)
    with pytest.raises(FramingError):
        Reader(bytes.fromhex("03000100")).items(Reader.u16)
    with pytest.raises(FramingError) as few:
        Reader(b"\x00").items(Reader.u16, low=1)
    assert few.value.reason is FramingReason.LENGTH_OUT_OF_RANGE
    full = Writer().opaque(b"\x01" * MAX_ELEMENTS).done()
    assert len(Reader(full).items(Reader.u8)) == MAX_ELEMENTS
    with pytest.raises(FramingError) as many:
        Reader(Writer().opaque(b"\x01" * (MAX_ELEMENTS + 1)).done()).items(Reader.u8)
    assert many.value.reason is FramingReason.LENGTH_OUT_OF_RANGE


def test_presence_is_0_or_1() -> None:
    assert [Reader(bytes([flag])).optional() for flag in (0, 1)] == [False, True]
    for flag in range(2, 256):
        with pytest.raises(FramingError):
            Reader(bytes([flag])).optional()


def test_left_over_bytes_are_refused() -> None:
    with pytest.raises(FramingError) as caught:
        Reader(b"x").finish()
    assert caught.value.reason is FramingReason.TRAILING_BYTES
