"""F3: copies of programs and libraries whose system calls jump to the engine and do not trap.

A place is patched when it is certain what it is: a ``syscall`` in a function whose beginning and
end the file itself gives (its unwind table, its symbols or, of Go, its line table), reached by
decoding every instruction from that beginning. One instruction before it, of at least five bytes,
becomes a jump to an island in the slack of the segment's last page. The island holds that
instruction and those behind it up to the ``syscall``, which move there only if they mean the same
at any address, and goes to the engine. Since one instruction changes and no other, it does not
matter who jumps where: the others, and the ``syscall``, stay and trap as before. The engine looks
at the number again, and sends what it has no use for back to that ``syscall``.

Where a function begins with instructions that are all shorter, as Go's do, two or more of them
are replaced; then no branch of the segment may lead between them, and the function have no
indirect one.

The engine maps a copy only in place of the executable part of the very file it was made of, so
programs that read that file see the file.
"""

from __future__ import annotations

import bisect
import re
import struct
from collections import deque

from udocker.engine import golang, unwind
from udocker.engine.x86 import instructions, moved
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Where engines/inprocess/inprocess.ld puts the entries for patched places: the usual one, and one
# that works on a stack of the engine's.
ENTRY = 0x550000000000
ENTRY_SMALL_STACK = ENTRY + 16

_PAGE = 4096
_LOAD, _INTERPRETER, _EH_FRAME = 1, 3, 0x6474E550  # PT_LOAD, PT_INTERP, PT_GNU_EH_FRAME
_GO_MARK = b"\xff Go buildinf:"  # debug/buildinfo, in what has lost its sections, too
_GO_NOTE = b"\x04\0\0\0Go\0\0"  # its type, and its name
_EXECUTABLE = 1
_SYMBOL_TABLES = (2, 11)  # SHT_SYMTAB, SHT_DYNSYM
_FUNCTION = 2  # STT_FUNC
_SYSCALL = b"\x0f\x05"
_JUMP = 5  # bytes
_ANY = -1  # a number that only the running program knows
# Those that programs call most, for when there is no room for all: openat newfstatat stat lstat
# fstat mmap open access readlink statx rt_sigprocmask execve.
_FIRST = (257, 262, 4, 6, 5, 9, 2, 21, 89, 332, 14, 59)
_FARTHEST = 24  # instructions before a syscall that are looked at
# What no compiler exceeds: a file that does could keep this busy for hours.
_MOST_SEGMENTS, _MOST_EXECUTABLE, _MOST_SEARCHES = 1170, 8, 16
_SHORT_BRANCHES = frozenset((*range(0x70, 0x80), 0xE0, 0xE1, 0xE2, 0xE3, 0xEB))
_BRANCH = re.compile(rb"[\xe8\xe9]|\x0f[\x80-\x8f]")


@value
class Segment:
    """A PT_LOAD or PT_GNU_EH_FRAME program header of elf(5)."""

    kind: int
    flags: int
    offset: int
    address: int
    size: int  # in the file


@value
class Site:
    """A system call to patch: what is replaced, and what the island must do in its place."""

    place: int  # file offset of what is replaced
    taken: int  # bytes that are replaced
    code: tuple[tuple[int, bytes], ...]  # offset and bytes of each instruction up to the syscall
    syscall: int  # file offset
    number: int


@value
class Patched:
    """The changed bytes of a file: pairs of file offset and content."""

    pieces: tuple[tuple[int, bytes], ...]
    sites: int
    code: tuple[tuple[int, int], ...]  # file offsets: where executable segments begin and end

    def applied(self, data: bytes) -> bytes:
        """The whole copy. Islands may lie behind the end of a file that ends with its code."""
        copy = bytearray(data)
        for offset, piece in self.pieces:
            copy.extend(bytes(max(0, offset + len(piece) - len(copy))))
            copy[offset : offset + len(piece)] = piece
        return bytes(copy)


def patch(data: bytes, numbers: frozenset[int]) -> Patched | None:
    """Find the system calls of ``numbers`` in an ELF file; None when there is nothing to patch."""
    if not numbers:
        return None
    try:
        segments = _segments(data)
        if segments is None:
            return None
        functions, entry = _functions(data, segments)
        pieces: list[tuple[int, bytes]] = []
        for segment in segments:
            if segment.kind == _LOAD and segment.flags & _EXECUTABLE:
                sites = list(_sites(data, segment, numbers, functions))
                pieces += _rewrite(segment, sites, entry)
    except (struct.error, IndexError, KeyError, OverflowError, ValueError):
        return None  # truncated or odd: such a file traps
    code = tuple(
        (segment.offset, segment.offset + segment.size)
        for segment in segments
        if segment.kind == _LOAD and segment.flags & _EXECUTABLE
    )
    sites_found = sum(len(piece) == _JUMP for _, piece in pieces)
    return Patched(tuple(pieces), sites_found, code) if pieces else None


def is_static(head: bytes) -> bool:
    """Whether a program beginning with ``head`` makes system calls of its own: Go's do as well."""
    try:
        segments = _segments(head)
        if segments is None or struct.unpack_from("<Q", head, 24)[0] == 0:  # no entry: a library
            return False
    except struct.error:
        return False
    return all(segment.kind != _INTERPRETER for segment in segments) or _GO_NOTE in head


def _segments(data: bytes) -> list[Segment] | None:
    if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", data, 18)[0] != 62:
        return None
    offset = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    if count > _MOST_SEGMENTS:
        return None
    found = []
    for number in range(count):
        kind, flags, place, address, _, length = struct.unpack_from(
            "<IIQQQQ", data, offset + number * size
        )
        found.append(Segment(kind, flags, place, address, length))
    executable = sum(s.kind == _LOAD and bool(s.flags & _EXECUTABLE) for s in found)
    return found if executable <= _MOST_EXECUTABLE else None


def _sites(
    data: bytes,
    segment: Segment,
    numbers: frozenset[int],
    functions: tuple[list[int], list[int]],
) -> Iterator[Site]:
    starts, ends = functions
    end = segment.offset + segment.size
    skew = segment.address - segment.offset
    taken = segment.offset  # what lies before is part of an earlier site
    searches = 0
    decoder = _Decoder(data, 0)
    at = data.find(_SYSCALL, segment.offset, end)
    while at >= 0:
        place = bisect.bisect_right(starts, at + skew) - 1
        if place >= 0 and at + skew + 2 <= ends[place] and starts[place] >= segment.address:
            start = starts[place] - skew
            decoder = decoder if decoder.start == start else _Decoder(data, start)
            code = decoder.before(at)
            site = _site(code, start, at, numbers)
            if site is None and _is_passed_on(code, start) and searches < _MOST_SEARCHES:
                searches += 1
                site = _site_of_function(data, segment, (start, ends[place] - skew), code, at)
            if site is not None and site.place >= taken:
                yield site
                taken = at + 2
        at = data.find(_SYSCALL, at + 1, end)


class _Decoder:
    """The instructions of a function, as far as they have been read: places come in order."""

    def __init__(self, data: bytes, start: int) -> None:
        self.start = start
        self._data = data
        self._next = start
        self._last: deque[tuple[int, int]] = deque(maxlen=_FARTHEST)

    def before(self, syscall: int) -> list[tuple[int, bytes]]:
        """The instructions straight before the syscall that can be moved.

        Empty when decoding does not meet the syscall.
        """
        for offset, size in instructions(self._data, self._next, syscall + 2):
            self._last.append((offset, size))
            self._next = offset + size
        if not self._last or self._last[-1] != (syscall, 2):
            return []
        found: list[tuple[int, bytes]] = []
        for offset, size in list(self._last)[-2::-1]:
            code = self._data[offset : offset + size]
            if moved(code, 0) is None:
                break
            found.insert(0, (offset, code))
        return found


def _site(
    code: list[tuple[int, bytes]], start: int, syscall: int, numbers: frozenset[int]
) -> Site | None:
    """With one instruction to replace. The number is the last that is put into eax as it is."""
    if not code:
        return None
    known = [struct.unpack("<I", part[-4:])[0] for _, part in code if _is_number(part)]
    if known and known[-1] not in numbers:
        return None
    if not known and not _is_passed_on(code, start):
        return None
    for index in range(len(code) - 1, -1, -1):
        offset, instruction = code[index]
        if len(instruction) >= _JUMP:
            number = known[-1] if known else _ANY
            return Site(offset, len(instruction), tuple(code[index:]), syscall, number)
    return None


def _is_number(instruction: bytes) -> bool:
    """Whether it is ``mov $number,%eax``, or that of Go, ``mov $number,%rax``."""
    return (len(instruction) == 5 and instruction[0] == 0xB8) or (
        len(instruction) == 7 and instruction.startswith(b"\x48\xc7\xc0")
    )


def _is_passed_on(code: list[tuple[int, bytes]], start: int) -> bool:
    """Whether the number is the caller's: the function so far is whole, and has no constants."""
    for _, instruction in code:
        opcode = instruction[1 if instruction[0] & 0xF0 == 0x40 else 0]
        if opcode & 0xF8 == 0xB8 or opcode in (0x31, 0x33):
            return False
        if opcode == 0xC7 and instruction[-5] & 0xC0 == 0xC0:
            return False
    return bool(code) and code[0][0] == start


def _site_of_function(
    data: bytes,
    segment: Segment,
    function: tuple[int, int],
    code: list[tuple[int, bytes]],
    syscall: int,
) -> Site | None:
    """With several instructions to replace, which the function begins with."""
    start, end = function
    size = 0
    inner: list[int] = []
    for offset, instruction in code:
        if size >= _JUMP:
            break
        size = offset - start + len(instruction)
        inner.append(offset)
    if size < _JUMP or not _are_only_reached_in_line(data, segment, (start, end), inner[1:]):
        return None
    return Site(start, size, tuple(code), syscall, _ANY)


def _are_only_reached_in_line(
    data: bytes, segment: Segment, function: tuple[int, int], inner: list[int]
) -> bool:
    """Whether nothing jumps to the offsets ``inner`` of a function.

    Whatever looks like a branch counts as one, wherever in the segment it is.
    """
    start, end = function
    reached = start
    for offset, size in instructions(data, start, end):
        reached = offset + size
        if data[offset] == 0xFF or (data[offset] & 0xF0 == 0x40 and data[offset + 1] == 0xFF):
            return False  # a jump to a place that is computed, among others
    if reached < end:
        return False
    wanted = frozenset(inner)
    branches = _BRANCH.finditer(data, segment.offset, segment.offset + segment.size - 4)
    is_far = any(
        match.end() + 4 + struct.unpack_from("<i", data, match.end())[0] in wanted
        for match in branches
    )
    return not is_far and not any(
        data[offset] in _SHORT_BRANCHES
        and offset + 2 + struct.unpack_from("<b", data, offset + 1)[0] in wanted
        for offset in range(max(segment.offset, inner[0] - 130), inner[-1] + 128)
    )


def _rewrite(segment: Segment, sites: list[Site], entry: int) -> list[tuple[int, bytes]]:
    """The jumps, and the islands they lead to, as far as the slack goes."""
    end = segment.offset + segment.size
    # Address and offset agree within a page; the page ends where the address does.
    slack = -(segment.address + segment.size) % _PAGE
    # movabs $ENTRY,%r11; jmp *%r11
    islands = bytearray(b"\x49\xbb" + struct.pack("<Q", entry) + b"\x41\xff\xe3")
    pieces = []
    for site in sorted(sites, key=_rank):
        island = _island(site, end + len(islands), end)
        if len(islands) + len(island) > slack:
            continue
        jump = b"\xe9" + struct.pack("<i", end + len(islands) - (site.place + _JUMP))
        pieces.append((site.place, jump))
        islands += island
    return [*pieces, (end, bytes(islands))] if pieces else []


def _rank(site: Site) -> int:
    return _FIRST.index(site.number) if site.number in _FIRST else len(_FIRST)


def _island(site: Site, place: int, common: int) -> bytes:
    """What stands at ``place`` for a site: its instructions, the way back, and on to ``common``."""
    code = b""
    for offset, instruction in site.code:
        code += moved(instruction, place + len(code) - offset) or b""
    behind = place + len(code) + 7
    code += b"\x48\x8d\x0d" + struct.pack("<i", site.syscall + 2 - behind)  # lea back(%rip),%rcx
    return code + b"\xe9" + struct.pack("<i", common - (behind + _JUMP))


def _functions(data: bytes, segments: list[Segment]) -> tuple[tuple[list[int], list[int]], int]:
    """Beginnings and ends (addresses) of the functions that the file tells of, in order.

    And the entry of the engine for its places: goroutines have small stacks.
    """
    ranges = dict(_of_symbols(data))
    start = _unwind_table(data, segments)
    if start is not None:
        ranges.update(unwind.functions(data, start, lambda offset: _address(offset, segments)))
    table = _section(data, b".gopclntab") or _section(data, b".data.rel.ro.gopclntab")
    if table is not None:
        text = _section(data, b".text")
        ranges.update(golang.functions(data, table[4], text[3] if text else 0))
    starts = sorted(ranges)
    is_go = table is not None or _GO_MARK in data
    entry = ENTRY_SMALL_STACK if is_go else ENTRY
    return (starts, [ranges[start] for start in starts]), entry


def _sections(data: bytes) -> list[tuple[int, ...]]:
    offset = struct.unpack_from("<Q", data, 40)[0]
    size, count = struct.unpack_from("<HH", data, 58)
    numbers = range(count if offset else 0)
    return [struct.unpack_from("<IIQQQQIIQQ", data, offset + n * size) for n in numbers]


def _section(data: bytes, wanted: bytes) -> tuple[int, ...] | None:
    """The header of the section of that name."""
    sections = _sections(data)
    if not sections:
        return None
    names = sections[struct.unpack_from("<H", data, 62)[0]][4]
    for header in sections:
        name = names + header[0]
        if data[name : name + len(wanted) + 1] == wanted + b"\0":
            return header
    return None


def _of_symbols(data: bytes) -> Iterator[tuple[int, int]]:
    tables = {header[1]: header for header in _sections(data) if header[1] in _SYMBOL_TABLES}
    for header in tables.values():
        if header[9] == 0:
            continue
        for place in range(header[4], header[4] + header[5], header[9]):
            _, info, _, section, address, length = struct.unpack_from("<IBBHQQ", data, place)
            if info & 15 == _FUNCTION and section and length:
                yield address, address + length


def _unwind_table(data: bytes, segments: list[Segment]) -> int | None:
    """The file offset of .eh_frame, by the program header that leads to it, or by its name."""
    for segment in segments:
        if segment.kind == _EH_FRAME and data[segment.offset + 1] == unwind.PC_RELATIVE:
            there = struct.unpack_from("<i", data, segment.offset + 4)[0]
            return _offset(segment.address + 4 + there, segments)
    header = _section(data, b".eh_frame")
    return None if header is None else header[4]


def _offset(address: int, segments: list[Segment]) -> int | None:
    for segment in segments:
        if segment.kind == _LOAD and 0 <= address - segment.address < segment.size:
            return address - segment.address + segment.offset
    return None


def _address(offset: int, segments: list[Segment]) -> int | None:
    for segment in segments:
        if segment.kind == _LOAD and 0 <= offset - segment.offset < segment.size:
            return offset - segment.offset + segment.address
    return None
