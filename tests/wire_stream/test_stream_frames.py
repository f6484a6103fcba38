"""The device stream's frames: round trips, totality, bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.wire import stream
from letterlock.wire.stream import FrameError, FrameReason

ids = st.binary(min_size=16, max_size=16)
u64 = st.integers(0, 2**64 - 1)
submissions = st.lists(
    st.builds(stream.Submission, st.sampled_from(stream.TargetKind), ids, ids, st.binary(max_size=300)),
    min_size=1,
    max_size=30,
)
deliveries = st.lists(
    st.builds(
        stream.Delivery,
        st.sampled_from(stream.ItemKind),
        ids,
        ids,
        u64,
        st.integers(0, 6),
        st.integers(0, 4),
        st.integers(0, 3),
        st.binary(max_size=300),
    ),
    min_size=1,
    max_size=30,
)


def deliver(first_seq: int, items: list[stream.Delivery]) -> bytes:
    parts: list[bytes] = []
    for d in items:
        head = stream.encode_delivery_item(
            d.kind, d.message_id, d.group_ref, d.accepted_ms, d.protection, d.grade, d.verifier, len(d.body)
        )
        parts += [head, d.body]
    return stream.encode_deliver(first_seq, parts, len(items))


@given(st.integers(0, 2**32 - 1), submissions, st.integers(0, stream.MAX_STATE_COUNTER))
def test_submit_round_trip(first_ref: int, items: list[stream.Submission], counter: int) -> None:
    frame = stream.encode_submit(first_ref, items, counter)
    assert stream.decode_client(frame) == stream.Submit(first_ref, tuple(items), counter)
    for cut in range(len(frame)):
        with pytest.raises(FrameError):
            stream.decode_client(frame[:cut])
    with pytest.raises(FrameError):
        stream.decode_client(frame + b"\0")
    with pytest.raises(FrameError):
        stream.decode_server(frame)


@given(u64, deliveries)
def test_deliver_round_trip(first_seq: int, items: list[stream.Delivery]) -> None:
    frame = deliver(first_seq, items)
    assert stream.decode_server(frame) == stream.Deliver(first_seq, tuple(items))
    with pytest.raises(FrameError):
        stream.decode_server(frame[:-1])
    with pytest.raises(FrameError):
        stream.decode_server(frame + b"\0")


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.sampled_from(stream.ResultStatus), ids, st.binary(min_size=32, max_size=32)), min_size=1),
)
def test_results_round_trip(first_ref: int, items: list[tuple[stream.ResultStatus, bytes, bytes]]) -> None:
    frame = stream.encode_results(first_ref, [(int(s), m, h) for s, m, h in items])
    assert stream.decode_server(frame) == stream.Results(first_ref, tuple(stream.Result(*item) for item in items))
    with pytest.raises(FrameError):
        stream.decode_server(frame[:-1])


def test_small_frames_round_trip() -> None:
    assert stream.decode_client(stream.encode_hello(7, 9, 5)) == stream.Hello(7, 9, 5)
    assert stream.decode_client(stream.encode_ack(2**63, 6)) == stream.Ack(2**63, 6)
    assert stream.decode_server(stream.encode_welcome(3, 4)) == stream.Welcome(3, 4)
    for code in stream.NoticeCode:
        assert stream.decode_server(stream.encode_notice(code)) == stream.Notice(code)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", FrameReason.TRUNCATED),
        (b"\x02\x02" + bytes(8), FrameReason.BAD_VERSION),
        (b"\x01\x7f", FrameReason.BAD_TYPE),
        (b"\x01\x02" + bytes(15), FrameReason.TRUNCATED),
        (b"\x01\x02" + bytes(17), FrameReason.TRAILING),
        (b"\x01\x00" + bytes(18), FrameReason.BAD_VALUE),
        (b"\x01\x00" + bytes(8) + b"\0\1" + b"\x80" + bytes(7), FrameReason.BAD_VALUE),
        (b"\x01\x02" + bytes(8) + b"\xff" * 8, FrameReason.BAD_VALUE),
        (b"\x01\x01" + bytes(14), FrameReason.TOO_MANY),
        (b"\x01\x01" + bytes(4) + b"\xff\xff" + bytes(8), FrameReason.TOO_MANY),
        (b"\x01\x01" + bytes(4) + b"\0\1" + bytes(8) + b"\x09" + bytes(36), FrameReason.BAD_VALUE),
        (b"\x01\x01" + bytes(4) + b"\0\1" + bytes(8) + b"\1" + bytes(32) + b"\xff" * 4, FrameReason.BODY_TOO_LONG),
        (b"\x01\x01" + bytes(4) + b"\0\1" + b"\x80" + bytes(7) + b"\1" + bytes(36), FrameReason.BAD_VALUE),
        (bytes(stream.MAX_FRAME + 1), FrameReason.TOO_LONG),
    ],
)
def test_refused_with_its_reason(frame: bytes, reason: FrameReason) -> None:
    with pytest.raises(FrameError) as caught:
        stream.decode_client(frame)
    assert caught.value.reason is reason


def test_encoders_keep_the_bounds() -> None:
    item = stream.Submission(stream.TargetKind.GROUP, bytes(16), bytes(16), bytes(stream.MAX_BODY))
    stream.encode_submit(0, [item])
    too_long = stream.Submission(stream.TargetKind.GROUP, bytes(16), bytes(16), bytes(stream.MAX_BODY + 1))
    with pytest.raises(FrameError):
        stream.encode_submit(0, [too_long])
    with pytest.raises(FrameError):
        stream.encode_submit(0, [item] * 20)
    with pytest.raises(FrameError):
        stream.encode_submit(0, [])


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x01\x01", b"\x01\x02", b"\x01\x82", b"\x01\x81"]))
def test_total(tail: bytes, head: bytes) -> None:
    for decode in (stream.decode_client, stream.decode_server):
        reason: object = FrameReason.TRAILING
        try:
            decode(head + tail)
        except FrameError as error:
            reason = error.reason
        assert isinstance(reason, FrameReason)
