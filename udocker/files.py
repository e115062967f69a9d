"""Files that are whole or absent, directories that go away, and leases.

Correctness rests on unique names and rename(2). A lease only keeps two processes from doing the
same work; where locks do not exist (ENOLCK, ENOSYS on NFS and Lustre) both do it, and the second
rename finds the result there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

from udocker.errors import NoSpaceError, StoreError, StoreUnwritableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
# Between making a temporary entry and locking it there is an instant; no sweep looks that soon.
_TOO_YOUNG = 60.0
# Where locks do not exist, age alone tells what was left behind.
_SURELY_LEFT = 7 * 86400.0


def unique_name() -> str:
    """Thirty-two hexadecimal digits that nobody else has."""
    return os.urandom(16).hex()


@contextlib.contextmanager
def store_errors(action: str) -> Iterator[None]:
    """Turn an OSError into the StoreError that tells a user what ``action`` met, and where."""
    try:
        yield
    except OSError as error:
        raise translate(error, action) from error


def translate(error: OSError, action: str) -> StoreError:
    """The StoreError that says what ``action`` met; ``error`` should carry the path."""
    where = f" {error.filename}" if error.filename else ""
    text = f"{action}: {error.strerror or error}{where and ':' + where}"
    if error.errno in _NO_SPACE:
        return NoSpaceError(
            text, hint="free some space (udocker prune, udocker rmi) or move the store: UDOCKER_DIR"
        )
    if error.errno in _UNWRITABLE:
        return StoreUnwritableError(
            text, hint="choose a store you may write: UDOCKER_DIR or --repo"
        )
    return StoreError(text)


def write_atomic(path: str, data: bytes, mode: int = 0o644) -> None:
    """Put ``data`` at ``path`` so that a reader sees the old bytes or the new ones.

    The parents are made. Raises OSError, and then nothing has changed.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{unique_name()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remove_tree(path: str) -> None:
    """Remove a file or a directory and all in it, directories without permission bits included.

    Never follows a symbolic link; a missing path is no error. Raises OSError.
    """
    import shutil

    if os.path.islink(path) or not os.path.isdir(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        _open_directories(path)
        shutil.rmtree(path)


def _open_directories(path: str) -> None:
    os.chmod(path, stat.S_IRWXU)
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            _open_directories(entry.path)


@contextlib.contextmanager
def lease(path: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; the lock dies with the process.

    ``waiting`` is called once if another process holds it. A filesystem without locks is no
    error: the block then runs at once.
    """
    import fcntl

    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
                if waiting is not None:
                    waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            elif error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def older_than(path: str, seconds: float) -> bool:
    """Whether ``path`` exists and was last changed more than ``seconds`` ago."""
    try:
        return time.time() - os.lstat(path).st_mtime > seconds
    except FileNotFoundError:
        return False


def sweep(directory: str) -> None:
    """Remove the entries of ``directory`` whose makers are gone. Never fails."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            path = f"{directory}/{name}"
            with contextlib.suppress(OSError):
                if is_left_behind(path):
                    remove_tree(path)


def is_left_behind(path: str) -> bool:
    """Whether the process that made ``path``, and held its lock, is gone. Raises OSError."""
    age = time.time() - os.lstat(path).st_mtime
    if age < _TOO_YOUNG:
        return False
    if os.path.islink(path):
        return True
    try:
        lock = lock_entry(path)
    except BlockingIOError:
        return False
    if lock is None:
        return age > _SURELY_LEFT
    os.close(lock)
    return True


def lock_entry(path: str) -> int | None:
    """Lock a file or directory until the descriptor, or the process, is closed.

    None where locks do not exist. Raises BlockingIOError when another process holds it.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise BlockingIOError(error.errno, error.strerror, path) from error
        return None
    return descriptor
