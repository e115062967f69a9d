"""Patched copies: what is found, what is left alone, and that the decoder agrees with objdump."""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.engine import unwind, x86
from udocker.engine.patch import ENTRY, ENTRY_SMALL_STACK, Patched, patch

LIBRARIES = [
    path
    for path in (
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/ld-musl-x86_64.so.1",
        "/bin/busybox",
    )
    if Path(path).exists()
]
NUMBERS = frozenset((2, 4, 59, 89, 257, 262, 267))  # open stat execve readlink openat newfstatat …

pytestmark = [
    pytest.mark.skipif(not LIBRARIES, reason="host: no x86_64 libraries here"),
    pytest.mark.skipif(shutil.which("objdump") is None, reason="host: no objdump (binutils)"),
]


def listing(path: str, *how: str) -> list[list[tuple[int, str]]]:
    """Address and text of each instruction, as objdump reads them, a list for each section."""
    done = subprocess.run(
        ["objdump", *(how or ("-d", "-w")), "--no-show-raw-insn", path],
        capture_output=True,
        text=True,
        check=True,
    )
    pattern = re.compile(r"\s*([0-9a-f]+):\t(.*)")
    sections: list[list[tuple[int, str]]] = []
    for line in done.stdout.splitlines():
        match = pattern.match(line)
        if match:
            sections[-1].append((int(match[1], 16), match[2]))
        elif line.startswith("Disassembly"):
            sections.append([])
    return sections


def executable_segment(data: bytes) -> tuple[int, int, int]:
    """Offset, address and size of the first executable PT_LOAD."""
    offset, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    for number in range(count):
        kind, flags, place, address, _, size = struct.unpack_from(
            "<IIQQQQ", data, offset + 56 * number
        )
        if kind == 1 and flags & 1:
            return place, address, size
    raise AssertionError("no code")


@pytest.mark.parametrize("path", LIBRARIES)
def test_the_decoder_agrees_with_objdump(path: str) -> None:
    data = Path(path).read_bytes()
    place, address, size = executable_segment(data)
    pairs = [pair for lines in listing(path) for pair in zip(lines, lines[1:])]
    wrong = []
    for (here, text), (after, _) in pairs:
        inside = address <= here and after < address + size
        # objdump takes a lone fwait and the next instruction for one.
        if not inside or "(bad)" in text or after - here > 15 or text.startswith("fst"):
            continue
        if x86.length(data, here - address + place) != after - here:
            wrong.append((hex(here), text))
    assert not wrong
    assert len(pairs) > 10_000


def islands(path: str, data: bytes, patched: Patched) -> dict[int, str]:
    """Address and text of what objdump reads in the islands; what they jump to by address."""
    place, address, size = executable_segment(data)
    begin = address + size
    content = dict(patched.pieces)[place + size]
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        how = ["-D", "-w", "-b", "binary", "-m", "i386:x86-64", f"--adjust-vma={begin:#x}"]
        return dict(listing(stream.name, *how)[0])


def meaning(text: str) -> str:
    """An instruction as it is read anywhere: with the address that it means."""
    text = re.sub(r" +", " ", re.sub(r"<.*>", "", text)).strip()
    return re.sub(r"-?0x[0-9a-f]+\(%rip\)(.*?) +# 0x([0-9a-f]+)", r"\2\1", text)


@pytest.mark.parametrize("path", LIBRARIES)
def test_one_instruction_moves_and_the_island_does_the_rest(path: str) -> None:
    data = Path(path).read_bytes()
    place, address, size = executable_segment(data)
    lines = sorted(entry for lines in listing(path) for entry in lines)
    following = {here: (after, text) for (here, text), (after, _) in zip(lines, lines[1:])}
    patched = patch(data, NUMBERS)
    assert patched is not None
    assert patched.sites >= 3
    moved = islands(path, data, patched)
    order = sorted(moved)
    for offset, piece in patched.pieces[:-1]:
        here = offset - place + address
        assert piece[0] == 0xE9
        assert following[here][0] - here >= len(piece) == 5
        at = order.index(here + 5 + struct.unpack("<i", piece[1:])[0])
        while (text := following[here][1]) != "syscall":
            assert meaning(moved[order[at]]) == meaning(text)
            here, at = following[here][0], at + 1
        back, onward = moved[order[at]], moved[order[at + 1]]
        assert meaning(back) == f"lea {here + 2:x},%rcx"
        assert meaning(onward) == f"jmp 0x{address + size:x}"


def test_islands_fit_the_page_and_lead_to_the_engine() -> None:
    for path in LIBRARIES:
        data = Path(path).read_bytes()
        place, _, size = executable_segment(data)
        patched = patch(data, NUMBERS)
        assert patched is not None
        offset, content = patched.pieces[-1]
        assert offset == place + size
        assert offset % 4096 + len(content) <= 4096
        assert content[:13] == b"\x49\xbb" + struct.pack("<Q", ENTRY) + b"\x41\xff\xe3"
        assert patched.applied(data)[offset : offset + len(content)] == content


GO = b"\x49\x89\xf2\x48\x89\xfa\x48\x89\xce\x48\x89\xdf\x0f\x05\xc3"  # moves, syscall, ret


@pytest.mark.parametrize(
    ("code", "sites"),
    [
        (GO, 1),
        (GO + b"\xeb\xf2", 0),  # a jump to the second move
        (GO + b"\xe9\xef\xff\xff\xff", 0),
        (GO + b"\x0f\x84\xee\xff\xff\xff", 0),
        (GO + b"\xff\xe0", 0),  # to anywhere
        (GO + b"\xeb\xef", 1),  # to the first move
        (GO[:9] + b"\x31\xc0\x0f\x05\xc3", 0),  # the number is known: read
        (GO[:3] + GO[12:], 0),  # too short
    ],
)
def test_several_instructions_are_replaced_where_nothing_jumps_between_them(
    code: bytes, sites: int
) -> None:
    patched = patch(program(code), NUMBERS)
    assert (0 if patched is None else patched.sites) == sites


@pytest.mark.parametrize(
    ("code", "sites"),
    [
        ("b801010000 4889fe bf9cffffff 0f05 c3", 1),  # openat: the last move makes room
        ("b804000000 4889ef 0f05 c3", 1),  # stat: the first, and the second goes with it
        ("b803000000 4889ef 0f05 c3", 0),  # close
        ("b804000000 7400 4889ef 0f05 c3", 0),  # a branch between: nothing is known
        ("b804000000 e800000000 0f05 c3", 0),
        ("b804000000 488b3d00000000 0f05 c3", 1),  # relative to the instruction pointer
        ("b804000000 c7f800000000 0f05 c3", 0),  # xbegin branches as well
        ("b804000000 8305000000000a 0f05 c3", 0),  # the same with a number behind it
        ("488d3dcba10000 b859000000 53 4889e3 0f05 c3", 1),
        ("48c7c001010000 0f05 c3", 1),  # as Go writes it
    ],
)
def test_what_is_before_a_system_call_decides(code: str, sites: int) -> None:
    patched = patch(program(bytes.fromhex(code)), NUMBERS)
    assert (0 if patched is None else patched.sites) == sites


def test_programs_of_go_work_on_a_stack_of_the_engine() -> None:
    call = bytes.fromhex("b801010000 0f05 c3")
    for mark, entry in ((b"", ENTRY), (b"\xff Go buildinf:", ENTRY_SMALL_STACK)):
        patched = patch(program(call + mark), NUMBERS)
        assert patched is not None
        assert patched.pieces[-1][1][2:10] == struct.pack("<Q", entry)


def program(code: bytes) -> bytes:
    """An ELF file with one function, which a symbol tells of."""
    size, names = len(code), 64 + 56
    at = names + 16
    symbols = (at + size + 7) & ~7
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, at, 64, symbols + 24,
                       0, 64, 56, 1, 64, 2, 0)  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0, at + size, at + size, 4096)
    symbol = struct.pack("<IBBHQQ", 0, 2, 0, 1, 0x400000 + at, size)
    none = bytes(64)
    table = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, symbols, 24, 0, 0, 8, 24)
    return (
        (head + segment).ljust(at, b"\0") + code.ljust(symbols - at, b"\0") + symbol + none + table
    )


def test_without_a_table_of_functions_nothing_is_patched() -> None:
    """A mov and a syscall that no function is known to hold may be data."""
    data = bytearray(Path(LIBRARIES[0]).read_bytes())
    struct.pack_into("<Q", data, 40, 0)  # no section headers
    count = struct.unpack_from("<H", data, 56)[0]
    for number in range(count):
        place = 64 + 56 * number
        if struct.unpack_from("<I", data, place)[0] == 0x6474E550:
            struct.pack_into("<I", data, place, 0)
    assert patch(bytes(data), NUMBERS) is None


def test_other_numbers_and_other_machines_are_left_alone() -> None:
    data = bytearray(Path(LIBRARIES[0]).read_bytes())
    assert patch(bytes(data), frozenset()) is None
    struct.pack_into("<H", data, 18, 183)
    assert patch(bytes(data), NUMBERS) is None


def check_pieces(data: bytes, patched: Patched) -> None:
    """Only places that look as they should have changed, and slack behind code."""
    ends = set()
    offset, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    size = struct.unpack_from("<H", data, 54)[0]
    for number in range(count):
        kind, flags, place, address, _, length = struct.unpack_from(
            "<IIQQQQ", data, offset + number * size
        )
        if kind == 1 and flags & 1:
            ends.add((place + length, -(address + length) % 4096))
    for at, piece in patched.pieces:
        if any(at == end and len(piece) <= slack for end, slack in ends):
            continue
        assert len(piece) == 5
        assert piece[0] == 0xE9
        assert b"\x0f\x05" in data[at + 5 : at + 24 * 15]


SMALL = next((path for path in LIBRARIES if Path(path).stat().st_size < 1 << 20), None)
JUNK = st.one_of(
    st.binary(max_size=9),
    st.integers(0, 1 << 18).map(lambda number: struct.pack("<Q", number)),
    st.sampled_from((bytes(8), b"\xff" * 8, b"\xff" * 4, b"\x80" * 16)),
)


@pytest.mark.skipif(SMALL is None, reason="host: no small x86_64 library here")
@settings(max_examples=300, deadline=None, database=None)
@given(
    cut=st.one_of(st.just(1 << 20), st.integers(0, 1 << 18)),
    head=st.lists(st.tuples(st.integers(0, 64 + 56 * 12), JUNK), max_size=3),
    tail=st.lists(st.tuples(st.integers(1, 64 * 40), JUNK), max_size=3),
    anywhere=st.lists(st.tuples(st.integers(0, 1 << 18), JUNK), max_size=20),
)
def test_a_broken_file_is_none_or_patched_but_never_an_error(
    cut: int,
    head: list[tuple[int, bytes]],
    tail: list[tuple[int, bytes]],
    anywhere: list[tuple[int, bytes]],
) -> None:
    data = bytearray(Path(str(SMALL)).read_bytes()[:cut])
    for at, junk in (*head, *((len(data) - place, junk) for place, junk in tail), *anywhere):
        data[max(at, 0) : max(at, 0) + len(junk)] = junk
    result = patch(bytes(data), NUMBERS)
    if result is not None:
        check_pieces(bytes(data), result)


def hostile(code: bytes, *, programs: int = 1, segment_size: int = 56) -> bytes:
    """A file of one function, whose code is given; with as many program headers as are said."""
    begin, names = 0x1000, 0x1000 + len(code)
    symbol = struct.pack("<IBBHQQ", 0, 2, 0, 1, begin, len(code))
    section = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, names, len(symbol), 0, 0, 0, 24)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, names + len(symbol), 0),
        *(64, segment_size, programs, 64, 1, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, begin, begin, begin, len(code), len(code), 4096)
    return (header + segment).ljust(begin, b"\0") + code + symbol + section


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(hostile(b"\xb8\x02\0\0\0\x0f\x05" * 20_000), id="many places"),
        pytest.param(hostile(b"\x66" * 100_000 + b"\x90" * 5), id="a long prefix"),
        pytest.param(
            hostile(b"\xb8\x02\0\0\0\x0f\x05" * 1000, programs=65535, segment_size=0),
            id="many segments",
        ),
    ],
)
def test_no_file_takes_long(data: bytes) -> None:
    begin = time.process_time()
    result = patch(data, NUMBERS)
    assert time.process_time() - begin < 10
    if result is not None:
        check_pieces(data, result)


@settings(max_examples=500, deadline=None, database=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_unwind_table_ends(table: bytes, has_places: bool) -> None:
    found = []
    with contextlib.suppress(struct.error, IndexError, KeyError, ValueError):
        found += unwind.functions(table, 0, lambda offset: offset if has_places else None)
    assert len(found) <= len(table)
    assert has_places or not found


@settings(max_examples=1000, deadline=None, database=None)
@given(st.binary(max_size=40))
def test_any_bytes_have_a_length(code: bytes) -> None:
    assert 0 <= x86.length(code, 0) <= min(15, len(code))


def test_where_room_is_scarce_what_is_called_most_is_first() -> None:
    """mkdir comes first in the file, but openat is what programs call."""
    calls = [bytes.fromhex(f"b8{number}0000 0f05") for number in ("5300", "5300", "0101", "0601")]
    code = b"".join(calls) + b"\xc3"
    whole = patch(program(code), frozenset((0x53, 257, 262)))
    at = 64 + 56 + 16
    filler = b"\x90" * (4096 - at - len(code) - 13 - 2 * 17)
    scarce = patch(program(code + filler), frozenset((0x53, 257, 262)))
    assert whole is not None
    assert scarce is not None
    assert whole.sites == 4
    assert [offset for offset, _ in scarce.pieces[:-1]] == [at + 14, at + 21]
