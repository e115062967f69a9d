"""Only one process at a time: a lock of the kernel, or a link that only one can make.

flock(2) ends with its holder, and is all that is needed on filesystems of one host. Elsewhere it
may be missing, or exclude only processes of this host: there a symbolic link is made as well. It
has its holder's mark for target, so that others see when it is of no use any more; holders on other
hosts touch theirs while they go on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import time

from udocker import files, makers
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Optional

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_HELD = ".held"
_BEAT = 10.0  # seconds
# Longer than attributes are cached by NFS clients (acregmax, nfs(5)) and a few beats.
_SILENT = 150.0
_LOOK_AGAIN = 0.02
_AT_MOST = 0.2  # seconds between looks, where there is a limit to waiting
# Filesystems that no other host writes to: a lock of the kernel is enough.
LOCAL = frozenset(
    [
        "bcachefs",
        "btrfs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "jfs",
        "overlay",
        "reiserfs",
        "tmpfs",
        "xfs",
        "zfs",
    ]
)


@contextlib.contextmanager
def lease(
    path: str,
    waiting: Callable[[], None] | None = None,
    beats: bool = True,
    patience: float = math.inf,
) -> Iterator[None]:
    """Hold ``path`` while the block runs; whatever ends the process ends the lease too.

    ``waiting`` is called once if another process holds it. ``beats`` False: the block is short,
    and makes namespaces, which a second thread would prevent. Raises OSError, also where the
    directory of ``path`` is missing: if it has been removed, it must not come back; TimeoutError
    when another process holds it longer than ``patience``, in seconds.
    """
    told = _Wait(path, waiting, patience)
    with contextlib.ExitStack() as stack:
        locked = _lock(path, told)
        if locked is not None:
            stack.callback(os.close, locked)
        if locked is None or not is_local(os.path.dirname(path)):
            stack.enter_context(_link(path + _HELD, told, beats))
        yield


class _Wait:
    """Called again and again while somebody else holds the lease: tells once, and has a limit."""

    def __init__(self, path: str, function: Callable[[], None] | None, patience: float) -> None:
        self._path = path
        self._function = function
        self._end = time.monotonic() + patience

    @property
    def has_limit(self) -> bool:
        return self._end < math.inf

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()
        if time.monotonic() > self._end:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), self._path)


def _lock(path: str, waiting: _Wait) -> int | None:
    """A descriptor of the locked file; None where there are no locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _flock(descriptor, waiting)
            if _is_at(path, descriptor):  # a sweep may have removed it while we waited
                os.utime(descriptor)
                return descriptor
            os.close(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return None
            error.filename = error.filename or path
            raise
        except BaseException:
            os.close(descriptor)
            raise


def can_lock(descriptor: int) -> bool:
    """Whether the kernel has locks for that file, which nobody has locked. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _flock(descriptor: int, waiting: _Wait) -> None:
    pause = _LOOK_AGAIN
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise
        waiting()
        if not waiting.has_limit:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return
        time.sleep(pause)
        pause = min(2 * pause, _AT_MOST)


def _is_at(path: str, descriptor: int) -> bool:
    try:
        there, here = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


@contextlib.contextmanager
def _link(path: str, waiting: _Wait, beats: bool) -> Iterator[None]:
    # By its descriptor: the block may change the root.
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    name = os.path.basename(path)
    mine = files.temporary_name()
    try:
        _claim(folder, name, mine, waiting)
        try:
            with files.beating(path, _BEAT) if beats else contextlib.nullcontext():
                yield
        finally:
            with contextlib.suppress(OSError):
                if os.readlink(name, dir_fd=folder) == mine:
                    os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _claim(folder: int, name: str, mine: str, waiting: _Wait) -> None:
    seen: _Seen | None = None
    while True:
        try:
            os.symlink(mine, name, dir_fd=folder)
            return
        except FileExistsError:
            pass
        seen = _look(folder, name, seen)
        if seen is None:
            continue
        if seen.target == mine:  # the server had made it when its answer was lost
            return
        if seen.is_over():
            _take_away(folder, name, seen.target)
            seen = None
        else:
            waiting()
            time.sleep(_LOOK_AGAIN)


@value
class _Seen:
    """A link of somebody's, and since when it has been as it is: by our own clock."""

    target: str
    touched: int
    since: float

    def is_over(self) -> bool:
        state = makers.state(makers.found_in(self.target))
        silent = time.monotonic() - self.since > _SILENT
        return state == makers.ENDED or (state == makers.UNKNOWN and silent)


def _look(folder: int, name: str, before: Optional[_Seen]) -> _Seen | None:
    try:
        target = os.readlink(name, dir_fd=folder)
        touched = os.lstat(name, dir_fd=folder).st_mtime_ns
    except FileNotFoundError:
        return None
    if before is not None and (before.target, before.touched) == (target, touched):
        return before
    return _Seen(target, touched, time.monotonic())


def _take_away(folder: int, name: str, target: str) -> None:
    """Take away a link that is over; if it is another one by now, put that back."""
    aside = f"{name}.{files.temporary_name()}"
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
        try:
            if os.readlink(aside, dir_fd=folder) != target:
                os.link(aside, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.unlink(aside, dir_fd=folder)


def is_local(path: str) -> bool:
    """Whether only this host writes there, as far as mountinfo tells: proc_pid_mountinfo(5)."""
    path = os.path.realpath(path)
    best, kind = "", ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            point = line.split(" ")[4].replace("\\040", " ")
            if f"{path}/".startswith(f"{point.rstrip('/')}/") and len(point) >= len(best):
                best, kind = point, line.partition(" - ")[2].split(" ")[0]
    return kind in LOCAL
