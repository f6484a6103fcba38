"""The protection of a path: the minimum of what the channel can ever have and of how the body came to us."""

from collections.abc import Iterable, Mapping
from typing import Final

from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.protection import Protection, weakest
from letterlock.policy.facts import Envelope

READABLE: Final = (Protection.CLEAR, Protection.HOP, Protection.PROVIDER, Protection.UNKNOWN)
"""Paths on which somebody who is neither an endpoint, nor an enclave, nor a disclosed quorum can read."""
UNCERTAIN: Final = (Protection.CLEAR, Protection.HOP, Protection.UNKNOWN)
"""What a failure that anybody could have made up must never lead to."""

STRENGTH: Final[dict[Protection, int]] = {
    word: place
    for place, word in enumerate(
        (
            Protection.E2EE,
            Protection.ESCROWED,
            Protection.ENCLAVE,
            Protection.PROVIDER,
            Protection.HOP,
            Protection.CLEAR,
            Protection.UNKNOWN,
        )
    )
}
"""For putting channels in order only; whether one may be used is a question for ``permits``."""

Paths = Mapping[Channel, Protection]


def sealed_paths(rows: Iterable[CapabilityRow]) -> dict[Channel, Protection]:
    """The path of a sealed body on each channel: what the channel's row says it can have at best."""
    return {row.channel: row.ceiling for row in rows}


def open_paths(rows: Iterable[CapabilityRow]) -> dict[Channel, Protection]:
    """The path of a body that reached us readable: at most PROVIDER, with this gateway as reader."""
    return {row.channel: weakest((row.ceiling, Protection.PROVIDER)) for row in rows}


def least(protections: Iterable[Protection]) -> Protection:
    """The weakest of several channels, any one of which may be used."""
    return max(protections, key=STRENGTH.__getitem__)


def paths_of(envelope: Envelope, sealed: Paths, readable: Paths) -> Paths:
    """The paths for an envelope: a readable body's own, else those of a sealed one."""
    return sealed if envelope is Envelope.SEALED else readable
