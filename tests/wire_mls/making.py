"""Hand-made inputs for the tests of this room."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from letterlock.model.errors import LetterlockError
from letterlock.wire.mls.codec import Writer

KINDS = (
    "mls_welcome",
    "mls_group_info",
    "mls_key_package",
    "public_message_proposal",
    "public_message_commit",
    "private_message",
)


def load_messages(vectors: Path) -> list[dict[str, bytes]]:
    raw = json.loads((vectors / "mls" / "messages.json").read_text())
    return [{name: bytes.fromhex(value) for name, value in entry.items()} for entry in raw]


def private_message(
    ciphertext: bytes = b"\xcc" * 1300,
    *,
    group_id: bytes = b"a group",
    epoch: int = 7,
    content_type: int = 1,
    authenticated_data: bytes = b"aad",
    sender_data: bytes = b"\x5d" * 28,
) -> bytes:
    writer = Writer().u16(1).u16(2).opaque(group_id).u64(epoch).u8(content_type)
    return writer.opaque(authenticated_data).opaque(sender_data).opaque(ciphertext).done()


def mutate(data: bytes, rng: Random) -> bytes:
    """One to four small changes: a byte set, a bit flipped, a slice removed, doubled or made up."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(5):
            case 0 if out:
                out[at] = rng.randrange(256)
            case 1 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 2:
                del out[at : at + rng.randint(1, 8)]
            case 3:
                out[at:at] = out[at : at + rng.randint(1, 8)]
            case _:
                out[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(out)


def random_body(rng: Random) -> bytes:
    """Mostly short, sometimes as long as a real message."""
    return rng.randbytes(rng.randrange(rng.choice((4, 16, 64, 400))))


def check_total(parser: Callable[[bytes], object], error: type[LetterlockError], data: bytes) -> bool:
    """Whether ``data`` was taken. Anything but a value or the typed error, alone, fails the test."""
    try:
        parser(data)
    except error as caught:
        # An error that carries another one could carry the input with it.
        if caught.__context__ is not None:
            raise AssertionError("a refusal carries another exception") from None
        return False
    return True
