"""What files take on disk: blocks, as du(1) counts them, and what is linked twice once."""

from __future__ import annotations

import os
import stat

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_BLOCK = 512  # st_blocks, stat(2)


@value
class Usage:
    """Bytes on disk, and the number of inodes."""

    bytes: int = 0
    entries: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.bytes + other.bytes, self.entries + other.entries)


class Meter:
    """Measures files and directories; what it has counted once it does not count again."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self.unread = 0  # directories that could not be looked into

    def measure(self, path: str, skip: Collection[str] = ()) -> Usage:
        """What ``path`` and all in it take, but for ``skip``. What goes meanwhile is nothing."""
        size = entries = 0
        pending = [path]
        while pending:
            place = pending.pop()
            try:
                status = os.lstat(place)
                counted = self._count(status)
                size += counted * status.st_blocks * _BLOCK
                entries += counted
                if stat.S_ISDIR(status.st_mode):
                    with os.scandir(place) as listing:
                        pending += [entry.path for entry in listing if entry.path not in skip]
            except FileNotFoundError:
                pass
            except OSError:
                self.unread += 1
        return Usage(size, entries)

    def _count(self, status: os.stat_result) -> int:
        if status.st_nlink < 2 or stat.S_ISDIR(status.st_mode):
            return 1
        key = (status.st_dev, status.st_ino)
        if key in self._seen:
            return 0
        self._seen.add(key)
        return 1


def measure(path: str) -> Usage:
    """What ``path`` and all in it take, by itself."""
    return Meter().measure(path)
