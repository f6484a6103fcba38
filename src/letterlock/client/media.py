"""Encryption of a medium on the device, before anybody else holds a byte of it. Pure; keys are drawn by the caller.

A blob is a row of chunks of 64 KiB under one key that is used for nothing else: AES-256-GCM in the STREAM construction
(Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015).
The nonce is ``7 zero bytes || u32 index || u8 final``, big-endian, so a chunk opens in its place alone, and the last
only as the last; the associated data is :data:`LABEL` and the attachment's id, so a blob opens under its own name
alone. The content is followed by zeros up to the size of the blob (:mod:`letterlock.wire.attachment`). Its true length,
the key and the SHA-256 of the blob travel inside MLS (:class:`letterlock.client.payload.Media`).

A key and an index must never meet two contents. So content is given whole, as bytes that cannot change, and sealed
once; an upload that goes on sends the same blob, and one that starts over has a new key.
"""

import hmac
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from letterlock.client.errors import MediaError, MediaReason
from letterlock.model.ids import AttachmentId
from letterlock.wire.attachment import BLOB_SIZES, CHUNK, CHUNK_CONTENT, MAX_CONTENT, blob_size

LABEL: Final = b"letterlock/v1/media\x01"


class SealedMedium(NamedTuple):
    """A blob, and the digest that refers to it."""

    blob: bytes
    digest: bytes

    def __repr__(self) -> str:
        return f"<SealedMedium, {len(self.blob)} bytes>"


def _nonce(index: int, final: bool) -> bytes:
    return bytes(7) + index.to_bytes(4) + bytes((final,))


def seal_medium(content: bytes, key: bytes, attachment: AttachmentId) -> SealedMedium:
    """Encrypts a medium.

    Args:
        content: 1 byte to 100 MiB.
        key: 32 fresh random bytes, for this content alone.
        attachment: fresh random bytes too; the blob's name.

    Raises:
        MediaError: EMPTY, TOO_LARGE.
    """
    if not content:
        raise MediaError(MediaReason.EMPTY)
    if len(content) > MAX_CONTENT:
        raise MediaError(MediaReason.TOO_LARGE, size=len(content), limit=MAX_CONTENT)
    size = blob_size(len(content))
    aead, associated, last = AESGCM(key), LABEL + attachment.value, size // CHUNK - 1
    view, parts = memoryview(content), []
    for index in range(last + 1):
        part = bytes(view[index * CHUNK_CONTENT : (index + 1) * CHUNK_CONTENT]).ljust(CHUNK_CONTENT, b"\0")
        parts.append(aead.encrypt(_nonce(index, index == last), part, associated))
    blob = b"".join(parts)
    return SealedMedium(blob, sha256(blob).digest())


def open_medium(blob: bytes, key: bytes, attachment: AttachmentId, digest: bytes, size: int) -> bytes:
    """The medium again; all of it or nothing.

    Args:
        blob: what the relay handed out.
        key: from the reference inside MLS.
        attachment: the name it was asked for by.
        digest: of the blob, from the reference.
        size: of the medium, from the reference.

    Raises:
        MediaError: CUT_SHORT, TAMPERED, ANOTHER_BLOB, BAD_PADDING.
    """
    if len(blob) not in BLOB_SIZES or len(blob) != blob_size(size):
        raise MediaError(MediaReason.CUT_SHORT, size=len(blob))
    aead, associated, last = AESGCM(key), LABEL + attachment.value, len(blob) // CHUNK - 1
    view, parts = memoryview(blob), []
    try:
        for index in range(last + 1):
            part = bytes(view[index * CHUNK : (index + 1) * CHUNK])
            parts.append(aead.decrypt(_nonce(index, index == last), part, associated))
    except InvalidTag:
        raise MediaError(MediaReason.TAMPERED, chunk=len(parts)) from None
    # GCM alone lets a sender make one blob that opens under two keys: the digest fixes which one was meant.
    if not hmac.compare_digest(sha256(blob).digest(), digest):
        raise MediaError(MediaReason.ANOTHER_BLOB)
    content = b"".join(parts)
    if content[size:].strip(b"\0"):
        raise MediaError(MediaReason.BAD_PADDING)
    return content[:size]
