"""Owners and modes that the store's filesystem does not hold, as engines/core/owners.c reads them.

Three places: an attribute of the file itself, in what a container may change; *marks*, which say
what files may have one; and a *table* of what an image's tree lacks, which is never changed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Optional

    # Path relative to the root, uid, gid, permission bits (None: those of the file)
    Owner = tuple[bytes, int, int, Optional[int]]

ATTRIBUTE = "user.overlay.owner"  # overlayfs keeps it and does not show it
_MAGIC = 0x31776F75
_HEADER = struct.Struct("=IIQQQ")  # magic, whether a bit is set, device, inode of the root, -
_PEERS = bytes(4096 * 16)
_BITS = 1 << 19
_ENTRY = struct.Struct("=QIIiI")  # inode, uid, gid, mode or -1, -
_AS_THE_FILE = -1
_WORD = 2**64 - 1


def remember(path: str, uid: int, gid: int, mode: int | None) -> None:
    """Give the file or directory at ``path`` an owner; other kinds can have none.

    Raises OSError.
    """
    status = os.lstat(path)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return
    text = f"{uid}:{gid}" if mode is None else f"{uid}:{gid}:{mode:04o}"
    real = stat.S_IMODE(status.st_mode)
    if not real & stat.S_IWUSR:
        os.chmod(path, real | stat.S_IWUSR)
    try:
        os.setxattr(path, ATTRIBUTE, text.encode())
    finally:
        if not real & stat.S_IWUSR:
            os.chmod(path, real)


def marks(root: str) -> bytes:
    """The marks of all files below ``root`` that have the attribute. Raises OSError."""
    bits = bytearray(_BITS // 8)
    used = False
    for path in _all(root):
        with contextlib.suppress(OSError):
            os.getxattr(path, ATTRIBUTE, follow_symlinks=False)
            status = os.lstat(path)
            number = _scatter(status.st_ino ^ status.st_dev << 40 & _WORD) % _BITS
            bits[number // 8] |= 1 << number % 8
            used = True
    return _header(root, used) + _PEERS + bytes(bits)


def table(root: str, owners: Iterable[Owner]) -> bytes:
    """The table of what the tree at ``root`` lacks, by inode. Raises OSError."""
    entries = {}
    for path, uid, gid, mode in owners:
        with contextlib.suppress(FileNotFoundError):  # a device node
            inode = os.lstat(os.path.join(os.fsencode(root), path)).st_ino
            entries[inode] = (uid, gid, _AS_THE_FILE if mode is None else mode)
    size = 2
    while size < 2 * len(entries):
        size *= 2
    places: list[bytes] = [bytes(_ENTRY.size)] * size
    for inode, (uid, gid, mode) in entries.items():
        place = _scatter(inode) % size
        while places[place] != bytes(_ENTRY.size):
            place = (place + 1) % size
        places[place] = _ENTRY.pack(inode, uid, gid, mode, 0)
    return _header(root, bool(entries), size) + b"".join(places)


def is_of(path: str, root: str) -> bool:
    """Whether marks or a table at ``path`` are whole, and those of ``root`` where that lies now."""
    try:
        with open(path, "rb") as stream:
            found = stream.read(_HEADER.size)
            size = os.fstat(stream.fileno()).st_size
    except OSError:
        return False
    if len(found) != _HEADER.size:
        return False
    magic, _, device, inode, count = _HEADER.unpack(found)
    content = count * _ENTRY.size if count else len(_PEERS) + _BITS // 8
    status = os.stat(root)
    return (magic, device, inode, size) == (
        _MAGIC,
        status.st_dev,
        status.st_ino,
        _HEADER.size + content,
    )


def _header(root: str, used: bool, count: int = 0) -> bytes:
    status = os.stat(root)
    return _HEADER.pack(_MAGIC, used, status.st_dev, status.st_ino, count)


def _scatter(number: int) -> int:
    """As in engines/core/owners.c."""
    number ^= number >> 31
    return (number * 0x9E3779B97F4A7C15 & _WORD) >> 32


def _all(root: str) -> Iterator[str]:
    yield root
    for directory, directories, names in os.walk(root):
        for name in (*directories, *names):
            yield f"{directory}/{name}"
