"""A medium is sealed on the device; what a relay does to the blob is found out on the other one."""

import os
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from letterlock.client import media
from letterlock.client.errors import MediaError, MediaReason
from letterlock.client.media import open_medium, seal_medium
from letterlock.model.ids import AttachmentId
from letterlock.wire.attachment import BLOB_SIZES, CHUNK, CHUNK_CONTENT, MAX_CONTENT, PIECE, blob_size

KEY = bytes(range(32))
NAME = AttachmentId(b"n" * 16)
CONTENT = os.urandom(3 * CHUNK_CONTENT + 7)


def refusal(blob: bytes, **changed: object) -> MediaReason:
    """Why a blob is refused. The digest is the changed blob's, so that the chunks have to find it out."""
    asked: dict[str, object] = {"key": KEY, "attachment": NAME, "digest": sha256(blob).digest(), "size": len(CONTENT)}
    with pytest.raises(MediaError) as found:
        open_medium(blob, **(asked | changed))  # type: ignore[arg-type]
    return found.value.reason


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5 * CHUNK_CONTENT))
def test_what_was_sealed_opens_and_the_blob_has_one_of_eight_sizes(size: int) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    sealed = seal_medium(content, KEY, NAME)
    assert len(sealed.blob) in BLOB_SIZES
    assert sealed.digest == sha256(sealed.blob).digest()
    assert open_medium(sealed.blob, KEY, NAME, sealed.digest, size) == content
    assert size < 32 or content[:32] not in sealed.blob


def test_sizes_are_eight_and_hold_all_that_a_reference_may_say() -> None:
    assert len(BLOB_SIZES) == 8
    assert blob_size(1) == BLOB_SIZES[0]
    assert blob_size(MAX_CONTENT) == BLOB_SIZES[-1]
    assert all(size % PIECE == 0 or size == CHUNK for size in BLOB_SIZES)
    for size in BLOB_SIZES[:-1]:
        most = size // CHUNK * CHUNK_CONTENT
        assert blob_size(most) == size
        assert blob_size(most + 1) > size
    for none in (0, -1, MAX_CONTENT + 1):
        with pytest.raises(ValueError, match="1 to"):
            blob_size(none)


def test_nothing_and_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MediaError) as found:
        seal_medium(b"", KEY, NAME)
    assert found.value.reason is MediaReason.EMPTY
    monkeypatch.setattr(media, "MAX_CONTENT", 1_000)
    assert seal_medium(bytes(1_000), KEY, NAME).blob
    with pytest.raises(MediaError) as found:
        seal_medium(bytes(1_001), KEY, NAME)
    assert found.value.reason is MediaReason.TOO_LARGE


def test_a_changed_chunk_is_found_out() -> None:
    blob = seal_medium(CONTENT, KEY, NAME).blob
    for at in (0, CHUNK, len(blob) - 1):
        changed = bytearray(blob)
        changed[at] ^= 1
        assert refusal(bytes(changed)) is MediaReason.TAMPERED
    assert open_medium(blob, KEY, NAME, sha256(blob).digest(), len(CONTENT)) == CONTENT


def test_reordered_doubled_and_missing_chunks_are_found_out() -> None:
    blob = seal_medium(CONTENT, KEY, NAME).blob
    chunks = [blob[at : at + CHUNK] for at in range(0, len(blob), CHUNK)]
    assert len(chunks) == 4
    for order in ((1, 0, 2, 3), (0, 1, 1, 3), (0, 1, 3, 2), (3, 1, 2, 0)):
        assert refusal(b"".join(chunks[n] for n in order)) is MediaReason.TAMPERED


def test_a_blob_that_was_cut_or_grew_is_found_out() -> None:
    blob = seal_medium(CONTENT, KEY, NAME).blob
    for cut in (blob[:-1], blob[:-CHUNK], blob + bytes(CHUNK), b"", blob[:CHUNK]):
        assert refusal(cut) is MediaReason.CUT_SHORT
    # One whole chunk of a larger blob is a blob of the smallest size, and its first chunk is not a last one.
    assert refusal(blob[:CHUNK], size=100) is MediaReason.TAMPERED


def test_a_blob_opens_under_its_own_key_name_and_digest_alone() -> None:
    sealed = seal_medium(CONTENT, KEY, NAME)
    assert refusal(sealed.blob, key=bytes(32)) is MediaReason.TAMPERED
    assert refusal(sealed.blob, attachment=AttachmentId(b"m" * 16)) is MediaReason.TAMPERED
    assert refusal(sealed.blob, digest=bytes(32)) is MediaReason.ANOTHER_BLOB


def test_content_beyond_what_the_reference_says_is_refused() -> None:
    sealed = seal_medium(CONTENT, KEY, NAME)
    assert refusal(sealed.blob, size=len(CONTENT) - 1) is MediaReason.BAD_PADDING
    hidden = CONTENT[:10] + bytes(CHUNK_CONTENT - 11) + b"x"
    blob = AESGCM(KEY).encrypt(bytes(11) + b"\x01", hidden, media.LABEL + NAME.value)
    assert refusal(blob, size=10) is MediaReason.BAD_PADDING


def test_every_chunk_has_its_own_nonce() -> None:
    seen = {media._nonce(index, final) for index in range(BLOB_SIZES[-1] // CHUNK) for final in (False, True)}
    assert len(seen) == 2 * BLOB_SIZES[-1] // CHUNK
    assert {len(nonce) for nonce in seen} == {12}
