"""A seccomp filter that makes programs use the system calls that PRoot translates.

What PRoot does not know it lets pass as it is, and a path in it means the host's file. With ENOSYS,
the answer of an older kernel, C libraries and programs turn to older calls. It is the same list for
every PRoot, since it takes nothing away that matters: 5.1.0 does not know renameat2(2), statx(2)
came with 5.3, and openat2(2), execveat(2) or io_uring never. clone3(2) is there because PRoot reads
the flags of clone(2) only: a thread would have a working directory of its own.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter

# Calls from 424 on have one number on every architecture: io_uring, open_tree, move_mount, fspick,
# clone3, openat2, faccessat2, mount_setattr, fchmodat2, those that end in xattrat, open_tree_attr,
# file_getattr, file_setattr.
_EVERYWHERE = (*(425, 426, 427, 428, 429, 433, 435, 437, 439, 442, 452), *range(463, 470))
_YOUNGEST = 469  # nobody knows what comes after
# AUDIT_ARCH_ of <linux/audit.h>: renameat2, execveat, statx, and utimensat_time64 where it exists.
_MACHINES = {
    0xC000003E: (316, 322, 332),  # x86_64
    0x40000003: (353, 358, 383, 412),  # i386
    0xC00000B7: (276, 281, 291),  # aarch64
    0x40000028: (382, 387, 397, 412),  # arm
}

# <linux/bpf_common.h>, and struct seccomp_data
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_ABOVE = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_NUMBER, _ARCHITECTURE = 0, 4
_ALLOW = 0x7FFF0000
_NO_SUCH_CALL = 0x00050000 | 38  # SECCOMP_RET_ERRNO | ENOSYS; the same on these machines


def refusing() -> bytes:
    """The program, for whichever of the machines a system call is made in."""
    program = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for machine, older in _MACHINES.items():
        part = _part((*older, *_EVERYWHERE))
        program += [(_IF_EQUAL, 0, len(part), machine), *part]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(INSTRUCTION.pack(*words) for words in program)


def _part(refused: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Ends with the two answers. The calls of x32 have a bit set that is above all numbers."""
    tests = [(_IF_ABOVE, _YOUNGEST), *((_IF_EQUAL, number) for number in refused)]
    part = [(_LOAD, 0, 0, _NUMBER)]
    for left, (code, number) in zip(range(len(tests), 0, -1), tests):
        part.append((code, left, 0, number))
    return [*part, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NO_SUCH_CALL)]
