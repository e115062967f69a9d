"""F3: copies of programs and libraries whose system calls jump to the engine and do not trap.

A place is patched when it is certain what it is: ``mov $number,%eax`` directly before
``syscall``, both instructions of a function whose beginning and end the file itself gives (its
unwind table or symbols), reached by decoding every instruction from that beginning. Only the
five bytes of the mov change, to a jump of five bytes; the ``syscall`` stays, and whoever jumps to
it traps as before. The jump leads to an island in the slack of the segment's last page.

The engine maps a copy only in place of the executable part of the very file it was made of, so
programs that read that file see the file.
"""

from __future__ import annotations

import bisect
import struct

from udocker.engine import unwind
from udocker.engine.x86 import instructions
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Where engines/inprocess/inprocess.ld puts the entry for patched places.
ENTRY = 0x550000000000

_PAGE = 4096
_LOAD, _EH_FRAME = 1, 0x6474E550  # PT_LOAD, PT_GNU_EH_FRAME
_EXECUTABLE = 1
_SYMBOL_TABLES = (2, 11)  # SHT_SYMTAB, SHT_DYNSYM
_FUNCTION = 2  # STT_FUNC
_MOV, _SYSCALL = 0xB8, b"\x0f\x05"
_COMMON_SIZE, _ISLAND_SIZE = 13, 17
# What no compiler exceeds: a file that does could keep this busy for hours.
_MOST_SEGMENTS, _MOST_EXECUTABLE = 1170, 8


@value
class Segment:
    """A PT_LOAD or PT_GNU_EH_FRAME program header of elf(5)."""

    kind: int
    flags: int
    offset: int
    address: int
    size: int  # in the file


@value
class Patched:
    """The changed bytes of a file: pairs of file offset and content."""

    pieces: tuple[tuple[int, bytes], ...]
    sites: int

    def applied(self, data: bytes) -> bytes:
        """The whole copy. Islands may lie behind the end of a file that ends with its code."""
        copy = bytearray(data)
        for offset, piece in self.pieces:
            copy.extend(bytes(max(0, offset + len(piece) - len(copy))))
            copy[offset : offset + len(piece)] = piece
        return bytes(copy)


def patch(data: bytes, numbers: frozenset[int]) -> Patched | None:
    """Find the system calls of ``numbers`` in an ELF file; None when there is nothing to patch."""
    try:
        segments = _segments(data)
        if segments is None:
            return None
        starts, ends = _functions(data, segments)
        pieces: list[tuple[int, bytes]] = []
        sites = 0
        for segment in segments:
            if segment.kind == _LOAD and segment.flags & _EXECUTABLE:
                found = list(_sites(data, segment, numbers, (starts, ends)))
                changed = _rewrite(segment, found)
                sites += (len(changed) - 1) if changed else 0
                pieces += changed
    except (struct.error, IndexError, KeyError, OverflowError, ValueError):
        return None  # truncated or odd: such a file traps
    return Patched(tuple(pieces), sites) if sites else None


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
) -> Iterator[tuple[int, int]]:
    """Offset of each mov to change, and the number it loads."""
    starts, ends = functions
    reached: dict[int, int] = {}
    end = segment.offset + segment.size
    at = data.find(_SYSCALL, segment.offset + 5, end)
    while at >= 0:
        mov = at - 5
        if data[mov] == _MOV:
            number = struct.unpack_from("<I", data, mov + 1)[0]
            address = mov - segment.offset + segment.address
            place = bisect.bisect_right(starts, address) - 1
            if number in numbers and place >= 0 and address + 7 <= ends[place]:
                start = starts[place] - segment.address + segment.offset
                if start >= segment.offset and _is_instruction(data, start, mov, reached):
                    yield mov, number
        at = data.find(_SYSCALL, at + 1, end)


def _is_instruction(data: bytes, start: int, mov: int, reached: dict[int, int]) -> bool:
    """Whether decoding from ``start`` meets exactly the mov, and the syscall behind it.

    ``reached`` keeps how far each function has been decoded: places are asked for in order.
    """
    for offset, size in instructions(data, reached.get(start, start), mov + 7):
        reached[start] = offset
        if offset >= mov:
            return offset == mov and size == 5
    return False


def _rewrite(segment: Segment, sites: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
    """The jumps, and the islands they lead to, as far as the slack goes."""
    end = segment.offset + segment.size
    # Address and offset agree within a page; the page ends where the address does.
    slack = -(segment.address + segment.size) % _PAGE
    room = (slack - _COMMON_SIZE) // _ISLAND_SIZE
    if room <= 0 or not sites:
        return []
    # movabs $ENTRY,%r11; jmp *%r11
    islands = bytearray(b"\x49\xbb" + struct.pack("<Q", ENTRY) + b"\x41\xff\xe3")
    pieces = []
    for mov, number in sites[:room]:
        island = end + len(islands)
        back = mov + 7
        islands += b"\x48\x8d\x0d" + struct.pack("<i", back - (island + 7))  # lea back(%rip),%rcx
        islands += b"\xb8" + struct.pack("<I", number)
        islands += b"\xe9" + struct.pack("<i", end - (island + _ISLAND_SIZE))
        pieces.append((mov, b"\xe9" + struct.pack("<i", island - (mov + 5))))
    return [*pieces, (end, bytes(islands))]


def _functions(data: bytes, segments: list[Segment]) -> tuple[list[int], list[int]]:
    """Beginnings and ends (addresses) of the functions that the file tells of, in order."""
    ranges = dict(_of_symbols(data))
    start = _unwind_table(data, segments)
    if start is not None:
        ranges.update(unwind.functions(data, start, lambda offset: _address(offset, segments)))
    starts = sorted(ranges)
    return starts, [ranges[start] for start in starts]


def _sections(data: bytes) -> list[tuple[int, ...]]:
    offset = struct.unpack_from("<Q", data, 40)[0]
    size, count = struct.unpack_from("<HH", data, 58)
    numbers = range(count if offset else 0)
    return [struct.unpack_from("<IIQQQQIIQQ", data, offset + n * size) for n in numbers]


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
    sections = _sections(data)
    names = struct.unpack_from("<H", data, 62)[0]
    for header in sections:
        name = sections[names][4] + header[0]
        if data[name : name + 10] == b".eh_frame\0":
            return header[4]
    return None


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
