"""What a container's modes keep from its owner, read all the same.

Root inside may close a file or directory to itself and go on; outside only chmod(2) helps on every
host. What is opened is written down before, so that the modes come back when a process was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORD = "opened"


@value
class _Opened:
    """``path`` is relative to the container's directory."""

    path: str
    inode: int
    mode: int
    mode_now: int


class Opener:
    """Opens files and directories of the container in directory ``top`` until the block ends.

    The caller holds the container's lease: who looks meanwhile sees other modes.
    """

    def __init__(self, top: str) -> None:
        self._top = top
        self._opened: dict[tuple[int, int], _Opened] = {}
        self._record = -1

    def __enter__(self) -> Opener:
        restore(self._top, leased=True)
        return self

    def __exit__(self, *_: object) -> None:
        for opened in reversed(self._opened.values()):
            _close(self._top, opened)
        if self._record >= 0:
            os.unlink(f"{self._top}/{_RECORD}")
            os.close(self._record)

    def open(self, path: str) -> int | None:
        """Let the owner read ``path``: the permission bits that it had; None if it needed nothing.

        The directories above are open already. Raises OSError.
        """
        status = os.lstat(path)
        key = (status.st_dev, status.st_ino)
        if key in self._opened:
            return self._opened[key].mode
        mode = stat.S_IMODE(status.st_mode)
        mode_now = mode | _needed(status)
        if mode == mode_now or status.st_uid != os.geteuid():
            return None
        opened = _Opened(os.path.relpath(path, self._top), status.st_ino, mode, mode_now)
        self._note(opened)
        self._opened[key] = opened
        _change(path, status.st_ino, mode, mode_now)
        return mode

    def _note(self, opened: _Opened) -> None:
        line = json.dumps([opened.path, opened.inode, opened.mode, opened.mode_now]) + "\n"
        # Where nothing can be written, on a full disk, reading is what may make room.
        with contextlib.suppress(OSError):
            if self._record < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                self._record = os.open(f"{self._top}/{_RECORD}", flags, 0o600)
                fcntl.flock(self._record, fcntl.LOCK_EX)
            os.write(self._record, line.encode())


def restore(top: str, *, leased: bool = False) -> None:
    """Put back the modes that a killed process has left changed. Never fails.

    ``leased``: the caller holds the container's lease. Who does not leaves alone what may be at
    work.
    """
    record = f"{top}/{_RECORD}"
    if not os.path.exists(record):
        return
    with contextlib.suppress(OSError), open(record, "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if leased else fcntl.LOCK_NB))
        except OSError:  # somebody else's, or there are no locks
            if not leased:
                return
        found = list(_read(stream.read()))
        for opened in reversed(found):
            _close(top, opened)
        if found or leased:  # an empty one is being begun
            os.unlink(record)


def _read(data: bytes) -> Iterator[_Opened]:
    with contextlib.suppress(ValueError, TypeError):  # the last line may be half of one
        for line in data.splitlines():
            yield _Opened(*json.loads(line))


def _needed(status: os.stat_result) -> int:
    if stat.S_ISDIR(status.st_mode):
        return stat.S_IRUSR | stat.S_IXUSR
    return stat.S_IRUSR if stat.S_ISREG(status.st_mode) else 0


def _close(top: str, opened: _Opened) -> None:
    """Give it its mode again, if it is still there and nobody else has given it another."""
    with contextlib.suppress(OSError):
        _change(f"{top}/{opened.path}", opened.inode, opened.mode_now, opened.mode)


def _change(path: str, inode: int, before: int, after: int) -> None:
    """chmod(2) of that very inode with that mode: programs inside may put links in the way."""
    handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if (status.st_ino, stat.S_IMODE(status.st_mode)) == (inode, before):
            os.chmod(f"/proc/self/fd/{handle}", after)
    finally:
        os.close(handle)
