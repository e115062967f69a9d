"""Patched copies: what is found, what is left alone, and that the decoder agrees with objdump."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.engine import x86
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


@settings(max_examples=100, deadline=None, database=None)
@given(cut=st.integers(0, 1 << 21), flips=st.lists(st.tuples(st.integers(0, 4096), st.binary())))
def test_a_broken_file_is_none_or_patched_but_never_an_error(
    cut: int, flips: list[tuple[int, bytes]]
) -> None:
    data = bytearray(Path(LIBRARIES[-1]).read_bytes()[:cut])
    for at, junk in flips:
        data[at : at + len(junk)] = junk
    result = patch(bytes(data), NUMBERS)
    assert result is None or isinstance(result, Patched)


@settings(max_examples=1000, deadline=None, database=None)
@given(st.binary(max_size=40))
def test_any_bytes_have_a_length(code: bytes) -> None:
    assert 0 <= x86.length(code, 0) <= min(15, len(code))
