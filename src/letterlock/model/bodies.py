"""The three bodies. Which one a value is decides where it may go; an accidental flow is an error.

* :class:`SealedBody`: ciphertext that only endpoints open. Only the strict parser makes one.
* :class:`OpenBody`: content that this gateway can read. It lives in memory, and shows itself only inside
  ``with body.reveal(purpose) as view``, in modules that a test names.
* :class:`ShreddableBody`: an OpenBody sealed under a key of its own so that it can wait; destroying the key
  is the deletion.
"""

from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum, unique
from typing import Final, Never, NoReturn, final


@unique
class RevealPurpose(Enum):
    """Why an OpenBody is looked at: the closed list."""

    ENCODE_FOR_TRANSPORT = "encode_for_transport"
    """The bytes go out on a path that policy permitted."""
    SEAL_FOR_WAITING = "seal_for_waiting"
    """The bytes are encrypted under their own data key."""
    COMMIT_DIGEST = "commit_digest"
    """A keyed digest binds a challenge or an idempotency key to this content."""
    MEASURE = "measure"
    """Length and alphabet decide segmentation; nothing is kept."""


class BodyLeakError(TypeError):
    """An OpenBody was about to become text, bytes, a pickle or a copy."""

    def __init__(self) -> None:
        super().__init__("an open body may be seen only through reveal(purpose)")


@final
class OpenBody:
    """Content that the gateway can read. Takes the bytes over, and :meth:`destroy` overwrites its own buffer.

    Overwriting is best effort: the interpreter, TLS and the kernel may hold copies.
    """

    __slots__ = ("_buffer", "_views")

    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self._buffer = bytearray(content)
        self._views = 0

    @contextmanager
    def reveal(self, purpose: RevealPurpose) -> Generator[memoryview]:
        """Shows the content for one purpose; the view is released at the end of the block."""
        if not isinstance(purpose, RevealPurpose):
            raise BodyLeakError
        view = memoryview(self._buffer).toreadonly()
        self._views += 1
        try:
            yield view
        finally:
            self._views -= 1
            view.release()

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self._buffer)

    def destroy(self) -> None:
        """Overwrites and empties the buffer. Harmless when repeated; refused while a view is open."""
        if self._views:
            raise BodyLeakError
        self._buffer[:] = bytes(len(self._buffer))
        self._buffer.clear()

    def _refuse(self, *_: object) -> NoReturn:
        raise BodyLeakError

    __str__ = _refuse
    __bytes__ = _refuse
    __iter__ = _refuse
    __len__ = _refuse
    __getitem__ = _refuse
    __contains__ = _refuse
    __format__ = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse
    __reduce__ = _refuse
    __reduce_ex__ = _refuse
    __getstate__ = _refuse
    __eq__ = _refuse
    __ne__ = _refuse
    __lt__ = _refuse
    __le__ = _refuse
    __gt__ = _refuse
    __ge__ = _refuse
    __bool__ = _refuse
    __hash__ = None  # type: ignore[assignment]  # comparing content by hash is comparing content

    def __repr__(self) -> str:
        return "<OpenBody>"

    def __init_subclass__(cls) -> Never:
        raise BodyLeakError


@unique
class SealedKind(Enum):
    """What kind of MLS message a SealedBody is (RFC 9420, section 6: wire format and content type)."""

    PRIVATE_APPLICATION = "private_application"
    PRIVATE_PROPOSAL = "private_proposal"
    PRIVATE_COMMIT = "private_commit"
    PUBLIC_PROPOSAL = "public_proposal"
    PUBLIC_COMMIT = "public_commit"
    WELCOME = "welcome"
    GROUP_INFO = "group_info"
    KEY_PACKAGE = "key_package"


_PARSER_ONLY: Final = object()


@final
class SealedBody:
    """Ciphertext (or public handshake) of an MLS group; the gateway holds no key for it.

    Made only by the strict parser in ``wire.mls``; a test holds that by name. Headers that a relay reads are
    attributes; ``repr`` shows the kind and the size alone.
    """

    __slots__ = ("authenticated_data", "ciphertext", "epoch", "group_id", "kind")

    def __init__(
        self,
        proof: object,
        ciphertext: bytes,
        kind: SealedKind,
        group_id: bytes,
        epoch: int,
        authenticated_data: bytes,
    ) -> None:
        if proof is not _PARSER_ONLY:
            raise BodyLeakError
        self.ciphertext: Final = ciphertext
        self.kind: Final = kind
        self.group_id: Final = group_id
        self.epoch: Final = epoch
        self.authenticated_data: Final = authenticated_data

    def __repr__(self) -> str:
        return f"<SealedBody {self.kind.value}, {len(self.ciphertext)} bytes>"

    def __reduce__(self) -> NoReturn:
        raise BodyLeakError


def sealed_by_parser(
    ciphertext: bytes, kind: SealedKind, group_id: bytes, epoch: int, authenticated_data: bytes
) -> SealedBody:
    """For ``wire.mls`` alone: the bytes were parsed to their last byte and are what ``kind`` says."""
    return SealedBody(_PARSER_ONLY, ciphertext, kind, group_id, epoch, authenticated_data)


@final
class ShreddableBody:
    """An OpenBody at rest: sealed under its own data key, which is wrapped under a storage key.

    Attributes:
        sealed: AEAD ciphertext of the content.
        wrapped_key: the data key, wrapped under the storage key of ``generation``.
        generation: which storage key; when it is destroyed, this is noise.
    """

    __slots__ = ("generation", "sealed", "wrapped_key")

    def __init__(self, sealed: bytes, wrapped_key: bytes, generation: int) -> None:
        self.sealed: Final = sealed
        self.wrapped_key: Final = wrapped_key
        self.generation: Final = generation

    def __repr__(self) -> str:
        return f"<ShreddableBody generation {self.generation}, {len(self.sealed)} bytes>"
