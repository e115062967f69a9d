"""Files that are whole or absent, directories that go away, and leases.

Correctness rests on unique names and rename(2). A lease keeps two processes from doing the same
work, and what refers to things apart from what removes them. It is a lock of the kernel, and where
that is missing (ENOLCK, ENOSYS on NFS and Lustre) or may be one of this host alone, a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

from udocker import makers
from udocker.errors import NoSpaceError, StoreError, StoreUnwritableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_BLOCK = 1 << 14
_DEPTH = 64  # directories kept open at once while a tree is removed
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
# Between making a temporary entry and locking it there is an instant; no sweep looks that soon.
TOO_YOUNG = 60.0
# Where locks do not exist, age alone tells what was left behind.
SURELY_LEFT = 7 * 86400.0
# What is made by another host and takes long is touched as long as that goes on.
_SILENT = 3600.0
BEAT = 60.0


def unique_name() -> str:
    """Thirty-two hexadecimal digits that nobody else has."""
    return os.urandom(16).hex()


def temporary_name() -> str:
    """A unique name that says which process made what it names."""
    return f"{unique_name()}.{makers.mark()}"


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
            text, hint="free some space (udocker rm, udocker rmi) or move the store: UDOCKER_DIR"
        )
    if error.errno in _UNWRITABLE:
        return StoreUnwritableError(
            text, hint="choose a store you may write: UDOCKER_DIR or --repo"
        )
    return StoreError(text)


def content(path: str) -> bytes:
    """All of a small file, by as few calls as can be: a list of a thousand containers reads two
    thousand. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = found = os.read(descriptor, _BLOCK)
        while len(found) == _BLOCK:  # of a regular file less is its end, read(2)
            found = os.read(descriptor, _BLOCK)
            data += found
    finally:
        os.close(descriptor)
    return data


def write_atomic(
    path: str, data: bytes, mode: int = 0o644, aside: str = "", parents: bool = True
) -> None:
    """Put ``data`` at ``path`` so that a reader sees the old bytes or the new ones.

    It is made in the directory ``aside`` of the same filesystem, where a sweep finds what a
    killed process leaves, or else beside ``path``. The parents are made, but where ``parents`` is
    False: what has been removed must not come back. Raises OSError, and then nothing has changed.
    """
    directory = os.path.dirname(path)
    for folder in filter(None, (directory, aside)) if parents else ():
        os.makedirs(folder, exist_ok=True)
    # Not made of the name: that may be as long as a name can be.
    temporary = os.path.join(aside or directory, f".{temporary_name()}.tmp")
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
    """Remove a file or a directory and all in it: of any depth, directories without permission
    bits included.

    Never follows a symbolic link; a missing path is no error. Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        top = _open_directory(path, None)
        try:
            while _empty(top, top, 0):
                pass
        finally:
            os.close(top)
        os.rmdir(path)


def _empty(directory: int, top: int, depth: int) -> bool:
    """Remove what is in ``directory``; true if some of it was moved to ``top`` instead.

    That is done where a tree is too deep for the limits on open files and on recursion.
    """
    moved = False
    with os.scandir(directory) as listing:
        entries = list(listing)
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=directory)
                continue
            inner = _open_directory(entry.name, directory)
            try:
                if depth < _DEPTH:
                    moved |= _empty(inner, top, depth + 1)
            finally:
                os.close(inner)
            if depth < _DEPTH:
                os.rmdir(entry.name, dir_fd=directory)
            else:
                os.rename(entry.name, unique_name(), src_dir_fd=directory, dst_dir_fd=top)
                moved = True
    return moved


def _open_directory(name: str, parent: int | None) -> int:
    """Open a directory for listing and changing, its permission bits set if need be."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(PermissionError):
        descriptor = os.open(name, os.O_RDONLY | flags, dir_fd=parent)
        if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            with contextlib.suppress(PermissionError):  # not ours: perhaps it is empty
                os.fchmod(descriptor, stat.S_IRWXU)
        return descriptor
    # fchmod(2) wants more than O_PATH; through /proc no link can be put in the way.
    handle = os.open(name, os.O_PATH | flags, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)
    finally:
        os.close(handle)
    return os.open(name, os.O_RDONLY | flags, dir_fd=parent)


def older_than(path: str, seconds: float) -> bool:
    """Whether ``path`` exists and was last changed more than ``seconds`` ago."""
    try:
        return time.time() - os.lstat(path).st_mtime > seconds
    except FileNotFoundError:
        return False


def sweep(directory: str, remove: Callable[[str], None] = remove_tree) -> None:
    """Remove the entries of ``directory`` whose makers are gone. Never fails."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            path = f"{directory}/{name}"
            with contextlib.suppress(OSError, StoreError):
                if is_left_behind(path):
                    remove(path)


def is_left_behind(path: str) -> bool:
    """Whether the process that made ``path``, and held its lock, is gone. Raises OSError."""
    state = makers.state(makers.found_in(os.path.basename(path)))
    age = time.time() - os.lstat(path).st_mtime
    if state == makers.ALIVE or (state == makers.UNKNOWN and age < TOO_YOUNG):
        return False
    if os.path.islink(path):
        return True
    try:
        lock = lock_entry(path)
    except BlockingIOError:
        return False  # also where the maker is gone, and its children work on
    if lock is not None:
        os.close(lock)
    if state == makers.ENDED:
        return True
    # A lock that is free says nothing of other hosts where locks are those of each host.
    known = bool(makers.found_in(os.path.basename(path)))
    return age > (SURELY_LEFT if lock is None else _SILENT if known else TOO_YOUNG)


@contextlib.contextmanager
def beating(path: str, seconds: float = BEAT) -> Iterator[None]:
    """Touch ``path`` while the block runs, so that other hosts see that somebody works on it."""
    import _thread

    going, begun = _thread.allocate_lock(), _thread.allocate_lock()
    going.acquire()
    begun.acquire()
    thread = 0

    def beat() -> None:
        nonlocal thread
        thread = _thread.get_native_id()
        begun.release()
        while not going.acquire(timeout=seconds):
            with contextlib.suppress(OSError):
                os.utime(path, follow_symlinks=False)

    _thread.start_new_thread(beat, ())
    begun.acquire()
    try:
        yield
    finally:
        going.release()
        # A process with a second thread can make no user namespace: it must be gone.
        while os.path.exists(f"/proc/self/task/{thread}"):
            time.sleep(0.0005)


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
