"""The line table of a Go program."""

from __future__ import annotations

import struct

import pytest

from udocker.engine import golang

TEXT = 0x401000


def table(magic: int, begin: int, *starts: int) -> bytes:
    count = len(starts) - 1
    head = struct.pack("<IHBBQQQ", magic, 0, 1, 8, count, 3, begin).ljust(64, b"\0")
    rows = b"".join(struct.pack("<II", start, 7 * start) for start in starts)
    return head + struct.pack("<Q", 80) + bytes(8) + rows[:-4]


@pytest.mark.parametrize("magic", [0xFFFFFFF0, 0xFFFFFFF1])
@pytest.mark.parametrize("begin", [TEXT, 0])
def test_functions_follow_each_other(magic: int, begin: int) -> None:
    data = b"before" + table(magic, begin, 0, 0x20, 0x70)
    found = list(golang.functions(data, 6, TEXT))
    assert found == [(TEXT, TEXT + 0x20), (TEXT + 0x20, TEXT + 0x70)]


def test_a_table_of_another_version_tells_nothing() -> None:
    assert not list(golang.functions(table(0xFFFFFFFA, TEXT, 0, 0x20), 0, TEXT))


def test_a_truncated_table_is_told() -> None:
    with pytest.raises(struct.error):
        list(golang.functions(table(0xFFFFFFF1, TEXT, 0, 0x20)[:-1], 0, TEXT))
