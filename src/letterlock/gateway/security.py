"""The security block: what is said of a message, the same words on every surface, made in one place from its row."""

from collections.abc import Iterable

from msgspec import Struct

from letterlock.assurance.assess import Assessment, Path, security_block
from letterlock.assurance.evidence import Claim, Envelope, Form, Framing, Session, Source, Standing
from letterlock.gateway.codes import ACTIONS, FALLS, INDICATORS
from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.message import MessageState
from letterlock.model.protection import EvidenceGrade, Verifier
from letterlock.policy.decision import Indicator
from letterlock.storage.codes import CHANNELS, GRADES, PROTECTIONS, VERIFIERS
from letterlock.storage.open_commands import MessageRow
from letterlock.storage.receipt_commands import ReceiptCounts


class MarkerView(Struct, frozen=True):
    """What a server in the path declared."""

    server: str
    kinds: list[str]


class RefusedReceipts(Struct, frozen=True):
    """Receipts that prove nothing about the message, by reason."""

    reason: str
    count: int


class CheckedReceipts(Struct, frozen=True):
    """What this server checked of the receipts that it was handed: for each device that signed, grade ATTESTED.

    A device that sent the message checks more than a server can, and only its own verdict is a verification.

    Attributes:
        grade: of the message for those devices.
        verifier: who checked.
        attested: how many devices signed a receipt that holds.
        displayed: those of them that say a person saw it.
        recipients: how many devices it was encrypted to; 0 before the first receipt that holds.
        waiting: receipts that are not checked yet.
        refused: those that prove nothing.
        text: what people are shown.
    """

    grade: str
    verifier: str
    attested: int
    displayed: int
    recipients: int
    waiting: int
    refused: list[RefusedReceipts]
    text: str


class SecurityBlock(Struct, frozen=True):
    """Who could read a message, why that is believed, and what was decided.

    Attributes:
        protection: who can read it, as far as evidence carries.
        grade: why that is believed; ATTESTED where this server checked a receipt of every recipient device.
        verifier: who checked it.
        handled_as: how it is treated.
        framing: which comparisons held.
        readers: who can read the content on its path, by name.
        markers: what servers in the path declared.
        finding: what contradicts itself.
        indicator: the key of the text that people are shown.
        indicator_text: that text, in English.
        decision: what policy said.
        rule: the rule that said so.
        fall: whether it is a step down, and on whose word.
        decided_on: the grade that the decision rested on. What was learned after it never justifies it.
        receipts: what this server checked of receipts; None where it was handed none.
    """

    protection: str
    grade: str
    verifier: str
    handled_as: str
    framing: str
    readers: list[str]
    markers: list[MarkerView]
    finding: str | None
    indicator: str
    indicator_text: str
    decision: str
    rule: str
    fall: str
    decided_on: str
    receipts: CheckedReceipts | None


class Assessments:
    """What is known of messages by the way they take: made once, from the transports' rows."""

    def __init__(self, rows: Iterable[CapabilityRow]) -> None:
        paths = {row.channel: Path.of(row) for row in rows}
        tenant = Session(Source.TENANT_API, Standing.AUTHORISED)
        device = Session(Source.LISTED_DEVICE, Standing.AUTHORISED)
        readable = Envelope(Form.OPEN, Claim.NONE, Framing.ABSENT)
        self._readable = {channel: path.look_up(readable, tenant) for channel, path in paths.items()}
        relay = paths[Channel.RELAY]
        self._sealed = relay.look_up(Envelope(Form.SEALED, Claim.E2EE, Framing.LETTERLOCK), device)
        self._unparsed = relay.look_up(Envelope(Form.UNPARSED, Claim.E2EE, Framing.ABSENT), device)

    def readable(self, channel: Channel) -> Assessment:
        """Of a tenant's readable message on this channel."""
        return self._readable[channel]

    def _of(self, row: MessageRow) -> Assessment:
        channel = CHANNELS[row.channel]
        if channel is not Channel.RELAY:
            return self._readable[channel]
        apart = row.state == MessageState.QUARANTINED or INDICATORS[row.indicator] is Indicator.QUARANTINED
        return self._unparsed if apart else self._sealed

    def block(self, row: MessageRow) -> SecurityBlock:
        """The security block of a stored message."""
        assessed = self._of(row)
        words = security_block(assessed)
        indicator = INDICATORS[row.indicator]
        if row.state == MessageState.NOT_SENT:
            # It was held, and nobody let it go.
            indicator = Indicator.REFUSED
        decided_on = grade = GRADES[row.grade]
        verifier, checked = VERIFIERS[row.verifier], row.receipts
        if checked is not None and 0 < checked.recipients <= checked.attested:
            grade, verifier = EvidenceGrade.ATTESTED, Verifier.GATEWAY
        return SecurityBlock(
            protection=PROTECTIONS[row.protection].value,
            grade=grade.value,
            verifier=verifier.value,
            handled_as=str(words["handled_as"]),
            framing=str(words["framing"]),
            readers=readers_of(assessed),
            markers=[
                MarkerView(marker.server, sorted(kind.value for kind in marker.kinds)) for marker in assessed.markers
            ],
            finding=None if assessed.finding is None else assessed.finding.value,
            indicator=indicator.value,
            indicator_text=indicator.text,
            decision=ACTIONS[row.decision].value,
            rule=row.rule,
            fall=FALLS[row.fall].value,
            decided_on=decided_on.value,
            receipts=None if checked is None else _checked(checked),
        )


def _checked(counts: ReceiptCounts) -> CheckedReceipts:
    """The view of what was checked."""
    some = counts.attested > 0
    return CheckedReceipts(
        grade=(EvidenceGrade.ATTESTED if some else EvidenceGrade.NONE).value,
        verifier=(Verifier.GATEWAY if some else Verifier.NOBODY).value,
        attested=counts.attested,
        displayed=counts.displayed,
        recipients=counts.recipients,
        waiting=counts.waiting,
        refused=[RefusedReceipts(reason, count) for reason, count in counts.refused],
        text=(
            f"Receipt checked by this server, for {counts.attested} of {counts.recipients} devices."
            if some
            else "No receipt that this server could check."
        ),
    )


def readers_of(assessed: Assessment) -> list[str]:
    """Who can read, each named once."""
    return list(dict.fromkeys(assessed.readers))
