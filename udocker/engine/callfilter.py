"""A seccomp filter that makes programs use the system calls that PRoot translates.

What PRoot does not know it lets pass as it is, and a path in it means the host's file. With ENOSYS,
the answer of an older kernel, C libraries and programs turn to older calls. It is the same list for
every PRoot, since it takes nothing away that matters: 5.1.0 does not know renameat2(2), statx(2)
came with 5.3, and openat2(2), execveat(2) or io_uring never. clone3(2) is there because PRoot reads
the flags of clone(2) only: a thread would have a working directory of its own.
"""

from __future__ import annotations

from udocker.engine import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from udocker.engine.bpf import Instruction

# Calls from 424 on have one number on every architecture: io_uring, open_tree, move_mount, fspick,
# clone3, openat2, faccessat2, mount_setattr, fchmodat2, those that end in xattrat, open_tree_attr,
# file_getattr, file_setattr.
_EVERYWHERE = (*(425, 426, 427, 428, 429, 433, 435, 437, 439, 442, 452), *range(463, 470))
_YOUNGEST = 469  # nobody knows what comes after
# renameat2, execveat, statx, and utimensat_time64 where it exists.
_MACHINES = {
    bpf.X86_64: (316, 322, 332),
    bpf.I386: (353, 358, 383, 412),
    bpf.AARCH64: (276, 281, 291),
    bpf.ARM: (382, 387, 397, 412),
}

_NO_SUCH_CALL = bpf.ERRNO | 38  # ENOSYS; the same on these machines


def refusing() -> bytes:
    """The program, for whichever of the machines a system call is made in."""
    return bpf.program(
        {machine: _part((*older, *_EVERYWHERE)) for machine, older in _MACHINES.items()}
    )


def _part(refused: Sequence[int]) -> list[Instruction]:
    """Ends with the two answers. The calls of x32 have a bit set that is above all numbers."""
    tests = [(bpf.IF_ABOVE, _YOUNGEST), *((bpf.IF_EQUAL, number) for number in refused)]
    lines = [(code, number, "refuse", "") for code, number in tests]
    return bpf.resolved(
        [
            (bpf.LOAD, bpf.NUMBER, "", ""),
            *lines,
            (bpf.RETURN, bpf.ALLOW, "", ""),
            "refuse",
            (bpf.RETURN, _NO_SUCH_CALL, "", ""),
        ]
    )
