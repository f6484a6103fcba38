"""Per-message records, batches and receipts."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tlog.makelog import KeySigner, entry, grown, signed
from tests.tlog.naive import naive_path, naive_root

from letterlock.ledger.serve import Prover
from letterlock.model.capability import Channel
from letterlock.model.protection import EvidenceGrade, Protection, Verifier
from letterlock.wire.tlog.commitments import Commitment, CommitmentKind, message_commitment, opens, rule_tag
from letterlock.wire.tlog.entries import MAX_INT, encode_entry
from letterlock.wire.tlog.errors import (
    EntryError,
    EntryReason,
    NoteError,
    ProofFileError,
    ProofFileReason,
    TreeError,
)
from letterlock.wire.tlog.hashes import leaf_hash
from letterlock.wire.tlog.intervals import IntervalRecords
from letterlock.wire.tlog.proof_file import MAX_HASHES, ProofFile
from letterlock.wire.tlog.receipt import Receipt
from letterlock.wire.tlog.records import (
    MAX_RECORD,
    Accepted,
    Acked,
    Attested,
    BatchBuilder,
    Delivered,
    Failed,
    Record,
    accepted,
    accepted_shape,
    acked,
    attested,
    decode_record,
    delivered,
    failed,
)
from letterlock.wire.tlog.verify import verify_entry_proof, verify_receipt
from letterlock.wire.tlog.words import ReasonCode, ReceiptWord

KEY = KeySigner().verifier_key
NUMBERS = st.integers(0, MAX_INT)
HASHES = st.binary(min_size=32, max_size=32)
CHANNELS = st.sampled_from(Channel)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Accepted,
        NUMBERS,
        HASHES,
        CHANNELS,
        st.sampled_from(Protection),
        st.sampled_from(EvidenceGrade),
        st.sampled_from(Verifier),
        st.text().map(rule_tag),
        NUMBERS,
    ),
    st.builds(Delivered, NUMBERS, HASHES, CHANNELS),
    st.builds(Acked, NUMBERS, NUMBERS, HASHES, HASHES),
    st.builds(Failed, NUMBERS, HASHES, CHANNELS, st.sampled_from(ReasonCode)),
    st.builds(
        lambda ts, message, word, verifier, some, more: Attested(ts, message, word, verifier, some, some + more),
        NUMBERS,
        HASHES,
        st.sampled_from(ReceiptWord),
        st.sampled_from(Verifier),
        st.integers(1, 1_000),
        st.integers(0, 1_000),
    ),
)
SHAPE = accepted_shape(Channel.RELAY, Protection.E2EE, EvidenceGrade.FRAMED, Verifier.GATEWAY, rule_tag("r"))


def test_the_bytes_of_known_records() -> None:
    zero = "A" * 43 + "="
    assert accepted(7, bytes(32), SHAPE, 4096).decode() == (
        f"1 a 7 {zero} relay E2EE FRAMED gateway {rule_tag('r')} 4096"
    )
    assert delivered(7, bytes(32), Channel.SMS).decode() == f"1 d 7 {zero} sms"
    assert acked(7, 20, bytes(32), bytes(32)).decode() == f"1 k 7 20 {zero} {zero}"
    assert failed(7, bytes(32), Channel.SMS, ReasonCode.EXPIRED).decode() == f"1 f 7 {zero} sms expired"
    checked = attested(7, bytes(32), ReceiptWord.DISPLAYED, Verifier.GATEWAY, 2, 3)
    assert checked.decode() == f"1 r 7 {zero} displayed gateway 2 3"
    for some, of in ((0, 1), (2, 1)):
        with pytest.raises(EntryError):
            attested(7, bytes(32), ReceiptWord.DISPLAYED, Verifier.GATEWAY, some, of)


@given(RECORDS)
@settings(max_examples=300)
def test_records_round_trip(record: Record) -> None:
    data = record.encode()
    assert decode_record(data) == record
    assert len(data) <= MAX_RECORD
    for other in (data + b" ", b" " + data, data[:-1], data.replace(b" ", b"  ", 1), data.replace(b"1 ", b"2 ", 1)):
        try:
            decoded = decode_record(other)
        except EntryError:
            continue
        # A cut number is another record; nothing else may pass.
        assert decoded.encode() == other


@given(st.binary(max_size=300) | st.text(max_size=80).map(str.encode))
def test_record_decoder_is_total(data: bytes) -> None:
    with pytest.raises(EntryError):
        decode_record(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", EntryReason.NOT_CANONICAL),
        (b"2 d 7 " + b"A" * 43 + b"= sms", EntryReason.UNKNOWN_VERSION),
        (b"1 x 7 " + b"A" * 43 + b"= sms", EntryReason.UNKNOWN_TYPE),
        (b"1 d 7 " + b"A" * 43 + b"= sms more", EntryReason.UNKNOWN_TYPE),
        (b"1 d 7 " + b"A" * 43 + b"= fax", EntryReason.BAD_VALUE),
        (b"1 d 07 " + b"A" * 43 + b"= sms", EntryReason.NOT_CANONICAL),
        (b"1 d -7 " + b"A" * 43 + b"= sms", EntryReason.BAD_VALUE),
        (b"1 d 9007199254740992 " + b"A" * 43 + b"= sms", EntryReason.BAD_VALUE),
        (b"1 d 7 " + b"A" * 42 + b"B= sms", EntryReason.NOT_CANONICAL),
        (b"1 d 7 AAAA sms", EntryReason.BAD_VALUE),
        (b"1 d 7 !!!! sms", EntryReason.BAD_VALUE),
        (b"1 d 7 " + b"A" * 300, EntryReason.TOO_LARGE),
    ],
)
def test_malformed_records(data: bytes, reason: EntryReason) -> None:
    with pytest.raises(EntryError) as caught:
        decode_record(data)
    assert caught.value.reason is reason


def test_no_text_gets_into_a_record() -> None:
    secret = "meet me at nine"
    for call in (
        lambda: accepted(secret, bytes(32), SHAPE, 1),  # type: ignore[arg-type]
        lambda: accepted(1, secret, SHAPE, 1),  # type: ignore[arg-type]
        lambda: accepted(1, secret.encode(), SHAPE, 1),
        lambda: accepted(1, bytes(32), SHAPE, secret),  # type: ignore[arg-type]
        lambda: delivered(1, bytes(32), secret),  # type: ignore[arg-type]
        lambda: delivered(1, secret.encode(), Channel.SMS),
        lambda: failed(1, bytes(32), Channel.SMS, secret),  # type: ignore[arg-type]
        lambda: failed(1, secret.encode(), Channel.SMS, ReasonCode.OTHER),
        lambda: acked(1, secret, bytes(32), bytes(32)),  # type: ignore[arg-type]
        lambda: acked(1, 1, secret.encode(), bytes(32)),
        lambda: acked(1, 1, bytes(32), secret.encode()),
        lambda: accepted_shape(secret, Protection.E2EE, EvidenceGrade.NONE, Verifier.NOBODY, rule_tag("r")),
        lambda: accepted_shape(Channel.SMS, Protection.E2EE, EvidenceGrade.NONE, Verifier.NOBODY, secret),
    ):
        with pytest.raises((EntryError, TypeError, KeyError)):
            call()


def filled(count: int) -> BatchBuilder:
    batch = BatchBuilder()
    for slot in range(count):
        assert batch.add(delivered(slot, bytes(32), Channel.SMS))[0] == slot
    return batch


def test_a_batch_is_an_rfc_6962_tree() -> None:
    for count in (1, 2, 3, 20, 33):
        batch = filled(count)
        assert len(batch) == count
        assert batch.root == naive_root(batch.records)
        for slot in range(count):
            assert batch.inner_proof(slot) == naive_path(slot, batch.records)
            assert batch.record_hash(slot) == leaf_hash(batch.records[slot])
    batch = filled(3)
    before = batch.root
    batch.add(delivered(9, bytes(32), Channel.RELAY))
    assert batch.root != before


def test_a_batch_counts_its_kinds() -> None:
    batch = BatchBuilder()
    for _ in range(4):
        batch.add(accepted(1, bytes(32), SHAPE, 1))
    for _ in range(3):
        batch.add(delivered(1, bytes(32), Channel.SMS))
    for _ in range(2):
        batch.add(acked(1, 5, bytes(32), bytes(32)))
    batch.add(failed(1, bytes(32), Channel.SMS, ReasonCode.EXPIRED))
    entry_ = batch.entry(99)
    assert (entry_.accepted, entry_.delivered, entry_.acked, entry_.failed, entry_.n) == (4, 3, 2, 1, 10)
    assert entry_.root.value == batch.root


def test_a_batch_refuses_what_it_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EntryError, match="batch empty"):
        BatchBuilder().entry(1)
    batch = filled(2)
    for slot in (-1, 2):
        with pytest.raises(EntryError, match="no such slot"):
            batch.inner_proof(slot)
    batch.add(b"1 x 3")
    with pytest.raises(EntryError, match="unknown type"):
        batch.entry(1)
    monkeypatch.setattr("letterlock.wire.tlog.records.MAX_BATCH", 2)
    with pytest.raises(EntryError, match="batch full"):
        filled(3)


SALT = b"\x09" * 16
MESSAGE = b"\x0a" * 16
RECORDS_OF_BATCH = [accepted(n, message_commitment(SALT, MESSAGE), SHAPE, n) for n in range(20)]


def a_receipt(slot: int = 13) -> Receipt:
    batch = BatchBuilder()
    for record in RECORDS_OF_BATCH:
        batch.add(record)
    rows = [entry(n) for n in range(300)]
    rows[270] = encode_entry(batch.entry(5))
    store = grown(rows)
    return Prover(store, signed(store)).receipt(270, RECORDS_OF_BATCH, slot)


def test_a_receipt_proves_one_message_offline() -> None:
    for slot in (0, 13, 19):
        data = a_receipt(slot).encode()
        assert Receipt.parse(data).encode() == data
        proven = verify_receipt(data, KEY)
        assert (proven.index, proven.slot, proven.batch.n, proven.head.checkpoint.size) == (270, slot, 20, 300)
        assert isinstance(proven.record, Accepted)
        assert proven.record.size_bucket == slot
        assert opens(Commitment(proven.record.message), CommitmentKind.MESSAGE, SALT, MESSAGE)
    # The outer half is an ordinary proof file.
    receipt = a_receipt()
    assert verify_entry_proof(receipt.encode(), receipt.entry, KEY).index == 270


def test_a_receipt_changed_anywhere_is_refused() -> None:
    good = a_receipt()
    assert verify_receipt(good.encode(), KEY).slot == 13
    other_key = KeySigner(seed=b"\x55" * 32).verifier_key
    with pytest.raises(NoteError):
        verify_receipt(good.encode(), other_key)
    wrong = [
        replace(good, slot=12),
        replace(good, slot=20),
        replace(good, record=RECORDS_OF_BATCH[12]),
        replace(good, inner_path=good.inner_path[:-1]),
        replace(good, inner_path=(*good.inner_path, bytes(32))),
        replace(good, entry=entry(1)),
        replace(good, entry=good.entry.replace(b'"n":20', b'"n":21').replace(b'"accepted":20', b'"accepted":21')),
        replace(good, proof=replace(good.proof, index=269)),
        replace(good, proof=replace(good.proof, path=good.proof.path[:-1])),
    ]
    for receipt in wrong:
        with pytest.raises(TreeError):
            verify_receipt(receipt.encode(), KEY)


def test_an_entry_that_is_no_batch_backs_no_receipt() -> None:
    rows = [entry(n) for n in range(3)]
    store = grown(rows)
    proof = Prover(store, signed(store)).proof_file(1)
    receipt = Receipt(proof, rows[1], RECORDS_OF_BATCH[0], 0, ())
    with pytest.raises(EntryError, match="unknown type"):
        verify_receipt(receipt.encode(), KEY)


@given(st.data())
@settings(max_examples=150)
def test_flipped_receipts_never_verify_to_something_else(data: st.DataObject) -> None:
    good = _GOOD
    changed = bytearray(good)
    changed[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        verify_receipt(bytes(changed), KEY)
    except (ProofFileError, NoteError, TreeError, EntryError):
        return
    raise AssertionError("a changed receipt was accepted")


_GOOD = a_receipt().encode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(b"@v1", b"@v2", 1), ProofFileReason.BAD_HEADER),
        (lambda data: b"\n" + data, ProofFileReason.BAD_HEADER),
        (lambda data: data.replace(b"index 270", b"index 0270", 1), ProofFileReason.BAD_INDEX),
        (lambda data: data.replace(b"index ", b"Index ", 1), ProofFileReason.BAD_INDEX),
        (lambda data: data.replace(b"extra ", b"extra !", 1), ProofFileReason.BAD_EXTRA),
        (lambda data: data.replace(b"\n\n", b"\nAAAA\n\n", 1), ProofFileReason.BAD_HASH),
        (lambda data: data.replace(b"\n\n", b"\n" + b"A" * 43 + b"=\n\n", 1).replace(b"=\n\n", b"!\n\n", 1), None),
        (lambda data: data.partition(b"\n\n")[0], ProofFileReason.NO_CHECKPOINT),
        (lambda data: data.replace(b"c2sp", b"c\xffsp", 1), ProofFileReason.NOT_UTF8),
        (
            lambda data: data.replace(b"\n\n", b"\n" + (b"A" * 43 + b"=\n") * (MAX_HASHES + 1) + b"\n", 1),
            ProofFileReason.TOO_MANY_HASHES,
        ),
        (lambda data: data + bytes(2_000_000), ProofFileReason.TOO_LARGE),
    ],
)
def test_malformed_proof_files(change: object, reason: ProofFileReason | None) -> None:
    assert ProofFile.parse(_GOOD).index == 270
    assert callable(change)
    with pytest.raises(ProofFileError) as caught:
        ProofFile.parse(change(_GOOD))
    assert reason in {None, caught.value.reason}


def test_a_receipt_is_bounded_and_read_to_its_last_byte() -> None:
    good = a_receipt()
    extra = ProofFile.parse(good.encode()).extra
    assert extra is not None
    for changed in (b"", extra[:-1], extra + b"\x00", extra[:30], b"letterlock/v2" + extra[13:], None):
        with pytest.raises(ProofFileError, match="malformed receipt"):
            Receipt.parse(replace(good.proof, extra=changed).encode())
    with pytest.raises(ProofFileError):
        replace(good, slot=-1).encode()
    with pytest.raises(ProofFileError):
        replace(good, inner_path=(bytes(32),) * 17).encode()


@given(st.binary(max_size=200))
def test_proof_parsers_are_total(data: bytes) -> None:
    for whole in (data, b"c2sp.org/tlog-proof@v1\n" + data):
        for parse in (ProofFile.parse, Receipt.parse):
            try:
                parse(whole)
            except ProofFileError:
                continue


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_an_interval_without_its_own_seed_proves_nothing(seed: bytes) -> None:
    """Its padding follows from the seed: another one would give a proof of another tree."""
    assert IntervalRecords((b"1 d 1",), bytes(32)).inner_proof(0)
    with pytest.raises(EntryError) as caught:
        IntervalRecords((b"1 d 1",), seed)
    assert caught.value.reason is EntryReason.SALT_TOO_SHORT
