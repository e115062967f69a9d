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


@value
class Segment:
    """An entry of the table of program headers: where in the file, how many bytes."""

    kind: int
    offset: int
    size: int
    alignment: int


def read(head: bytes) -> Elf | None:
    """The facts, or None where it is no ELF file, or a damaged one."""
    layout = _layout(head)
    found = segments(head)
    if layout is None or found is None:
        return None
    (machine,) = struct.unpack_from(f"{layout.order}H", head, 18)
    name = b""
    for segment in found:
        if segment.kind == _INTERPRETER:
            name = head[segment.offset : segment.offset + segment.size].split(b"\0")[0]
            break
    return Elf(layout.bits, machine, name.decode("utf-8", "surrogateescape"))


def segments(head: bytes) -> list[Segment] | None:
    """All of them; None where it is no ELF file, or the table is not in ``head``."""
    layout = _layout(head)
    if layout is None:
        return None
    (table,) = struct.unpack_from(layout.order + layout.word, head, layout.table)
    size, count = struct.unpack_from(f"{layout.order}HH", head, layout.sizes)
    found = []
    for at in range(table, table + size * count, size or 1):
        if at + layout.entry > len(head):
            return None
        (kind,) = struct.unpack_from(f"{layout.order}I", head, at)
        places = (at + place for place in layout.fields)
        words = (struct.unpack_from(layout.order + layout.word, head, p)[0] for p in places)
        found.append(Segment(kind, *words))
    return found


@value
class _Layout:
    """Where things are, which differs between 32 and 64 bits. Offsets in bytes."""

    bits: int
    order: str
    word: str
    table: int  # of the header: where the table is
    sizes: int  # of the header: of an entry, and how many there are
    entry: int  # the least size of one
    fields: tuple[int, int, int]  # of an entry: offset, size in the file, alignment


def _layout(head: bytes) -> _Layout | None:
    if head[:4] != b"\x7fELF" or len(head) < 64 or head[4] not in (1, 2):
        return None
    order = ">" if head[5] == 2 else "<"
    if head[4] == 2:
        return _Layout(64, order, "Q", 32, 54, 56, (8, 32, 48))
    return _Layout(32, order, "I", 28, 42, 32, (4, 16, 28))


def glibc(content: bytes) -> tuple[int, int] | None:
    """The newest version of glibc's symbols that a file names: has, if it is libc.so.6, or needs.

    They are compared by the loader, which refuses a library that needs one that is not there.
    """
    found = [(int(match[1]), int(match[2])) for match in _VERSION.finditer(content)]
    return max(found, default=None)
