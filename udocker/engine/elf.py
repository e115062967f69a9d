"""What the head of a program says: elf(5)."""

from __future__ import annotations

import re
import struct

from udocker.model.value import value

_INTERPRETER = 3  # PT_INTERP
HEAD = 1 << 16  # bytes of a file that hold what is read here, however it was linked
_VERSION = re.compile(rb"(?<=\0)GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)")


@value
class Elf:
    """A program or library. ``interpreter``: its dynamic loader; "" where it names none."""

    bits: int
    machine: int
    interpreter: str


def read(head: bytes) -> Elf | None:
    """The facts, or None where it is no ELF file, or a damaged one."""
    if head[:4] != b"\x7fELF" or len(head) < 64 or head[4] not in (1, 2):
        return None
    order = ">" if head[5] == 2 else "<"
    wide = head[4] == 2
    (machine,) = struct.unpack_from(f"{order}H", head, 18)
    (table,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 32 if wide else 28)
    size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
    for number in range(count):
        at = table + number * size
        if at + (56 if wide else 32) > len(head):
            return None
        if struct.unpack_from(f"{order}I", head, at)[0] == _INTERPRETER:
            if wide:
                begin, length = _pair(order, "Q", head, (at + 8, at + 32))
            else:
                begin, length = _pair(order, "I", head, (at + 4, at + 16))
            name = head[begin : begin + length].split(b"\0")[0]
            return Elf(64 if wide else 32, machine, name.decode("utf-8", "surrogateescape"))
    return Elf(64 if wide else 32, machine, "")


def _pair(order: str, kind: str, head: bytes, places: tuple[int, int]) -> tuple[int, int]:
    first, second = (struct.unpack_from(order + kind, head, place)[0] for place in places)
    return first, second


def glibc(content: bytes) -> tuple[int, int] | None:
    """The newest version of glibc's symbols that a file names: has, if it is libc.so.6, or needs.

    They are compared by the loader, which refuses a library that needs one that is not there.
    """
    found = [(int(match[1]), int(match[2])) for match in _VERSION.finditer(content)]
    return max(found, default=None)
