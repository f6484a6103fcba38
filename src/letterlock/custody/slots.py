"""A file of fixed-size slots for wrapped keys, overwritten in place: a destroyed key's bytes are nowhere in it.

Every change is a sequence of synced steps, and each slot says in its first byte how far it got, so a crash at
any step leaves a slot that opening can finish (see :class:`SlotState`). The file is created whole under another
name, synced and renamed, for its group and others it is closed, and one process holds it at a time.

Overwriting in place reaches the file's own blocks. What flash remapping, snapshots, copy-on-write filesystems
and backups keep is out of reach; a key store says so in its capabilities.
"""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from enum import IntEnum, unique
from pathlib import Path
from typing import ClassVar, Final, Self

from letterlock.model.errors import Fault, OperationError, Reason

MAGIC: Final = b"letterlock-slots/1\n"
HEADER_BYTES: Final = 4096
"""One page for the header, so that no slot shares a disk sector with it."""
SLOT_BYTES: Final = 512
"""One sector: what disks write as a whole."""
PAYLOAD_LIMIT: Final = SLOT_BYTES - 3
MAX_SLOTS: Final = 65_536
"""32 MiB of keys; a file that claims more is not ours."""
MAX_HEADER_DATA: Final = HEADER_BYTES - len(MAGIC) - 2


@unique
class SlotFileReason(Reason):
    """Why a slot file was refused."""

    MISSING = "slot_file_missing"
    EXISTS = "slot_file_exists"
    NOT_A_FILE = "not_a_regular_file"
    OPEN_TO_OTHERS = "readable_by_group_or_others"
    FOREIGN_OWNER = "owned_by_another_user"
    IN_USE = "in_use_by_another_process"
    NOT_OURS = "not_a_slot_file"
    DAMAGED = "slot_file_damaged"
    TOO_LARGE = "payload_too_large"
    FULL = "no_free_slot"
    NO_SUCH_SLOT = "no_such_slot"
    IO = "slot_file_input_output"


class SlotFileError(OperationError[SlotFileReason]):
    """A slot file cannot be created, opened or changed."""

    fault: ClassVar[Fault] = Fault.LOCAL


@unique
class SlotState(IntEnum):
    """The first byte of a slot."""

    FREE = 0
    """Nothing there."""
    WRITING = 1
    """A payload is being written; nobody was told of it, so opening clears it."""
    LIVE = 2
    """The payload is whole and synced."""
    ERASING = 3
    """The payload is being overwritten; opening finishes that."""


Step = Callable[[str], None]
"""Called before each synced step with its name; a test raises from it to play a crash."""


def _no_step(_: str) -> None:
    return


def sync_directory(directory: Path) -> None:
    """Makes a rename or a new name in this directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_private(path: Path, content: bytes) -> None:
    """Creates a file of mode 0600 whole or not at all, and durable on return; an existing one is left alone.

    Raises:
        SlotFileError: EXISTS, or IO with the errno.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
            _write_all(fd, content, 0)
            os.fsync(fd)
            # A link fails where the name is taken; a rename would replace another's keys.
            os.link(temporary, path)
        finally:
            os.close(fd)
            temporary.unlink()
        sync_directory(path.parent)
    except FileExistsError:
        raise SlotFileError(SlotFileReason.EXISTS) from None
    except OSError as error:
        raise SlotFileError(SlotFileReason.IO, errno=error.errno or 0) from None


def open_private(path: Path, flags: int) -> int:
    """Opens a regular file that belongs to this user and is closed to group and others.

    Raises:
        SlotFileError: MISSING, NOT_A_FILE, FOREIGN_OWNER, OPEN_TO_OTHERS, or IO with the errno.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SlotFileError(SlotFileReason.MISSING) from None
    except IsADirectoryError:
        raise SlotFileError(SlotFileReason.NOT_A_FILE) from None
    except OSError as error:
        reason = SlotFileReason.NOT_A_FILE if path.is_symlink() else SlotFileReason.IO
        raise SlotFileError(reason, errno=error.errno or 0) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise SlotFileError(SlotFileReason.NOT_A_FILE)
        if status.st_uid != os.geteuid():
            raise SlotFileError(SlotFileReason.FOREIGN_OWNER)
        if status.st_mode & 0o077:
            raise SlotFileError(SlotFileReason.OPEN_TO_OTHERS, mode=stat.S_IMODE(status.st_mode))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


class SlotFile:
    """One open slot file. Not for use by two threads at once; its owner holds a lock."""

    def __init__(self, fd: int, header: bytes, states: list[SlotState], step: Step) -> None:
        self._fd = fd
        self._states = states
        self._step = step
        self.header: Final = header

    @classmethod
    def create(cls, path: Path, header: bytes, step: Step = _no_step) -> Self:
        """Creates the file with its unchanging header and opens it.

        Raises:
            SlotFileError: TOO_LARGE, EXISTS, IO, or as :meth:`open`.
        """
        if len(header) > MAX_HEADER_DATA:
            raise SlotFileError(SlotFileReason.TOO_LARGE, size=len(header), limit=MAX_HEADER_DATA)
        head = MAGIC + len(header).to_bytes(2, "big") + header
        create_private(path, head.ljust(HEADER_BYTES, b"\0"))
        return cls.open(path, step)

    @classmethod
    def open(cls, path: Path, step: Step = _no_step) -> Self:
        """Opens the file, takes its lock, and finishes what a crash left half done.

        Raises:
            SlotFileError: as :func:`open_private`; IN_USE, NOT_OURS, DAMAGED.
        """
        fd = open_private(path, os.O_RDWR)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SlotFileError(SlotFileReason.IN_USE) from None
            header, states = cls._read(fd)
            opened = cls(fd, header, states, step)
            opened._recover()
        except OSError as error:
            os.close(fd)
            raise SlotFileError(SlotFileReason.IO, errno=error.errno or 0) from None
        except BaseException:
            os.close(fd)
            raise
        return opened

    @staticmethod
    def _read(fd: int) -> tuple[bytes, list[SlotState]]:
        head = os.pread(fd, HEADER_BYTES, 0)
        if len(head) != HEADER_BYTES or not head.startswith(MAGIC):
            raise SlotFileError(SlotFileReason.NOT_OURS)
        size = int.from_bytes(head[len(MAGIC) : len(MAGIC) + 2], "big")
        if size > MAX_HEADER_DATA:
            raise SlotFileError(SlotFileReason.DAMAGED)
        slots, torn = divmod(os.fstat(fd).st_size - HEADER_BYTES, SLOT_BYTES)
        if slots > MAX_SLOTS:
            raise SlotFileError(SlotFileReason.DAMAGED, slots=slots)
        if torn:
            # The file grew by part of a slot before a crash; that slot was never live.
            os.ftruncate(fd, HEADER_BYTES + slots * SLOT_BYTES)
        states: list[SlotState] = []
        for index in range(slots):
            first = os.pread(fd, 1, HEADER_BYTES + index * SLOT_BYTES)
            if first[0] > SlotState.ERASING:
                raise SlotFileError(SlotFileReason.DAMAGED, slot=index)
            states.append(SlotState(first[0]))
        return head[len(MAGIC) + 2 : len(MAGIC) + 2 + size], states

    def _recover(self) -> None:
        for index, state in enumerate(self._states):
            if state in {SlotState.WRITING, SlotState.ERASING}:
                self._overwrite(index)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """All live slots: index and payload."""
        for index, state in enumerate(self._states):
            if state is SlotState.LIVE:
                yield index, self.read(index)

    def read(self, index: int) -> bytes:
        """The payload of a live slot.

        Raises:
            SlotFileError: NO_SUCH_SLOT, DAMAGED.
        """
        self._must_be_live(index)
        slot = os.pread(self._fd, SLOT_BYTES, HEADER_BYTES + index * SLOT_BYTES)
        size = int.from_bytes(slot[1:3], "big")
        if len(slot) != SLOT_BYTES or size > PAYLOAD_LIMIT:
            raise SlotFileError(SlotFileReason.DAMAGED, slot=index)
        return slot[3 : 3 + size]

    def put(self, payload: bytes) -> int:
        """Writes a payload into a free slot; it is synced on return. Gives the slot's index.

        Raises:
            SlotFileError: TOO_LARGE, FULL, IO.
        """
        if len(payload) > PAYLOAD_LIMIT:
            raise SlotFileError(SlotFileReason.TOO_LARGE, size=len(payload), limit=PAYLOAD_LIMIT)
        index = next((i for i, state in enumerate(self._states) if state is SlotState.FREE), len(self._states))
        if index >= MAX_SLOTS:
            raise SlotFileError(SlotFileReason.FULL, slots=MAX_SLOTS)
        slot = bytes((SlotState.WRITING,)) + len(payload).to_bytes(2, "big") + payload
        if index == len(self._states):
            self._states.append(SlotState.FREE)
        self._write("put.write", index, slot.ljust(SLOT_BYTES, b"\0"), SlotState.WRITING)
        self._write("put.live", index, bytes((SlotState.LIVE,)), SlotState.LIVE)
        return index

    def erase(self, index: int) -> None:
        """Overwrites a live slot in place; when this returns, the payload is nowhere in the file.

        Raises:
            SlotFileError: NO_SUCH_SLOT, IO.
        """
        self._must_be_live(index)
        self._write("erase.begin", index, bytes((SlotState.ERASING,)), SlotState.ERASING)
        self._overwrite(index)

    def _overwrite(self, index: int) -> None:
        noise = bytes((SlotState.ERASING,)) + os.urandom(SLOT_BYTES - 1)
        self._write("erase.noise", index, noise, SlotState.ERASING)
        self._write("erase.free", index, bytes(SLOT_BYTES), SlotState.FREE)

    def _write(self, name: str, index: int, data: bytes, state: SlotState) -> None:
        self._step(name)
        try:
            _write_all(self._fd, data, HEADER_BYTES + index * SLOT_BYTES)
            os.fsync(self._fd)
        except OSError as error:
            raise SlotFileError(SlotFileReason.IO, errno=error.errno or 0) from None
        self._states[index] = state

    def _must_be_live(self, index: int) -> None:
        if not 0 <= index < len(self._states) or self._states[index] is not SlotState.LIVE:
            raise SlotFileError(SlotFileReason.NO_SUCH_SLOT, slot=index)

    def close(self) -> None:
        """Releases the lock and the file. Harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
