"""Patched copies of a container's C library and static programs, made once for what they hold."""

from __future__ import annotations

import contextlib
import os
import stat
import zlib

from udocker import files
from udocker.files import store_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.engine.patch import Patched
    from udocker.ops.session import Session
    from udocker.store.view import View

# The C library and the loader make nearly all system calls of dynamic programs.
_LIBRARIES = ("libc.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0", "ld-musl-x86_64.so.1")
_LARGEST = 64 << 20  # bytes; larger programs trap
_NOTHING = "nothing"
_FORMAT = 6  # of copies: another where patch.py changes, or the place of the engine
_HEAD = 4096
_PAGE = 4096


def copies(session: Session, view: View, root: str, program: str) -> str:
    """Make the copies that are missing; the directory where the engine looks for them.

    ``root`` is the directory that most of the container's files are in: all of its static programs
    have copies from the first run on. The C library and ``program`` are looked at each time.
    Raises StoreError.
    """
    workshop = _Workshop(session)
    with store_errors("making patched copies"):
        for path in (*_libraries(session, workshop, root), program):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                workshop.provide(view.locate(path))
    return workshop.known


def _libraries(session: Session, workshop: _Workshop, root: str) -> list[str]:
    """Guest paths of the C library and the loader, as the first run found them."""
    found = workshop.found(root)
    try:
        with open(found, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read().split("\n")[:-1]
    except FileNotFoundError:
        session.report.info("patching the programs of the image for this mode")
        libraries = _look_through(workshop, root)
    text = "".join(f"{path}\n" for path in libraries if "\n" not in path)
    files.write_atomic(found, text.encode("utf-8", "surrogateescape"))
    return libraries


def _look_through(workshop: _Workshop, root: str) -> list[str]:
    """Make copies of the static programs below ``root``; the guest paths of C libraries there."""
    libraries = []
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in names:
            path = f"{folder}/{name}"
            with contextlib.suppress(OSError):
                if name in _LIBRARIES:
                    libraries.append(path[len(root) :])
                elif _is_static_program(path):
                    workshop.provide(path)
    return sorted(libraries)


def _is_static_program(path: str) -> bool:
    """Whether the file makes its system calls itself. Raises OSError."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        return False
    with open(path, "rb", buffering=0) as stream:
        head = stream.read(_HEAD)
    from udocker.engine.patch import is_static

    return is_static(head)


class _Workshop:
    """Makes copies, and remembers which file has which: by device, inode, size and time."""

    def __init__(self, session: Session) -> None:
        with store_errors("reading the engine"), open(f"{session.host.inprocess}.numbers") as s:
            text = s.read()
        self._numbers = frozenset(int(line) for line in text.split())
        # Another engine stops other calls: it has copies of its own.
        self.name = f"{zlib.crc32(text.encode()):08x}-{_FORMAT}"
        self._directory = f"{session.kept}/patched/{self.name}"
        self.known = f"{self._directory}/files"  # links to copies, named as the engine asks

    def found(self, root: str) -> str:
        """The file that says what has been found below ``root``."""
        beside = os.path.dirname(root)
        if os.access(beside, os.W_OK):
            return f"{beside}/patched-{self.name}"
        status = os.stat(root)  # of a store that is only read
        return f"{self._directory}/roots/{status.st_dev}-{status.st_ino}-{status.st_ctime_ns}"

    def provide(self, path: str) -> None:
        """See to it that the file at ``path`` has a copy if there is something to patch in it.

        Raises OSError.
        """
        status = os.stat(path)
        name = f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
        known = f"{self.known}/{name}"
        if stat.S_ISREG(status.st_mode) and not os.path.islink(known):
            _remember(known, self._make(path, status.st_size))

    def _make(self, path: str, size: int) -> str:
        """The name of the copy for what the file holds."""
        import hashlib

        from udocker.engine.patch import patch

        if size > _LARGEST:
            return _NOTHING
        with open(path, "rb") as stream:
            data = stream.read()
        name = hashlib.sha256(data).hexdigest()
        target = f"{self._directory}/{name}"
        if os.path.exists(target):
            return name
        patched = patch(data, self._numbers)
        if patched is None:
            return _NOTHING
        _write(target, patched, data)
        return name


def _write(target: str, patched: Patched, data: bytes) -> None:
    """Only what can be executed: the rest of the copy is a hole."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = f"{target}.{files.temporary_name()}"
    whole = patched.applied(data)
    try:
        with open(temporary, "xb") as stream:
            for begin, end in patched.code:
                first = begin - begin % _PAGE
                stream.seek(first)
                stream.write(whole[first : end + -end % _PAGE])
            stream.truncate(len(whole))
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o755)
        os.rename(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _remember(known: str, target: str) -> None:
    os.makedirs(os.path.dirname(known), exist_ok=True)
    temporary = f"{known}.{files.temporary_name()}"
    os.symlink(f"../{target}", temporary)
    os.rename(temporary, known)
