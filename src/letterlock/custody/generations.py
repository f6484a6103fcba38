"""When storage keys begin, end and go: pure transitions, with the time as an argument.

A row is sealed under the key of the ten minutes in which it came. When those are over, the rows that are still
there move to the day's key, then to the month's, from month to month; a row under a legal hold moves to the
hold key of its month. When no row refers to an ended key any more, it is destroyed, and with it every copy of
every deleted row that was sealed under it, wherever that copy lies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

MINUTE_MS: Final = 60_000
DAY_MS: Final = 24 * 60 * MINUTE_MS
LEAD_MS: Final = MINUTE_MS
"""The next ten-minute key is made and synced this long before it is needed, so that no message waits for it."""
SEAL_GRACE_MS: Final = 30_000
"""How long after its end a commit may still bring rows under a key: longer than the writer's queue may be old."""
DESTROY_GRACE_MS: Final = 60_000
"""How long after its end a key is left alone: longer than :data:`SEAL_GRACE_MS`, for clocks are not exact."""


@unique
class Tier(Enum):
    """How long a key of this kind takes new rows."""

    TEN_MINUTES = "ten_minutes"
    DAY = "day"
    MONTH = "month"
    """30 days, counted from 1970-01-01 UTC."""
    HOLD = "hold"
    """30 days too: rows deleted after a hold are gone at its end at the latest."""


LENGTH_MS: Final = {
    Tier.TEN_MINUTES: 10 * MINUTE_MS,
    Tier.DAY: DAY_MS,
    Tier.MONTH: 30 * DAY_MS,
    Tier.HOLD: 30 * DAY_MS,
}
SUCCESSOR: Final = {
    Tier.TEN_MINUTES: Tier.DAY,
    Tier.DAY: Tier.MONTH,
    Tier.MONTH: Tier.MONTH,
    Tier.HOLD: Tier.DAY,
}
"""Where the rows of an ended key go that are not under a hold."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One storage key's place in time.

    Attributes:
        number: never reused.
        tier: which window it serves.
        begins_ms: start of the window, wall time.
        ends_ms: its end, exclusive.
    """

    number: int
    tier: Tier
    begins_ms: int
    ends_ms: int

    def serves(self, now_ms: int) -> bool:
        """Whether new rows may be sealed under it now."""
        return self.begins_ms <= now_ms < self.ends_ms

    def accepts(self, now_ms: int) -> bool:
        """Whether a commit may bring rows sealed under it now."""
        return self.begins_ms - LEAD_MS <= now_ms < self.ends_ms + SEAL_GRACE_MS

    def is_over(self, now_ms: int) -> bool:
        """Whether its rows must move on. A window far in the future comes from a wrong clock, and is over too."""
        return now_ms >= self.ends_ms + DESTROY_GRACE_MS or now_ms < self.begins_ms - LEAD_MS - DESTROY_GRACE_MS


@dataclass(frozen=True, slots=True)
class References:
    """How many rows refer to one generation.

    Attributes:
        free: rows not under a hold.
        held: rows under a hold.
    """

    free: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class Create:
    """Make and sync a key for this window."""

    tier: Tier
    begins_ms: int
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Rewrap:
    """Move the rows of one generation to another: those under a hold, or those that are not."""

    source: int
    target: int
    held: bool


@dataclass(frozen=True, slots=True)
class Destroy:
    """Destroy the key; no row refers to it."""

    generation: int


Action = Create | Rewrap | Destroy


def window(tier: Tier, now_ms: int) -> Create:
    """The window of a tier that a time falls in; windows are counted from 1970-01-01 UTC."""
    begins = now_ms - now_ms % LENGTH_MS[tier]
    return Create(tier, begins, begins + LENGTH_MS[tier])


def serving(generations: Iterable[Generation], tier: Tier, now_ms: int) -> Generation | None:
    """The generation of a tier that takes rows now: the newest, if there are several."""
    fit = (g for g in generations if g.tier is tier and g.serves(now_ms))
    return max(fit, key=lambda g: g.number, default=None)


def plan(generations: Iterable[Generation], now_ms: int, references: Mapping[int, References]) -> tuple[Action, ...]:
    """What is to be done now, given every live generation and a count of the rows that refer to each.

    The plan depends on nothing but durable state, so after a crash at any point it is simply asked for again.
    A rewrap appears only when its target exists, and a destruction only when no row refers to the key; so
    carrying out one plan can make the next one, until it is empty.
    """
    known = tuple(generations)
    wanted: dict[Tier, Create] = {}
    moves: list[Rewrap] = []
    ends: list[Destroy] = []
    for tier_window in (window(Tier.TEN_MINUTES, now_ms), window(Tier.TEN_MINUTES, now_ms + LEAD_MS)):
        if serving(known, Tier.TEN_MINUTES, max(now_ms, tier_window.begins_ms)) is None:
            wanted.setdefault(Tier.TEN_MINUTES, tier_window)
    for generation in sorted(known, key=lambda g: g.number):
        if not generation.is_over(now_ms):
            continue
        count = references.get(generation.number, References())
        if not count.free and not count.held:
            ends.append(Destroy(generation.number))
        for rows, held, tier in (
            (count.free, False, SUCCESSOR[generation.tier]),
            (count.held, True, Tier.HOLD),
        ):
            if not rows:
                continue
            target = serving(known, tier, now_ms)
            if target is None:
                wanted.setdefault(tier, window(tier, now_ms))
            else:
                moves.append(Rewrap(generation.number, target.number, held))
    return (*wanted.values(), *moves, *ends)
