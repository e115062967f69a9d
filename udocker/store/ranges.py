"""Which bytes of a file are there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Ranges:
    """A set of bytes by their places, as ranges that do not touch. An end is not in its range."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends))

    def add(self, start: int, end: int) -> None:
        """Add the bytes from ``start`` to before ``end``."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)  # that touches or overlaps
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """The ranges between ``start`` and ``end`` that are not there."""
        found = []
        for at in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[at] >= end:
                break
            if self._starts[at] > start:
                found.append((start, self._starts[at]))
            start = self._ends[at]
        if start < end:
            found.append((start, end))
        return found

    def reach(self, start: int) -> int:
        """The end of what is there from ``start`` on; ``start`` when nothing is."""
        at = bisect_right(self._ends, start)
        inside = at < len(self._starts) and self._starts[at] <= start
        return self._ends[at] if inside else start
