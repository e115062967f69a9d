"""What this process, and so the command, may use: limits of setrlimit(2), CPUs, control groups."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.launch import SetLimits

_PR_SET_NO_NEW_PRIVS = 38  # <linux/prctl.h>
# <linux/sockios.h>, <linux/if.h>
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_REQUEST = struct.Struct("16sH22x")  # struct ifreq


def set_limits(step: SetLimits) -> None:
    """Carry out ``step``. Raises OSError."""
    if step.cpus:
        os.sched_setaffinity(0, step.cpus)
    if step.oom_score is not None:
        _write("/proc/self/oom_score_adj", str(step.oom_score))
    if step.no_new_privileges:
        _forbid_privileges()
    for number, soft, hard in step.rlimits:
        try:
            resource.setrlimit(number, (soft, hard))
        except ValueError as error:
            raise OSError(str(error)) from error


def told(step: SetLimits) -> str:
    """In words."""
    found = [f"resource {number} {soft}:{hard}" for number, soft, hard in step.rlimits]
    if step.cpus:
        found.append(f"CPUs {','.join(map(str, step.cpus))}")
    if step.oom_score is not None:
        found.append(f"oom_score_adj {step.oom_score}")
    if step.no_new_privileges:
        found.append("no new privileges")
    return ", ".join(found)


def raise_loopback() -> None:
    """Bring up the one interface of a network namespace that was just made. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        flags = _REQUEST.unpack(fcntl.ioctl(channel, _SIOCGIFFLAGS, _REQUEST.pack(b"lo", 0)))[1]
        fcntl.ioctl(channel, _SIOCSIFFLAGS, _REQUEST.pack(b"lo", flags | _IFF_UP))


def _forbid_privileges() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "no new privileges")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)
