"""What has come of a blob so far: kept, so that another process can go on with it.

``partial/<digest>.<unique>.<mark>/`` is of the process that the mark names. ``data`` has the bytes
at their places; ``map`` says which are there, a range a line, written after the bytes. Who finds
one whose maker is gone takes it by renaming it: one of several can.
"""

from __future__ import annotations

import contextlib
import os

from udocker import files
from udocker.store.ranges import Ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.model.oci import Descriptor
    from udocker.model.reference import Digest

FOLDER = "partial"
_MAP_LIMIT = 1 << 20  # bytes
_NOTED = 1 << 20  # bytes that may be fetched again after a kill
_KEPT = 7 * 86400.0  # seconds for which somebody may come back


class Partial:
    """The bytes of one blob, in a directory that is this process's."""

    def __init__(self, path: str, lock: int | None, there: Ranges) -> None:
        self._path = path
        self._lock = lock
        self.there = there
        self._unnoted = Ranges()
        self._unnoted_bytes = 0
        self.data = os.open(f"{path}/data", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @property
    def path(self) -> str:
        """The file that has the bytes."""
        return f"{self._path}/data"

    def write(self, data: memoryview, at: int) -> None:
        """Put ``data`` at its place. Raises OSError."""
        end = at + len(data)
        place = at
        while data:
            written = os.pwrite(self.data, data, place)
            data = data[written:]
            place += written
        self.there.add(at, end)
        self._unnoted.add(at, end)
        self._unnoted_bytes += end - at
        if self._unnoted_bytes >= _NOTED:
            self.note()

    def note(self) -> None:
        """Say in the map what is there. Raises OSError."""
        if self._unnoted_bytes:
            lines = "".join(f"{start} {end}\n" for start, end in self._unnoted)
            with open(f"{self._path}/map", "a", encoding="ascii") as stream:
                stream.write(lines)
            os.utime(self._path)  # other hosts see by it that somebody works on it
            self._unnoted, self._unnoted_bytes = Ranges(), 0

    def publish(self, path: str) -> None:
        """Rename the bytes to ``path``; the rest goes. Raises OSError, and then nothing has."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(self.path, path)
        self.remove()

    def leave(self) -> None:
        """Let go; who comes later goes on with what is there."""
        with contextlib.suppress(OSError):
            self.note()
        self._close()
        if not any(self.there):
            with contextlib.suppress(OSError):
                files.remove_tree(self._path)

    def remove(self) -> None:
        """Let go, and leave nothing. Never fails."""
        self._close()
        with contextlib.suppress(OSError):
            files.remove_tree(self._path)

    def _close(self) -> None:
        if self.data >= 0:
            os.close(self.data)
            self.data = -1
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def take(directory: str, descriptor: Descriptor) -> Partial:
    """What is left of ``descriptor``'s blob in ``directory``, or a new one. Raises OSError."""
    os.makedirs(directory, exist_ok=True)
    for left in _left(directory, descriptor.digest):
        mine = f"{directory}/{_name(descriptor.digest)}.{files.temporary_name()}"
        try:
            os.rename(left, mine)
        except FileNotFoundError:
            continue  # another process was first
        there = _read_map(mine, descriptor.size)
        if there is not None:
            return Partial(mine, _locked(mine), there)
        files.remove_tree(mine)
    made = f"{directory}/{_name(descriptor.digest)}.{files.temporary_name()}"
    os.mkdir(made, 0o755)
    return Partial(made, _locked(made), Ranges())


def forget(directory: str, digest: Digest) -> None:
    """Remove what processes that are gone left of a blob. Never fails."""
    with contextlib.suppress(OSError):
        for left in _left(directory, digest):
            files.remove_tree(left)


def sweep(directory: str) -> None:
    """Remove what nobody has come back for. Never fails."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            path = f"{directory}/{name}"
            with contextlib.suppress(OSError):
                if files.older_than(path, _KEPT) and files.is_left_behind(path):
                    files.remove_tree(path)


def _name(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}"


def _left(directory: str, digest: Digest) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            if name.startswith(f"{_name(digest)}."):
                with contextlib.suppress(OSError):
                    if files.is_left_behind(f"{directory}/{name}"):
                        yield f"{directory}/{name}"


def _locked(path: str) -> int | None:
    try:
        return files.lock_entry(path)
    except BlockingIOError:  # a process that looks whether it is left behind
        return None


def _read_map(path: str, size: int) -> Ranges | None:
    """What the map says; None when it says nothing that can be true."""
    there = Ranges()
    try:
        with open(f"{path}/map", encoding="ascii") as stream:
            text = stream.read(_MAP_LIMIT)
        length = os.stat(f"{path}/data").st_size
        # Of a line that a killed process was writing the end is missing.
        for line in text.rpartition("\n")[0].split("\n"):
            start, end = map(int, line.split(" "))
            if not 0 <= start < end <= min(size, length):
                return None
            there.add(start, end)
    except (OSError, ValueError):
        return None
    return there
