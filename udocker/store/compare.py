"""Two directories that should be one and the same."""

from __future__ import annotations

import os
import stat
from itertools import chain

from udocker.store.copy import data_ranges
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHUNK = 1 << 20


def differences(one: str, other: str) -> Iterator[str]:
    """What of directory ``one`` is not as in ``other``: the path, and what differs.

    Names, types, modes, sizes, contents, links, attributes of users, and times of all but
    directories: those that no layer names are as old as the tree.
    """
    pending = [""]
    links: dict[tuple[int, int], tuple[int, int]] = {}
    while pending:
        path = pending.pop()
        here, there = one + path, other + path
        status, wanted = os.lstat(here), os.lstat(there)
        found = _difference(here, there, status, wanted)
        if found:
            yield f"{path or '/'}: {found}"
        elif stat.S_ISDIR(status.st_mode):
            names, wanted_names = set(os.listdir(here)), set(os.listdir(there))
            for name in sorted(names ^ wanted_names):
                yield f"{path}/{name}: {'is missing' if name in wanted_names else 'is too much'}"
            pending += [f"{path}/{name}" for name in sorted(names & wanted_names, reverse=True)]
        elif wanted.st_nlink > 1 or status.st_nlink > 1:
            key = (wanted.st_dev, wanted.st_ino)
            if links.setdefault(key, (status.st_dev, status.st_ino))[1] != status.st_ino:
                yield f"{path}: is not the same file as its other names"


def _difference(here: str, there: str, status: os.stat_result, wanted: os.stat_result) -> str:
    kind = stat.S_IFMT(wanted.st_mode)
    if stat.S_IFMT(status.st_mode) != kind:
        return "is of another type"
    if kind == stat.S_IFLNK:
        return "" if os.readlink(here) == os.readlink(there) else "leads elsewhere"
    if kind == stat.S_IFREG and status.st_size != wanted.st_size:
        return f"has {counted(status.st_size, 'bytes')}, not {wanted.st_size}"
    for text, differs in (
        ("has another mode", status.st_mode != wanted.st_mode),
        ("has another time", kind != stat.S_IFDIR and _time(status) != _time(wanted)),
        ("has other attributes", _attributes(here) != _attributes(there)),
        ("has another content", kind == stat.S_IFREG and not has_same_bytes(here, there)),
    ):
        if differs:
            return text
    return ""


def _time(status: os.stat_result) -> int:
    return status.st_mtime_ns


def has_same_bytes(here: str, there: str) -> bool:
    """Of two files. What is a hole in both is not read. Raises OSError."""
    with open(here, "rb", 0) as one, open(there, "rb", 0) as other:
        pair = one.fileno(), other.fileno()
        sizes = [os.fstat(descriptor).st_size for descriptor in pair]
        if sizes[0] != sizes[1]:
            return False
        found = [data_ranges(descriptor, sizes[0]) for descriptor in pair]
        return all(_is_same_part(*pair, *part) for part in _united(sorted(chain(*found))))


def _united(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sorted ranges, offset and length, without those that overlap."""
    end = 0
    for begin, length in ranges:
        position = max(begin, end)
        end = max(end, begin + length)
        if position < end:
            yield position, end - position


def _is_same_part(one: int, other: int, position: int, length: int) -> bool:
    end = position + length
    while position < end:
        size = min(_CHUNK, end - position)
        data = os.pread(one, size, position)
        if data != os.pread(other, size, position):
            return False
        position += len(data) or size
    return True


def _attributes(path: str) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # this filesystem has none
        return {}
    return {name: os.getxattr(path, name) for name in names if name.startswith("user.")}
