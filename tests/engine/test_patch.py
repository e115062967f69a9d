"""Patched copies: what is found, what is left alone, and that the decoder agrees with objdump."""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.engine import unwind, x86
from udocker.engine.patch import ENTRY, Patched, patch

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


def listing(path: str) -> list[list[tuple[int, str]]]:
    """Address and text of each instruction, as objdump reads them, a list for each section."""
    done = subprocess.run(
        ["objdump", "-d", "-w", "--no-show-raw-insn", path],
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


@pytest.mark.parametrize("path", LIBRARIES)
def test_only_a_mov_before_a_syscall_changes(path: str) -> None:
    data = Path(path).read_bytes()
    place, address, size = executable_segment(data)
    texts = dict(entry for lines in listing(path) for entry in lines)
    patched = patch(data, NUMBERS)
    assert patched is not None
    assert patched.sites >= 3
    code_end = place + size
    for offset, piece in patched.pieces:
        if offset == code_end:
            continue
        assert len(piece) == 5
        here = offset - place + address
        match = re.match(r"mov +\$0x([0-9a-f]+),%eax", texts[here])
        assert match
        assert int(match[1], 16) in NUMBERS
        assert texts[here + 5] == "syscall"


def test_islands_lead_back_behind_the_syscall_and_fit_the_page() -> None:
    data = Path(LIBRARIES[0]).read_bytes()
    place, _, size = executable_segment(data)
    patched = patch(data, NUMBERS)
    assert patched is not None
    copy = patched.applied(data)
    end = place + size
    assert copy[end : end + 13] == b"\x49\xbb" + struct.pack("<Q", ENTRY) + b"\x41\xff\xe3"
    for offset, piece in patched.pieces:
        if offset == end:
            assert (end % 4096) + len(piece) <= 4096
            continue
        island = offset + 5 + struct.unpack("<i", piece[1:])[0]
        back = island + 7 + struct.unpack_from("<i", copy, island + 3)[0]
        assert copy[island : island + 3] == b"\x48\x8d\x0d"
        assert back == offset + 7
        assert struct.unpack_from("<I", copy, island + 8) == struct.unpack_from(
            "<I", data, offset + 1
        )
        assert island + 17 + struct.unpack_from("<i", copy, island + 13)[0] == end


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
        assert data[at] == 0xB8
        assert struct.unpack_from("<I", data, at + 1)[0] in NUMBERS
        assert data[at + 5 : at + 7] == b"\x0f\x05"


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
