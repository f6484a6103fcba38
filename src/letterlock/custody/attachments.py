"""Sealing of attachments at rest: a key for each, wrapped under the generation's; pieces bound to where they begin.

Only the key is wrapped anew when a generation ends, so that an attachment of 100 MiB moves as fast as a small one; and
destroying the key is the deletion.
"""

from typing import Final, final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from letterlock.custody.sealing import KEY_BYTES, Entropy, StorageKey, seal, unseal
from letterlock.model.ids import AttachmentId, TenantId

COLUMN_KEY: Final = "attachment_key"
_PIECE: Final = "attachment_piece/"


def new_attachment_key(key: StorageKey, tenant: TenantId, attachment: AttachmentId, entropy: Entropy) -> bytes:
    """A fresh key for one attachment, wrapped."""
    return seal(key, tenant, attachment, COLUMN_KEY, entropy(KEY_BYTES), entropy)


@final
class AttachmentSeal:
    """Seals and opens the pieces of one attachment.

    Args:
        key: of the generation that the attachment's key is wrapped under.
        tenant: whose.
        attachment: which.
        wrapped: its key.

    Raises:
        SealingError: the wrapped key does not open.
    """

    def __init__(self, key: StorageKey, tenant: TenantId, attachment: AttachmentId, wrapped: bytes) -> None:
        self._own: Final = StorageKey(key.generation, AESGCM(unseal(key, tenant, attachment, COLUMN_KEY, wrapped)))
        self._tenant: Final = tenant
        self._attachment: Final = attachment

    def seal(self, start: int, piece: bytes, entropy: Entropy) -> bytes:
        """Seals the piece that begins at this offset."""
        return seal(self._own, self._tenant, self._attachment, f"{_PIECE}{start}", piece, entropy)

    def open(self, start: int, sealed: bytes) -> bytes:
        """Opens it.

        Raises:
            SealingError: as :func:`letterlock.custody.sealing.unseal`.
        """
        return unseal(self._own, self._tenant, self._attachment, f"{_PIECE}{start}", sealed)
