"""Evidence -> what a message is handled as, what it is shown as, and why.

The two-sided rule: *handle by the highest claim, show by the strongest evidence.* Both are values of the result, and
nothing else decides either. A path's results are all made once (:meth:`Path.of`); a message then costs one look-up.
"""

from dataclasses import dataclass, replace
from typing import Final, final

from letterlock.assurance.evidence import (
    Attestation,
    Claim,
    DeviceSays,
    Envelope,
    Finding,
    Form,
    Framing,
    Marker,
    Session,
    Source,
    Standing,
    Subject,
    TrackedGroup,
    every_class,
    number,
)
from letterlock.assurance.indicator import BY_GRADE, BY_PROTECTION, Indicator
from letterlock.model.capability import CapabilityRow
from letterlock.model.protection import EvidenceGrade, MarkerKind, Protection, Verifier, weakest

_P = Protection
_G = EvidenceGrade
_READABLE: Final = frozenset({_P.CLEAR, _P.HOP, _P.PROVIDER})
_READING: Final = frozenset({MarkerKind.READ, MarkerKind.PROCESS})
GATEWAY: Final = "this gateway"
"""The reader that is named where content arrives readable."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known of one message. One shared value per path and class of facts.

    Attributes:
        handle_as: how it is treated; E2EE content is never opened, stored in clear, logged or analysed.
        show_as: who can read it, as far as evidence carries; never above the route's ceiling.
        grade: why ``show_as`` is believed.
        verifier: who checked that.
        framing: which comparisons held.
        readers: who can read the content, by name, in the order of the path.
        markers: what servers in the path declared.
        finding: what contradicts itself, or None.
        indicator: what a server's surface shows.
    """

    handle_as: Protection
    show_as: Protection
    grade: EvidenceGrade
    verifier: Verifier
    framing: Framing
    readers: tuple[str, ...]
    markers: tuple[Marker, ...]
    finding: Finding | None
    indicator: Indicator

    @property
    def protection(self) -> Protection:
        """What surfaces call the protection: ``show_as``."""
        return self.show_as


@final
class Path:
    """The legs of a path, with the results for every class of facts. Make one per set of rows and keep it."""

    __slots__ = ("_results", "ceiling", "evidence", "markers", "readers", "rows")

    def __init__(self, rows: tuple[CapabilityRow, ...], markers: tuple[Marker, ...], checked_by: Verifier) -> None:
        self.rows: Final = rows
        self.markers: Final = markers
        reading = tuple(marker.server for marker in markers if marker.kinds & _READING)
        named = tuple(reader.name for row in rows for reader in row.readers)
        self.readers: Final = tuple(dict.fromkeys(named + reading))
        legs = [row.ceiling for row in rows]
        # A server that declares to read makes the path at most PROVIDER, whatever its row promised.
        self.ceiling: Final = weakest([*legs, _P.PROVIDER] if reading and legs else legs)
        self.evidence: Final = min((row.evidence for row in rows), key=lambda grade: grade.rank, default=_G.NONE)
        self._results: Final = tuple(_judge(self, checked_by, envelope, session) for envelope, session in every_class())

    @classmethod
    def of(
        cls, *rows: CapabilityRow, markers: tuple[Marker, ...] = (), checked_by: Verifier = Verifier.GATEWAY
    ) -> "Path":
        """The path over these transports, in order. No transport at all is an unknown path.

        Args:
            rows: one per leg; the submission to this gateway is not one of them, for the form of the body tells it.
            markers: what servers in the path declared, signatures checked.
            checked_by: who runs this: a server or a device.
        """
        return cls(rows, markers, checked_by)

    def look_up(self, envelope: Envelope, session: Session) -> Assessment:
        """The result for a class of facts: a shared value."""
        return self._results[number(envelope, session)]


def assess(
    envelope: Envelope,
    session: Session,
    path: Path,
    *,
    says: DeviceSays = DeviceSays.NOTHING,
    tracked: TrackedGroup | None = None,
    attested: Attestation | None = None,
    subject: Subject | None = None,
) -> Assessment:
    """What a message is handled as, shown as, and why.

    Args:
        envelope: what can be seen of it.
        session: who brought it.
        path: its legs, with their readers.
        says: what a companion app reports; it can only lower.
        tracked: evidence about the group; counts only for this group and epoch.
        attested: evidence about one message; counts only for this one.
        subject: what ``tracked`` and ``attested`` are compared with.
    """
    result = path.look_up(envelope, session)
    if says is DeviceSays.NOTHING and subject is None:
        return result
    if subject is not None:
        result = _raised(result, path, subject, tracked, attested)
    return _lowered(result) if says is DeviceSays.NOT_E2EE else result


def _judge(path: Path, checked_by: Verifier, envelope: Envelope, session: Session) -> Assessment:
    finding = _finding(path, envelope, session)
    if envelope.form is Form.OPEN:
        grade = _G.NONE
        show_as = weakest((_P.PROVIDER, path.ceiling))
        readers = (GATEWAY, *path.readers)
    else:
        grade = _grade(envelope, session, finding)
        if path.ceiling in _READABLE:
            # The route is read by others whatever the sender says: that is the strongest thing known.
            grade, show_as = _G.NONE, path.ceiling
        else:
            grade = min(grade, path.evidence, key=lambda one: one.rank)
            carried = _P.E2EE if grade.rank >= _G.FRAMED.rank else _P.UNKNOWN
            show_as = weakest((carried, path.ceiling))
        readers = path.readers
    plain = envelope.form is Form.OPEN and finding is None
    return Assessment(
        handle_as=show_as if plain else _P.E2EE,
        show_as=show_as,
        grade=grade,
        verifier=checked_by if grade.rank >= _G.FRAMED.rank else Verifier.NOBODY,
        framing=envelope.framing,
        readers=readers,
        markers=path.markers,
        finding=finding,
        indicator=_indicator(show_as, grade, finding),
    )


def _finding(path: Path, envelope: Envelope, session: Session) -> Finding | None:
    if envelope.form is Form.OPEN:
        contradicts = envelope.claim is Claim.E2EE or envelope.framing is not Framing.ABSENT
        return Finding.CLAIM_CONTRADICTS_BODY if contradicts else None
    if envelope.form is Form.UNPARSED:
        return Finding.NOT_MLS
    if session.standing is Standing.FOREIGN:
        return Finding.CLAIM_NOT_AUTHORISED
    if path.ceiling in _READABLE:
        return Finding.CLAIM_ABOVE_ROUTE
    return Finding.FRAMING_DIFFERS if envelope.framing is Framing.DIFFERS else None


def _grade(envelope: Envelope, session: Session, finding: Finding | None) -> EvidenceGrade:
    if finding not in {None, Finding.FRAMING_DIFFERS}:
        return _G.NONE
    if envelope.framing is Framing.RCC16:
        return _G.FRAMED
    # Our profile's binding is worth as much as the session: only a listed device's is one of an endpoint.
    if envelope.framing is Framing.LETTERLOCK and session.source is Source.LISTED_DEVICE:
        return _G.FRAMED
    # A transport's link speaks for nobody.
    return _G.NONE if session.source is Source.NETWORK else _G.ASSERTED


def _indicator(show_as: Protection, grade: EvidenceGrade, finding: Finding | None) -> Indicator:
    if finding is Finding.NOT_MLS:
        return Indicator.QUARANTINED
    if show_as is _P.E2EE or (show_as is _P.UNKNOWN and grade is _G.ASSERTED):
        return BY_GRADE[grade]
    return BY_PROTECTION[show_as]


def _raised(
    result: Assessment, path: Path, subject: Subject, tracked: TrackedGroup | None, attested: Attestation | None
) -> Assessment:
    """A higher grade needs valid framing below it, a route that permits it, and evidence about this very message."""
    if result.grade is not _G.FRAMED:
        return result
    best = path.evidence.rank
    if attested is not None and best >= _G.ATTESTED.rank and attested.message_id == subject.message_id:
        return _graded(result, _G.ATTESTED, attested.checked_by)
    if (
        tracked is not None
        and best >= _G.TRACKED.rank
        and tracked.group_id == subject.group_id
        and tracked.epoch == subject.epoch
    ):
        return _graded(result, _G.TRACKED, tracked.checked_by)
    return result


def _graded(result: Assessment, grade: EvidenceGrade, verifier: Verifier) -> Assessment:
    return replace(result, grade=grade, verifier=verifier, indicator=_indicator(result.show_as, grade, result.finding))


def _lowered(result: Assessment) -> Assessment:
    show_as = weakest((result.show_as, _P.HOP))
    if show_as is result.show_as and result.grade is _G.NONE:
        return result
    return replace(
        result,
        show_as=show_as,
        grade=_G.NONE,
        verifier=Verifier.NOBODY,
        indicator=_indicator(show_as, _G.NONE, result.finding),
    )


def display(assessment: Assessment, viewer: Verifier = Verifier.GATEWAY) -> Indicator:
    """What to show. "Verified" only on the viewer's own device, for an ATTESTED message that it checked itself.

    Args:
        assessment: of the message.
        viewer: whose surface it is: a device's, or a server's for everything else.
    """
    if (
        viewer is Verifier.DEVICE
        and assessment.verifier is Verifier.DEVICE
        and assessment.grade is _G.ATTESTED
        and assessment.show_as is _P.E2EE
        and assessment.finding is None
    ):
        return Indicator.E2EE_VERIFIED
    return assessment.indicator


def security_block(assessment: Assessment) -> dict[str, object]:
    """The same facts under the same names in REST, webhook, SDK, console and audit record.

    The names are stable: ``protection``, ``grade``, ``verifier``, ``handled_as``, ``framing``, ``readers``,
    ``markers``, ``finding``, ``indicator``. Only JSON types; a new dict each time.
    """
    return {
        "protection": assessment.show_as.value,
        "grade": assessment.grade.value,
        "verifier": assessment.verifier.value,
        "handled_as": assessment.handle_as.value,
        "framing": assessment.framing.value,
        "readers": list(assessment.readers),
        "markers": [
            {"server": marker.server, "kinds": sorted(kind.value for kind in marker.kinds)}
            for marker in assessment.markers
        ],
        "finding": None if assessment.finding is None else assessment.finding.value,
        "indicator": assessment.indicator.value,
    }
