"""What the processes of a container in the F modes share about its union.

The format is that of engines/core/union_shared.h.

A file below the container's work directory, one for each boot of each host. It holds what cannot
be looked up each time: which directories of the upper hide what the tree has. The engine adds to
that; what others have written, kernel overlayfs for one, is looked up here when the file is made.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct

from udocker import files, leases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "inprocess"  # in the work directory
_OPAQUE = "user.overlay.opaque"
# struct shared of union_shared.h
_FORMAT = 4
_HASHES = 4096
_HASHES_AT = 8 * (16 + 4 + 64 + 512 + 8 * 128 + 32 + 6144)
_SIZE = _HASHES_AT + 8 * _HASHES + 24 * 65536


def share(state: str, upper: str, tree: str) -> None:
    """Make the file ``state`` unless it is there. Raises OSError."""
    if _is_current(state):
        return
    os.makedirs(os.path.dirname(state), mode=0o700, exist_ok=True)
    for old in _states(os.path.dirname(os.path.dirname(state))):
        if _user_of(old) == 0:  # of an earlier boot, or an earlier udocker
            _remove(old)
    hidden = [_hash(path) for path in _hiding(upper, tree)]
    temporary = f"{state}.{files.unique_name()}"
    with open(temporary, "xb") as stream:
        header = (_FORMAT, len(hidden), 0, 0, 0, 0, 0, leases.is_local(upper), 0)
        stream.write(struct.pack("=9Q", *header) + os.urandom(8))
        stream.seek(_HASHES_AT)
        stream.write(struct.pack(f"={_HASHES}Q", *_table(hidden)))
        stream.flush()
        # Whoever stores to a mapped hole when the disk is full gets SIGBUS.
        os.posix_fallocate(stream.fileno(), 0, _SIZE)
    with contextlib.suppress(FileExistsError):  # another run was faster
        os.link(temporary, state)
    os.unlink(temporary)


def is_used(work: str) -> bool:
    """Whether a process of this host runs in an F mode over that work directory."""
    return user(work) != 0


def user(work: str) -> int:
    """Such a process; 0: there is none."""
    return next((pid for pid in map(_user_of, _states(work)) if pid), 0)


def forget(work: str) -> None:
    """Others are about to write to the upper. Raises OSError."""
    for state in _states(work):
        _remove(state)


def _is_current(state: str) -> bool:
    """Whether the file is there, as this version makes it."""
    try:
        with open(state, "rb") as stream:
            return stream.read(8) == struct.pack("=Q", _FORMAT)
    except FileNotFoundError:
        return False


def _states(work: str) -> list[str]:
    """Of this and of other hosts: their names have a hyphen, what is left of copies has none."""
    try:
        return [f"{work}/{FOLDER}/{n}" for n in os.listdir(f"{work}/{FOLDER}") if "-" in n]
    except OSError:
        return []


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _user_of(path: str) -> int:
    """A process that has the file in memory, as all of the engine have; 0: there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return 0
    inode = f" {status.st_ino} "
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/maps", "rb") as stream:
                if any(inode.encode() in line and b"/inprocess/" in line for line in stream):
                    return int(name)
    return 0


def _hiding(upper: str, tree: str, path: str = "") -> Iterator[str]:
    """Guest paths of the directories that hide what the tree has there."""
    try:
        entries = list(os.scandir(upper + path))
    except OSError:
        return  # nor can the engine read it
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            continue
        place = f"{path}/{entry.name}"
        try:
            is_dir = stat.S_ISDIR(os.lstat(tree + place).st_mode)
        except OSError:
            continue
        if not is_dir or _is_opaque(entry.path):
            yield place
        else:
            yield from _hiding(upper, tree, place)


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except PermissionError:
        return True  # it may be: what is listed here the engine asks once more
    except OSError:
        return False


def _hash(path: str) -> int:
    """As ``hash_path`` of hash.h: FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in os.fsencode(path):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _table(hashes: list[int]) -> list[int]:
    table = [0] * _HASHES
    for value in hashes[: _HASHES // 2]:
        place = value % _HASHES
        while table[place] not in (0, value):
            place = (place + 1) % _HASHES
        table[place] = value
    return table
