"""``python -m builders.confinement KIND[,KIND...] PROGRAM ARGUMENT...``: on a host that forbids.

Kinds are those of ``FILTERS``, which a seccomp filter makes, and of ``STATES``. A kind may have a
value behind "=". The program has the ids it would have without.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import struct
import sys
from pathlib import Path

from udocker._native import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NUMBERS = Path(__file__).resolve().parents[2] / "engines/core"
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ of <linux/seccomp.h>
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # of <linux/bpf_common.h>
_FIRST_ARGUMENT = 16  # struct seccomp_data: each argument has eight bytes, the low ones first
_NEWUSER, _NEWNS = 0x10000000, 0x00020000  # <linux/sched.h>
_NEW_NAMESPACES = 0x7E020080
_SET_SECCOMP, _SET_NO_NEW_PRIVS = 22, 38  # <linux/prctl.h>
_BIND, _REMOUNT, _NOEXEC, _KEPT = 4096, 32, 8, 2 | 4 | 1024 | 2048  # <linux/mount.h>
_FEW_FILES, _FEW_PROCESSES = 40, 40


class Forbid:
    """An answer to a system call; with ``bits`` or ``value`` only where the first argument fits."""

    def __init__(self, error: int, bits: int = 0, value: int | None = None) -> None:
        self.error = error
        self.bits = bits
        self.value = value

    def instructions(self, number: int) -> list[tuple[int, int, int, int]]:
        """Begins and ends with the number of the call in the accumulator."""
        answer = (_RETURN, 0, 0, _ERRNO | self.error)
        if not self.bits and self.value is None:
            return [(_EQUAL, 0, 1, number), answer]
        test = (_ANY_BIT, 0, 1, self.bits) if self.bits else (_EQUAL, 0, 1, self.value or 0)
        look = [(_LOAD, 0, 0, _FIRST_ARGUMENT), test, answer, (_LOAD, 0, 0, 0)]
        return [(_EQUAL, 0, len(look), number), *look]


def _all(error: int, names: str) -> dict[str, Forbid]:
    return {name: Forbid(error) for name in names.split()}


_MOUNTS = (
    "mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr"
)
_TRACING = "ptrace process_vm_readv process_vm_writev kcmp"
# clone3(2) has its flags in memory, where no filter sees them.
_NO_USERNS = {
    "unshare": Forbid(errno.EPERM, bits=_NEWUSER),
    "clone": Forbid(errno.EPERM, bits=_NEWUSER),
    "clone3": Forbid(errno.ENOSYS),
}
FILTERS: Mapping[str, Mapping[str, Forbid]] = {
    "no-user-namespaces": _NO_USERNS,
    "no-setns": _all(errno.EPERM, "setns"),
    "no-locks": _all(errno.ENOSYS, "flock"),
    "no-mounts": _all(errno.EPERM, _MOUNTS),
    "kernel-without-filters": {
        "seccomp": Forbid(errno.ENOSYS),
        "prctl": Forbid(errno.EINVAL, value=_SET_SECCOMP),
    },
    "no-filters": {
        "seccomp": Forbid(errno.EPERM),
        "prctl": Forbid(errno.EPERM, value=_SET_SECCOMP),
    },
    "no-tracing": _all(errno.EPERM, _TRACING),
    "old-kernel": _all(
        errno.ENOSYS,
        "openat2 clone3 statx faccessat2 close_range mount_setattr open_tree move_mount fsopen"
        " fsconfig fsmount fspick pidfd_open pidfd_getfd fchmodat2 landlock_create_ruleset",
    ),
    # Docker's own before Linux 4.8, without what nobody here calls.
    "docker": {
        **_all(errno.EPERM, f"{_MOUNTS} {_TRACING} setns bpf keyctl add_key request_key"),
        **_all(errno.EPERM, "open_by_handle_at perf_event_open userfaultfd chroot sethostname"),
        "unshare": Forbid(errno.EPERM, bits=_NEW_NAMESPACES),
        "clone": Forbid(errno.EPERM, bits=_NEW_NAMESPACES),
        "clone3": Forbid(errno.ENOSYS),
    },
}


def program(forbidden: Mapping[str, Forbid], numbers: Mapping[str, int]) -> bytes:
    """The filter, for the system calls of this machine."""
    instructions = [(_LOAD, 0, 0, 0)]
    for name, rule in forbidden.items():
        if name in numbers:
            instructions += rule.instructions(numbers[name])
    instructions.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(_INSTRUCTION.pack(*words) for words in instructions)


def numbers() -> dict[str, int]:
    """The number of each system call of this machine."""
    text = (_NUMBERS / f"numbers_{os.uname().machine}.def").read_text()
    return {name: int(n) for n, name in re.findall(r"NUMBER\((\d+), (\w+)\)", text)}


def _filter(forbidden: Mapping[str, Forbid]) -> None:
    made = program(forbidden, numbers())
    assert lib.udocker_filter_calls(made, len(made) // _INSTRUCTION.size) == 0, ffi.errno


def _no_new_privileges(value: str) -> None:
    assert ctypes.CDLL(None).prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


def _few_files(value: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW_FILES, _FEW_FILES))


def _few_processes(value: str) -> None:
    """In a user namespace, where only what is in it counts (Linux 5.14)."""
    _enter()
    resource.setrlimit(resource.RLIMIT_NPROC, (_FEW_PROCESSES, _FEW_PROCESSES))


def _none_left(value: str) -> None:
    _enter()
    _write("/proc/sys/user/max_user_namespaces", "0")


def _no_programs(path: str) -> None:
    """What is below ``path`` may not be executed."""
    _enter(_NEWNS)
    flags = os.statvfs(path).f_flag & _KEPT
    _mount(path, _BIND)
    _mount(path, _BIND | _REMOUNT | _NOEXEC | flags)


STATES: Mapping[str, Callable[[str], None]] = {
    "no-new-privileges": _no_new_privileges,
    "few-files": _few_files,
    "few-processes": _few_processes,
    "none-left": _none_left,
    "noexec": _no_programs,
}


def _enter(more: int = 0) -> None:
    """A user namespace that has this user's ids, and rights only until the next program."""
    uid, gid = os.getuid(), os.getgid()
    assert lib.udocker_unshare(_NEWUSER | more) == 0, ffi.errno
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)


def _mount(path: str, flags: int) -> None:
    place = os.fsencode(path)
    assert lib.udocker_mount(place, place, ffi.NULL, flags, ffi.NULL) == 0, ffi.errno


def main(kinds: str, *command: str) -> None:
    for kind in kinds.split(","):
        name, _, value = kind.partition("=")
        if name in STATES:
            STATES[name](value)
        else:
            _filter(FILTERS[name])
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
