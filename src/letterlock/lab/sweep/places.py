"""Where to look: directories of files, single files, captured output, and the memory of a process.

Each place says how a control gets into it: it is planted there for the time of the sweep, or, where the sweeper
cannot write, something is named that is known to be there.
"""

import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import unique
from pathlib import Path
from typing import ClassVar, Final, Protocol

from letterlock.model.errors import Fault, OperationError, Reason

PIECE: Final = 8 * 1024 * 1024
CONTROL_NAME: Final = ".sweep-control"


@unique
class PlaceReason(Reason):
    """Why a place could not be swept."""

    UNREADABLE = "place_unreadable"
    MISSING = "place_missing"
    NOT_PLANTED = "control_not_planted"
    OWN_PROCESS = "the_sweeper_cannot_sweep_itself"


class PlaceError(OperationError[PlaceReason]):
    """A place could not be read to its end, so nothing can be said of it."""

    fault: ClassVar[Fault] = Fault.LOCAL


Pieces = Iterator[bytes]
Plant = Callable[[bytes], AbstractContextManager[object]]
"""Puts the given bytes into the place until the context ends."""


class Place(Protocol):
    """Somewhere to look. ``present`` is a text known to be there; without it :meth:`plant` is used."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def present(self) -> str | None:
        """Known to be in the place, or None."""
        ...

    def plant(self, control: bytes) -> AbstractContextManager[object]:
        """Puts the control into the place for a while."""
        ...

    def streams(self) -> Iterator[tuple[str, Pieces]]:
        """Everything in the place: a name for each stream, and its pieces in order."""
        ...


@dataclass(frozen=True, slots=True)
class Directory:
    """All regular files below a directory, their names included; symbolic links are not followed."""

    path: Path
    name: str
    present: str | None = field(default=None, repr=False)

    @contextmanager
    def plant(self, control: bytes) -> Generator[None]:
        """A file of its own in every directory below, so that each is known to be read."""
        planted: list[Path] = []
        try:
            try:
                for folder, _, _ in os.walk(self.path, onerror=_unreadable):
                    file = Path(folder) / f"{CONTROL_NAME}-{os.urandom(6).hex()}"
                    planted.append(file)
                    file.write_bytes(control)
            except OSError as error:
                raise PlaceError(PlaceReason.NOT_PLANTED, errno=error.errno or 0) from None
            yield
        finally:
            for file in planted:
                file.unlink(missing_ok=True)

    def streams(self) -> Iterator[tuple[str, Pieces]]:
        """The name of each file, then its bytes."""
        if not self.path.is_dir():
            raise PlaceError(PlaceReason.MISSING)
        for folder, folders, files in os.walk(self.path, onerror=_unreadable):
            for entry in sorted((*files, *folders)):
                yield "a name", iter((os.fsencode(entry),))
            for entry in sorted(files):
                path = Path(folder) / entry
                if path.is_file() and not path.is_symlink():
                    yield str(path.relative_to(self.path)), _file_pieces(path, may_vanish=True)


@dataclass(frozen=True, slots=True)
class File:
    """One file that the sweeper does not write to, as a log; its control is present, or planted by its owner."""

    path: Path
    name: str
    present: str | None = field(default=None, repr=False)
    planter: Plant | None = field(default=None, repr=False)

    def plant(self, control: bytes) -> AbstractContextManager[object]:
        """Asks the owner to plant it."""
        return _planted(self.planter, control)

    def streams(self) -> Iterator[tuple[str, Pieces]]:
        """The file."""
        if not self.path.is_file():
            raise PlaceError(PlaceReason.MISSING)
        yield self.path.name, _file_pieces(self.path, may_vanish=False)


@dataclass(slots=True)
class Capture:
    """Bytes that were captured: standard output, a metrics page, a packet. The control is searched behind them."""

    data: bytes = field(repr=False)
    name: str
    present: str | None = field(default=None, repr=False)
    _control: bytes = field(default=b"", repr=False, init=False)

    @contextmanager
    def plant(self, control: bytes) -> Generator[None]:
        """Behind the captured bytes, in the same stream."""
        self._control = control
        try:
            yield
        finally:
            self._control = b""

    def streams(self) -> Iterator[tuple[str, Pieces]]:
        """The captured bytes."""
        whole = self.data + self._control
        yield "capture", (whole[at : at + PIECE] for at in range(0, len(whole), PIECE))


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """The memory of another process through ``/proc/PID/mem``, as far as this user may read it.

    The sweeper itself cannot be swept: it holds what it looks for.
    """

    pid: int
    name: str
    present: str | None = field(default=None, repr=False)
    planter: Plant | None = field(default=None, repr=False)

    def plant(self, control: bytes) -> AbstractContextManager[object]:
        """Asks the process's owner to bring it in."""
        return _planted(self.planter, control)

    def streams(self) -> Iterator[tuple[str, Pieces]]:
        """Every readable region."""
        if self.pid == os.getpid():
            raise PlaceError(PlaceReason.OWN_PROCESS)
        try:
            memory = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise PlaceError(PlaceReason.MISSING, pid=self.pid) from None
        except OSError as error:
            raise PlaceError(PlaceReason.UNREADABLE, pid=self.pid, errno=error.errno or 0) from None
        try:
            regions = self._regions()
            if not regions:
                raise PlaceError(PlaceReason.UNREADABLE, pid=self.pid)
            for start, end in regions:
                yield f"region {start:x}", self._region_pieces(memory, start, end)
        finally:
            os.close(memory)

    def _regions(self) -> list[tuple[int, int]]:
        try:
            lines = Path(f"/proc/{self.pid}/maps").read_text("utf-8", "replace").splitlines()
        except OSError as error:
            raise PlaceError(PlaceReason.UNREADABLE, pid=self.pid, errno=error.errno or 0) from None
        regions: list[tuple[int, int]] = []
        for line in lines:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r.{3} \S+ \S+ \S+\s*(.*)", line)
            # The kernel's own pages and devices hold nothing of the process, and do not read as memory.
            if match and (not match[3].startswith(("[vvar", "[vsyscall", "/dev/")) or "shm/" in match[3]):
                regions.append((int(match[1], 16), int(match[2], 16)))
        return regions

    def _region_pieces(self, memory: int, start: int, end: int) -> Pieces:
        at = start
        while at < end:
            try:
                piece = os.pread(memory, min(PIECE, end - at), at)
            except OSError as error:
                if any(low <= at < high for low, high in self._regions()):
                    raise PlaceError(PlaceReason.UNREADABLE, pid=self.pid, errno=error.errno or 0) from None
                return  # the process gave it back meanwhile
            if not piece:
                return
            yield piece
            at += len(piece)


def _planted(planter: Plant | None, control: bytes) -> AbstractContextManager[object]:
    if planter is None:
        return nullcontext()
    return planter(control)


def _unreadable(error: OSError) -> None:
    raise PlaceError(PlaceReason.UNREADABLE, errno=error.errno or 0) from None


def _file_pieces(path: Path, may_vanish: bool) -> Pieces:
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                yield piece
    except FileNotFoundError:
        if not may_vanish:
            raise PlaceError(PlaceReason.MISSING) from None
    except OSError as error:
        raise PlaceError(PlaceReason.UNREADABLE, errno=error.errno or 0) from None
