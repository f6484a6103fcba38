"""How often key packages are claimed: by pair, by claimer, of a target, and of accounts never met before (A23).

All in memory: a restart forgets, and so does a table that is full (whoever was idle longest).
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import unique
from typing import Any, Final, NamedTuple

from letterlock.model.clock import Clock
from letterlock.model.errors import Reason
from letterlock.relay.limits import (
    CLAIM_WINDOW_MS,
    CLAIMS_BY_CLAIMER,
    CLAIMS_OF_TARGET,
    CLAIMS_PER_HOUR,
    FIRST_CONTACT_WINDOW_MS,
    FIRST_CONTACTS,
    MAX_CLAIM_PAIRS,
)

Name = tuple[int, bytes]


@unique
class ClaimLimit(Reason):
    """Which limit a claim met."""

    PAIR = "pair"
    CLAIMER = "claimer"
    TARGET = "target"
    FIRST_CONTACT = "first_contact"


class Verdict(NamedTuple):
    """What is said of a claim.

    Attributes:
        wait_s: seconds to wait; 0: go ahead.
        note: whether this is the first refusal of its window, and so a finding.
        limit: which limit was met.
    """

    wait_s: int
    note: bool = False
    limit: ClaimLimit | None = None


GO_AHEAD: Final = Verdict(0)


@dataclass(slots=True)
class _Pair:
    times: deque[int]
    noted: bool = False


class _Buckets:
    """A number of takes at once, and as many again over a window, for each name (a leaky bucket)."""

    def __init__(self, takes: int, window_ms: int, limit: int) -> None:
        self._takes = takes
        self._window_ms = window_ms
        self._limit = limit
        self._full_until: OrderedDict[Name, float] = OrderedDict()
        self._noted: OrderedDict[Name, int] = OrderedDict()

    def wait_ms(self, name: Name, now: int) -> float:
        """How long until there is room for one more."""
        step = self._window_ms / self._takes
        return max(0.0, max(self._full_until.get(name, 0.0), now) + step - now - self._window_ms)

    def take(self, name: Name, now: int) -> None:
        """Counts one."""
        at = max(self._full_until.pop(name, 0.0), now) + self._window_ms / self._takes
        _make_room(self._full_until, self._limit)
        self._full_until[name] = at

    def notes(self, name: Name, now: int) -> bool:
        """Whether a refusal is the first of its window."""
        if self._noted.get(name, -1) > now:
            return False
        self._noted.pop(name, None)
        _make_room(self._noted, self._limit)
        self._noted[name] = now + self._window_ms
        return True


class ClaimQuota:
    """Counts claims. A claim that is refused counts nowhere.

    Args:
        clock: steady time.
        limit: pairs, and names of each other kind, in memory.
    """

    def __init__(self, clock: Clock, limit: int = MAX_CLAIM_PAIRS) -> None:
        self._clock = clock
        self._limit = limit
        self._pairs: OrderedDict[tuple[int, bytes, bytes], _Pair] = OrderedDict()
        self._claimers = _Buckets(CLAIMS_BY_CLAIMER, CLAIM_WINDOW_MS, limit)
        self._targets = _Buckets(CLAIMS_OF_TARGET, CLAIM_WINDOW_MS, limit)
        self._strangers = _Buckets(FIRST_CONTACTS, FIRST_CONTACT_WINDOW_MS, limit)

    def take(self, tenant: int, claimer: bytes, target: bytes) -> Verdict:
        """Counts a claim of one account on another, or says which limit it meets."""
        now = self._clock.monotonic_ms()
        key = (tenant, claimer, target)
        pair = self._pairs.get(key)
        if pair is not None:
            self._pairs.move_to_end(key)
            times = pair.times
            while times and times[0] <= now - CLAIM_WINDOW_MS:
                times.popleft()
            if len(times) >= CLAIMS_PER_HOUR:
                first, pair.noted = not pair.noted, True
                return Verdict(_seconds(times[0] + CLAIM_WINDOW_MS - now), first, ClaimLimit.PAIR)
        mine = (tenant, claimer)
        buckets = [(self._claimers, mine, ClaimLimit.CLAIMER)]
        if claimer != target:
            # One's own other devices are nobody's target, and no strangers.
            buckets.append((self._targets, (tenant, target), ClaimLimit.TARGET))
            if pair is None:
                buckets.append((self._strangers, mine, ClaimLimit.FIRST_CONTACT))
        for bucket, name, limit in buckets:
            wait = bucket.wait_ms(name, now)
            if wait > 0:
                return Verdict(_seconds(wait), bucket.notes(name, now), limit)
        for bucket, name, _ in buckets:
            bucket.take(name, now)
        if pair is None:
            _make_room(self._pairs, self._limit)
            pair = self._pairs[key] = _Pair(deque())
        pair.times.append(now)
        pair.noted = False
        return GO_AHEAD


def _seconds(milliseconds: float) -> int:
    return max(1, int(-(-milliseconds // 1_000)))


def _make_room(table: OrderedDict[Any, Any], limit: int) -> None:
    if len(table) >= limit:
        table.popitem(last=False)
