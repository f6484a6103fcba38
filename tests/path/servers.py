"""Servers with logs and marker keys, in memory: what a path is made from, and what a thief would change in it."""

import hashlib
from dataclasses import dataclass, field

import msgspec
from tests.tlog.makelog import KeySigner, MemoryStore, entry, grown, signed

from letterlock.ledger.serve import Prover
from letterlock.model.capability import Channel
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.protection import EvidenceGrade, MarkerKind, Protection, Verifier
from letterlock.wire.handshake.capabilities import key_digest
from letterlock.wire.path import Handed, MarkerStatement, Onward, PathDocument, SignedMarker, Unsigned, first_link, mark
from letterlock.wire.path.document import PathMarker, ServerEvidence
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite
from letterlock.wire.tlog.commitments import Digest, message_commitment, record_salt, rule_tag
from letterlock.wire.tlog.entries import MarkerKeys, encode_entry
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.records import BatchBuilder, accepted, accepted_shape
from letterlock.wire.tlog.words import MarkerHop

TENANT = TenantId(b"t" * 16)
ENVIRONMENT = "test"
MESSAGE, OTHER = MessageId(b"m" * 16), MessageId(b"o" * 16)
READS = frozenset({MarkerKind.READ, MarkerKind.STORE})
SENDS = frozenset({MarkerKind.READ, MarkerKind.ROUTE})
CARRIER = Unsigned("SMSC / carrier", frozenset(MarkerKind))
TO_SMS = Handed(Onward.TRANSPORT, channel=Channel.SMS, row=1, readers=(CARRIER,))


def secret(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@dataclass
class Server:
    """A gateway: a log with its marker keys and one commit of two messages."""

    name: str
    protection: Protection = Protection.CLEAR
    channel: Channel = Channel.SMS
    seed: bytes = b"s" * 32
    log: str = ""
    """Whose log key it has; its own, unless it is a forger that took a name."""
    keys: dict[MarkerHop, SoftwareKey] = field(init=False)
    store: MemoryStore = field(init=False)
    records: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = {
            hop: SoftwareKey(KeyFamily.SERVER_MARKER, Suite.ED25519, secret(f"{self.name} {hop}")) for hop in MarkerHop
        }
        rule = rule_tag("some.rule")
        shape = accepted_shape(self.channel, self.protection, EvidenceGrade.NONE, Verifier.NOBODY, rule)
        batch = BatchBuilder()
        for slot, message in enumerate((OTHER, MESSAGE)):
            batch.add(accepted(1_000, message_commitment(record_salt(self.seed, slot), message.value), shape, 1))
        self.records = batch.records
        digests = [Digest(key_digest(self.keys[hop].public.encode())) for hop in MarkerHop]
        keys = encode_entry(MarkerKeys(ts=1, accept=digests[0], dispatch=digests[1]))
        self.store = grown([entry(0), keys, encode_entry(batch.entry(1_000))])

    @property
    def signer(self) -> KeySigner:
        return KeySigner(self.name, secret(f"log of {self.log or self.name}"))

    @property
    def log_key(self) -> VerifierKey:
        return self.signer.verifier_key

    def evidence(self, message: MessageId = MESSAGE) -> ServerEvidence:
        slot = (OTHER, MESSAGE).index(message)
        prover = Prover(self.store, signed(self.store, self.signer))
        proof = prover.proof_file(1, self.store.rows[1]).encode().decode()
        receipt = prover.receipt(2, self.records, slot).encode().decode()
        accept, dispatch = (self.keys[hop].public.encode() for hop in MarkerHop)
        return ServerEvidence(self.name, accept, dispatch, proof, receipt, record_salt(self.seed, slot))

    def mark(
        self,
        hop: MarkerHop,
        kinds: frozenset[MarkerKind],
        handed: Handed,
        before: list[SignedMarker],
        message: MessageId = MESSAGE,
    ) -> SignedMarker:
        previous = before[-1].link() if before else first_link(TENANT, ENVIRONMENT, message)
        record = leaf_hash(self.records[(OTHER, MESSAGE).index(message)])
        statement = MarkerStatement(self.name, hop, len(before), previous, record, kinds, handed)
        return mark(self.keys[hop], TENANT, ENVIRONMENT, message, statement)

    def through(
        self, onward: Handed, before: list[SignedMarker] | None = None, message: MessageId = MESSAGE
    ) -> list[SignedMarker]:
        """What this server's two hops add to a path."""
        path = list(before or [])
        inside = Handed(Onward.HOP, self.name, MarkerHop.DISPATCH)
        path.append(self.mark(MarkerHop.ACCEPT, READS, inside, path, message))
        path.append(self.mark(MarkerHop.DISPATCH, SENDS, onward, path, message))
        return path


def document(markers: list[SignedMarker], *servers: Server, message: MessageId = MESSAGE) -> PathDocument:
    return PathDocument(
        1, str(message), str(TENANT), ENVIRONMENT, [PathMarker.of(one) for one in markers],
        [one.evidence(message) for one in servers],
    )  # fmt: skip


def changed(path: PathDocument, **members: object) -> PathDocument:
    return msgspec.structs.replace(path, **members)
