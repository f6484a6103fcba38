"""Errors that are safe to print with a secret inside.

One error type per operation, each with a closed enum of reasons. What an error says is the reason's own text
and a few facts; a fact is an int, an enum or one of our ids, so no content, address or key can get in.
"""

from enum import Enum, StrEnum, unique
from typing import ClassVar, Generic, TypeVar

from letterlock.model.ids import Id


@unique
class Fault(Enum):
    """Whose fault an error is."""

    LOCAL = "local"
    """Ours: disk, configuration, a broken invariant."""
    PEER = "peer"
    """The other side sent something wrong."""
    POLICY = "policy"
    """Nothing is wrong; policy says no."""


class Reason(StrEnum):
    """Base of the closed reasons. The value is the stable code; :attr:`text` is for people."""

    @property
    def text(self) -> str:
        """The code as words."""
        return self.value.replace("_", " ")


Fact = int | Enum | Id
R = TypeVar("R", bound=Reason)


class LetterlockError(Exception):
    """Base of every error that the project raises on purpose."""

    fault: ClassVar[Fault] = Fault.LOCAL


class OperationError(LetterlockError, Generic[R]):
    """An operation failed for one of its closed reasons.

    Args:
        reason: which one.
        facts: numbers, enums and ids that help; anything else is a TypeError, for it could hold a secret.
    """

    def __init__(self, reason: R, **facts: Fact) -> None:
        for name, value in facts.items():
            if not isinstance(value, int | Enum | Id):
                raise TypeError(f"the fact {name!r} of an error must be an int, an enum or an id")
        self.reason: R = reason
        self.facts = facts
        super().__init__(reason.value)

    def __str__(self) -> str:
        told = ", ".join(f"{name} {_plain(value)}" for name, value in self.facts.items())
        return f"{self.reason.text} ({told})" if told else self.reason.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason.value})"


def _plain(value: Fact) -> str:
    return str(value.value) if isinstance(value, Enum) else str(value)
