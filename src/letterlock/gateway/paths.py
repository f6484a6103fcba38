"""The path of a message, given out on demand: markers made from what is durable, signed when somebody asks.

Nothing is signed while a message is taken. What a hop states follows from the message's row and its ledger record,
and Ed25519 is deterministic, so the marker that is signed now is the one that would have been signed then (adr 21).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from letterlock.ledger.serve import Prover
from letterlock.model.capability import CapabilityRow, Channel
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.message import MessageState
from letterlock.model.protection import MarkerKind
from letterlock.storage.codes import CHANNELS
from letterlock.storage.open_commands import MessageRow
from letterlock.wire.path.document import PathDocument, PathMarker, ServerEvidence
from letterlock.wire.path.marker import Handed, MarkerStatement, Onward, SignedMarker, Unsigned, first_link, mark
from letterlock.wire.preimage import Signer
from letterlock.wire.tlog.commitments import record_salt
from letterlock.wire.tlog.words import MarkerHop

_S = MessageState
_WITH_TRANSPORT: Final = frozenset({_S.SENT, _S.DELIVERED, _S.READ, _S.FAILED, _S.EXPIRED})
"""States in which the transport has the message, or may have it: a try can end without an answer."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A message's record as the store has it: the entry, all records of that entry, and their seed."""

    entry: int
    records: Sequence[bytes]
    seed: bytes = field(repr=False)


class Paths:
    """Makes paths.

    Args:
        server: this gateway's name in markers: the origin of its ledger.
        environment: name of the installation.
        signers: a key for each hop.
        keys_entry: index of the ledger entry that names those keys.
        rows: what each transport does, and who reads on it.
        hops: what each hop of this gateway declares, by channel.
    """

    def __init__(
        self,
        server: str,
        environment: str,
        signers: Mapping[MarkerHop, Signer],
        keys_entry: int,
        rows: Sequence[CapabilityRow],
        hops: Mapping[Channel, Mapping[MarkerHop, frozenset[MarkerKind]]],
    ) -> None:
        self._server = server
        self._environment = environment
        self._signers = signers
        self._keys_entry = keys_entry
        self._hops = hops
        self._beyond = {
            row.channel: Handed(
                Onward.TRANSPORT,
                channel=row.channel,
                row=row.version,
                readers=tuple(Unsigned(one.name, one.markers) for one in row.readers if not one.signs),
            )
            for row in rows
        }

    def markers(self, tenant: TenantId, row: MessageRow) -> list[SignedMarker]:
        """The markers of a message so far. One whose turn has not come is not among them, but is named."""
        message, channel = MessageId(row.id), CHANNELS[row.channel]
        previous = first_link(tenant, self._environment, message)
        made: list[SignedMarker] = []
        for hop, handed in self._steps(channel, MessageState(row.state)):
            statement = MarkerStatement(
                self._server, hop, len(made), previous, row.record_hash, self._hops[channel][hop], handed
            )
            made.append(mark(self._signers[hop], tenant, self._environment, message, statement))
            previous = made[-1].link()
        return made

    def _steps(self, channel: Channel, state: MessageState) -> list[tuple[MarkerHop, Handed]]:
        if channel is Channel.RELAY:
            return [(MarkerHop.ACCEPT, Handed(Onward.DEVICES))]
        steps = [(MarkerHop.ACCEPT, Handed(Onward.HOP, self._server, MarkerHop.DISPATCH))]
        if state in _WITH_TRANSPORT:
            steps.append((MarkerHop.DISPATCH, self._beyond[channel]))
        elif state is MessageState.NOT_SENT:
            steps.append((MarkerHop.DISPATCH, Handed(Onward.NOBODY)))
        return steps

    def document(self, tenant: TenantId, row: MessageRow, logged: Logged, prover: Prover) -> PathDocument:
        """The path of a message, with what shows that it is this gateway's.

        Raises:
            LedgerError: the record's entry, or that of the keys, is not under a signed head yet.
            EntryError: the record is not among those given.
        """
        keys = self._signers[MarkerHop.ACCEPT].public.encode(), self._signers[MarkerHop.DISPATCH].public.encode()
        proof = prover.proof_file(self._keys_entry, prover.entry(self._keys_entry))
        receipt = prover.receipt(logged.entry, logged.records, row.slot, logged.seed)
        evidence = ServerEvidence(
            self._server, *keys, proof.encode().decode(), receipt.encode().decode(), record_salt(logged.seed, row.slot)
        )
        markers = [PathMarker.of(one) for one in self.markers(tenant, row)]
        message = str(MessageId(row.id))
        return PathDocument(1, message, str(tenant), self._environment, markers, [evidence])
