"""What programs and libraries say of themselves."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.drivers import library, needs_x86_64
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


@settings(database=None, deadline=None)
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


# Shared libraries


@pytest.mark.parametrize("name", ["libc.so.6", "libm.so.6", "libstdc++.so.6", "libssl.so.3"])
def test_libraries_are_what_objdump_says(name: str) -> None:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True)
    [path, *_] = [
        line.partition(" => ")[2]
        for line in listed.stdout.splitlines()
        if line.split(" ")[0].strip() == name
    ]
    told = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True)
    words = told.stdout.split()
    found = elf.shared(path)
    assert found is not None
    assert found.soname == name
    assert list(found.needed) == [
        words[at + 1] for at, word in enumerate(words) if word == "NEEDED"
    ]
    # Its own versions, of the section before, do not count: only what it needs.
    needed = told.stdout.partition("Version References:")[2].split()
    versions = [w[6:].split(".")[:2] for w in needed if re.fullmatch(r"GLIBC_[\d.]+", w)]
    newest = max(((int(a), int(b)) for a, b in versions), default=(0, 0))
    assert found.has_relr == ("GLIBC_ABI_DT_RELR" in needed)
    assert found.glibc == (max(newest, (2, 36)) if found.has_relr else newest)


@needs_x86_64
def test_made_libraries(tmp_path: Path) -> None:
    path = tmp_path / "made"
    rows = (("x86_64", 64, X86_64), ("i386", 32, 3), ("aarch64", 64, 183))
    for kind, bits, machine in rows:
        path.write_bytes(library("libx.so.3", kind))
        assert elf.shared(str(path)) == elf.Shared(bits, machine, "libx.so.3", (), (0, 0), False)
    path.write_bytes(library(""))
    assert elf.shared(str(path)) == elf.Shared(64, X86_64, "", (), (0, 0), False)


@needs_x86_64
def test_compressed_relocations_need_a_younger_glibc(tmp_path: Path) -> None:
    path = tmp_path / "made"
    source = "extern int puts(const char *); static int x; int *p = &x; void f(void) { puts(0); }"
    path.write_bytes(library("libx.so", "glibc", source, "-Wl,-z,pack-relative-relocs"))
    found = elf.shared(str(path))
    assert found is not None
    assert found.has_relr
    assert found.glibc == (2, 36)
    path.write_bytes(library("libx.so", "glibc", source))
    plain = elf.shared(str(path))
    assert plain is not None
    assert plain.glibc == (2, 2)
    assert not plain.has_relr


@needs_x86_64
def test_little_is_read_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(library("libx.so.3"))
    os.truncate(path, 1 << 32)
    asked = []
    pread = os.pread

    def counted(descriptor: int, size: int, at: int) -> bytes:
        asked.append(size)
        return pread(descriptor, size, at)

    monkeypatch.setattr(os, "pread", counted)
    found = elf.shared(str(path))
    assert found is not None
    assert found.soname == "libx.so.3"
    assert sum(asked) < 1 << 16


def test_what_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"INPUT(libx.so)", b"\x7fELF", program(), program()[:170]):
        path.write_bytes(content)
        assert elf.shared(str(path)) is None
    with pytest.raises(OSError, match="Is a directory"):
        elf.shared(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Illegal seek"):
        elf.shared(str(tmp_path / "pipe"))


@needs_x86_64
@settings(database=None, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=30))
def test_damaged_libraries(changes: list[tuple[int, int]]) -> None:
    data = bytearray(
        library("libx.so", "glibc", "extern int puts(const char *); int (*p)() = puts;")
    )
    for at, byte in changes:
        data[at % len(data)] = byte
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(data)
        stream.flush()
        with contextlib.suppress(OSError):
            elf.shared(stream.name)


def test_the_release_of_glibc() -> None:
    told = b"x\0GNU C Library (Debian GLIBC 2.41-12) stable release version 2.41.\nCopyright\0"
    assert elf.glibc_release(told + b"\0GLIBC_2.38\0") == (2, 41)
    assert elf.glibc_release(b"\0GLIBC_2.38\0") == (2, 38)
    assert elf.glibc_release(b"") is None
