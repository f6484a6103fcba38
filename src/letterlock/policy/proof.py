"""The proof at load: every cell is decided and every guard asked, and the table that was proven is what runs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, final

from letterlock.model.capability import CapabilityRow, Channel
from letterlock.policy.decision import Decision
from letterlock.policy.errors import Place, PolicyError, PolicyReason
from letterlock.policy.evaluate import Ground, evaluate
from letterlock.policy.explain import Explanation, explain
from letterlock.policy.facts import CELLS, Cell, Envelope, Facts, cells
from letterlock.policy.file import digest, read_policy
from letterlock.policy.guards import HANDLING_GUARDS, PATH_GUARDS, Guard
from letterlock.policy.schema import Policy

MAX_CELLS: Final = 250_000
"""Beyond this a load would take seconds: the classes of facts then want to be made coarser."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class ProvenPolicy:
    """A policy for which every guard holds in every cell. Made only by :func:`prove`.

    Attributes:
        policy: what the file says, profile filled in.
        rows: the capability rows that it was proven with; other rows need another proof.
        hash: SHA-256 of the canonical policy; consent is bound to it.
        unused: allowed falls of the file that no message can ever use.
    """

    policy: Policy
    rows: tuple[CapabilityRow, ...]
    hash: bytes
    unused: tuple[str, ...]
    _ground: Ground = field(repr=False)
    _table: tuple[Decision, ...] = field(repr=False)

    def decide(self, facts: Facts) -> Decision:
        """What may happen to a message: one look-up in the proven table."""
        return self._table[facts.key()]

    def explain(self, facts: Facts) -> Explanation:
        """The same decision with its rule and guards, in sentences."""
        key = facts.key()
        return explain(self._ground, cells()[key], self._table[key])

    def table(self) -> Iterable[tuple[Cell, Decision]]:
        """Every cell with its decision."""
        return zip(cells(), self._table, strict=True)


def prove(source: str | bytes, rows: Iterable[CapabilityRow]) -> ProvenPolicy:
    """Reads a policy file and proves it for these capability rows.

    Raises:
        PolicyError: the file is not a policy; or a guard fails, with the guard, the cell in words and the rule of
            the file that broke it.
    """
    listed = tuple(rows)
    policy = read_policy(source)
    _check_rows(policy, listed)
    if CELLS > MAX_CELLS:
        raise PolicyError(PolicyReason.TOO_MANY_CELLS, sentence=f"{CELLS} cells, at most {MAX_CELLS}")
    ground = Ground.of(policy, listed)
    table: list[Decision] = []
    handled: set[tuple[str, int]] = set()
    asked = {one.name: tuple(guard for guard in PATH_GUARDS if one in guard.about) for one in Envelope}
    for cell in cells():
        decision = evaluate(ground, cell)
        for guard in asked[cell.envelope.name]:
            if not guard.holds(ground, cell, decision):
                raise _broken(guard, cell, decision)
        # The same envelope with the same decision (one object in `ground.made`) is handled the same way.
        seen = (cell.envelope.name, id(decision))
        if seen not in handled:
            handled.add(seen)
            for handling in HANDLING_GUARDS:
                if not handling.holds(cell.envelope, decision):
                    raise _broken(handling, cell, decision)
        table.append(decision)
    used = {decision.rule for decision in ground.made.values()}
    unused = tuple(rule.id for rule in policy.allow if f"allow.{rule.id}" not in used)
    return ProvenPolicy(policy, listed, digest(policy), unused, ground, tuple(table))


def _broken(guard: Guard, cell: Cell, decision: Decision) -> PolicyError:
    return PolicyError(
        PolicyReason.GUARD_FAILED, guard=guard.id, sentence=guard.sentence, cell=cell, rule=decision.rule
    )


def _check_rows(policy: Policy, rows: tuple[CapabilityRow, ...]) -> None:
    known = [row.channel for row in rows]
    for channel in Channel:
        if known.count(channel) > 1:
            raise PolicyError(PolicyReason.REPEATED, sentence=f"two capability rows for {channel.value}")
    for word in policy.routing.__struct_fields__:
        for channel in getattr(policy.routing, word):
            if channel not in known:
                raise PolicyError(
                    PolicyReason.NO_ROW,
                    place=Place(f"routing.{word}"),
                    allowed=tuple(channel.value for channel in known),
                )
