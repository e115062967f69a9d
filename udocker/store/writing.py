"""Files put into a container from outside: into a root, or into the upper directory of a union.

Paths are the container's, absolute, their links followed; no link is followed below them. What is
made belongs to the container's root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from udocker import files
from udocker.store.owners import remember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


CHUNK = 1 << 20  # bytes that are copied at once
_OPAQUE = "user.overlay.opaque"


class Plain:
    """A directory that is the root; "" is the root of this process."""

    def __init__(self, root: str) -> None:
        self._root = root

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there; a link is none."""
        place = self.place(path)
        return place is not None and stat.S_ISDIR(os.lstat(place).st_mode)

    def place(self, path: str) -> str | None:
        """Where on the host that is now; None: nothing is there."""
        place = self._root + path
        return place if os.path.lexists(place) else None

    def directory(self, path: str, mode: int) -> None:
        """Make it unless it is there. Raises NotADirectoryError where something else is."""
        if self.is_directory(path):
            return
        if self.place(path) is not None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        self._make(self.ready(path), mode)

    def file(self, path: str, source: int, status: os.stat_result) -> None:
        """Put what can be read from descriptor ``source`` there, whole or not at all."""
        place = self.ready(path)
        with beside(place) as aside:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            target = os.open(aside, flags, 0o600)
            try:
                while chunk := os.read(source, CHUNK):
                    while chunk:
                        chunk = chunk[os.write(target, chunk) :]
                os.fchmod(target, mode_of_file(status))
                os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
                os.rename(aside, place)
            except BaseException:
                _remove(aside)
                raise
            finally:
                os.close(target)

    def link(self, path: str, target: str) -> None:
        """A symbolic link, in place of what is there."""
        place = self.ready(path)
        with beside(place) as aside:
            os.symlink(target, aside)
            try:
                os.rename(aside, place)
            except BaseException:
                _remove(aside)
                raise

    def change_mode(self, path: str, mode: int) -> None:
        """Of a directory that was made."""
        os.chmod(self._root + path, mode_of_directory(mode))

    def _make(self, place: str, mode: int) -> None:
        os.mkdir(place)
        os.chmod(place, mode)

    def ready(self, path: str) -> str:
        """Where on the host to make it; its directory is there."""
        if self.is_directory(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return self._root + path


class Union(Plain):
    """The upper directory over ``tree``; nobody has it mounted. ``owner``: of what the tree has."""

    def __init__(
        self, upper: str, tree: str, owner: Callable[[str], tuple[int, int, int | None]]
    ) -> None:
        super().__init__(upper)
        self._tree = tree
        self._owner = owner

    def place(self, path: str) -> str | None:
        place, under = self._root, self._tree
        for name in [""] + [part for part in path.split("/") if part]:
            place, under = (f"{each}/{name}".rstrip("/") if each else "" for each in (place, under))
            if place and os.path.lexists(place):
                if _is_whiteout(place):
                    return None
                if _is_opaque(place):
                    under = ""
            else:
                place = ""
            if under and not os.path.lexists(under):
                under = ""
        return place or under or None

    def directory(self, path: str, mode: int) -> None:
        hides = _is_whiteout(self._root + path)
        super().directory(path, mode)
        if hides:
            os.setxattr(self._root + path, _OPAQUE, b"y")

    def ready(self, path: str) -> str:
        place = super().ready(path)
        self._copy_up(os.path.dirname(path))
        if _is_whiteout(place):
            os.unlink(place)
        return place

    def _copy_up(self, path: str) -> None:
        """Directories that only the tree has are in the upper now."""
        path = path.rstrip("/")
        if not path or os.path.isdir(self._root + path):
            return
        self._copy_up(os.path.dirname(path))
        status = os.lstat(self._tree + path)
        os.mkdir(self._root + path)
        os.chmod(self._root + path, stat.S_IMODE(status.st_mode))
        uid, gid, mode = self._owner(path)
        if (uid, gid) != (0, 0):
            remember(self._root + path, uid, gid, mode)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


@contextlib.contextmanager
def beside(path: str) -> Iterator[str]:
    """Where what is to be at ``path`` is made first. An OSError of the block tells of ``path``."""
    aside = f"{os.path.dirname(path)}/.{files.unique_name()}"
    try:
        yield aside
    except OSError as error:
        if error.filename == aside:
            error.filename = path
        raise


def mode_of_file(status: os.stat_result) -> int:
    """No setuid bits: they would be those of another user."""
    return stat.S_IMODE(status.st_mode) & 0o777


def mode_of_directory(mode: int) -> int:
    """As ``mode_of_file``."""
    return mode & 0o1777


def _is_whiteout(place: str) -> bool:
    try:
        status = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(place: str) -> bool:
    try:
        return os.getxattr(place, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False
