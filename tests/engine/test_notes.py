"""What programs ask of the kernel and the processor."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udocker.engine import notes
from udocker.engine.notes import Notes

if TYPE_CHECKING:
    from pathlib import Path

ISA = 0xC0008002


def note(kind: int, words: bytes, name: bytes = b"GNU\0", alignment: int = 4) -> bytes:
    head = struct.pack("<III", len(name), len(words), kind) + name
    made = head + bytes(-len(head) % alignment) + words
    return made + bytes(-len(made) % alignment)


def tag(major: int, minor: int, system: int = 0) -> bytes:
    return note(1, struct.pack("<IIII", system, major, minor, 0))


def isa(bits: int) -> bytes:
    other = struct.pack("<IIII", 0xC0000002, 4, 3, 0)  # of another processor's features
    return note(5, other + struct.pack("<IIII", ISA, 4, bits, 0), alignment=8)


def program(*segments: tuple[bytes, int]) -> bytes:
    """Notes with their alignment, each in a segment of its own."""
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    table, content = b"", b""
    for words, alignment in segments:
        at = 64 + 56 * len(segments) + len(content)
        table += struct.pack("<IIQQQQQQ", 4, 4, at, at, at, *[len(words)] * 2, alignment)
        content += words
    return ident + header + table + content


def test_each_note() -> None:
    assert notes.read(program((tag(3, 2), 4))) == Notes((3, 2))
    assert notes.read(program((isa(0b101), 8))) == Notes(level=3)
    assert notes.read(program((isa(0b1), 8), (note(3, b"id" * 10) + tag(5, 14), 4))) == Notes(
        (5, 14), 1
    )


def test_notes_of_others_say_nothing() -> None:
    assert notes.read(program((tag(9, 9, system=3), 4))) == Notes()  # of FreeBSD
    assert notes.read(program((note(1, bytes(16), b"Go\0\0"), 4))) == Notes()
    assert notes.read(b"#!/bin/sh\n") == Notes()
    assert notes.read(b"") == Notes()


def test_what_a_linker_writes(tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    target = tmp_path / "main"
    subprocess.run(["gcc", "-Wl,-z,x86-64-v3", source, "-o", target], check=True)
    found = notes.read(target.read_bytes())
    assert found.level == 3
    assert found.kernel >= (2, 6)


@pytest.mark.parametrize("content", [program((tag(3, 2), 4)), program((isa(7), 8))])
def test_what_is_cut_off(content: bytes) -> None:
    for size in range(len(content)):
        notes.read(content[:size])


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_any_bytes(data: bytes, begin: int, size: int) -> None:
    notes.read(b"\x7fELF\2\1" + data)
    made = bytearray(program((data, 4)))
    made[64 + 8 : 64 + 16] = begin.to_bytes(8, "little")
    made[64 + 32 : 64 + 40] = size.to_bytes(8, "little")
    notes.read(bytes(made))
