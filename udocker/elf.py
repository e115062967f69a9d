"""What programs and libraries say of themselves: elf(5).

``read`` takes the head of a file; ``shared`` reads, of a file of any size, only the blocks that
hold the tables.
"""

from __future__ import annotations

import os
import re
import struct

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3  # PT_LOAD, PT_DYNAMIC, PT_INTERP
# Tags of the dynamic section: <elf.h>.
_NEEDED, _STRTAB, _SONAME = 1, 5, 14
_VERNEED, _VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_BLOCK = 1 << 12
_LONGEST_TEXT = 1 << 12
_MOST = 4096  # entries of any table: more mean a damaged file
_RELR_SINCE = (2, 36)  # glibc that knows DT_RELR, which it calls GLIBC_ABI_DT_RELR
HEAD = 1 << 16  # bytes of a file that hold what is read here, however it was linked
_VERSION = re.compile(rb"(?<=\0)GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)")
_NEEDED_VERSION = re.compile(rb"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_RELEASE = re.compile(rb"GNU C Library [^\0]*? release version (\d+)\.(\d+)")


@value
class Elf:
    """A program or library. ``interpreter``: its dynamic loader; "" where it names none."""

    bits: int
    machine: int
    interpreter: str


@value
class Shared:
    """A shared library. ``soname``: "" where it has none.

    ``glibc``: the newest version of it that it needs, (0, 0) where it needs none. Compressed
    relocations (``has_relr``) count as a version: an older loader refuses them.
    """

    bits: int
    machine: int
    soname: str
    needed: tuple[str, ...]
    glibc: tuple[int, int]
    has_relr: bool


@value
class Segment:
    """An entry of the table of program headers: where in the file and in memory, how many bytes."""

    kind: int
    offset: int
    size: int
    alignment: int
    address: int = 0


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
    # of an entry: offset, size in the file, alignment, address
    fields: tuple[int, int, int, int]


def _layout(head: bytes) -> _Layout | None:
    if head[:4] != b"\x7fELF" or len(head) < 64 or head[4] not in (1, 2):
        return None
    order = ">" if head[5] == 2 else "<"
    if head[4] == 2:
        return _Layout(64, order, "Q", 32, 54, 56, (8, 32, 48, 16))
    return _Layout(32, order, "I", 28, 42, 32, (4, 16, 28, 8))


def glibc(content: bytes) -> tuple[int, int] | None:
    """The newest version of glibc's symbols that a file names: has, if it is libc.so.6, or needs.

    They are compared by the loader, which refuses a library that needs one that is not there.
    """
    found = [(int(match[1]), int(match[2])) for match in _VERSION.finditer(content)]
    return max(found, default=None)


def glibc_release(content: bytes) -> tuple[int, int] | None:
    """The version that libc.so.6 itself tells, or else that of its newest symbols."""
    told = _RELEASE.search(content)
    return (int(told[1]), int(told[2])) if told else glibc(content)


def shared(path: str) -> Shared | None:
    """The facts of the library at ``path``; None where it is none, or a damaged one.

    Raises OSError where it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _Dynamic(descriptor).read()
    except struct.error:  # a table that ends before it should
        return None
    finally:
        os.close(descriptor)


class _Dynamic:
    """The dynamic section of an open file, read by blocks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._blocks: dict[int, bytes] = {}
        self._loaded: list[Segment] = []
        self._order = "<"

    def read(self) -> Shared | None:
        head = self._bytes(0, _BLOCK)
        layout = _layout(head)
        table = segments(head)
        if layout is not None and table is None:  # some tools put the table elsewhere
            table = segments(self._bytes(0, HEAD))
        if layout is None or table is None:
            return None
        self._order = layout.order
        self._loaded = [segment for segment in table if segment.kind == _LOAD]
        tags = [tag for each in table if each.kind == _DYNAMIC for tag in self._tags(each, layout)]
        found = dict(tags)
        strings = self._place(found.get(_STRTAB, 0))
        if strings is None:
            return None
        (machine,) = struct.unpack_from(f"{self._order}H", head, 18)
        versions = set(self._versions(found, strings))
        has_relr = b"GLIBC_ABI_DT_RELR" in versions
        numbers = [(0, 0), *([_RELR_SINCE] if has_relr else ())]
        for match in filter(None, map(_NEEDED_VERSION.fullmatch, versions)):
            numbers.append((int(match[1]), int(match[2])))
        return Shared(
            bits=layout.bits,
            machine=machine,
            soname=self._name(strings + found[_SONAME]) if _SONAME in found else "",
            needed=tuple(self._name(strings + at) for tag, at in tags if tag == _NEEDED),
            glibc=max(numbers),
            has_relr=has_relr,
        )

    def _tags(self, segment: Segment, layout: _Layout) -> Iterator[tuple[int, int]]:
        """Each tag with its value."""
        pair = struct.Struct(f"{self._order}2{layout.word}")
        count = min(segment.size // pair.size, _MOST)
        data = self._bytes(segment.offset, count * pair.size)
        for at in range(0, count * pair.size, pair.size):
            tag, word = pair.unpack_from(data, at)
            if tag == 0:
                return
            yield tag, word

    def _versions(self, found: dict[int, int], strings: int) -> Iterator[bytes]:
        """The names of all versions that are needed, of whatever library."""
        at = self._place(found.get(_VERNEED, 0))
        for _ in range(min(found.get(_VERNEEDNUM, 0), _MOST)):
            if at is None:
                return
            _, count, _, first, following = self._unpack("HHIII", at)
            name = at + first
            for _ in range(min(count, _MOST)):
                _, _, _, text, more = self._unpack("IHHII", name)
                yield self._text(strings + text)
                if more == 0:
                    break
                name += more
            if following == 0:
                return
            at += following

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        form = self._order + form
        return struct.unpack(form, self._bytes(at, struct.calcsize(form)))

    def _place(self, address: int) -> int | None:
        """Where in the file that is which is at ``address`` in memory; None: nowhere."""
        for segment in self._loaded:
            if segment.address <= address < segment.address + segment.size and address:
                return address - segment.address + segment.offset
        return None

    def _name(self, at: int) -> str:
        return self._text(at).decode("utf-8", "surrogateescape")

    def _text(self, at: int) -> bytes:
        text, end, _ = self._bytes(at, 128).partition(b"\0")
        return text if end else self._bytes(at, _LONGEST_TEXT).partition(b"\0")[0]

    def _bytes(self, at: int, size: int) -> bytes:
        """Fewer where the file ends. An offset that no file can have is behind every end."""
        if at >= 1 << 62:
            return b""
        first, last = at // _BLOCK, (at + size - 1) // _BLOCK
        data = b"".join(self._block(number) for number in range(first, last + 1))
        start = at - first * _BLOCK
        return data[start : start + size]

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._blocks[number] = os.pread(self._descriptor, _BLOCK, number * _BLOCK)
        return self._blocks[number]
