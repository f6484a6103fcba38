"""A decision in sentences: what the message is, which rule spoke, what that comes to, which guards stood over it."""

from dataclasses import dataclass
from typing import Final

from letterlock.policy.decision import Action, Decision, Fall, Keep
from letterlock.policy.evaluate import MINUTE_MS, Ground
from letterlock.policy.facts import Cell
from letterlock.policy.guards import GUARDS

_KEPT: Final[dict[Keep, str]] = {
    Keep.NOTHING: "Nothing of the body is kept.",
    Keep.SEALED_UNTIL_DELIVERED: "The ciphertext is kept until it is delivered",
    Keep.SHREDDABLE_UNTIL_SENT: "The body is kept until it is sent, sealed under a key of its own",
    Keep.SHREDDABLE_WHILE_HELD: "The body is kept while it is held, sealed under a key of its own",
}
_FELL: Final[dict[Fall, str]] = {
    Fall.NOT_A_FALL: "That is no fall: no permitted channel is below the floor.",
    Fall.CONSENTED: "That is a fall, by the consent of a person.",
    Fall.POLICY_ALLOWED: "That is a fall, by a written rule",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a message gets what it gets.

    Attributes:
        decision: what it gets.
        rule: the rule of the policy file that said so.
        sentences: the reasons in order, for people.
        guards: id and sentence of each guard that was proven for this very cell.
    """

    decision: Decision
    rule: str
    sentences: tuple[str, ...]
    guards: tuple[tuple[str, str], ...]


def explain(ground: Ground, cell: Cell, decision: Decision) -> Explanation:
    """Puts a proven decision into sentences."""
    sentences = [f"The message is {cell.words}.", _outcome(decision)]
    if decision.action is Action.DELIVER:
        fell = _FELL[decision.fall]
        if decision.fall is Fall.POLICY_ALLOWED:
            reason = next(rule.reason for rule in ground.policy.allow if decision.rule == f"allow.{rule.id}")
            fell = f'{fell}, with the reason: "{reason}".'
        sentences.append(fell)
    kept = _KEPT[decision.keep]
    if decision.keep is not Keep.NOTHING:
        kept = f"{kept}, for {_span(decision.retention_ms)} at most."
    sentences += [
        kept,
        f"Rows about it are gone {_span(decision.metadata_ms)} after its end.",
        f"Analytics see {_plural(decision.analytics.value)}; archive: {decision.archive.value.replace('_', ' ')}.",
        f'People are shown: "{decision.indicator.text}"',
        f"The rule {decision.rule} of the policy {ground.policy.name} says so.",
    ]
    return Explanation(decision, decision.rule, tuple(sentences), tuple((g.id, g.sentence) for g in GUARDS))


def _outcome(decision: Decision) -> str:
    if decision.action is Action.DELIVER and decision.protection is not None:
        ways = ", then ".join(channel.value for channel in decision.channels)
        return f"It may go by {ways}; the least protection there is {decision.protection.value}."
    why = decision.refusal.text if decision.refusal is not None else "no reason"
    if decision.action is Action.ASK:
        offered = " or ".join(channel.value for channel in decision.offered)
        return f"It does not go: a question goes back, and a yes would open {offered} ({why})."
    done = {Action.HOLD: "is held", Action.REFUSE: "is refused", Action.QUARANTINE: "is set apart unopened"}
    return f"It does not go: it {done.get(decision.action, 'stays')} ({why})."


def _plural(word: str) -> str:
    return "nothing" if word == "none" else word


def _span(milliseconds: int) -> str:
    minutes = milliseconds // MINUTE_MS
    return "1 minute" if minutes == 1 else f"{minutes} minutes"
