"""A directory tree that is reached by descriptors, never by a path that could lead out.

No component of a path (see ``names``) is followed as a symbolic link: openat(2), O_NOFOLLOW.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from udocker.unpack.names import join, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 32  # descriptors that stay open
_MAX_LINKS = 40  # as the kernel: path_resolution(7)


class Root:
    """The directory at ``path``, which must not be a symbolic link. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._top = os.open(path, _OPEN)
        self._open: dict[bytes, int] = {}  # the least recently used first

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._top, *self._open.values()):
            os.close(descriptor)
        self._open.clear()

    def directory(self, path: bytes) -> int:
        """A descriptor of a directory, good until some other directories have been asked for.

        Raises FileNotFoundError, or NotADirectoryError where a component is something else.
        """
        if not path:
            return self._top
        descriptor = self._open.pop(path, None)
        if descriptor is None:
            parent, name = split(path)
            descriptor = _open_directory(name, self.directory(parent))
            if len(self._open) >= _KEPT:
                self._close(next(iter(self._open)))
        self._open[path] = descriptor
        return descriptor

    def add(self, path: bytes) -> None:
        """A new directory, mode 0755 whatever the umask, in one that exists. Raises OSError."""
        parent, name = split(path)
        descriptor = self.directory(parent)
        os.mkdir(name, 0o700, dir_fd=descriptor)
        set_mode(name, descriptor, 0o755)

    def make(self, path: bytes) -> int:
        """As ``directory``, after adding it and its parents where they are missing."""
        try:
            return self.directory(path)
        except FileNotFoundError:
            self.make(split(path)[0])
            self.add(path)
        return self.directory(path)

    @contextlib.contextmanager
    def held(self, path: bytes) -> Iterator[int]:
        """As ``directory``, a descriptor that is good while the block runs."""
        descriptor = os.dup(self.directory(path))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def resolve(self, path: bytes) -> bytes:
        """``path`` with links followed as if this were ``/``; what is missing stays as it is.

        Raises OSError (ELOOP).
        """
        pending = path.split(b"/")[::-1]
        done: list[bytes] = []
        links = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                del done[-1:]
            elif name not in (b"", b"."):
                target = self._link_target(b"/".join(done), name)
                if target is None:
                    done.append(name)
                    continue
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith(b"/"):
                    done.clear()
                pending += target.split(b"/")[::-1]
        return b"/".join(done)

    def find(self, path: bytes) -> tuple[bytes, os.stat_result | None]:
        """Where ``path`` leads, links on the way followed in this root, and what is there.

        Raises OSError (ELOOP).
        """
        parent, name = split(path)
        try:
            try:
                descriptor = self.directory(parent)
            except NotADirectoryError:
                parent = self.resolve(parent)
                descriptor = self.directory(parent)
            return join(parent, name), os.lstat(name or b".", dir_fd=descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return join(parent, name), None

    def remove(self, path: bytes) -> None:
        """Remove whatever is at ``path``, and all below. Raises FileNotFoundError."""
        parent, name = split(path)
        try:
            os.unlink(name, dir_fd=self.directory(parent))
        except (IsADirectoryError, PermissionError):  # EPERM is what POSIX has for a directory
            self.empty(path)
            self._close(path)
            os.rmdir(name, dir_fd=self.directory(parent))

    def empty(self, path: bytes) -> None:
        """Remove all that is in a directory. Raises as ``directory``."""
        descriptor = self.directory(path)
        directories = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(os.fsencode(entry.name))
                else:
                    os.unlink(entry.name, dir_fd=descriptor)
        for name in directories:
            self.remove(join(path, name))

    def _link_target(self, parent: bytes, name: bytes) -> bytes | None:
        try:
            return os.readlink(name, dir_fd=self.directory(parent))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def _close(self, path: bytes) -> None:
        descriptor = self._open.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)


def set_mode(name: bytes, parent: int, mode: int) -> None:
    """chmod(2) that follows no link, be it one that was put there just now. Raises OSError."""
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        os.chmod(f"/proc/self/fd/{descriptor}", mode)
    finally:
        os.close(descriptor)


def _open_directory(name: bytes, parent: int) -> int:
    try:
        return os.open(name, _OPEN, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ELOOP:  # some kernels say this of a link, others ENOTDIR
            raise NotADirectoryError(errno.ENOTDIR, error.strerror, name) from error
        raise
