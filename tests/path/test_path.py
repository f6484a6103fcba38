"""The path of a message: a sound one is proven, and whatever is removed, moved, forged or borrowed is not."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.path.servers import (
    CARRIER,
    ENVIRONMENT,
    MESSAGE,
    OTHER,
    READS,
    SENDS,
    TENANT,
    TO_SMS,
    Server,
    changed,
    document,
)

from letterlock.model.capability import Channel
from letterlock.model.errors import LetterlockError
from letterlock.model.ids import MessageId, TenantId
from letterlock.model.protection import MarkerKind, Protection
from letterlock.wire.path import (
    Handed,
    MarkerStatement,
    Onward,
    PathDocument,
    PathError,
    PathIncompleteError,
    PathReason,
    Unsigned,
    first_link,
    mark,
    verify_path,
)
from letterlock.wire.path.document import MAX_PATH, PathMarker
from letterlock.wire.preimage import KeyFamily, SoftwareKey, Suite
from letterlock.wire.tlog.errors import NoteError, ProofFileError
from letterlock.wire.tlog.words import MarkerHop

ONE, TWO = Server("one.example/ledger"), Server("two.example/ledger")
KEYS = (ONE.log_key, TWO.log_key)
FIRST = ONE.through(Handed(Onward.HOP, TWO.name, MarkerHop.ACCEPT))
LONG = document(TWO.through(TO_SMS, FIRST), ONE, TWO)
"""Two gateways of two hops each, and a carrier that never signs."""


def reason_of(path: PathDocument | bytes, keys: tuple[object, ...] = KEYS) -> PathReason:
    data = path if isinstance(path, bytes) else path.encode()
    with pytest.raises(PathError) as refused:
        verify_path(data, keys)  # type: ignore[arg-type]
    return refused.value.reason


def test_a_path_over_two_gateways_is_proven_hop_by_hop_and_names_who_never_signs() -> None:
    proven = verify_path(LONG.encode(), KEYS, MESSAGE)
    assert [(one.server, one.hop, one.kinds) for one in proven.hops] == [
        (ONE.name, MarkerHop.ACCEPT, READS),
        (ONE.name, MarkerHop.DISPATCH, SENDS),
        (TWO.name, MarkerHop.ACCEPT, READS),
        (TWO.name, MarkerHop.DISPATCH, SENDS),
    ]
    assert proven.end == TO_SMS
    assert proven.end.readers == (CARRIER,)
    assert proven.readers == (ONE.name, TWO.name, "SMSC / carrier")
    assert PathDocument.parse(LONG.encode()) == LONG


def test_each_hop_has_a_key_of_its_own() -> None:
    made = {marker.signature for marker in LONG.markers}
    assert len(made) == 4
    keys = [key for server in LONG.servers for key in (server.accept, server.dispatch)]
    assert len(set(keys)) == 4


def test_an_end_to_end_encrypted_path_ends_at_the_devices_and_nobody_reads() -> None:
    relay = Server("one.example/ledger", Protection.E2EE, Channel.RELAY)
    kinds = frozenset({MarkerKind.ROUTE, MarkerKind.STORE})
    sound = relay.mark(MarkerHop.ACCEPT, kinds, Handed(Onward.DEVICES), [])
    proven = verify_path(document([sound], relay).encode(), [relay.log_key])
    assert proven.end.to is Onward.DEVICES
    assert proven.readers == ()
    reading = relay.mark(MarkerHop.ACCEPT, kinds | {MarkerKind.READ}, Handed(Onward.DEVICES), [])
    assert reason_of(document([reading], relay), (relay.log_key,)) is PathReason.CONTRADICTS_RECORD


@pytest.mark.parametrize("gone", range(3))
def test_removing_a_marker_fails(gone: int) -> None:
    left = [marker for at, marker in enumerate(LONG.markers) if at != gone]
    assert reason_of(changed(LONG, markers=left)) is PathReason.OUT_OF_PLACE


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_removing_the_last_markers_leaves_a_hop_that_was_named_and_is_not_there(kept: int) -> None:
    assert reason_of(changed(LONG, markers=LONG.markers[:kept])) is PathReason.NEXT_MISSING
    with pytest.raises(PathIncompleteError):
        verify_path(changed(LONG, markers=LONG.markers[:kept]).encode(), KEYS)


def test_removing_all_fails() -> None:
    assert reason_of(changed(LONG, markers=[])) is PathReason.NO_MARKER


@given(st.permutations(range(4)))
def test_reordering_fails_in_every_order_but_the_right_one(order: list[int]) -> None:
    moved = changed(LONG, markers=[LONG.markers[at] for at in order])
    if order == [0, 1, 2, 3]:
        verify_path(moved.encode(), KEYS)
    else:
        assert reason_of(moved) is PathReason.OUT_OF_PLACE


@pytest.mark.parametrize("renumbered", [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2]])
def test_reordering_with_positions_made_to_fit_fails(renumbered: list[int]) -> None:
    moved = [msgspec.structs.replace(LONG.markers[at], position=place) for place, at in enumerate(renumbered)]
    assert reason_of(changed(LONG, markers=moved)) in {PathReason.CHAIN_BROKEN, PathReason.BAD_SIGNATURE}


CHANGES: dict[str, Callable[[PathMarker], PathMarker]] = {
    "kinds": lambda one: msgspec.structs.replace(one, kinds=[MarkerKind.ROUTE]),
    "no kinds": lambda one: msgspec.structs.replace(one, kinds=[]),
    "server": lambda one: msgspec.structs.replace(one, server=TWO.name if one.server == ONE.name else ONE.name),
    "previous": lambda one: msgspec.structs.replace(one, previous="00" * 32),
    "record": lambda one: msgspec.structs.replace(one, record="00" * 32),
    "handed": lambda one: msgspec.structs.replace(
        one, handed=PathMarker.of(ONE.mark(MarkerHop.ACCEPT, READS, Handed(Onward.DEVICES), [])).handed
    ),
    "signature": lambda one: msgspec.structs.replace(
        one, signature=one.signature[:-1] + bytes((one.signature[-1] ^ 1,))
    ),
}


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("change", CHANGES)
def test_altering_a_marker_fails(change: str, at: int) -> None:
    markers = list(LONG.markers)
    markers[at] = CHANGES[change](markers[at])
    assert markers[at] != LONG.markers[at]
    reason_of(changed(LONG, markers=markers))


def test_hiding_the_carrier_or_calling_it_something_else_fails() -> None:
    last = LONG.markers[-1]
    for readers in ([], [msgspec.structs.replace(last.handed.readers[0], name="a friend")]):
        handed = msgspec.structs.replace(last.handed, readers=readers)
        altered = [*LONG.markers[:-1], msgspec.structs.replace(last, handed=handed)]
        assert reason_of(changed(LONG, markers=altered)) is PathReason.BAD_SIGNATURE


@pytest.mark.attack("A21")
def test_forging_a_marker_under_another_key_fails_even_with_that_key_in_the_file() -> None:
    """An attacker with a server of their own signs in the name of another."""
    forger = Server("forger.example/ledger", log="forger")
    forger.name = ONE.name
    assert reason_of(document(forger.through(TO_SMS), ONE), (ONE.log_key,)) is PathReason.BAD_SIGNATURE
    one = msgspec.structs.replace(ONE.evidence(), accept=forger.keys[MarkerHop.ACCEPT].public.encode())
    assert reason_of(changed(document(ONE.through(TO_SMS), ONE), servers=[one])) is PathReason.KEY_NOT_LOGGED
    # With a whole log of the forger's under that name, its signature is not the log's.
    with pytest.raises(NoteError):
        verify_path(document(forger.through(TO_SMS), forger).encode(), (ONE.log_key,))
    stranger = Server("forger.example/ledger")
    assert reason_of(document(stranger.through(TO_SMS), stranger), (ONE.log_key,)) is PathReason.NO_LOG_KEY


def test_the_key_of_one_hop_does_not_sign_for_the_other() -> None:
    swapped = Server("one.example/ledger")
    swapped.keys = {MarkerHop.ACCEPT: ONE.keys[MarkerHop.DISPATCH], MarkerHop.DISPATCH: ONE.keys[MarkerHop.ACCEPT]}
    assert reason_of(document(swapped.through(TO_SMS), ONE)) is PathReason.BAD_SIGNATURE


@pytest.mark.attack("A21")
@pytest.mark.parametrize("at", range(4))
def test_replaying_a_marker_from_another_message_fails(at: int) -> None:
    """Another message of the same tenant, over the same hops, in the same commit."""
    first = ONE.through(Handed(Onward.HOP, TWO.name, MarkerHop.ACCEPT), message=OTHER)
    other = document(TWO.through(TO_SMS, first, OTHER), ONE, TWO, message=OTHER)
    verify_path(other.encode(), KEYS, OTHER)
    markers = list(LONG.markers)
    markers[at] = other.markers[at]
    assert reason_of(changed(LONG, markers=markers)) is PathReason.CHAIN_BROKEN
    # With the links and the record made to fit, the signature still is about the other message.
    markers[at] = msgspec.structs.replace(
        other.markers[at], previous=LONG.markers[at].previous, record=LONG.markers[at].record
    )
    assert reason_of(changed(LONG, markers=markers)) is PathReason.BAD_SIGNATURE


def test_the_whole_path_of_another_message_fails() -> None:
    with pytest.raises(PathError) as refused:
        verify_path(LONG.encode(), KEYS, OTHER)
    assert refused.value.reason is PathReason.OTHER_MESSAGE
    renamed = changed(LONG, message=str(OTHER))
    assert reason_of(renamed) is PathReason.RECORD_OF_ANOTHER_MESSAGE
    borrowed = changed(LONG, message=str(OTHER), servers=[ONE.evidence(OTHER), TWO.evidence(OTHER)])
    assert reason_of(borrowed) is PathReason.CHAIN_BROKEN


@pytest.mark.attack("A21")
def test_another_tenant_or_environment_fails() -> None:
    assert reason_of(changed(LONG, tenant=str(TenantId(b"u" * 16)))) is PathReason.CHAIN_BROKEN
    assert reason_of(changed(LONG, environment="prod")) is PathReason.CHAIN_BROKEN
    assert (TenantId.parse(LONG.tenant), LONG.environment) == (TENANT, ENVIRONMENT)


def test_a_hop_that_nobody_handed_to_and_a_path_that_begins_in_the_middle_fail() -> None:
    ended = ONE.through(TO_SMS)
    assert reason_of(document(TWO.through(TO_SMS, ended), ONE, TWO)) is PathReason.NOT_THE_NEXT_HOP
    middle = ONE.mark(MarkerHop.DISPATCH, SENDS, TO_SMS, [])
    assert reason_of(document([middle], ONE)) is PathReason.NOT_THE_NEXT_HOP


def test_a_server_without_evidence_without_log_key_or_twice_fails() -> None:
    assert reason_of(changed(LONG, servers=[LONG.servers[0]])) is PathReason.SERVER_MISSING
    assert reason_of(LONG, (ONE.log_key,)) is PathReason.NO_LOG_KEY
    assert reason_of(changed(LONG, servers=[LONG.servers[0]] * 2)) is PathReason.MALFORMED


def test_a_ledger_proof_that_does_not_hold_fails() -> None:
    evidence = ONE.evidence()
    sound = document(ONE.through(TO_SMS), ONE)
    other = msgspec.structs.replace(evidence, keys=TWO.evidence().keys)
    with pytest.raises(LetterlockError):
        verify_path(changed(sound, servers=[other]).encode(), KEYS)
    # The entry of the batch is in the log, and names no key.
    with pytest.raises(LetterlockError):
        verify_path(changed(sound, servers=[msgspec.structs.replace(evidence, keys=evidence.record)]).encode(), KEYS)
    with pytest.raises(ProofFileError):
        verify_path(changed(sound, servers=[msgspec.structs.replace(evidence, record="")]).encode(), KEYS)
    salted = msgspec.structs.replace(evidence, salt=bytes(16))
    assert reason_of(changed(sound, servers=[salted])) is PathReason.RECORD_OF_ANOTHER_MESSAGE


def test_a_message_that_left_nowhere_says_so() -> None:
    path = ONE.through(Handed(Onward.NOBODY))
    proven = verify_path(document(path, ONE).encode(), KEYS)
    assert proven.end.to is Onward.NOBODY
    assert proven.readers == (ONE.name,)


def test_only_one_spelling_is_read() -> None:
    members = json.loads(LONG.encode())
    for spoilt in (
        {**members, "more": 1},
        {**members, "letterlock_path": 2},
        {name: value for name, value in members.items() if name != "servers"},
        {**members, "markers": members["markers"] * 5},
        {**members, "markers": [{**members["markers"][0], "kinds": ["STORE", "READ"]}]},
        {**members, "markers": [{**members["markers"][0], "kinds": ["READ", "READ"]}]},
        {**members, "markers": [{**members["markers"][0], "signature": "AAAA"}]},
        {**members, "markers": [{**members["markers"][0], "handed": {"to": "hop"}}]},
        {**members, "markers": [{**members["markers"][0], "handed": {"to": "devices", "row": 1}}]},
        {**members, "markers": [{**members["markers"][0], "handed": {"to": "nobody", "channel": "sms"}}]},
    ):
        assert reason_of(json.dumps(spoilt).encode()) is PathReason.MALFORMED
    assert reason_of(b"{" + b" " * MAX_PATH + b"}") is PathReason.TOO_LARGE
    assert reason_of(b"\xff") is PathReason.MALFORMED


def test_a_statement_that_cannot_be_is_not_made() -> None:
    for wrong in (
        lambda: Handed(Onward.HOP),
        lambda: Handed(Onward.TRANSPORT),
        lambda: Handed(Onward.DEVICES, readers=(CARRIER,)),
        lambda: Handed(Onward.TRANSPORT, channel=Channel.SMS, row=1 << 16),
        lambda: ONE.mark(MarkerHop.ACCEPT, READS, Handed(Onward.HOP, "x" * 256, MarkerHop.ACCEPT), []),
        lambda: ONE.mark(
            MarkerHop.ACCEPT, READS, Handed(Onward.TRANSPORT, channel=Channel.SMS, readers=(Unsigned("", READS),)), []
        ),
    ):
        with pytest.raises(PathError):
            wrong()


def test_the_same_statement_is_always_the_same_marker() -> None:
    assert ONE.through(TO_SMS) == Server("one.example/ledger").through(TO_SMS)


def test_errors_say_nothing_of_the_message() -> None:
    with pytest.raises(PathError) as refused:
        verify_path(changed(LONG, message=str(OTHER)).encode(), KEYS)
    for text in (str(refused.value), repr(refused.value)):
        assert OTHER.value.hex() not in text


def test_the_vector_of_the_protocol_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "protocol" / "path.md").read_text()
    block = page.split("```vector\n")[1].split("```")[0]
    told = dict(line.split(": ", 1) for line in block.splitlines())
    key = SoftwareKey(KeyFamily.SERVER_MARKER, Suite.ED25519, b"\x07" * 32)
    tenant, message = TenantId(bytes.fromhex(told["tenant"])), MessageId(bytes.fromhex(told["message id"]))
    record = bytes.fromhex(told["record"])
    assert key.public.encode().hex() == told["public key"]
    previous = first_link(tenant, "prod", message)
    assert previous.hex() == told["first link"]
    name = "gw.example/log"
    for position, (hop, kinds, handed) in enumerate(
        (
            (MarkerHop.ACCEPT, READS, Handed(Onward.HOP, name, MarkerHop.DISPATCH)),
            (MarkerHop.DISPATCH, SENDS, TO_SMS),
        )
    ):
        made = mark(key, tenant, "prod", message, MarkerStatement(name, hop, position, previous, record, kinds, handed))
        previous = made.link()
        assert made.statement.encode().hex() == told[f"{hop.value} body"]
        assert made.signature.encode().hex() == told[f"{hop.value} signature"]
        assert previous.hex() == told[f"{hop.value} link"]
