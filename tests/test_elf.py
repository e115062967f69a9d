"""What the head of a program says of it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udocker import elf

X86_64, ARM, S390X = 62, 40, 22


def program(
    machine: int = X86_64, interpreter: bytes | None = b"/lib/ld.so\0", order: str = "<"
) -> bytes:
    """A head of 64 bits with an entry for something else before that of the interpreter."""
    count = 1 if interpreter is None else 2
    ident = b"\x7fELF\2" + (b"\1" if order == "<" else b"\2") + b"\1" + bytes(9)
    header = struct.pack(
        f"{order}HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0
    )
    other = struct.pack(f"{order}IIQQQQQQ", 1, 5, 0, 0, 0, 9, 9, 1)
    if interpreter is None:
        return ident + header + other
    at = 64 + 2 * 56
    named = struct.pack(f"{order}IIQQQQQQ", 3, 4, at, at, at, *[len(interpreter)] * 2, 1)
    return ident + header + other + named + interpreter


def test_programs_of_any_machine() -> None:
    assert elf.read(program()) == elf.Elf(64, X86_64, "/lib/ld.so")
    assert elf.read(program(S390X, order=">")) == elf.Elf(64, S390X, "/lib/ld.so")
    assert elf.read(program(interpreter=None)) == elf.Elf(64, X86_64, "")
    assert elf.read(program(interpreter=b"/\xff\0more")) == elf.Elf(64, X86_64, "/\udcff")


def test_programs_of_32_bits() -> None:
    header = struct.pack("<HHIIIIIHHHHHH", 2, ARM, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    named = struct.pack("<IIIIIIII", 3, 84, 0, 0, 7, 7, 4, 1)
    head = b"\x7fELF\1\1\1" + bytes(9) + header + named + b"/lib/x\0"
    assert elf.read(head) == elf.Elf(32, ARM, "/lib/x")


def test_programs_of_this_host() -> None:
    own = Path(os.path.realpath(sys.executable)).read_bytes()[: elf.HEAD]
    found = elf.read(own)
    assert found is not None
    assert os.path.isfile(found.interpreter)


@pytest.mark.parametrize("head", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\2\1" + bytes(20)])
def test_what_is_no_program(head: bytes) -> None:
    assert elf.read(head) is None


def test_a_damaged_table() -> None:
    assert elf.read(program()[:170]) is None
    far = bytearray(program())
    far[32:40] = b"\xff" * 8
    assert elf.read(bytes(far)) is None


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for kind in (1, 2):
        for order in (1, 2):
            elf.read(b"\x7fELF" + bytes((kind, order)) + data)


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b"", None),
        (b"\0GLIBC_2.34\0", (2, 34)),
        (b"\0GLIBC_2.9\0GLIBC_2.10\0GLIBC_2.2.5\0", (2, 10)),
        (b"\0GLIBC_PRIVATE\0XGLIBC_2.99\0GLIBC_2.99 \0GLIBC_2.x\0GLIBCXX_3.4\0", None),
    ],
)
def test_versions_of_glibc(content: bytes, version: tuple[int, int] | None) -> None:
    assert elf.glibc(content) == version


def test_the_version_of_this_host_s_glibc() -> None:
    """Young versions add no symbol, now and then: then the one before is the newest."""
    name, _, version = os.confstr("CS_GNU_LIBC_VERSION").partition(" ")
    assert name == "glibc"
    maps = Path("/proc/self/maps").read_text().split()
    [library] = {word for word in maps if word.endswith("/libc.so.6")}
    found = elf.glibc(Path(library).read_bytes())
    assert found is not None
    assert (2, int(version.split(".")[1]) - 2) <= found <= (2, int(version.split(".")[1]))


def test_what_a_library_needs_is_what_objdump_says() -> None:
    own = os.path.realpath(sys.executable)
    told = subprocess.run(["objdump", "-p", own], capture_output=True, text=True, check=True)
    names = {word for word in told.stdout.split() if word.startswith("GLIBC_2")}
    newest = max(tuple(map(int, name[6:].split(".")[:2])) for name in names)
    assert elf.glibc(Path(own).read_bytes()) == newest
