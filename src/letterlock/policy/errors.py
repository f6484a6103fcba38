"""Why a policy file is not accepted: always with the place in the file, and with the cell where a guard failed."""

from dataclasses import dataclass
from typing import ClassVar

from letterlock.model.errors import Fault, OperationError, Reason
from letterlock.policy.facts import Cell


class PolicyReason(Reason):
    """The closed reasons."""

    TOO_LARGE = "file_too_large"
    NOT_UTF8 = "not_utf8"
    NOT_TOML = "not_toml"
    NEWER_SCHEMA = "newer_schema"
    UNKNOWN_PROFILE = "unknown_profile"
    UNKNOWN_KEY = "unknown_key"
    MISSING_KEY = "missing_key"
    WRONG_TYPE = "wrong_type"
    WRONG_WORD = "wrong_word"
    OUT_OF_BOUNDS = "out_of_bounds"
    REPEATED = "repeated"
    UNKNOWN_RULE = "unknown_rule"
    NO_ROW = "no_capability_row"
    TOO_MANY_CELLS = "too_many_cells"
    GUARD_FAILED = "guard_failed"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the file: a dotted name and its line, 0 where there is none. Values of the file are never kept."""

    key: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.key}, line {self.line}" if self.line else self.key


class PolicyError(OperationError[PolicyReason]):
    """A policy file is not accepted.

    The text names keys of the file, our own words and the cell, never a value that the file held.

    Attributes:
        place: where in the file.
        allowed: the right words, where a wrong one was found.
        guard: the id of the guard that failed.
        sentence: what that guard holds, or what else helps.
        cell: the class of messages for which it failed.
    """

    fault: ClassVar[Fault] = Fault.LOCAL

    def __init__(
        self,
        reason: PolicyReason,
        *,
        place: Place | None = None,
        allowed: tuple[str, ...] = (),
        guard: str = "",
        sentence: str = "",
        cell: Cell | None = None,
        rule: str = "",
    ) -> None:
        super().__init__(reason)
        self.place = place
        self.allowed = allowed
        self.guard = guard
        self.sentence = sentence
        self.cell = cell
        self.rule = rule

    def __str__(self) -> str:
        parts = [self.reason.text]
        if self.place is not None:
            parts.append(f"at {self.place}")
        if self.guard:
            parts.append(f'guard {self.guard}, "{self.sentence}"')
        elif self.sentence:
            parts.append(self.sentence)
        if self.rule:
            parts.append(f"broken by the rule {self.rule}")
        if self.cell is not None:
            parts.append(f"for {self.cell.words}")
        if self.allowed:
            parts.append("one of: " + ", ".join(self.allowed))
        return "; ".join(parts)
