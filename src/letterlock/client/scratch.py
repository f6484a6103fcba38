"""A private directory in memory-backed storage for engines that insist on files, and its content as parts.

Only tmpfs and ramfs count as memory-backed (statfs(2) magic numbers, read from /proc/self/mountinfo). Swap can
still write their pages to disk: swap off, or encrypted, is for the operating system to arrange.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from enum import Enum, unique
from pathlib import Path, PurePosixPath
from typing import Final, final

from letterlock.client.errors import EngineError, EngineReason

MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})
_DEFAULT_PARENT: Final = Path("/dev/shm")  # noqa: S108 - the one place on Linux that is memory-backed everywhere
_PREFIX: Final = "letterlock-mls-"
_LOCK: Final = "lock"
MAX_PART: Final = 64 * 1024 * 1024
"""Bytes of one file of the engine: a group of 1000 members needs 1.9 MB."""


@unique
class ScratchPolicy(Enum):
    """Where the engine's files may lie."""

    MEMORY_ONLY = "memory_only"
    """Refuse anything but a memory-backed file system."""
    UNSAFE_ALLOW_DISK = "unsafe_allow_disk"
    """Signing seeds and group secrets may reach a disk in clear. For machines without tmpfs, and tests of this text."""


def file_system_of(path: Path) -> str:
    """The type of the file system that holds a path, or ``unknown``."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    for line in lines:
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        if len(fields) > 2 and fields[2] == wanted:
            return tail.split(" ", 1)[0]
    return "unknown"


@final
class Scratch:
    """A fresh directory of mode 0700.

    Args:
        parent: where to make it; by default ``/dev/shm``.
        policy: whether a disk is acceptable.

    Raises:
        EngineError: NOT_MEMORY_BACKED.
    """

    def __init__(self, parent: Path | None = None, policy: ScratchPolicy = ScratchPolicy.MEMORY_ONLY) -> None:
        place = _DEFAULT_PARENT if parent is None else parent
        if policy is ScratchPolicy.MEMORY_ONLY and (
            not place.is_dir() or file_system_of(place) not in MEMORY_FILE_SYSTEMS
        ):
            raise EngineError(EngineReason.NOT_MEMORY_BACKED)
        _sweep(place)
        self.root: Final = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        # Held as long as this process lives; a killed one's directory is known by its free lock.
        self._lock: Final = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._open = True

    def read(self, under: str = "") -> dict[str, bytes]:
        """All files below a folder, by their path relative to the root."""
        return {self._name(path): path.read_bytes() for path in _files(self.root / under)}

    def write(self, parts: dict[str, bytes]) -> None:
        """Puts files where :meth:`read` found them.

        Raises:
            EngineError: STATE_DAMAGED: a name that leaves the directory, or a part beyond :data:`MAX_PART`.
        """
        for name, content in parts.items():
            relative = PurePosixPath(name)
            if relative.is_absolute() or ".." in relative.parts or not relative.parts or len(content) > MAX_PART:
                raise EngineError(EngineReason.STATE_DAMAGED)
            target = self.root / relative
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)

    def drop(self, under: str) -> None:
        """Overwrites and removes a file, or all files below a folder."""
        target = self.root / under
        for path in list(_files(target)):
            _overwrite(path)
        if target.is_dir():
            shutil.rmtree(target)

    def close(self) -> None:
        """Overwrites and removes everything. Harmless when repeated."""
        if self._open:
            self._open = False
            for path in list(_files(self.root)):
                _overwrite(path)
            shutil.rmtree(self.root, ignore_errors=True)
            os.close(self._lock)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        for folder, _, names in os.walk(place):
            for name in names:
                yield Path(folder) / name


def _overwrite(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("r+b") as out:
            out.write(bytes(size))
        path.unlink()
    except FileNotFoundError:
        return


def _sweep(place: Path) -> None:
    """Overwrites and removes what killed processes of this user left behind. A live one holds its lock."""
    for stale in place.glob(_PREFIX + "*"):
        try:
            lock = os.open(stale / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid != os.getuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in list(_files(stale)):
                _overwrite(path)
            shutil.rmtree(stale, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)
