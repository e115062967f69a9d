"""A host where open(2) and access(2) of some paths give EPERM, as under a device control group.

It needs no privileges: a seccomp filter asks the first process here about each call that opens,
which looks at the path and refuses, or lets the kernel go on. All descendants are under it. What
has filters of its own that trace calls (PRoot) does not see those that were asked about.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

# x86_64: the calls, and which argument is the path.
_CALLS = {2: 0, 21: 0, 257: 1, 269: 1, 437: 1, 439: 1}  # open, access, and those with a directory
_ARCHITECTURE = 0xC000003E
_SECCOMP, _SET_FILTER, _NEW_LISTENER = 317, 1, 8
_PR_SET_NO_NEW_PRIVS = 38
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND
_CONTINUE = 1
_NOTICE = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif
_LONGEST = 4096


def words(endings: Sequence[str], *command: str) -> tuple[str, ...]:
    """The command line that runs ``command`` where paths with these endings are refused."""
    return (sys.executable, __file__, *endings, "--", *command)


def _filter() -> bytes:
    """Classic BPF: whether the architecture and the number are of those that are asked about."""
    rows = [(0x20, 0, 0, 4), (0x15, 0, len(_CALLS) + 1, _ARCHITECTURE), (0x20, 0, 0, 0)]
    rows += [(0x15, len(_CALLS) - at, 0, number) for at, number in enumerate(_CALLS)]
    return b"".join(
        struct.pack("=HBBI", *row) for row in (*rows, (6, 0, 0, _ALLOW), (6, 0, 0, _ASK))
    )


def _confine() -> int:
    """The descriptor that tells of the calls of this process, and of what it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = _filter()
    buffer = ctypes.create_string_buffer(program)
    described = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(buffer))
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    listener: int = libc.syscall(_SECCOMP, _SET_FILTER, _NEW_LISTENER, described)
    assert listener >= 0, os.strerror(ctypes.get_errno())
    return listener


def _answer(listener: int, endings: tuple[bytes, ...]) -> bool:
    """Take one question; False: nobody is left who could ask."""
    libc = ctypes.CDLL(None, use_errno=True)
    notice = ctypes.create_string_buffer(_NOTICE.size)
    if libc.ioctl(listener, ctypes.c_ulong(_RECEIVE), notice) != 0:
        return ctypes.get_errno() in (errno.EINTR, errno.ENOENT)
    identity, process, _, number, _, _, *arguments = _NOTICE.unpack(notice.raw)
    is_refused = _path(process, arguments[_CALLS[number]]).endswith(endings)
    code, flags = (-errno.EPERM, 0) if is_refused else (0, _CONTINUE)
    libc.ioctl(listener, ctypes.c_ulong(_ANSWER), struct.pack("=QqiI", identity, 0, code, flags))
    return True


def _path(process: int, address: int) -> bytes:
    try:
        with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            page = _LONGEST - address % _LONGEST  # the next may be of nobody
            text, end, _ = memory.read(page).partition(b"\0")
            return text if end else text + memory.read(_LONGEST).partition(b"\0")[0]
    except (OSError, OverflowError):
        return b""


def _main(arguments: list[str]) -> NoReturn:
    import threading

    at = arguments.index("--")
    endings, command = arguments[:at], arguments[at + 1 :]
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        listener = _confine()
        socket.send_fds(theirs, [b"x"], [listener])
        os.close(listener)
        os.execvp(command[0], command)
    _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
    known = tuple(os.fsencode(each) for each in endings)

    def serve() -> None:
        while _answer(listener, known):
            pass

    threading.Thread(target=serve, daemon=True).start()
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _main(sys.argv[1:])
