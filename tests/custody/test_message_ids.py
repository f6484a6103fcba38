"""Message ids: a permutation of keys that lie together in time, and random to everybody without the key."""

import os
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from letterlock.custody.message_ids import MessageIds
from letterlock.model.ids import ID_BYTES
from letterlock.storage.sqlite.maintenance_ops import KEY_SHARDS
from letterlock.wire.stream import REFERENCE_TIME

AUTHOR = b"tenant and mailbox"
NOW_MS = 1_795_000_000_000
REFERENCE = st.binary(min_size=16, max_size=16)


def told(time_ms: int, rest: bytes = b"0123456789") -> bytes:
    return time_ms.to_bytes(REFERENCE_TIME, "big") + rest


@given(st.lists(REFERENCE, max_size=30))
def test_ids_are_turned_back_one_by_one_and_together(references: list[bytes]) -> None:
    ids = MessageIds(b"k" * 32)
    keys = [ids.key_of(AUTHOR, reference) for reference in references]
    outside = ids.outside(b"".join(keys))
    assert outside == b"".join(ids.outside(key) for key in keys)
    assert MessageIds(b"k" * 32).inside(outside) == b"".join(keys)
    assert len(set(keys)) == len(set(references))


@given(REFERENCE)
def test_one_reference_has_one_id_for_one_author_under_one_key(reference: bytes) -> None:
    ids = MessageIds(b"k" * 32)
    mine = ids.outside(ids.key_of(AUTHOR, reference))
    assert mine == ids.outside(ids.key_of(AUTHOR, reference))
    assert mine != ids.outside(ids.key_of(b"tenant and another", reference))
    others = MessageIds(b"l" * 32)
    assert mine != others.outside(others.key_of(AUTHOR, reference))


def test_keys_of_a_moment_lie_together_and_periods_apart() -> None:
    ids = MessageIds(b"k" * 32)
    start = NOW_MS >> 21 << 21
    later = [ids.key_of(AUTHOR, told(start + seconds * 1000, os.urandom(10))) for seconds in range(2_000)]
    assert later == sorted(later)
    assert len({key[:2] for key in later}) == 1
    # A week of periods: no part of the keys that a purge looks at holds much more than its share.
    week = [ids.key_of(AUTHOR, told(start + (period << 21))) for period in range(7 * 86_400_000 >> 21)]
    share = Counter(key[0] * KEY_SHARDS // 256 for key in week)
    assert max(share.values()) <= 2 * len(week) / KEY_SHARDS + 1


def test_what_goes_out_tells_nothing_of_the_time_or_the_order() -> None:
    ids = MessageIds(b"k" * 32)
    shown = [ids.outside(ids.key_of(AUTHOR, told(NOW_MS + at))) for at in range(4_096)]
    assert len({one[:2] for one in shown}) > 3_800
    ones = sum(int.from_bytes(one).bit_count() for one in shown)
    assert abs(ones / (len(shown) * ID_BYTES * 8) - 0.5) < 0.01
    ups = sum(one < after for one, after in pairwise(shown))
    assert abs(ups / len(shown) - 0.5) < 0.05
