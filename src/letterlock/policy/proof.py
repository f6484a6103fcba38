"""The proof at load: every cell is decided and every guard asked, and the table that was proven is what runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.protection import EvidenceGrade
from letterlock.policy.decision import Decision
from letterlock.policy.errors import Place, PolicyError, PolicyReason
from letterlock.policy.evaluate import Ground, graded, route
from letterlock.policy.explain import Explanation, explain
from letterlock.policy.facts import BLOCK, CELLS, SEALED_CELLS, Cell, Envelope, Facts, cells
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
    everything = cells()
    # Evidence opens no path, so sealed cells are routed and guarded for one grade and then shown for each.
    sealed = _routed(ground, everything[:BLOCK])
    table: list[Decision] = []
    for start, grade in zip(range(0, SEALED_CELLS, BLOCK), EvidenceGrade, strict=True):
        table += _shown(ground, everything[start : start + BLOCK], sealed, grade)
    rest = everything[SEALED_CELLS:]
    table += _shown(ground, rest, _routed(ground, rest), EvidenceGrade.NONE)
    used = {decision.rule for decision in ground.made.values()}
    unused = tuple(rule.id for rule in policy.allow if f"allow.{rule.id}" not in used)
    return ProvenPolicy(policy, listed, digest(policy), unused, ground, tuple(table))


def _routed(ground: Ground, part: Sequence[Cell]) -> list[Decision]:
    """Where the messages of these cells may go, with every guard on that asked in every cell."""
    asked = {one.name: tuple(guard for guard in PATH_GUARDS if one in guard.about) for one in Envelope}
    decisions: list[Decision] = []
    for cell in part:
        decision = route(ground, cell)
        for guard in asked[cell.envelope.name]:
            if not guard.holds(ground, cell, decision):
                raise _broken(guard, cell, decision)
        decisions.append(decision)
    return decisions


def _shown(ground: Ground, part: Sequence[Cell], routed: Sequence[Decision], grade: EvidenceGrade) -> list[Decision]:
    """The same decisions as they are shown and handled with this evidence, each different one guarded once."""
    known: dict[tuple[int, int], Decision] = {}
    decisions: list[Decision] = []
    for cell, before in zip(part, routed, strict=True):
        # Equal decisions are one object, kept alive by `ground.made`: its id names it, and costs nothing to hash.
        key = (id(cell.envelope), id(before))
        decision = known.get(key)
        if decision is None:
            decision = known[key] = graded(ground, before, grade)
            for guard in HANDLING_GUARDS:
                if not guard.holds(cell.envelope, grade, decision):
                    raise _broken(guard, cell, decision)
        decisions.append(decision)
    return decisions


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
