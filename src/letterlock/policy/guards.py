"""The guards: what no policy can override. Each looks at one cell and what a file decided for it.

A guard reads the file only to find what it must hold against (the floor that is in force, the allowed falls that
were written down); it never asks the rules why they decided so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from letterlock.model.protection import EvidenceGrade, Protection, permits
from letterlock.model.traces import USUAL
from letterlock.policy.decision import (
    EVIDENCE_SHOWN,
    Action,
    Analytics,
    Archive,
    Decision,
    Fall,
    Indicator,
    Keep,
    Keys,
    LogField,
    Refusal,
)
from letterlock.policy.evaluate import MINUTE_MS, Ground
from letterlock.policy.facts import Answer, Cause, Cell, Envelope, Submission, Wish
from letterlock.policy.paths import READABLE, UNCERTAIN, least, paths_of

MAX_E2EE_METADATA_MINUTES: Final = 24 * 60
"""Short, for metadata of end-to-end encrypted messages: a day covers every repeated receipt that was seen."""
# Tuples, not sets: membership by identity is several times cheaper than hashing an enum.
_SHOWS_E2EE: Final = tuple(EVIDENCE_SHOWN.values())
_E2EE_ARCHIVE: Final = (Archive.NEVER, Archive.DEVICE_CONSENT)
_E2EE_ANALYTICS: Final = (Analytics.NONE, Analytics.COUNTS)
_E2EE_KEEP: Final = (Keep.NOTHING, Keep.SEALED_UNTIL_DELIVERED)
_SET_ASIDE: Final = (Action.REFUSE, Action.QUARANTINE)
_STRAY: Final = (Envelope.MALFORMED, Envelope.UNFRAMED, Envelope.FOREIGN)
_NOT_TAKEN: Final = (Action.ASK, Action.REFUSE)


@dataclass(frozen=True, slots=True)
class Guard:
    """One invariant.

    Attributes:
        id: its stable name.
        sentence: what it holds, for people.
    """

    id: str
    sentence: str


@dataclass(frozen=True, slots=True)
class PathGuard(Guard):
    """An invariant about where a message may go: asked of every cell of the envelopes that it is about.

    It looks neither at the grade of the cell nor at the indicator of the decision, for evidence opens no path.
    """

    holds: Callable[[Ground, Cell, Decision], bool]
    about: tuple[Envelope, ...] = tuple(Envelope)


@dataclass(frozen=True, slots=True)
class HandlingGuard(Guard):
    """An invariant about what is kept, logged and shown: asked once for each envelope, grade and decision."""

    holds: Callable[[Envelope, EvidenceGrade, Decision], bool]


def _path(ground: Ground, cell: Cell, decision: Decision) -> list[Protection]:
    paths = paths_of(cell.envelope, ground.sealed, ground.readable)
    return [paths[channel] for channel in decision.channels]


def _falls(ground: Ground, cell: Cell, decision: Decision) -> bool:
    """Whether any permitted channel is below a floor in force; sideways and to UNKNOWN count."""
    paths = _path(ground, cell, decision)
    return any(not permits(floor, path) for floor in ground.floors(cell) for path in paths)


def _contradiction(_: Ground, __: Cell, decision: Decision) -> bool:
    return decision.action is Action.REFUSE and decision.refusal is Refusal.CLAIM_CONTRADICTS_BODY


def _stray(_: Ground, __: Cell, decision: Decision) -> bool:
    return decision.action in _SET_ASIDE


def _sealed(ground: Ground, cell: Cell, decision: Decision) -> bool:
    return not decision.channels or all(path not in READABLE for path in _path(ground, cell, decision))


def _no_silent_fall(ground: Ground, cell: Cell, decision: Decision) -> bool:
    return not decision.channels or decision.fall is not Fall.NOT_A_FALL or not _falls(ground, cell, decision)


def _consent(_: Ground, cell: Cell, decision: Decision) -> bool:
    if decision.fall is not Fall.CONSENTED:
        return True
    if cell.submission is Submission.DELIVERY_TOKEN:
        return False
    if cell.submission is Submission.DEVICE_SESSION:
        return cell.answer is Answer.DEVICE_SIGNED
    return cell.answer is not Answer.NONE


def _allowed(ground: Ground, cell: Cell, decision: Decision) -> bool:
    return decision.fall is not Fall.POLICY_ALLOWED or any(
        decision.rule == f"allow.{rule.id}"
        and decision.channels == (rule.channel,)
        and cell.cause in rule.causes
        and rule.traffic is cell.traffic
        for rule in ground.policy.allow
    )


def _unknown(ground: Ground, cell: Cell, decision: Decision) -> bool:
    return (
        not decision.channels
        or decision.fall is Fall.CONSENTED
        or Protection.UNKNOWN not in _path(ground, cell, decision)
    )


def _made_up(ground: Ground, cell: Cell, decision: Decision) -> bool:
    if cell.cause is not Cause.UNAUTHENTICATED_FAILURE:
        return True
    if decision.fall is not Fall.NOT_A_FALL or decision.action is Action.ASK or decision.offered:
        return False
    return not decision.channels or all(path not in UNCERTAIN for path in _path(ground, cell, decision))


def _unexplained(ground: Ground, cell: Cell, decision: Decision) -> bool:
    return cell.cause is not Cause.NONE or all(ground.sealed[channel] not in READABLE for channel in decision.offered)


def _sealed_alone(ground: Ground, _: Cell, decision: Decision) -> bool:
    return ground.policy.metadata.traces == USUAL or decision.action is Action.REFUSE


def _asks(_: Ground, cell: Cell, decision: Decision) -> bool:
    return decision.action is not Action.ASK or cell.wish is Wish.ASK


def _sender(_: Ground, cell: Cell, decision: Decision) -> bool:
    return cell.wish is not Wish.REFUSE or decision.action is not Action.HOLD


def _e2ee_keep(envelope: Envelope, _: EvidenceGrade, decision: Decision) -> bool:
    return envelope is Envelope.OPEN or decision.keep in _E2EE_KEEP


def _e2ee_analytics(envelope: Envelope, _: EvidenceGrade, decision: Decision) -> bool:
    return envelope is Envelope.OPEN or decision.analytics in _E2EE_ANALYTICS


def _e2ee_archive(envelope: Envelope, _: EvidenceGrade, decision: Decision) -> bool:
    return envelope is Envelope.OPEN or decision.archive in _E2EE_ARCHIVE


def _e2ee_log(envelope: Envelope, _: EvidenceGrade, decision: Decision) -> bool:
    return envelope is Envelope.OPEN or LogField.EXACT_SIZE not in decision.log


def _e2ee_metadata(envelope: Envelope, _: EvidenceGrade, decision: Decision) -> bool:
    return envelope is Envelope.OPEN or decision.metadata_ms <= MAX_E2EE_METADATA_MINUTES * MINUTE_MS


def _shown(envelope: Envelope, grade: EvidenceGrade, decision: Decision) -> bool:
    if decision.indicator not in _SHOWS_E2EE:
        return True
    if envelope is not Envelope.SEALED or decision.protection is not Protection.E2EE:
        return False
    return decision.indicator is Indicator.E2EE_CLAIMED or decision.indicator is EVIDENCE_SHOWN[grade]


def _open_keep(envelope: Envelope, _: EvidenceGrade, decision: Decision) -> bool:
    if envelope is not Envelope.OPEN:
        return True
    if decision.keep is Keep.SEALED_UNTIL_DELIVERED:
        return False
    return not decision.keep.is_shreddable or decision.keys is not Keys.NONE


def _not_taken(_: Envelope, __: EvidenceGrade, decision: Decision) -> bool:
    return decision.action not in _NOT_TAKEN or decision.keep is Keep.NOTHING


def _waits(_: Envelope, __: EvidenceGrade, decision: Decision) -> bool:
    if decision.keep is Keep.NOTHING:
        return decision.action is not Action.HOLD and decision.retention_ms == 0
    return decision.retention_ms > 0


def _whole(ground: Ground, cell: Cell, decision: Decision) -> bool:
    delivers = decision.action is Action.DELIVER
    if delivers != bool(decision.channels) or (decision.action is Action.ASK) != bool(decision.offered):
        return False
    if not all(channel in cell.ways.channels for channel in (*decision.channels, *decision.offered)):
        return False
    if delivers:
        return decision.refusal is None and decision.protection is least(_path(ground, cell, decision))
    return decision.refusal is not None and decision.protection is None and decision.fall is Fall.NOT_A_FALL


PATH_GUARDS: Final = (
    PathGuard(
        "contradiction_is_refused",
        "a readable body with an E2EE claim is refused",
        _contradiction,
        (Envelope.CONTRADICTION,),
    ),
    PathGuard(
        "bad_claims_go_nowhere", "what claims E2EE without standing is set apart or refused, never sent", _stray, _STRAY
    ),
    PathGuard(
        "sealed_never_to_a_reader",
        "a sealed body never takes a path on which somebody reads",
        _sealed,
        (Envelope.SEALED,),
    ),
    PathGuard("no_silent_fall", "no fall, sideways included, without consent or a written rule", _no_silent_fall),
    PathGuard(
        "consent_is_an_answer",
        "a consented fall has an answer, for a device its own signature; whoever holds a token has none",
        _consent,
    ),
    PathGuard("allowed_falls_are_written", "a fall allowed by policy follows a written rule with its reason", _allowed),
    PathGuard("unknown_never_unasked", "a path of unknown protection is taken only with a person's consent", _unknown),
    PathGuard(
        "made_up_failures_open_nothing",
        "a failure that anybody could have made up leads to no fall, no question and no clear path",
        _made_up,
    ),
    PathGuard(
        "silence_opens_nothing",
        "a secure path that is missing without a reason never puts a clear path on offer",
        _unexplained,
        (Envelope.SEALED,),
    ),
    PathGuard(
        "few_traces_means_sealed_alone",
        "where the store keeps less than usual about messages, nothing readable is taken: it would leave the usual",
        _sealed_alone,
        (Envelope.OPEN,),
    ),
    PathGuard("asks_only_who_can_answer", "nobody is asked who cannot answer or does not want to be", _asks),
    PathGuard("no_hold_against_the_sender", "what the sender wants refused is not held", _sender),
    PathGuard(
        "decision_is_whole", "a decision says all that its action needs, and names only available channels", _whole
    ),
)
HANDLING_GUARDS: Final = (
    HandlingGuard("shown_by_evidence", "nothing is shown as more than its evidence and its path carry", _shown),
    HandlingGuard(
        "e2ee_keeps_only_sealed", "of end-to-end encrypted messages nothing but ciphertext is kept", _e2ee_keep
    ),
    HandlingGuard("e2ee_counts_only", "analytics see at most counts of end-to-end encrypted messages", _e2ee_analytics),
    HandlingGuard("e2ee_archive_by_device", "only a device can archive an end-to-end encrypted message", _e2ee_archive),
    HandlingGuard("e2ee_log_has_no_size", "events about end-to-end encrypted messages name no exact size", _e2ee_log),
    HandlingGuard(
        "e2ee_metadata_is_short", "metadata of end-to-end encrypted messages stays a day at most", _e2ee_metadata
    ),
    HandlingGuard(
        "waiting_body_has_a_key", "a readable body waits only sealed under a key that is destroyed", _open_keep
    ),
    HandlingGuard("not_taken_not_kept", "of what is refused or asked about, nothing is kept", _not_taken),
    HandlingGuard("waiting_ends", "what waits is kept, and not for ever; what is not kept has no time to wait", _waits),
)
GUARDS: Final[tuple[Guard, ...]] = (*PATH_GUARDS, *HANDLING_GUARDS)
