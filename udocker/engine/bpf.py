"""Programs for seccomp(2), in the classic form of bpf(2): filters of system calls."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Instruction = tuple[int, int, int, int]  # code, jump if it holds, jump if not, value
    Line = tuple[int, int, str, str]  # code, value, and labels to go on at; "": the next line

INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter

# AUDIT_ARCH_ of <linux/audit.h>: the machine that a system call is made for.
X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32 = 0x40000000  # set in the number of a call of x32, whose machine is x86_64

# <linux/bpf_common.h>
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
IF_ABOVE = 0x25  # BPF_JMP | BPF_JGT | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
ERRNO = 0x00050000  # SECCOMP_RET_ERRNO; with 0 the call returns success

# struct seccomp_data
NUMBER, ARCHITECTURE, _ARGUMENTS = 0, 4, 16


def argument(index: int) -> int:
    """Where the lower half of an argument is, on machines that have it first."""
    return _ARGUMENTS + 8 * index


def resolved(lines: Iterable[Line | str]) -> list[Instruction]:
    """Instructions of lines in which jumps name labels: strings that stand before their lines."""
    places: dict[str, int] = {}
    kept: list[Line] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(kept)
        else:
            kept.append(line)
    found = []
    for at, (code, value, yes, no) in enumerate(kept, 1):
        yes_jump, no_jump = (places[label] - at if label else 0 for label in (yes, no))
        found.append((code, yes_jump, no_jump, value))
    return found


def program(parts: Mapping[int, Sequence[Instruction]]) -> bytes:
    """The part for the machine that a call is made for; any other machine's calls pass.

    Every part ends by itself, and has no more than 255 instructions.
    """
    whole: list[Instruction] = [(LOAD, 0, 0, ARCHITECTURE)]
    for machine, part in parts.items():
        whole += [(IF_EQUAL, 0, len(part), machine), *part]
    whole.append((RETURN, 0, 0, ALLOW))
    return b"".join(INSTRUCTION.pack(*words) for words in whole)
