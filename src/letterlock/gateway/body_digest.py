"""Digests of content: what binds a question or an idempotency key to a body without keeping it."""

from hashlib import blake2b
from typing import Final

from letterlock.assurance.consent import body_commitment
from letterlock.model.bodies import OpenBody, RevealPurpose

DIGEST_BYTES: Final = 32


def body_digest(body: OpenBody, key: bytes) -> bytes:
    """32 bytes: the same for the same content under the same key, and nothing to anybody without it."""
    with body.reveal(RevealPurpose.COMMIT_DIGEST) as view:
        return blake2b(view, key=key, digest_size=DIGEST_BYTES, person=b"body-digest").digest()


def committed_body(body: OpenBody, nonce: bytes) -> bytes:
    """What stands for the content in a question with this nonce; a device that has the content can check it."""
    with body.reveal(RevealPurpose.COMMIT_DIGEST) as view:
        return body_commitment(view, nonce)
