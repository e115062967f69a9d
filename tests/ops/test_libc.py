"""The C library of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.trees import Link, grow
from test_elf import program as elf
from udocker.ops.libc import GLIBC, MUSL, CLibrary, examine
from udocker.store.view import View

if TYPE_CHECKING:
    from pathlib import Path

    from builders.trees import Node

TOLD = b"\0GNU C Library (Debian GLIBC 2.31-13) stable release version 2.31.\n\0GLIBC_2.30\0"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, CLibrary()),
        (
            {"lib/x86_64-linux-gnu/libc.so.6": elf() + TOLD},
            CLibrary(GLIBC, (2, 31), "/lib/x86_64-linux-gnu/libc.so.6"),
        ),
        (
            {
                "usr/lib64/libc.so.6": Link("libc-2.17.so"),
                "usr/lib64/libc-2.17.so": elf() + b"\0GLIBC_2.17\0",
                "lib64": Link("usr/lib64"),
                "lib/ld-linux.so.2": b"loader",
                "lib/ld-musl-x86_64.so.1": elf() + b"\0001.2.3\0",
            },
            CLibrary(GLIBC, (2, 17), "/usr/lib64/libc.so.6", True),
        ),
        (
            {"lib/ld-musl-x86_64.so.1": elf() + b"\0%s\0001.2.5\0"},
            CLibrary(MUSL, (1, 2, 5), "/lib/ld-musl-x86_64.so.1"),
        ),
        ({"lib/ld-musl-x86_64.so.1": elf()}, CLibrary(MUSL, (), "/lib/ld-musl-x86_64.so.1")),
        ({"lib/libc.so.6": b"INPUT(x)"}, CLibrary()),
        (
            {
                "etc/ld.so.conf": b"/lib/aarch64-linux-gnu\n",
                "lib/aarch64-linux-gnu/libc.so.6": elf(machine=183) + TOLD,
            },
            CLibrary(),
        ),
        ({"lib/libc.so.6": Link("libc.so.6")}, CLibrary()),
        ({"usr/lib/libc.so.6": b"\x7fELF\1\1" + bytes(90)}, CLibrary()),
    ],
)
def test_kinds(tmp_path: Path, table: dict[str, Node], expected: CLibrary) -> None:
    assert examine(View((str(grow(tmp_path / "tree", table)),)), "x86_64") == expected


def test_text() -> None:
    assert str(CLibrary(GLIBC, (2, 31))) == "glibc 2.31"
    assert str(CLibrary(MUSL)) == "musl"
