"""The engine adapters that ship. A device gets its engine from this table, by name, and from nowhere else.

Each of them runs the conformance suite (``tests/engines``), which goes over this very table.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from letterlock.client.engine import EngineFactory
from letterlock.client.errors import EngineError, EngineReason
from letterlock.client.rine import RineEngine

DEFAULT: Final = "rine-mls"

ENGINES: Final[Mapping[str, EngineFactory]] = MappingProxyType({DEFAULT: RineEngine})
"""Adapters by the name that they report in their capabilities."""


def choose(name: str = DEFAULT) -> EngineFactory:
    """The adapter of this name.

    Raises:
        EngineError: UNKNOWN_ENGINE.
    """
    found = ENGINES.get(name)
    if found is None:
        raise EngineError(EngineReason.UNKNOWN_ENGINE)
    return found
