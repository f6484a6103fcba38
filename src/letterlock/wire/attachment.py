"""Sizes of encrypted attachments: what the device pads to, and what the relay takes. Pure.

Every blob is one of :data:`BLOB_SIZES`, so that its size says one of eight things; the relay refuses any other. It is a
row of equal chunks, each with its own authentication tag (see :mod:`letterlock.client.media`).
"""

from typing import Final

CHUNK: Final = 65_536
"""Bytes of a chunk with its tag: a damaged blob is found out early, and a device needs little memory."""
CHUNK_TAG: Final = 16
CHUNK_CONTENT: Final = CHUNK - CHUNK_TAG
BLOB_SIZES: Final = tuple(count * CHUNK for count in (1, 4, 16, 64, 256, 512, 1024, 1664))
"""64 KiB, 256 KiB, 1, 4, 16, 32, 64 and 104 MiB: the last holds a medium of 100 MiB with its tags."""
MAX_CONTENT: Final = 100 * 1024 * 1024
"""Bytes of a medium: what RCS file transfer carries."""
PIECE: Final = 4 * CHUNK
"""Bytes of one upload or download call at most: the writer takes about a millisecond for it."""


def blob_size(content: int) -> int:
    """The size of the blob for this many bytes of content.

    Raises:
        ValueError: none, or more than :data:`MAX_CONTENT`.
    """
    if not 0 < content <= MAX_CONTENT:
        raise ValueError(f"a medium has 1 to {MAX_CONTENT} bytes")
    return next(size for size in BLOB_SIZES if content <= size // CHUNK * CHUNK_CONTENT)
