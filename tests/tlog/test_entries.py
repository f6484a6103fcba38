"""The closed schema: everything it has round-trips; nothing else gets in, least of all text."""

import json
from dataclasses import fields, replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tlog.samples import entries

from letterlock.model.capability import Channel
from letterlock.model.protection import ConsentKind, Protection
from letterlock.wire.tlog.commitments import (
    Commitment,
    CommitmentKind,
    Digest,
    RuleTag,
    commit,
    message_commitment,
    opens,
    record_salt,
    rule_tag,
)
from letterlock.wire.tlog.entries import (
    ENTRY_TYPES,
    MAX_ENTRY,
    MAX_INT,
    Batch,
    Fallback,
    Finding,
    Interval,
    LedgerEntry,
    StorageKey,
    decode_entry,
    encode_entry,
)
from letterlock.wire.tlog.errors import EntryError, EntryReason
from letterlock.wire.tlog.words import FindingCode, ReasonCode, Severity, StorageKeyStep

FALLBACK = Fallback(
    ts=1_700_000_000_000,
    message=Commitment(b"\x01" * 32),
    from_=Protection.E2EE,
    to=Protection.CLEAR,
    channel=Channel.SMS,
    policy=Digest(b"\x02" * 32),
    rule=rule_tag("alerts-by-sms"),
    reason=ReasonCode.NO_SECURE_PATH,
    kind=ConsentKind.DEVICE_SIGNED,
    consent=Commitment(b"\x03" * 32),
)
KEY = StorageKey(ts=5, generation=7, step=StorageKeyStep.DESTROY_INTENT)


def reason(data: bytes) -> EntryReason:
    with pytest.raises(EntryError) as caught:
        decode_entry(data)
    return caught.value.reason


def test_the_bytes_of_a_known_entry() -> None:
    assert encode_entry(KEY) == b'{"generation":7,"step":"destroy_intent","t":"storage_key","ts":5,"v":1}'
    one, two, three = "01" * 32, "02" * 32, "03" * 32
    assert encode_entry(FALLBACK).decode() == (
        f'{{"channel":"sms","consent":"{three}","from":"E2EE","kind":"DEVICE_SIGNED","message":"{one}",'
        f'"policy":"{two}","reason":"no_secure_path","rule":"{rule_tag("alerts-by-sms")}",'
        '"t":"fallback","to":"CLEAR","ts":1700000000000,"v":1}'
    )


def test_the_twenty_one_types_of_the_schema() -> None:
    assert set(ENTRY_TYPES) == {
        "batch", "interval", "fallback", "challenge", "consent", "refusal", "hold", "release", "quarantine",
        "floor_changed", "device_list", "storage_key", "erasure", "purge", "tenant", "config", "policy_loaded",
        "gateway_started", "marker_keys", "finding", "e2ee_first",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ENTRY_TYPES.values())
def test_no_field_of_any_type_can_hold_text(kind: type[LedgerEntry]) -> None:
    assert all(item.type is not str and "str" not in str(item.type) for item in fields(kind))
    assert all(item.type is not bytes for item in fields(kind))


@given(entries())
@settings(max_examples=400)
def test_every_entry_round_trips_canonically(entry: LedgerEntry) -> None:
    data = encode_entry(entry)
    assert decode_entry(data) == entry
    assert len(data) <= MAX_ENTRY // 2
    members = json.loads(data)
    assert list(members) == sorted(members)
    assert json.dumps(members, separators=(",", ":"), sort_keys=True).encode() == data


@given(entries(), st.text(max_size=200) | st.binary(max_size=200), st.data())
@settings(max_examples=400)
def test_a_body_in_any_field_is_refused(entry: LedgerEntry, body: str | bytes, data: st.DataObject) -> None:
    """Whatever the content of a message is, and whatever field it is put into, it never gets into an entry."""
    name = data.draw(st.sampled_from([item.name for item in fields(entry)]))
    with pytest.raises((EntryError, TypeError)):
        encode_entry(replace(entry, **cast("dict[str, Any]", {name: body})))
    for made in (Digest, Commitment, RuleTag):
        if not (isinstance(body, bytes) and len(body) in {8, 32}):
            with pytest.raises(EntryError):
                made(body)  # type: ignore[arg-type]


@given(entries(), st.text(max_size=100), st.text(min_size=1, max_size=12))
@settings(max_examples=300)
def test_a_body_smuggled_into_the_bytes_is_refused(entry: LedgerEntry, body: str, key: str) -> None:
    good = json.loads(encode_entry(entry))
    for members in (
        {**good, key: body},
        {**good, "text": body},
        {**good, "t": body},
        *({**good, name: body} for name in good if name != "t"),
    ):
        data = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
        if members != good:
            try:
                other = decode_entry(data)
            except EntryError:
                continue
            # Only another word or digest of the schema itself can have been accepted.
            assert encode_entry(other) == data
            assert body.isascii()
            assert body.replace("_", "").replace("-", "").isalnum()


@pytest.mark.parametrize("value", [-1, MAX_INT + 1, True, 1.0, "1", None, b"1"])
def test_integers_are_exact(value: Any) -> None:
    assert decode_entry(encode_entry(replace(KEY, generation=MAX_INT))) == replace(KEY, generation=MAX_INT)
    with pytest.raises(EntryError):
        encode_entry(replace(KEY, generation=value))


@pytest.mark.parametrize("value", ["sms", Protection.CLEAR, None, 3, Severity.NOTICE])
def test_words_are_members_of_their_own_enum(value: Any) -> None:
    with pytest.raises(EntryError):
        encode_entry(replace(FALLBACK, channel=value))


def test_refusals_of_the_decoder_have_their_reasons() -> None:
    good = encode_entry(KEY)
    assert decode_entry(good) == KEY
    assert reason(good.replace(b'"v":1', b'"v":2')) is EntryReason.UNKNOWN_VERSION
    assert reason(good.replace(b'"v":1', b'"v":true')) is EntryReason.UNKNOWN_VERSION
    assert reason(good.replace(b'"v":1', b'"v":"1"')) is EntryReason.UNKNOWN_VERSION
    assert reason(good.replace(b"storage_key", b"note")) is EntryReason.UNKNOWN_TYPE
    assert reason(good.replace(b'"storage_key"', b"[]")) is EntryReason.UNKNOWN_TYPE
    assert reason(good.replace(b'"step"', b'"text"')) is EntryReason.UNKNOWN_FIELD
    assert reason(good.replace(b'"generation":7,', b"")) is EntryReason.MISSING_FIELD
    assert reason(good.replace(b"7", b"-7")) is EntryReason.BAD_VALUE
    assert reason(good.replace(b"7", b"7.0")) is EntryReason.BAD_VALUE
    assert reason(good.replace(b"7", b"7e0")) is EntryReason.BAD_VALUE
    assert reason(good.replace(b"7", b'"7"')) is EntryReason.BAD_VALUE
    assert reason(good.replace(b"destroy_intent", b"hello")) is EntryReason.BAD_VALUE
    for spelled in (
        b" " + good,
        good + b"\n",
        good.replace(b":7", b": 7"),
        good.replace(b"destroy", b"\\u0064estroy"),
        good.replace(b'{"generation":7,"step":"destroy_intent"', b'{"step":"destroy_intent","generation":7'),
        good.replace(b'"generation":7', b'"generation":6,"generation":7'),
        b"[]",
        b"7",
        b"",
        b"{",
        b"\xff",
        b"[" * 2000,
        b'{"a":' * 400,
        b"NaN",
    ):
        assert reason(spelled) is EntryReason.NOT_CANONICAL, spelled
    assert reason(good + b" " * MAX_ENTRY) is EntryReason.TOO_LARGE
    upper = encode_entry(FALLBACK).replace(b'"policy":"02', b'"policy":"0A', 1)
    assert reason(upper) is EntryReason.BAD_VALUE


@given(st.binary(max_size=300))
def test_decoder_is_total(data: bytes) -> None:
    with pytest.raises(EntryError):
        decode_entry(data)


def test_encoder_takes_entries_only() -> None:
    with pytest.raises(EntryError):
        encode_entry(LedgerEntry(ts=1))


def test_counts_of_a_batch_must_agree() -> None:
    root = Digest(bytes(32))
    assert Batch(ts=1, accepted=1, delivered=2, acked=3, failed=4, n=10, root=root).n == 10
    assert b"attested" not in encode_entry(Batch(ts=1, accepted=1, delivered=0, acked=0, failed=0, n=1, root=root))
    some = Batch(ts=1, accepted=1, delivered=0, acked=0, failed=0, n=3, root=root, attested=2)
    assert decode_entry(encode_entry(some)) == some
    for wrong in (0, 1, 3):
        with pytest.raises(EntryError):
            Batch(ts=1, accepted=1, delivered=0, acked=0, failed=0, n=3 if wrong else 1, root=root, attested=wrong)
    for n, accepted in ((9, 1), (11, 1), (9, 0), (8, 1)):
        if n != accepted + 9:
            with pytest.raises(EntryError, match="counts disagree"):
                Batch(ts=1, accepted=accepted, delivered=2, acked=3, failed=4, n=n, root=root)
    with pytest.raises(EntryError):
        Batch(ts=1, accepted=0, delivered=0, acked=0, failed=0, n=0, root=root)
    assert Interval(ts=1, n=64, root=root).n == 64
    for n in (0, 3, 65):
        with pytest.raises(EntryError, match="bad value"):
            Interval(ts=1, n=n, root=root)


def test_a_fallback_names_its_consent_unless_policy_alone_allowed_it() -> None:
    assert replace(FALLBACK, kind=ConsentKind.POLICY, consent=None).consent is None
    with pytest.raises(EntryError):
        replace(FALLBACK, consent=None)
    with pytest.raises(EntryError):
        replace(FALLBACK, kind=ConsentKind.POLICY)


def test_optional_fields_are_left_out() -> None:
    finding = Finding(ts=1, code=FindingCode.REPLAY, severity=Severity.WARNING, count=2)
    assert encode_entry(finding) == b'{"code":"replay","count":2,"severity":"warning","t":"finding","ts":1,"v":1}'
    null = b'{"code":"replay","count":2,"severity":"warning","subject":null,"t":"finding","ts":1,"v":1}'
    assert reason(null) is EntryReason.BAD_VALUE


def test_commitments_hide_and_open() -> None:
    salt, number = b"s" * 16, b"+4915112345678"
    made = commit(CommitmentKind.PEER, salt, number)
    assert opens(made, CommitmentKind.PEER, salt, number)
    assert not opens(made, CommitmentKind.PEER, b"t" * 16, number)
    assert not opens(made, CommitmentKind.SUBJECT, salt, number)
    assert not opens(made, CommitmentKind.PEER, salt, number + b"0")
    assert not opens(made, CommitmentKind.PEER, salt[:15], number)
    # Salt and value cannot slide into each other.
    assert commit(CommitmentKind.PEER, salt + b"+", number[1:]) != made
    for length in (0, 15, 65):
        with pytest.raises(EntryError, match="salt too short"):
            commit(CommitmentKind.PEER, bytes(length), number)
    with pytest.raises(EntryError):
        message_commitment(bytes(15), bytes(16))
    assert len({commit(kind, salt, number) for kind in CommitmentKind}) == len(CommitmentKind)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_the_hot_path_makes_the_same_commitment(salt: bytes, value: bytes) -> None:
    assert message_commitment(salt, value) == commit(CommitmentKind.MESSAGE, salt, value).value


def test_salts_of_a_batch_differ_by_slot_and_seed() -> None:
    salts = {record_salt(bytes([seed]) * 32, slot) for seed in range(10) for slot in range(100)}
    assert len(salts) == 1000
    assert {len(salt) for salt in salts} == {16}


def test_a_rule_is_named_by_its_tag() -> None:
    assert rule_tag("a") == rule_tag("a") != rule_tag("b")
    assert RuleTag.parse(str(rule_tag("a"))) == rule_tag("a")
    for text in ("", "0" * 15, "0" * 17, "G" * 16, "A" * 16, " " * 16):
        with pytest.raises(EntryError):
            RuleTag.parse(text)
