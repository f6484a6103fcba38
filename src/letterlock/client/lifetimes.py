"""How long a leaf made for a key package may stand (RFC 9420, sections 7.2 and 7.3). Pure; time is an argument.

A key package that nobody used keeps a private key waiting; the longer it may wait, the longer a stolen one is good.
So a lifetime is bounded, and a leaf outside its own is not taken into a group. A leaf that a commit of its owner has
replaced carries no lifetime any more: whoever stays in a group refreshes its keys before the year is over.
"""

from typing import Final

from letterlock.client.errors import GateError, GateReason

MAX_LIFETIME_S: Final = 366 * 24 * 3600
"""The longest lifetime taken: a year, as the engine in use makes them. RFC 9420, section 7.2, demands a bound."""
SKEW_S: Final = 3600
"""How far two devices' clocks may lie apart; a package may say that much too. Phones' clocks are set by networks."""
LATE_S: Final = 30 * 24 * 3600
"""How long a commit or welcome may have waited in a mailbox: docs/protocol/devices.md, MAILBOX_TTL."""

Lifetime = tuple[int, int]
"""``not_before`` and ``not_after``, seconds since 1970 UTC."""


def check(lifetime: Lifetime | None, now_ms: int, late_s: int = 0) -> None:
    """Returns only when a leaf may be taken now.

    Args:
        lifetime: of the leaf; None for one that its owner's commit has replaced.
        now_ms: milliseconds UTC.
        late_s: how much earlier it may have been taken by those who sent it.

    Raises:
        GateError: LIFETIME_TOO_LONG (also one that ends before it begins), NOT_YET_VALID, EXPIRED.
    """
    if lifetime is None:
        return
    start, end = lifetime
    now = now_ms // 1000
    if not 0 <= end - start <= MAX_LIFETIME_S + SKEW_S:
        raise GateError(GateReason.LIFETIME_TOO_LONG)
    if start > now + SKEW_S:
        raise GateError(GateReason.NOT_YET_VALID, ahead_s=start - now)
    if end < now - SKEW_S - late_s:
        raise GateError(GateReason.EXPIRED, since_s=now - end)
