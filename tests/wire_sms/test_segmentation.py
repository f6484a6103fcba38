"""Long messages: cuts, headers, limits, and back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.model.bodies import OpenBody, RevealPurpose
from letterlock.wire.sms import gsm0338
from letterlock.wire.sms.address import NO_ADDRESS, PhoneNumber, SmppAddress
from letterlock.wire.sms.encode import Segment, join, measure, segment, take_header, to_text
from letterlock.wire.sms.errors import ReassemblyError, ReassemblyReason, TextError, TextReason
from letterlock.wire.sms.pdu import SubmitSm
from letterlock.wire.sms.reassembly import Part, Reassembler, part_of
from letterlock.wire.sms.segmentation import Alphabet, Concat, LongStyle, split_header, user_data_header
from letterlock.wire.sms.terms import Carried

ALICE = SmppAddress.of_number(PhoneNumber.parse("+491701234567"))
PILE = "\U0001f4a9"
texts = st.one_of(
    st.text(st.sampled_from("ab€{^"), max_size=900),
    st.text(st.sampled_from("aя" + PILE), max_size=500),
    st.text(max_size=500),
)


def raw(body: OpenBody) -> bytes:
    with body.reveal(RevealPurpose.COMMIT_DIGEST) as view:
        return bytes(view)


def submit_of(part: Segment) -> SubmitSm:
    return SubmitSm(NO_ADDRESS, ALICE, part.octets, part.data_coding, part.esm_class, 0, part.carried, part.tlvs)


@given(texts, st.integers(0, 0xFFFF), st.sampled_from(list(LongStyle)), st.randoms(use_true_random=False))
def test_parts_in_any_order_give_the_text_again(text: str, reference: int, style: LongStyle, random: object) -> None:
    body = OpenBody(text.encode())
    parts = list(segment(body, reference, style, 255))
    shape = measure(body, style, 255)
    assert len(parts) == (min(shape.parts, 1) if style is LongStyle.PAYLOAD else shape.parts)
    for part in parts:
        octets = raw(part.octets)
        if part.carried is Carried.SHORT_MESSAGE:
            concat, at = split_header(octets) if part.esm_class else (None, 0)
            chunk = octets[at:]
            if shape.alphabet is Alphabet.GSM7:
                gsm0338.decode(chunk)  # no half of an ESC pair
                assert len(chunk) + (at * 8 + 6) // 7 <= 160
            else:
                chunk.decode("utf-16-be")  # no half of a surrogate pair
                assert len(octets) <= 140
            assert (concat is None) == (style is LongStyle.SAR or len(parts) == 1)
    random.shuffle(parts)  # type: ignore[attr-defined]
    reassembler, whole = Reassembler(), None
    for number, part in enumerate(parts, 1):
        taken = part_of(submit_of(part))
        whole = reassembler.offer(taken, 0)
        assert (whole is not None) == (number == len(parts))
        if whole is not None:
            reassembler.finish(taken)
    assert whole is not None
    assert raw(to_text(whole, parts[0].data_coding)).decode() == text
    assert (reassembler.unfinished, reassembler.held_octets) == (0, 0)


@pytest.mark.parametrize(
    ("text", "style", "units", "parts"),
    [
        ("a" * 160, LongStyle.UDH_8BIT, 160, 1),
        ("a" * 161, LongStyle.UDH_8BIT, 161, 2),
        ("a" * 306, LongStyle.UDH_8BIT, 306, 2),
        ("a" * 307, LongStyle.UDH_8BIT, 307, 3),
        ("a" * 304, LongStyle.UDH_16BIT, 304, 2),
        ("a" * 305, LongStyle.UDH_16BIT, 305, 3),
        ("я" * 70, LongStyle.UDH_8BIT, 70, 1),
        ("я" * 71, LongStyle.UDH_8BIT, 71, 2),
        ("я" * 134, LongStyle.UDH_8BIT, 134, 2),
        ("я" * 135, LongStyle.UDH_8BIT, 135, 3),
        ("€" * 80, LongStyle.UDH_8BIT, 160, 1),
        ("a" * 152 + "€" + "a" * 152, LongStyle.UDH_8BIT, 306, 3),
        ("я" * 66 + PILE + "я" * 66, LongStyle.UDH_8BIT, 134, 3),
    ],
)
def test_the_known_borders(text: str, style: LongStyle, units: int, parts: int) -> None:
    shape = measure(OpenBody(text.encode()), style)
    assert (shape.units, shape.parts) == (units, parts)


@pytest.mark.parametrize("style", list(LongStyle))
def test_too_long_is_refused_never_shortened(style: LongStyle) -> None:
    fits, over = OpenBody(b"a" * 300), OpenBody(b"a" * 307)
    assert len(segment(fits, 1, style, 2)) == (1 if style is LongStyle.PAYLOAD else 2)
    for refuse in (lambda: segment(over, 1, style, 2), lambda: measure(over, style, 2)):
        with pytest.raises(TextError) as caught:
            refuse()
        assert caught.value.reason is TextReason.TOO_MANY_PARTS
    with pytest.raises(TextError):
        segment(OpenBody(b"a" * (256 * 153)), 1, style, 10_000)


def test_not_utf8_is_refused_and_the_error_holds_nothing() -> None:
    with pytest.raises(TextError) as caught:
        segment(OpenBody(b"secret \xff"), 1)
    assert caught.value.reason is TextReason.NOT_UTF8
    assert caught.value.__context__ is None


@given(st.integers(0, 0xFFFF), st.integers(1, 255), st.booleans())
def test_headers_round_trip(reference: int, total: int, wide: bool) -> None:
    concat = Concat(reference if wide else reference & 0xFF, total, (total + 1) // 2, wide)
    header = user_data_header(concat)
    assert split_header(header + b"rest") == (concat, len(header))


def test_a_reference_that_does_not_fit_is_refused() -> None:
    for concat in (Concat(256, 2, 1), Concat(65_536, 2, 1, wide=True), Concat(-1, 2, 1)):
        with pytest.raises(TextError):
            user_data_header(concat)


@given(st.binary(max_size=60))
def test_headers_are_read_totally(octets: bytes) -> None:
    try:
        concat, at = split_header(octets)
    except ReassemblyError:
        assert octets == b"" or octets[0] > 0
    else:
        assert 1 <= at <= len(octets)
        assert concat is None or 1 <= concat.number <= concat.total
        assert raw(take_header(OpenBody(octets))[1]) == octets[at:]


def test_other_header_elements_are_skipped() -> None:
    header = bytes([11, 0x05, 4, 0, 80, 0, 0, 0x00, 3, 7, 2, 1])
    assert split_header(header + b"x") == (Concat(7, 2, 1), 12)


def part(number: int, total: int = 3, reference: int = 1, octets: bytes = b"ab", coding: int = 0) -> Part:
    return Part(ALICE, NO_ADDRESS, OpenBody(octets), coding, Concat(reference, total, number))


def test_a_part_delivered_again_changes_nothing_and_completes_again() -> None:
    box = Reassembler()
    assert [box.offer(part(n), 0) for n in (1, 1, 2)] == [None] * 3
    assert box.held_octets == 4
    last = part(3)
    first, again = box.offer(last, 0), box.offer(part(3), 0)
    assert first is not None
    assert again is not None
    assert raw(first) == raw(again) == b"ababab"
    box.finish(last)
    box.finish(last)
    assert (box.unfinished, box.held_octets) == (0, 0)


@pytest.mark.parametrize("wrong", [part(2, total=4), part(2, coding=8)])
def test_parts_that_do_not_fit_are_refused(wrong: Part) -> None:
    box = Reassembler()
    box.offer(part(1), 0)
    with pytest.raises(ReassemblyError) as caught:
        box.offer(wrong, 0)
    assert caught.value.reason is ReassemblyReason.INCONSISTENT
    assert box.held_octets == 2
    for number in (0, 4):
        with pytest.raises(ReassemblyError):
            box.offer(part(number), 0)


def test_it_is_bounded_and_forgets_in_time() -> None:
    box = Reassembler(timeout_ms=1_000, max_unfinished=2, max_octets=5)
    box.offer(part(1, reference=1), 0)
    box.offer(part(1, reference=2), 500)
    for full in (part(1, reference=3), part(2, reference=1)):
        with pytest.raises(ReassemblyError) as caught:
            box.offer(full, 500)
        assert caught.value.reason is ReassemblyReason.FULL
    assert (box.unfinished, box.held_octets) == (2, 4)
    assert box.expire(999) == 0
    assert box.expire(1_000) == 1
    assert (box.unfinished, box.held_octets) == (1, 2)
    box.offer(part(1, reference=3), 1_000)


def test_sar_that_is_half_there_is_refused() -> None:
    (one, _) = segment(OpenBody(b"a" * 200), 7, LongStyle.SAR)
    half = Segment(one.octets, 0, tlvs=one.tlvs[:2])
    with pytest.raises(ReassemblyError):
        part_of(submit_of(half))
    assert part_of(submit_of(one)).concat == Concat(7, 2, 1, wide=True)


@given(st.lists(st.binary(max_size=30), max_size=5), st.integers(0, 255))
def test_inbound_text_is_total(pieces: list[bytes], coding: int) -> None:
    whole = join([OpenBody(piece) for piece in pieces])
    assert raw(whole) == b"".join(pieces)
    try:
        raw(to_text(whole, coding)).decode("utf-8")
    except TextError:
        assert coding not in {0x00, 0x01, 0x03, 0x08, 0xF0, 0xF1}
