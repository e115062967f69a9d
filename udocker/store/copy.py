"""A container's files as one plain directory: the tree with the upper applied to it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

from udocker import files
from udocker.errors import StoreError
from udocker.model.container import POINT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from udocker.model.container import Container

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_CHUNK = 1 << 20
_OPAQUE = "user.overlay.opaque"
_OVERLAY = "user.overlay."
_OWNER = "user.overlay.owner"


def copy_container(
    container: Container,
    temporary: Callable[[], AbstractContextManager[str]],
    give: Callable[[str], None] = lambda copy: None,
) -> None:
    """Put the container's files into its ROOT, made aside and renamed there whole.

    Where the filesystem can, files share their blocks with the tree. ``give`` is called with the
    copy of the tree. Raises OSError, StoreError where another user keeps the tree from us.
    """
    with temporary() as directory:
        copy = f"{directory}/root"
        with files.beating(directory):
            _Copier().tree(container.tree, copy)
            give(copy)
            if os.path.isdir(container.upper):
                _Copier().upper(container.upper, copy)
        # ROOT is the empty mount point of the union: rename(2) replaces an empty directory.
        empty(container.root)
        with _writable(copy):
            os.rename(copy, container.root)


def copy_as_it_is(source: str, target: str) -> None:
    """Copy an upper directory, whiteouts and all, or a whole root. Raises OSError."""
    _Copier(as_it_is=True).tree(source, target)


def empty(directory: str) -> None:
    """Remove the copy of a process that was killed before it could record it. Raises OSError."""
    if os.listdir(directory):
        os.chmod(directory, 0o700)
        for entry in os.scandir(directory):
            files.remove_tree(entry.path)


class _Copier:
    """Copies one tree; files that are one inode there are one inode in the copy."""

    def __init__(self, as_it_is: bool = False) -> None:
        self._as_it_is = as_it_is  # also what is overlayfs's
        self._links: dict[tuple[int, int], str] = {}

    def tree(self, source: str, target: str) -> None:
        """Copy directory ``source`` to ``target``, which does not exist."""
        status = os.lstat(source)
        os.mkdir(target, 0o700)
        with readable(source, status):
            for entry in os.scandir(source):
                self._entry(entry.path, f"{target}/{entry.name}")
            _copy_attributes(source, target, status, self._as_it_is)

    def upper(self, source: str, target: str) -> None:
        """Apply the upper directory ``source`` to the copy at ``target``."""
        status = os.lstat(source)
        os.chmod(target, 0o700)
        with readable(source, status):
            for entry in os.scandir(source):
                self._apply(entry, f"{target}/{entry.name}")
            _copy_attributes(source, target, status)

    def _apply(self, entry: os.DirEntry[str], target: str) -> None:
        if _is_whiteout(entry):
            files.remove_tree(target)
        elif entry.is_dir(follow_symlinks=False) and _may_merge(entry.path, target):
            self.upper(entry.path, target)
        else:
            files.remove_tree(target)
            self._entry(entry.path, target)

    def _entry(self, source: str, target: str) -> None:
        status = os.lstat(source)
        if stat.S_ISDIR(status.st_mode):
            self.tree(source, target)
            return
        known = self._links.get((status.st_dev, status.st_ino))
        if known is not None:
            os.link(known, target, follow_symlinks=False)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISREG(status.st_mode):
            with readable(source, status):
                _copy_file(source, target)
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(target)
        elif self._as_it_is and _is_void(status):
            os.mknod(target, stat.S_IFCHR, 0)
            return
        else:
            return  # a socket or a whiteout: nothing that could be copied
        _copy_attributes(source, target, status, self._as_it_is)
        if status.st_nlink > 1:
            self._links[(status.st_dev, status.st_ino)] = target


def _is_whiteout(entry: os.DirEntry[str]) -> bool:
    return _is_void(entry.stat(follow_symlinks=False))


def _is_void(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _may_merge(source: str, target: str) -> bool:
    if os.path.islink(target) or not os.path.isdir(target):
        return False
    try:
        return os.getxattr(source, _OPAQUE) != b"y"
    except OSError:
        return True


@contextlib.contextmanager
def readable(path: str, status: os.stat_result) -> Iterator[None]:
    """Let the owner read, for a while, what only root inside may read by its mode."""
    mode = stat.S_IMODE(status.st_mode)
    needed = 0o500 if stat.S_ISDIR(status.st_mode) else 0o400
    if status.st_uid != os.geteuid():
        _check_readable(path, status)
        yield
        return
    if mode & needed == needed:
        yield
        return
    os.chmod(path, mode | needed)
    try:
        yield
    finally:
        os.chmod(path, mode)


def _check_readable(path: str, status: os.stat_result) -> None:
    is_directory = stat.S_ISDIR(status.st_mode)
    if os.access(path, os.R_OK | (os.X_OK if is_directory else 0)):
        return
    what = "directory" if is_directory else "file"
    raise StoreError(
        f"the image cannot be copied: uid {status.st_uid} keeps the {what} {path} from others",
        hint="in F3 and N1 it need not be; or its owner pulls it anew with "
        "UDOCKER_READABLE_TREES=true",
    )


@contextlib.contextmanager
def _writable(directory: str) -> Iterator[None]:
    """Let the owner write ``directory`` for a while."""
    mode = stat.S_IMODE(os.lstat(directory).st_mode)
    os.chmod(directory, mode | stat.S_IRWXU)
    yield
    with contextlib.suppress(FileNotFoundError):
        os.chmod(directory, mode)


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as reader, open(target, "xb") as writer:
        try:
            fcntl.ioctl(writer, _FICLONE, reader.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            _copy_data(reader.fileno(), writer.fileno(), target)


def _copy_data(reader: int, writer: int, target: str) -> None:
    """Copy data and leave holes as they are (lseek(2), SEEK_DATA)."""
    size = os.fstat(reader).st_size
    try:
        for position, length in data_ranges(reader, size):
            os.lseek(reader, position, os.SEEK_SET)
            os.lseek(writer, position, os.SEEK_SET)
            left = length
            while left:
                left -= _copy_chunk(reader, writer, left)
        os.ftruncate(writer, size)
    except OSError as error:
        error.filename = error.filename or target
        raise


def data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the first ``size`` bytes of a file are no holes: offset and length. Raises OSError."""
    end = 0
    while end < size:
        position = _next_data(descriptor, end, size)
        end = min(size, _next_hole(descriptor, position, size)) if position < size else size
        if position < end:
            yield position, end - position


def _copy_chunk(reader: int, writer: int, most: int) -> int:
    sent = os.sendfile(writer, reader, None, min(most, _CHUNK))
    if sent == 0:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
    return sent


def _next_data(descriptor: int, position: int, size: int) -> int:
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else position


def _next_hole(descriptor: int, position: int, size: int) -> int:
    try:
        return os.lseek(descriptor, position, os.SEEK_HOLE)
    except OSError:
        return size


def _copy_attributes(
    source: str, target: str, status: os.stat_result, as_it_is: bool = False
) -> None:
    link = stat.S_ISLNK(status.st_mode)
    if not link:
        for name in _attributes(source, as_it_is):
            with contextlib.suppress(OSError):
                os.setxattr(target, name, os.getxattr(source, name))
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _attributes(path: str, all_of_users: bool) -> list[str]:
    try:
        names = os.listxattr(path)
    except OSError:
        return []
    kept = (n for n in names if n.startswith("user."))
    ours = (_OWNER, POINT)
    return [n for n in kept if all_of_users or n in ours or not n.startswith(_OVERLAY)]
