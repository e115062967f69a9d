"""Tasks of one step on one host, brought into one user namespace.

The kernel lets a process look into another's memory, or take its descriptors, where both are in
one user namespace (ptrace(2), "Ptrace access mode checking"); MPI does between tasks of a host.
Each task keeps mounts of its own. Whoever comes first makes the namespace; a file on the host
says in which processes it is, and any of these that goes on lets the next one in.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from udocker import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

_NEWUSER = 0x10000000  # <linux/sched.h>
_LIMIT = 1 << 20  # bytes of the file
_OLD = 60.0  # seconds: who has made a file writes to it at once


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The file of a group, which nobody else has meanwhile. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    is_new = not os.path.exists(path)
    with open(os.open(path, flags, 0o600), "r+b", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_uid != os.getuid():
            raise OSError(errno.EPERM, "it belongs to somebody else", path)
        if is_new:
            _sweep(os.path.dirname(path), os.path.basename(path))
        yield stream


def namespaces(stream: BinaryIO) -> Iterator[int]:
    """Descriptors of the user namespace, each closed with the next: from all who are in it."""
    stream.seek(0)
    for line in stream.read(_LIMIT).splitlines():
        found = _open(line)
        if found >= 0:
            try:
                yield found
            finally:
                os.close(found)


def refusal(lib: Any, ffi: Any) -> int:
    """Why no process may come into another's namespace, as an errno; 0: the kernel lets them.

    All tasks must find the same: who has made the namespace has to know, too, when others cannot
    come. One's own is refused with EINVAL by the kernel, and otherwise by what confines us.
    """
    descriptor = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lib.udocker_setns(descriptor, _NEWUSER)
        return 0 if ffi.errno == errno.EINVAL else int(ffi.errno)
    finally:
        os.close(descriptor)


def join(stream: BinaryIO) -> None:
    """This process is in the namespace, too. Raises OSError."""
    found = os.stat("/proc/self/ns/user")
    stream.write(f"{os.getpid()} {found.st_dev} {found.st_ino}\n".encode())


def begin(path: str, begun: int, done: int) -> bytes:
    """A trial: make a namespace and stay in it until ``done`` tells. Why it failed, or nothing.

    ``begun`` is told in any case. For a process that does nothing else.
    """
    said = _trial(path, 0)
    os.write(begun, b"x")
    os.read(done, 1)
    return said


def come(path: str, begun: int, done: int) -> bytes:
    """The other half of ``begin``: come into its namespace."""
    os.read(begun, 1)
    said = _trial(path, 1)
    os.write(done, b"x")
    return said


def _trial(path: str, least: int) -> bytes:
    from udocker._native import ffi, lib

    try:
        with opened(path) as stream:
            found = [
                0 if lib.udocker_setns(each, _NEWUSER) == 0 else -ffi.errno
                for each in namespaces(stream)
            ]
            if len(found) < least:
                return b"a process cannot be looked into by another"
            if not least and lib.udocker_unshare(_NEWUSER) != 0:
                found = [-ffi.errno]
            if found and found[0] < 0:
                return os.strerror(-found[0]).encode()
            if not least:
                join(stream)
    except OSError as error:
        return (error.strerror or str(error)).encode()
    return b""


def _open(line: bytes) -> int:
    """-1: the process has ended, or what has its number now is elsewhere."""
    try:
        pid, device, inode = map(int, line.split())
        descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return -1
    found = os.fstat(descriptor)
    if (found.st_dev, found.st_ino) == (device, inode):
        return descriptor
    os.close(descriptor)
    return -1


def _sweep(folder: str, name: str) -> None:
    """Remove the files of groups that have ended. Never fails."""
    prefix = name.partition("-")[0] + "-"
    with contextlib.suppress(OSError):
        for other in os.listdir(folder):
            path = f"{folder}/{other}"
            if other == name or not other.startswith(prefix):
                continue
            with contextlib.suppress(OSError), open(path, "rb") as stream:
                lines = stream.read(_LIMIT).splitlines()
                if files.older_than(path, _OLD) and not any(map(_goes_on, lines)):
                    os.unlink(path)


def _goes_on(line: bytes) -> bool:
    return os.path.exists(f"/proc/{line.split()[0].decode()}") if line.split() else False
