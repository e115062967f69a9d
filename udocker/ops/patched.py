"""Patched copies of a container's libraries, made once for what they hold."""

from __future__ import annotations

import contextlib
import os
import stat
import zlib

from udocker import files
from udocker.files import store_errors
from udocker.model.run import PatchedCopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.ops.session import Session
    from udocker.store.view import View

# Where the C library and the loader are: they make nearly all of a program's system calls.
_FOLDERS = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
)
_NAMES = ("libc.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0", "ld-musl-x86_64.so.1")
_LARGEST = 64 << 20  # bytes; larger programs trap
_NOTHING = "nothing"
# To be raised when patch makes other copies of the same file, or the engine lies elsewhere.
_FORM = 2


def copies(session: Session, view: View, program: str) -> tuple[PatchedCopy, ...]:
    """The copies for the container's C library and loader, and for ``program``.

    Raises StoreError.
    """
    workshop = _Workshop(session)
    found: dict[tuple[int, int], PatchedCopy] = {}
    for path in (*(f"{folder}/{name}" for folder in _FOLDERS for name in _NAMES), program):
        with contextlib.suppress(OSError):
            place = view.locate(path)
            status = os.stat(place)
            if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in found:
                copy = workshop.copy(place, status)
                if copy is not None:
                    found[(status.st_dev, status.st_ino)] = copy
    return tuple(found.values())


class _Workshop:
    """Makes copies, and remembers which file has which: by inode, size and time."""

    def __init__(self, session: Session) -> None:
        with store_errors("reading the engine"), open(f"{session.host.inprocess}.numbers") as s:
            text = s.read()
        self._numbers = frozenset(int(line) for line in text.split())
        # Another engine stops other calls: it has copies of its own.
        key = zlib.crc32(f"{_FORM} {text}".encode())
        self._directory = f"{session.store.topdir}/patched/{key:08x}"

    def copy(self, place: str, status: os.stat_result) -> PatchedCopy | None:
        """The copy of the file at ``place``, made now if there is none. Raises OSError."""
        device, inode, size = status.st_dev, status.st_ino, status.st_size
        known = f"{self._directory}/files/{device}-{inode}-{size}-{status.st_mtime_ns}"
        try:
            target = os.readlink(known)
        except OSError:
            target = self._make(place, size)
            _remember(known, target)
        if target == _NOTHING:
            return None
        path = f"{self._directory}/{target}"
        return PatchedCopy(device, inode, size, status.st_mtime_ns, path)

    def _make(self, place: str, size: int) -> str:
        """The name of the copy for what the file holds."""
        import hashlib

        from udocker.engine.patch import patch

        if size > _LARGEST:
            return _NOTHING
        with open(place, "rb") as stream:
            data = stream.read()
        name = hashlib.sha256(data).hexdigest()
        if os.path.exists(f"{self._directory}/{name}"):
            return name
        patched = patch(data, self._numbers)
        if patched is None:
            return _NOTHING
        files.write_atomic(f"{self._directory}/{name}", patched.applied(data), 0o755)
        return name


def _remember(known: str, target: str) -> None:
    os.makedirs(os.path.dirname(known), exist_ok=True)
    temporary = f"{known}.{files.unique_name()}"
    os.symlink(target, temporary)
    os.rename(temporary, known)
