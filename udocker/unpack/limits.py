"""How much an image may unpack to, and the running count of it."""

from __future__ import annotations

from _thread import allocate_lock

from udocker.errors import ArchiveLimitError
from udocker.model.value import value
from udocker.unpack.names import show

_HEADERS = 1 << 30  # bytes that headers may take besides


@value
class Limits:
    """What one image may cost. What is beyond raises ArchiveLimitError."""

    max_bytes: int  # sum of the contents of files, holes of sparse files not counted
    max_entries: int = 20_000_000
    max_header_bytes: int = 1 << 20  # one extension header, or the map of one sparse file
    # Approximate memory for what must be known at the end: times of a layer's directories, and
    # the records of the index.
    max_index_bytes: int = 1 << 30
    # Tools that walk a tree hold a descriptor per level, and 1024 is the usual limit of a process.
    max_depth: int = 256
    hint: str = "if you trust the image, raise the limit max_unpacked_bytes"  # of max_bytes

    @property
    def max_archive_bytes(self) -> int:
        """Of one layer: what lies in its archive without reaching the disk is read all the same."""
        return 2 * self.max_bytes + _HEADERS


class Budget:
    """What is left of the limits while layers are unpacked, by several threads perhaps."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._bytes = 0
        self._entries = 0
        self._lock = allocate_lock()

    def left(self) -> tuple[int, int]:
        """How many entries and bytes may still come."""
        limits = self.limits
        return max(0, limits.max_entries - self._entries), max(0, limits.max_bytes - self._bytes)

    def entry(self, count: int = 1) -> None:
        """One more archive member, or ``count``."""
        with self._lock:
            self._entries += count
        if self._entries > self.limits.max_entries:
            raise ArchiveLimitError(
                f"the image has more than {self.limits.max_entries} archive entries",
                hint="if you trust the image, raise the limit max_unpacked_entries",
            )

    def spend(self, size: int, name: bytes) -> None:
        """``size`` more bytes on disk, of the file ``name``."""
        with self._lock:
            self._bytes += size
        if self._bytes > self.limits.max_bytes:
            raise ArchiveLimitError(
                f"the image unpacks to more than {self.limits.max_bytes} bytes, at {show(name)}",
                hint=self.limits.hint,
            )
