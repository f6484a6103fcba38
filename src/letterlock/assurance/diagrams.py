"""Transition tables as Mermaid state diagrams: the documents show them, and tests compare the pages with the tables."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


def diagram(transitions: Mapping[S, Mapping[E, S]], first: S) -> str:
    """The diagram of a table that begins in one state; states that nothing leads out of are its ends."""
    lines = ["stateDiagram-v2", f"    [*] --> {first.value}"]
    for state, row in transitions.items():
        lines += [f"    {state.value} --> {after.value}: {event.value}" for event, after in row.items()]
    lines += [f"    {state.value} --> [*]" for state, row in transitions.items() if not row]
    return "\n".join(lines) + "\n"
