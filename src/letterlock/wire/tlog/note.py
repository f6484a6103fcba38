"""C2SP signed notes: a text and signature lines, with keys named by name and id (c2sp.org/signed-note).

Verifying requires the *log's own* key explicitly: a note that carries only a witness's signature is refused,
whatever else is valid on it. Key types: Ed25519 (0x01) and the timed cosignature of witnesses (0x04,
c2sp.org/tlog-cosignature).
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, unique
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from letterlock.wire.tlog.errors import NoteError, NoteReason

MAX_NOTE_BYTES: Final = 1 << 20
"""More than a hundred large cosignatures; a checkpoint of ours has a few hundred bytes."""
MAX_SIGNATURES: Final = 128
"""The format asks for at least 16; the bound keeps hostile notes cheap."""
MAX_KEY_NAME: Final = 255
"""Characters of a key name; names are host-like."""
SIGNATURE_MARK: Final = "\u2014 "
_KEY_ID_BYTES: Final = 4
_ED25519_KEY: Final = 32
_ED25519_SIGNATURE: Final = 64
_TIME_BYTES: Final = 8


@unique
class KeyType(IntEnum):
    """The signature algorithms that are known here, by their identifier byte."""

    ED25519 = 0x01
    COSIGNATURE_V1 = 0x04


def decode_canonical_base64(text: str) -> bytes:
    """Standard base64 in its one canonical spelling.

    Raises:
        NoteError: another alphabet, missing padding, stray bits or white space.
    """
    try:
        raw = b64decode(text.encode("ascii"), validate=True)
    except (Base64Error, ValueError):
        raise NoteError(NoteReason.NOT_CANONICAL_BASE64) from None
    if b64encode(raw).decode("ascii") != text:
        raise NoteError(NoteReason.NOT_CANONICAL_BASE64)
    return raw


def check_key_name(name: str) -> str:
    """Returns a name that may stand in a signature line.

    Raises:
        NoteError: empty, too long, or with white space, a plus sign or a control character.
    """
    if not 0 < len(name) <= MAX_KEY_NAME or "+" in name:
        raise NoteError(NoteReason.BAD_KEY_NAME)
    if any(char.isspace() or ord(char) < 0x20 or 0xD800 <= ord(char) <= 0xDFFF for char in name):
        raise NoteError(NoteReason.BAD_KEY_NAME)
    return name


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key as it is written down in trust files: ``name+hash+base64(type, key)``."""

    name: str
    key_type: KeyType
    public: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public) != _ED25519_KEY:
            raise NoteError(NoteReason.MALFORMED_KEY)

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256 over name, newline, type and key."""
        preimage = self.name.encode() + b"\n" + bytes((self.key_type,)) + self.public
        return sha256(preimage).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        encoded = b64encode(bytes((self.key_type,)) + self.public).decode("ascii")
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the written form. Base64 may hold plus signs, so only the first two separate.

        Raises:
            NoteError: malformed, of an unknown type, or with an id that is not that of the key.
        """
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise NoteError(NoteReason.MALFORMED_KEY)
        name, digits, encoded = parts
        raw = decode_canonical_base64(encoded)
        if not raw:
            raise NoteError(NoteReason.MALFORMED_KEY)
        try:
            key_type = KeyType(raw[0])
        except ValueError:
            raise NoteError(NoteReason.UNKNOWN_KEY_TYPE) from None
        key = cls(name, key_type, raw[1:])
        if key.key_id.hex() != digits:
            raise NoteError(NoteReason.KEY_ID_MISMATCH)
        return key

    def check(self, text: bytes, signature: bytes) -> int:
        """Checks one signature over a note's text.

        Returns:
            The time the cosigner states, in seconds since 1970; 0 for a plain signature, which states none.

        Raises:
            NoteError: the signature is not this key's over this text.
        """
        message, stamp = text, 0
        if self.key_type is KeyType.COSIGNATURE_V1:
            if len(signature) != _TIME_BYTES + _ED25519_SIGNATURE:
                raise NoteError(NoteReason.INVALID_SIGNATURE)
            stamp = int.from_bytes(signature[:_TIME_BYTES], "big")
            message = cosignature_message(stamp, text)
            signature = signature[_TIME_BYTES:]
        if len(signature) != _ED25519_SIGNATURE:
            raise NoteError(NoteReason.INVALID_SIGNATURE)
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            raise NoteError(NoteReason.INVALID_SIGNATURE) from None
        return stamp


def cosignature_message(stamp: int, text: bytes) -> bytes:
    """What a witness signs with a key of type 0x04: a header with the time in seconds, then the note's text."""
    return b"cosignature/v1\ntime %d\n" % stamp + text


def cosignature_bytes(stamp: int, ed25519_signature: bytes) -> bytes:
    """The signature field of a witness's line: the time in seconds as eight bytes, then the signature."""
    return stamp.to_bytes(_TIME_BYTES, "big") + ed25519_signature


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line of a note's signature block, unverified."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{SIGNATURE_MARK}{self.name} {b64encode(self.key_id + self.signature).decode('ascii')}\n"

    @classmethod
    def by(cls, key: VerifierKey, signature: bytes) -> Self:
        """The line for a signature that this key's owner made."""
        return cls(key.name, key.key_id, signature)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Reads a line without its newline.

        Raises:
            NoteError: malformed.
        """
        if not line.startswith(SIGNATURE_MARK):
            raise NoteError(NoteReason.MALFORMED_SIGNATURE_LINE)
        name, space, encoded = line.removeprefix(SIGNATURE_MARK).partition(" ")
        if not space:
            raise NoteError(NoteReason.MALFORMED_SIGNATURE_LINE)
        check_key_name(name)
        raw = decode_canonical_base64(encoded)
        if len(raw) <= _KEY_ID_BYTES:
            raise NoteError(NoteReason.MALFORMED_SIGNATURE_LINE)
        return cls(name, raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note. Nothing is verified yet.

    Attributes:
        text: the signed bytes, ending in a newline.
        lines: the signature lines in their order.
    """

    text: bytes
    lines: tuple[SignatureLine, ...]

    def encode(self) -> bytes:
        """The note as bytes."""
        return self.text + b"\n" + "".join(map(str, self.lines)).encode()


def parse_note(data: bytes) -> Note:
    """Splits a note into text and signatures, at the last blank line.

    Raises:
        NoteError: malformed or too large.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(NoteReason.TOO_LARGE, length=len(data))
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise NoteError(NoteReason.NOT_UTF8) from None
    if any(char < " " and char != "\n" for char in whole):
        raise NoteError(NoteReason.CONTROL_CHARACTER)
    at = whole.rfind("\n\n")
    if at < 0 or not whole.endswith("\n") or at + 2 >= len(whole):
        raise NoteError(NoteReason.NO_SIGNATURE_BLOCK)
    lines = whole[at + 2 : -1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(NoteReason.TOO_MANY_SIGNATURES, lines=len(lines))
    return Note(whole[: at + 1].encode(), tuple(map(SignatureLine.parse, lines)))


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness whose signature on a note was verified, and the time it stated (seconds since 1970)."""

    key: VerifierKey
    stamp: int


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note whose log signature was verified.

    Attributes:
        note: as parsed.
        log_key: the key that was required, and signed.
        cosigners: the known witnesses that signed too, each once.
    """

    note: Note
    log_key: VerifierKey
    cosigners: tuple[Cosigner, ...]


def open_note(data: bytes, log_key: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> OpenedNote:
    """Verifies a note: the log's own key must have signed; lines of unknown keys are ignored.

    A line that names a known key (name *and* id) must be valid, else the whole note is refused.

    Raises:
        NoteError: malformed, not signed by the log, or with an invalid signature of a known key.
    """
    if log_key.key_type is not KeyType.ED25519:
        raise NoteError(NoteReason.NOT_A_LOG_KEY)
    note = parse_note(data)
    if not _lines_of(note, log_key):
        raise NoteError(NoteReason.LOG_SIGNATURE_MISSING)
    for line in _lines_of(note, log_key):
        log_key.check(note.text, line.signature)
    cosigners: list[Cosigner] = []
    for witness in dict.fromkeys(witnesses):
        stamps = [witness.check(note.text, line.signature) for line in _lines_of(note, witness)]
        if stamps and witness != log_key:
            cosigners.append(Cosigner(witness, max(stamps)))
    return OpenedNote(note, log_key, tuple(cosigners))


def _lines_of(note: Note, key: VerifierKey) -> list[SignatureLine]:
    key_id = key.key_id
    return [line for line in note.lines if line.name == key.name and line.key_id == key_id]


def with_signatures(text: bytes, lines: Iterable[SignatureLine]) -> bytes:
    """A note of this text under these signature lines.

    Raises:
        NoteError: what it would make is not a note.
    """
    made = Note(text, tuple(lines)).encode()
    if parse_note(made).text != text:
        raise NoteError(NoteReason.NO_SIGNATURE_BLOCK)
    return made
