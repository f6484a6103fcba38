"""The confusion matrix: what messages were, against what was shown of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from letterlock.lab.scenarios.truth import Shown, Truth

ENOUGH: Final = 0.99
"""Of those whose truth can be proven, so many are shown as such."""


@dataclass(slots=True)
class Matrix:
    """Counts of one surface.

    Attributes:
        surface: where it was shown.
        expected: what a truth deserves there; more than that is too high.
    """

    surface: str
    expected: Callable[[Truth], Shown]
    counts: Counter[tuple[Truth, Shown]] = field(default_factory=Counter)

    def add(self, truth: Truth, shown: Shown) -> None:
        """One message."""
        self.counts[truth, shown] += 1

    def total(self, shown: Shown) -> int:
        """How many were shown so."""
        return sum(count for (_, word), count in self.counts.items() if word is shown)

    @property
    def messages(self) -> int:
        """All messages."""
        return self.counts.total()

    @property
    def too_high(self) -> int:
        """Messages of which more was shown than is true: must be 0."""
        return sum(count for (truth, shown), count in self.counts.items() if shown > self.expected(truth))

    @property
    def exact(self) -> float:
        """The share of those above REFUSED in truth of which exactly that was shown."""
        deserving = [(key, count) for key, count in self.counts.items() if self.expected(key[0]) > Shown.REFUSED]
        right = sum(count for (truth, shown), count in deserving if shown is self.expected(truth))
        return right / max(1, sum(count for _, count in deserving))

    @property
    def holds(self) -> bool:
        """Nothing too high, and enough of the provable shown as such."""
        return not self.too_high and self.exact >= ENOUGH

    def table(self) -> Table:
        """For people."""
        title = f"{self.surface}: {self.messages} messages, {self.too_high} shown too high"
        shown = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        shown.add_column("what it was")
        for word in Shown:
            shown.add_column(word.name.lower().replace("_", "\n"), justify="right", no_wrap=True)
        shown.add_column("at most", no_wrap=True)
        for truth in Truth:
            row = [self.counts[truth, word] for word in Shown]
            shown.add_row(truth.value, *(str(n or ".") for n in row), self.expected(truth).name.lower())
        return shown
