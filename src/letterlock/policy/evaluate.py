"""The rules: what a policy file says about one cell. They follow the file to the letter, however bad it is.

That a file says nothing forbidden is for the guards to find out, when the file is proven.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.protection import EvidenceGrade, Protection, permits
from letterlock.policy.decision import EVIDENCE_SHOWN, PATH_SHOWN, Action, Decision, Fall, Indicator, Refusal, State
from letterlock.policy.facts import Answer, Cause, Cell, Envelope, Submission, Traffic, Wish
from letterlock.policy.paths import STRENGTH, UNCERTAIN, Paths, least, open_paths, paths_of, sealed_paths
from letterlock.policy.schema import AllowedFall, ClaimResponse, FallResponse, Policy, Rule

MINUTE_MS: Final = 60_000
_SIDEWAYS: Final = (Protection.ENCLAVE, Protection.ESCROWED)
_CLAIM_REFUSALS: Final = {
    Envelope.CONTRADICTION: Refusal.CLAIM_CONTRADICTS_BODY,
    Envelope.MALFORMED: Refusal.E2EE_NOT_FRAMED,
    Envelope.UNFRAMED: Refusal.E2EE_NOT_FRAMED,
    Envelope.FOREIGN: Refusal.CLAIM_NOT_AUTHORISED,
}
_CAUSE_REFUSALS: Final = {
    Cause.NONE: Refusal.BELOW_FLOOR,
    Cause.NOT_REACHABLE_ATTESTED: Refusal.BELOW_FLOOR,
    Cause.SECURE_FAILED: Refusal.BELOW_FLOOR,
    Cause.UNAUTHENTICATED_FAILURE: Refusal.FAILURE_NOT_AUTHENTICATED,
}
_FELL: Final = {
    Answer.NONE: Indicator.FELL_BY_POLICY,
    Answer.TENANT_ASSERTED: Indicator.FELL_BY_TENANT,
    Answer.DEVICE_SIGNED: Indicator.FELL_BY_DEVICE,
}


class Standing(NamedTuple):
    """How a message stands before anybody's answer is looked at.

    Attributes:
        paths: the protection on each channel for a body of this kind.
        listed: the available channels that the file lists for this kind of message, in order of preference.
        candidates: those of them that the cause leaves.
        good: those of them that every floor permits.
        floors: the floors in force.
    """

    paths: Paths
    listed: list[Channel]
    candidates: list[Channel]
    good: list[Channel]
    floors: tuple[Protection, ...]


@dataclass(frozen=True, slots=True)
class Ground:
    """A policy beside the rows that it was read for, with what follows from both worked out once."""

    policy: Policy
    sealed: Paths
    readable: Paths
    rules: dict[State, Rule]
    made: dict[object, Decision] = field(default_factory=dict[object, Decision], repr=False)
    """Decisions made so far: a table of thousands of cells holds a few dozen different ones."""

    stood: dict[object, Standing] = field(default_factory=dict[object, Standing], repr=False)
    """Standings worked out so far."""

    @classmethod
    def of(cls, policy: Policy, rows: Iterable[CapabilityRow]) -> "Ground":
        """Works it out."""
        listed = tuple(rows)
        rules = {state: policy.rules[getattr(policy.states, state.value)] for state in State}
        return cls(policy, sealed_paths(listed), open_paths(listed), rules)

    def candidates(self, cell: Cell) -> list[Channel]:
        """The available channels that the file lists for this kind of message, in order of preference."""
        routing = self.policy.routing
        if cell.envelope is Envelope.SEALED:
            listed = routing.sealed
        else:
            listed = routing.conversation if cell.traffic is Traffic.CONVERSATION else routing.notification
        found = [channel for channel in listed if channel in cell.ways.channels]
        if self.policy.e2ee_first:
            paths = paths_of(cell.envelope, self.sealed, self.readable)
            found.sort(key=lambda channel: STRENGTH[paths[channel]])
        return found

    def floors(self, cell: Cell) -> tuple[Protection, ...]:
        """The floors in force: the recorded one or the policy's, and E2EE where the toggle says so."""
        conversation = cell.traffic is Traffic.CONVERSATION
        floor = cell.floor
        if floor is Protection.UNKNOWN:
            floor = self.policy.floors.conversation if conversation else self.policy.floors.notification
        return (floor, Protection.E2EE) if self.policy.e2ee_first and conversation else (floor,)


def evaluate(ground: Ground, cell: Cell) -> Decision:
    """What the file says about a cell. Total: every cell has a decision."""
    return graded(ground, route(ground, cell), cell.grade)


def route(ground: Ground, cell: Cell) -> Decision:
    """The decision as for a message without evidence: the grade of the cell is never looked at."""
    if cell.envelope is Envelope.SEALED or cell.envelope is Envelope.OPEN:
        return _routed(ground, cell)
    return _stray(ground, cell)


def graded(ground: Ground, routed: Decision, grade: EvidenceGrade) -> Decision:
    """The same decision shown as far as the evidence carries: nothing but the indicator changes."""
    if routed.indicator is not Indicator.E2EE_CLAIMED or grade.rank < ground.rules[routed.state].show_from.rank:
        return routed
    indicator = EVIDENCE_SHOWN[grade]
    if indicator is Indicator.E2EE_CLAIMED:
        indicator = Indicator.E2EE_FRAMED  # what the file asks for; the guard on evidence refuses it
    key = (id(routed), id(indicator))  # `made` keeps the routed decision alive
    known = ground.made.get(key)
    if known is None:
        known = ground.made[key] = replace(routed, indicator=indicator)
    return known


def _stray(ground: Ground, cell: Cell) -> Decision:
    word = cell.envelope.name.lower()
    response: ClaimResponse = getattr(ground.policy.claims, word)
    rule = f"claims.{word}"
    refusal = _CLAIM_REFUSALS[cell.envelope]
    if response is ClaimResponse.DELIVER:
        return _deliver(ground, cell, list(ground.readable), Fall.NOT_A_FALL, rule)
    if response is ClaimResponse.QUARANTINE:
        return _stay(ground, cell, Action.QUARANTINE, refusal, rule)
    return _stay(ground, cell, Action.REFUSE, refusal, rule)


def _stand(ground: Ground, cell: Cell) -> Standing:
    made_up = cell.cause is Cause.UNAUTHENTICATED_FAILURE
    key = (cell.envelope is Envelope.SEALED, made_up, cell.ways.weight, id(cell.floor), id(cell.traffic))
    known = ground.stood.get(key)
    if known is not None:
        return known
    paths = paths_of(cell.envelope, ground.sealed, ground.readable)
    candidates = listed = ground.candidates(cell)
    if made_up and ground.policy.fallback.unauthenticated_failure in (FallResponse.HOLD, FallResponse.REFUSE):
        candidates = [channel for channel in listed if paths[channel] not in UNCERTAIN]
    floors = ground.floors(cell)
    good = [channel for channel in candidates if all(permits(floor, paths[channel]) for floor in floors)]
    ground.stood[key] = standing = Standing(paths, listed, candidates, good, floors)
    return standing


def _routed(ground: Ground, cell: Cell) -> Decision:
    policy = ground.policy
    standing = _stand(ground, cell)
    if standing.good:
        rule = "routing.sealed" if cell.envelope is Envelope.SEALED else f"routing.{cell.traffic.name.lower()}"
        return _deliver(ground, cell, standing.good, Fall.NOT_A_FALL, rule)
    device = cell.submission is Submission.DEVICE_SESSION
    accepted = cell.answer in (policy.consent.device_session if device else policy.consent.tenant_api)
    # Whoever holds a token is nobody known, so nobody's answer is theirs.
    accepted = accepted and cell.submission is not Submission.DELIVERY_TOKEN
    if standing.candidates and accepted and cell.cause is not Cause.UNAUTHENTICATED_FAILURE:
        rule = "consent.device_session" if device else "consent.tenant_api"
        return _deliver(ground, cell, standing.candidates, Fall.CONSENTED, rule)
    for allowed in policy.allow:
        if _applies(allowed, cell, standing):
            return _deliver(ground, cell, [allowed.channel], Fall.POLICY_ALLOWED, f"allow.{allowed.id}")
    return _respond(ground, cell, standing)


def _applies(rule: AllowedFall, cell: Cell, standing: Standing) -> bool:
    return (
        rule.traffic is cell.traffic
        and cell.cause in rule.causes
        and all(floor in rule.floors for floor in standing.floors)
        and rule.channel in standing.listed
    )


def _respond(ground: Ground, cell: Cell, standing: Standing) -> Decision:
    """Nothing permitted gets the message through: ask, hold or refuse, as file, sender and face have it."""
    fallback = ground.policy.fallback
    # For a sealed body, a readable channel is an offer only: the device would make the clear copy, as new traffic.
    offered = standing.candidates
    if not offered and cell.envelope is Envelope.SEALED:
        offered = [channel for channel in cell.ways.channels if channel in standing.paths]
    word = _situation(cell, offered, standing)
    response: FallResponse = getattr(fallback, word)
    rule = f"fallback.{word}"
    refusal = _CAUSE_REFUSALS[cell.cause]
    if word in ("no_route", "unexplained"):
        refusal = Refusal.NO_ROUTE if word == "no_route" else Refusal.SECURE_PATH_MISSING
    if response is FallResponse.DELIVER and offered:
        return _deliver(ground, cell, offered, Fall.NOT_A_FALL, rule)
    if response is FallResponse.ASK and cell.answer is not Answer.NONE and not standing.candidates:
        response = FallResponse.HOLD  # answered already: the device's clear copy is on its way, or never comes
    if response is FallResponse.ASK:
        if cell.wish is Wish.ASK_IMPOSSIBLE:
            response, rule = fallback.cannot_ask, "fallback.cannot_ask"
        elif cell.wish is Wish.HOLD:
            response = FallResponse.HOLD
        if response is FallResponse.ASK and offered and cell.wish is not Wish.REFUSE:
            return _stay(ground, cell, Action.ASK, Refusal.CONSENT_REQUIRED, rule, offered)
    if cell.wish is Wish.REFUSE or response is FallResponse.REFUSE:
        return _stay(ground, cell, Action.REFUSE, refusal, rule)
    return _stay(ground, cell, Action.HOLD, refusal, rule)


def _situation(cell: Cell, offered: list[Channel], standing: Standing) -> str:
    """Which word of the table ``fallback`` is asked."""
    if cell.cause is Cause.UNAUTHENTICATED_FAILURE:
        return "unauthenticated_failure"
    if not offered:
        return "no_route"
    between = any(floor in _SIDEWAYS for floor in standing.floors)
    if between and any(standing.paths[channel] in _SIDEWAYS for channel in standing.candidates):
        return "sideways"
    if cell.cause is not Cause.NONE:
        return cell.cause.name.lower()
    return "sender_choice" if standing.candidates else "unexplained"


def _deliver(ground: Ground, cell: Cell, channels: list[Channel], fall: Fall, rule: str) -> Decision:
    paths = paths_of(cell.envelope, ground.sealed, ground.readable)
    protection = least(paths[channel] for channel in channels)
    if cell.envelope is not Envelope.OPEN:
        state = State.E2EE
    else:
        state = State.CLEAR if protection in (Protection.CLEAR, Protection.UNKNOWN) else State.READABLE
    if fall is Fall.POLICY_ALLOWED:
        indicator = Indicator.FELL_BY_POLICY
    elif fall is Fall.CONSENTED:
        indicator = _FELL[cell.answer]
    elif protection is Protection.E2EE:
        indicator = Indicator.E2EE_CLAIMED
    else:
        indicator = PATH_SHOWN[protection]
    return _decide(ground, Action.DELIVER, state, indicator, rule, channels=channels, protection=protection, fall=fall)


def _stay(
    ground: Ground, cell: Cell, action: Action, refusal: Refusal, rule: str, offered: Sequence[Channel] = ()
) -> Decision:
    if action is Action.HOLD:
        state = State.HELD if cell.envelope is Envelope.OPEN else State.E2EE
        indicator = Indicator.HELD
    elif action is Action.QUARANTINE:
        state, indicator = State.QUARANTINED, Indicator.QUARANTINED
    else:
        state = State.REFUSED
        indicator = Indicator.NEEDS_ANSWER if action is Action.ASK else Indicator.REFUSED
    return _decide(ground, action, state, indicator, rule, refusal=refusal, offered=offered)


def _decide(
    ground: Ground,
    action: Action,
    state: State,
    indicator: Indicator,
    rule: str,
    *,
    channels: Sequence[Channel] = (),
    offered: Sequence[Channel] = (),
    protection: Protection | None = None,
    fall: Fall = Fall.NOT_A_FALL,
    refusal: Refusal | None = None,
) -> Decision:
    """The action with everything that the state's rule says, so that no behaviour is left behind."""
    # Members live as long as their enum, so their ids name them; hashing them would cost more than deciding.
    parts = (action, state, indicator, protection, fall, refusal, *channels, None, *offered)
    key = (rule, *map(id, parts))
    known = ground.made.get(key)
    if known is not None:
        return known
    handling = ground.rules[state]
    retention = handling.retention_minutes
    if action is Action.HOLD:
        retention = min(retention, ground.policy.fallback.hold_minutes)
    ground.made[key] = made = Decision(
        action=action,
        channels=tuple(channels),
        offered=tuple(offered),
        protection=protection,
        fall=fall,
        state=state,
        keep=handling.keep,
        keys=handling.keys,
        retention_ms=retention * MINUTE_MS,
        metadata_ms=handling.metadata_minutes * MINUTE_MS,
        log=frozenset(handling.log),
        analytics=handling.analytics,
        archive=handling.archive,
        indicator=indicator,
        rule=rule,
        refusal=refusal,
    )
    return made
