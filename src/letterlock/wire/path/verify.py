"""Verification of a path, offline: it needs the public keys of the servers' logs and nothing else.

For each server: its ledger record is of this message, and the keys of its markers are in its ledger. For each marker:
it stands in its place, follows from the one before, is of the hop that the one before named, names that record, and
is signed. The last must hand on to where nobody signs; else the next marker is missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from letterlock.model.ids import MessageId, TenantId
from letterlock.model.protection import MarkerKind, Protection
from letterlock.wire.handshake.capabilities import key_digest
from letterlock.wire.path.document import PathDocument, ServerEvidence
from letterlock.wire.path.errors import PathError, PathIncompleteError, PathReason
from letterlock.wire.path.marker import Handed, Onward, SignedMarker, first_link, scope_of
from letterlock.wire.preimage import KeyFamily, PublicKey, Purpose, Scope, SignatureError, verify
from letterlock.wire.tlog.commitments import Commitment, CommitmentKind, opens
from letterlock.wire.tlog.entries import MarkerKeys, decode_entry
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.note import VerifierKey
from letterlock.wire.tlog.proof_file import ProofFile
from letterlock.wire.tlog.receipt import Receipt
from letterlock.wire.tlog.records import Accepted
from letterlock.wire.tlog.verify import verify_entry_proof, verify_receipt
from letterlock.wire.tlog.words import MarkerHop

_READING = frozenset({MarkerKind.READ, MarkerKind.PROCESS})


@dataclass(frozen=True, slots=True)
class Hop:
    """A hop whose marker is proven."""

    server: str
    hop: MarkerHop
    kinds: frozenset[MarkerKind]


@dataclass(frozen=True, slots=True)
class ProvenPath:
    """A path in which everything fits.

    Attributes:
        message: whose path it is.
        hops: those that signed, in order.
        end: where the last one handed the message; its readers are those who never sign.
    """

    message: MessageId
    hops: tuple[Hop, ...]
    end: Handed

    @property
    def readers(self) -> tuple[str, ...]:
        """Who can read the message on this path, by name: servers that say so, and who never says anything."""
        signed = [one.server for one in self.hops if one.kinds & _READING]
        return tuple(dict.fromkeys(signed + [one.name for one in self.end.readers if one.kinds & _READING]))


@dataclass(frozen=True, slots=True)
class _Server:
    keys: dict[MarkerHop, PublicKey]
    record: bytes
    accepted: Accepted


def verify_path(data: bytes, log_keys: Iterable[VerifierKey], message: MessageId | None = None) -> ProvenPath:
    """Verifies a path.

    Args:
        data: the file.
        log_keys: of the servers' logs, from a trusted place; each is taken for the log of its own name alone.
        message: whose path it has to be; None: whose it says.

    Raises:
        PathError: what does not fit; PathIncompleteError where a log key or the next marker is missing.
        ProofFileError, NoteError, TreeError, EntryError: a server's ledger proof is not acceptable.
    """
    path = PathDocument.parse(data)
    found, tenant = MessageId.parse(path.message), TenantId.parse(path.tenant)
    if message is not None and message != found:
        raise PathError(PathReason.OTHER_MESSAGE)
    servers = _servers(path.servers, log_keys, found)
    markers = [one.marker() for one in path.markers]
    if not markers:
        raise PathError(PathReason.NO_MARKER)
    previous, before = first_link(tenant, path.environment, found), None
    scope = scope_of(tenant, path.environment, found)
    for position, marker in enumerate(markers):
        said = marker.statement
        if said.position != position:
            raise PathError(PathReason.OUT_OF_PLACE, position=position)
        if said.previous != previous:
            raise PathError(PathReason.CHAIN_BROKEN, position=position)
        if not _follows(before, marker):
            raise PathError(PathReason.NOT_THE_NEXT_HOP, position=position)
        _of_server(marker, servers.get(said.server), scope)
        previous, before = marker.link(), said.handed
    end = markers[-1].statement.handed
    if end.to is Onward.HOP:
        raise PathIncompleteError(PathReason.NEXT_MISSING, position=len(markers))
    hops = tuple(Hop(one.statement.server, one.statement.hop, one.statement.kinds) for one in markers)
    return ProvenPath(found, hops, end)


def _servers(
    given: Iterable[ServerEvidence], log_keys: Iterable[VerifierKey], message: MessageId
) -> dict[str, _Server]:
    keys = {key.name: key for key in log_keys}
    servers: dict[str, _Server] = {}
    for evidence in given:
        if evidence.name in servers:
            raise PathError(PathReason.MALFORMED)
        if evidence.name not in keys:
            raise PathIncompleteError(PathReason.NO_LOG_KEY)
        servers[evidence.name] = _server(evidence, keys[evidence.name], message)
    return servers


def _server(evidence: ServerEvidence, log_key: VerifierKey, message: MessageId) -> _Server:
    """What a server's ledger shows of its keys and of the message."""
    receipt = evidence.record.encode()
    record = verify_receipt(receipt, log_key).record
    if not isinstance(record, Accepted):
        raise PathError(PathReason.RECORD_OF_ANOTHER_MESSAGE)
    if not opens(Commitment(record.message), CommitmentKind.MESSAGE, evidence.salt, message.value):
        raise PathError(PathReason.RECORD_OF_ANOTHER_MESSAGE)
    proof = evidence.keys.encode()
    entry = ProofFile.parse(proof).extra or b""
    verify_entry_proof(proof, entry, log_key)
    logged = decode_entry(entry)
    if not isinstance(logged, MarkerKeys):
        raise PathError(PathReason.KEY_NOT_LOGGED)
    given = {MarkerHop.ACCEPT: evidence.accept, MarkerHop.DISPATCH: evidence.dispatch}
    wanted = {MarkerHop.ACCEPT: logged.accept, MarkerHop.DISPATCH: logged.dispatch}
    if any(key_digest(given[hop]) != digest.value for hop, digest in wanted.items()):
        raise PathError(PathReason.KEY_NOT_LOGGED)
    try:
        keys = {hop: PublicKey.parse(key, KeyFamily.SERVER_MARKER) for hop, key in given.items()}
    except SignatureError:
        raise PathError(PathReason.MALFORMED) from None
    return _Server(keys, leaf_hash(Receipt.parse(receipt).record), record)


def _follows(before: Handed | None, marker: SignedMarker) -> bool:
    """Whether a marker is of the hop that the one before named; the first is of a hop that takes messages in."""
    said = marker.statement
    if before is None:
        return said.hop is MarkerHop.ACCEPT
    return before.to is Onward.HOP and (before.server, before.hop) == (said.server, said.hop)


def _of_server(marker: SignedMarker, server: _Server | None, scope: Scope) -> None:
    """A marker is its server's, about the server's record, and says nothing that the record denies."""
    said = marker.statement
    if server is None:
        raise PathError(PathReason.SERVER_MISSING, position=said.position)
    if said.record != server.record:
        raise PathError(PathReason.OTHER_RECORD, position=said.position)
    try:
        verify(server.keys[said.hop], Purpose.MARKER, scope, said.encode(), marker.signature)
    except SignatureError:
        raise PathError(PathReason.BAD_SIGNATURE, position=said.position) from None
    record = server.accepted
    reads_what_nobody_can = record.protection is Protection.E2EE and bool(said.kinds & _READING)
    if reads_what_nobody_can or (said.handed.channel is not None and said.handed.channel is not record.channel):
        raise PathError(PathReason.CONTRADICTS_RECORD, position=said.position)
