"""Signed notes, keys and checkpoints: what is accepted, and beside it what is refused."""

import contextlib
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.makelog import ORIGIN, KeySigner

from letterlock.wire.tlog.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_decimal,
    peek_checkpoint,
)
from letterlock.wire.tlog.errors import NoteError, NoteReason
from letterlock.wire.tlog.note import (
    MAX_SIGNATURES,
    KeyType,
    SignatureLine,
    VerifierKey,
    cosignature_bytes,
    cosignature_message,
    decode_canonical_base64,
    open_note,
    parse_note,
    with_signatures,
)

LOG = KeySigner()
WITNESS = KeySigner("witness.test", b"\x33" * 32, KeyType.COSIGNATURE_V1)
TEXT = Checkpoint(ORIGIN, 5, b"\x05" * 32).text()


def log_line(text: bytes = TEXT) -> SignatureLine:
    return SignatureLine.by(LOG.verifier_key, LOG.sign(text))


def witness_line(text: bytes = TEXT, stamp: int = 1_700_000_000) -> SignatureLine:
    signature = WITNESS.sign(cosignature_message(stamp, text))
    return SignatureLine.by(WITNESS.verifier_key, cosignature_bytes(stamp, signature))


def cosigned(note: bytes) -> tuple[bytes, VerifierKey]:
    parsed = parse_note(note)
    return with_signatures(parsed.text, [*parsed.lines, witness_line(parsed.text)]), WITNESS.verifier_key


def refused(data: bytes, *witnesses: VerifierKey, key: VerifierKey | None = None) -> NoteReason:
    with pytest.raises(NoteError) as caught:
        open_checkpoint(data, key or LOG.verifier_key, witnesses)
    return caught.value.reason


def test_signed_note_opens_and_names_its_witnesses() -> None:
    note = with_signatures(TEXT, [log_line(), witness_line()])
    head = open_checkpoint(note, LOG.verifier_key, [WITNESS.verifier_key])
    assert head.checkpoint == Checkpoint(ORIGIN, 5, b"\x05" * 32)
    assert [(one.key, one.stamp) for one in head.cosigners] == [(WITNESS.verifier_key, 1_700_000_000)]
    assert open_checkpoint(note, LOG.verifier_key).cosigners == ()
    assert parse_note(note).encode() == note
    assert peek_checkpoint(note).size == 5


def test_log_signature_stripped_while_a_witness_stays_is_refused() -> None:
    note = with_signatures(TEXT, [witness_line()])
    assert refused(note, WITNESS.verifier_key) is NoteReason.LOG_SIGNATURE_MISSING
    assert refused(note, WITNESS.verifier_key, LOG.verifier_key) is NoteReason.LOG_SIGNATURE_MISSING
    # Damaged into a line of an unknown key: the same.
    line = log_line()
    other_id = SignatureLine(line.name, b"\x00\x00\x00\x00", line.signature)
    assert refused(with_signatures(TEXT, [other_id, witness_line()]), WITNESS.verifier_key) is (
        NoteReason.LOG_SIGNATURE_MISSING
    )


def test_key_name_confusion_is_refused() -> None:
    line = log_line()
    for name in ("evil.test", ORIGIN + "x", ORIGIN.upper()):
        note = with_signatures(TEXT, [SignatureLine(name, line.key_id, line.signature)])
        assert refused(note) is NoteReason.LOG_SIGNATURE_MISSING
    # A key of another owner under the log's name has another id, and is not the log's key.
    impostor = KeySigner(seed=b"\x44" * 32)
    note = with_signatures(TEXT, [SignatureLine.by(impostor.verifier_key, impostor.sign(TEXT))])
    assert refused(note) is NoteReason.LOG_SIGNATURE_MISSING
    # The log's id over the impostor's signature.
    note = with_signatures(TEXT, [SignatureLine(ORIGIN, LOG.verifier_key.key_id, impostor.sign(TEXT))])
    assert refused(note) is NoteReason.INVALID_SIGNATURE
    # A witness's key type can never stand for the log.
    as_log = VerifierKey(ORIGIN, KeyType.COSIGNATURE_V1, LOG.verifier_key.public)
    assert refused(with_signatures(TEXT, [log_line()]), key=as_log) is NoteReason.NOT_A_LOG_KEY


def test_signatures_do_not_move_between_key_types() -> None:
    same_key = KeySigner(ORIGIN, LOG.seed, KeyType.COSIGNATURE_V1)
    stamp = 9
    signature = same_key.sign(cosignature_message(stamp, TEXT))
    assert LOG.verifier_key.key_id != same_key.verifier_key.key_id
    with pytest.raises(NoteError):
        LOG.verifier_key.check(TEXT, signature)
    with pytest.raises(NoteError):
        same_key.verifier_key.check(TEXT, cosignature_bytes(stamp, LOG.sign(TEXT)))
    with pytest.raises(NoteError):
        same_key.verifier_key.check(TEXT, cosignature_bytes(stamp + 1, signature))
    with pytest.raises(NoteError):
        same_key.verifier_key.check(TEXT, signature)
    assert same_key.verifier_key.check(TEXT, cosignature_bytes(stamp, signature)) == stamp


def test_any_invalid_line_of_a_known_key_spoils_the_note() -> None:
    bad = SignatureLine.by(WITNESS.verifier_key, cosignature_bytes(1, bytes(64)))
    note = with_signatures(TEXT, [log_line(), bad])
    assert refused(note, WITNESS.verifier_key) is NoteReason.INVALID_SIGNATURE
    assert open_checkpoint(note, LOG.verifier_key).checkpoint.size == 5
    note = with_signatures(TEXT, [log_line(), SignatureLine.by(LOG.verifier_key, bytes(64))])
    assert refused(note) is NoteReason.INVALID_SIGNATURE
    note = with_signatures(TEXT, [SignatureLine.by(LOG.verifier_key, log_line().signature[:-1])])
    assert refused(note) is NoteReason.INVALID_SIGNATURE


def test_unknown_keys_are_ignored_and_many_signatures_are_read() -> None:
    unknown = [SignatureLine(f"w{n}.test", bytes(4), bytes(100)) for n in range(MAX_SIGNATURES - 1)]
    note = with_signatures(TEXT, [*unknown, log_line()])
    assert open_checkpoint(note, LOG.verifier_key, [WITNESS.verifier_key]).cosigners == ()
    with pytest.raises(NoteError) as caught:
        with_signatures(TEXT, [*unknown, log_line(), log_line()])
    assert caught.value.reason is NoteReason.TOO_MANY_SIGNATURES


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda note: note[:-1], NoteReason.NO_SIGNATURE_BLOCK),
        (lambda note: note + b"\n", NoteReason.NO_SIGNATURE_BLOCK),
        (lambda note: note.replace(b"\n\n", b"\n"), NoteReason.NO_SIGNATURE_BLOCK),
        (lambda note: b"", NoteReason.NO_SIGNATURE_BLOCK),
        (lambda note: note.replace(b"\n\n", b"\r\n\r\n"), NoteReason.CONTROL_CHARACTER),
        (lambda note: note.replace(b"\n5\n", b"\n\x005\n"), NoteReason.CONTROL_CHARACTER),
        (lambda note: note + b"\xff", NoteReason.NOT_UTF8),
        (lambda note: note.replace("—".encode(), b"-"), NoteReason.MALFORMED_SIGNATURE_LINE),
        (lambda note: note.replace("— ".encode(), "—  ".encode()), NoteReason.BAD_KEY_NAME),
        (lambda note: note[:-1] + b" \n", NoteReason.NOT_CANONICAL_BASE64),
        (lambda note: note[:-2] + b"\n", NoteReason.NOT_CANONICAL_BASE64),
        (lambda note: note + "— w.test AAAA\n".encode(), NoteReason.MALFORMED_SIGNATURE_LINE),
        (lambda note: note + "— w.test\n".encode(), NoteReason.MALFORMED_SIGNATURE_LINE),
        (lambda note: note + "— a+b AAAAAAAA\n".encode(), NoteReason.BAD_KEY_NAME),
        (lambda note: bytes(1 << 20) + note, NoteReason.TOO_LARGE),
    ],
)
def test_malformed_notes(change: object, reason: NoteReason) -> None:
    note = with_signatures(TEXT, [log_line()])
    assert open_checkpoint(note, LOG.verifier_key).note == note
    assert callable(change)
    assert refused(change(note)) is reason


def test_non_canonical_base64_is_refused() -> None:
    assert decode_canonical_base64("AAA=") == bytes(2)
    for text in ("AAB=", "AAA", "AAA==", "AA A=", "AAA=\n", "AA-_", "A===", "AAAAA", "ÄAA=", "AAA=AAA="):
        with pytest.raises(NoteError, match="not canonical base64"):
            decode_canonical_base64(text)
    # The same signature spelled with stray bits in the last character.
    note = with_signatures(TEXT, [log_line()]).decode()
    last = note.rstrip("\n")[-2]
    assert note.endswith("=\n")
    stray = note[:-3] + chr(ord(last) + 1) + "=\n"
    assert b64decode(stray.split(" ")[-1]) == b64decode(note.split(" ")[-1])
    assert refused(stray.encode()) is NoteReason.NOT_CANONICAL_BASE64


def test_keys_are_written_and_read_in_one_spelling() -> None:
    # Base64 of this key holds plus signs: only the first two separate.
    public = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32).public_key().public_bytes_raw()
    found = 0
    for number in range(200):
        public = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big")).public_key().public_bytes_raw()
        key = VerifierKey("log.test", KeyType.ED25519, public)
        assert VerifierKey.parse(str(key)) == key
        found += str(key).count("+") > 2
    assert found > 10


def test_public_example_key_of_the_note_format() -> None:
    # The example key in the documentation of the format's Go implementation.
    key = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = (
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    opened = open_note(text + b"\n" + line.encode(), key)
    assert opened.note.text == text
    with pytest.raises(NoteError, match="invalid signature"):
        open_note(text.replace(b"answer", b"Answer") + b"\n" + line.encode(), key)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", NoteReason.MALFORMED_KEY),
        ("log.test", NoteReason.MALFORMED_KEY),
        ("log.test+00000000", NoteReason.MALFORMED_KEY),
        ("log.test+00000000+", NoteReason.MALFORMED_KEY),
        ("log.test+00000000+AQ==", NoteReason.MALFORMED_KEY),
        ("log.test+00000000+" + b64encode(b"\x09" + bytes(32)).decode(), NoteReason.UNKNOWN_KEY_TYPE),
        ("log.test+00000000+" + b64encode(b"\x01" + bytes(32)).decode(), NoteReason.KEY_ID_MISMATCH),
        ("log test+00000000+" + b64encode(b"\x01" + bytes(32)).decode(), NoteReason.BAD_KEY_NAME),
        ("+00000000+" + b64encode(b"\x01" + bytes(32)).decode(), NoteReason.BAD_KEY_NAME),
        ("log.test+00000000+!", NoteReason.NOT_CANONICAL_BASE64),
        (str(LOG.verifier_key) + "=", NoteReason.NOT_CANONICAL_BASE64),
        (ORIGIN + "+" + LOG.verifier_key.key_id.hex().upper() + "+x", NoteReason.NOT_CANONICAL_BASE64),
    ],
)
def test_malformed_keys(text: str, reason: NoteReason) -> None:
    with pytest.raises(NoteError) as caught:
        VerifierKey.parse(text)
    assert caught.value.reason is reason


def test_upper_case_key_id_is_another_spelling() -> None:
    name, digits, rest = str(LOG.verifier_key).split("+", 2)
    assert VerifierKey.parse(f"{name}+{digits}+{rest}") == LOG.verifier_key
    if digits != digits.upper():
        with pytest.raises(NoteError, match="key id mismatch"):
            VerifierKey.parse(f"{name}+{digits.upper()}+{rest}")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a\n",
        b"a\n1\n",
        b"a\n1\n" + b64encode(bytes(31)) + b"\n",
        b"a\n01\n" + b64encode(bytes(32)) + b"\n",
        b"a\n+1\n" + b64encode(bytes(32)) + b"\n",
        b"a\n 1\n" + b64encode(bytes(32)) + b"\n",
        b"a\n-1\n" + b64encode(bytes(32)) + b"\n",
        b"a\n9223372036854775808\n" + b64encode(bytes(32)) + b"\n",
        "a\n١\n".encode() + b64encode(bytes(32)) + b"\n",
        b"\n1\n" + b64encode(bytes(32)) + b"\n",
        b"a b\n1\n" + b64encode(bytes(32)) + b"\n",
        b"a\n1\n" + b64encode(bytes(32)) + b"\n\n",
        b"a\n1\n" + b64encode(bytes(32)),
        b"a\n1\n" + b64encode(bytes(32)) + b"\n" + b"x\n" * 17,
        b"a\n1\nAAB=\n",
        b"\xff\n1\n" + b64encode(bytes(32)) + b"\n",
    ],
)
def test_malformed_checkpoints(text: bytes) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints_are_read_as_written(size: int, root: bytes) -> None:
    made = Checkpoint("log.test", size, root, ("extra line",))
    assert Checkpoint.parse(made.text()) == made
    assert parse_decimal(str(size)) == size


def test_origin_must_be_the_key_name() -> None:
    text = Checkpoint("other.test", 5, bytes(32)).text()
    assert refused(with_signatures(text, [log_line(text)])) is NoteReason.WRONG_ORIGIN


@given(st.binary(max_size=300))
def test_parsers_are_total(data: bytes) -> None:
    for parse in (parse_note, Checkpoint.parse, peek_checkpoint):
        with contextlib.suppress(NoteError):
            parse(data)


@given(st.text(max_size=60))
def test_key_parser_is_total(text: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(text)
