"""What each transport can do, and who reads on it: the data that routing, documents and the console share."""

from typing import Final

from letterlock.model.capability import CapabilityRow, Channel, Exposure, Feature, Reader
from letterlock.model.protection import EvidenceGrade, MarkerKind, Protection
from letterlock.wire.tlog.words import MarkerHop

GATEWAY: Final = Reader("this gateway", frozenset({MarkerKind.ROUTE, MarkerKind.READ, MarkerKind.STORE}), signs=True)
"""This gateway, on a path where content reaches it readable: it stores it sealed under its own key while it waits."""

GATEWAY_HOPS: Final[dict[Channel, dict[MarkerHop, frozenset[MarkerKind]]]] = {
    # Ciphertext is put into mailboxes and lies there; nobody here can read it.
    Channel.RELAY: {MarkerHop.ACCEPT: frozenset({MarkerKind.ROUTE, MarkerKind.STORE})},
    # A readable text is measured and sealed by the one, opened and handed over by the other.
    Channel.SMS: {
        MarkerHop.ACCEPT: frozenset({MarkerKind.READ, MarkerKind.STORE}),
        MarkerHop.DISPATCH: frozenset({MarkerKind.READ, MarkerKind.ROUTE}),
    },
}
"""What each hop of this gateway declares in its markers, by the way that a message takes."""

CARRIER: Final = Reader(
    "SMSC / carrier", frozenset({MarkerKind.ROUTE, MarkerKind.READ, MarkerKind.STORE, MarkerKind.PROCESS}), signs=False
)
"""Any message centre and network between us and the phone: it can do all of this, and never says what it does."""

CAPABILITIES: Final[tuple[CapabilityRow, ...]] = (
    CapabilityRow(
        channel=Channel.RELAY,
        title="MLS clients through the blind relay",
        ceiling=Protection.E2EE,
        evidence=EvidenceGrade.TRACKED,
        readers=(),
        features=frozenset({Feature.TEXT, Feature.RECEIPTS}),
        storage="Ciphertext in the mailboxes of the recipient's devices until acknowledged; nobody here holds a key.",
        metadata=Exposure.LOW,
        use="Conversations between enrolled devices; everything that must stay between its endpoints.",
        # A pseudonymous group id, the epoch, sizes and times are what the relay sees.
        max_body=65_536,
        source="RFC 9420, sections 6 to 8, 12 (framing, public state); GSMA RCC.16 as deployed (AAD, CPIM headers)",
        version=2,
    ),
    CapabilityRow(
        channel=Channel.SMS,
        title="SMS over SMPP 3.4",
        ceiling=Protection.CLEAR,
        evidence=EvidenceGrade.NONE,
        readers=(GATEWAY, CARRIER),
        features=frozenset({Feature.TEXT, Feature.RECEIPTS}),
        storage=(
            "Here: sealed under its own key until the message centre took it. "
            "There: the message centre and the carriers keep and log what they like."
        ),
        metadata=Exposure.HIGH,
        use="Notices to any phone, and the fallback that somebody consented to.",
        # Ten parts of 153 septets, each of at most two octets in UTF-8 (the euro sign takes two septets). The
        # exact answer for one text is wire.sms.encode.measure.
        max_body=3_060,
        source="SMPP 3.4, sections 4.4 and 4.6; 3GPP TS 23.038 and 23.040: no confidentiality at any layer",
        version=1,
    ),
)


def capability(channel: Channel) -> CapabilityRow:
    """The row of a channel. Every channel has exactly one; a test holds that."""
    return next(row for row in CAPABILITIES if row.channel is channel)
