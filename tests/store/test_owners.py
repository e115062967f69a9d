"""Owners that the filesystem does not hold: as engines/core/owners.c reads them."""

from __future__ import annotations

import os
import shutil
import struct
from typing import TYPE_CHECKING

from builders.trees import Directory, File, Link, grow
from udocker.store import owners

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = struct.Struct("=IIQQQ")
_ENTRY = struct.Struct("=QIIiI")


def looked_up(content: bytes, inode: int) -> tuple[int, int, int] | None:
    """What the engine finds of an inode in a table."""
    *_, count = _HEADER.unpack_from(content)
    assert len(content) == _HEADER.size + count * _ENTRY.size
    place = owners._scatter(inode) & (count - 1)
    while True:
        found, uid, gid, mode, _ = _ENTRY.unpack_from(content, _HEADER.size + place * _ENTRY.size)
        if found == inode:
            return uid, gid, mode
        if found == 0:
            return None
        place = (place + 1) & (count - 1)


def is_marked(content: bytes, path: Path) -> bool:
    status = path.lstat()
    number = owners._scatter(status.st_ino ^ status.st_dev << 40 & 2**64 - 1) % (1 << 19)
    return bool(content[_HEADER.size + 4096 * 16 + number // 8] >> number % 8 & 1)


def test_numbers_are_scattered_as_in_c() -> None:
    # The same ones are in tests/c/test_owners.c.
    assert owners._scatter(1) == 0x9E3779B9
    assert owners._scatter(0x123456789ABCDEF) == 0xE8D28844


def test_a_table_has_every_entry_of_the_index(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(500)]
    root = grow(tmp_path / "root", {**dict.fromkeys(names, b""), "plain": b"", "d": Directory()})
    found = [(name.encode(), number + 1, 7, None) for number, name in enumerate(names)]
    content = owners.table(str(root), [*found, (b"d", 0, 8, 0o2750), (b"null", 3, 3, None)])
    for number, name in enumerate(names):
        assert looked_up(content, (root / name).stat().st_ino) == (number + 1, 7, -1)
    assert looked_up(content, (root / "d").stat().st_ino) == (0, 8, 0o2750)
    assert looked_up(content, (root / "plain").stat().st_ino) is None


def test_an_empty_index_makes_a_table_of_nothing(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"f": b""})
    assert looked_up(owners.table(str(root), []), (root / "f").stat().st_ino) is None


def test_files_that_are_remembered_are_marked(tmp_path: Path) -> None:
    root = grow(
        tmp_path / "root",
        {"a": b"", "d": Directory(), "d/read-only": File(b"", 0o400), "other": b"", "l": Link("a")},
    )
    assert _HEADER.unpack_from(owners.marks(str(root)))[1] == 0
    owners.remember(str(root / "a"), 5, 6, None)
    owners.remember(str(root / "d"), 5, 6, 0o2777)
    owners.remember(str(root / "d/read-only"), 1, 2, 0o4400)
    owners.remember(str(root / "l"), 9, 9, None)  # of which nothing can be remembered

    content = owners.marks(str(root))

    assert os.getxattr(root / "a", owners.ATTRIBUTE) == b"5:6"
    assert os.getxattr(root / "d", owners.ATTRIBUTE) == b"5:6:2777"
    assert os.getxattr(root / "d/read-only", owners.ATTRIBUTE) == b"1:2:4400"
    assert (root / "d/read-only").stat().st_mode & 0o7777 == 0o400
    assert _HEADER.unpack_from(content)[1] == 1
    assert all(is_marked(content, root / name) for name in ("a", "d", "d/read-only"))
    assert not is_marked(content, root / "other")


def test_what_was_moved_is_noticed(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"f": b""})
    path = tmp_path / "owners"
    assert not owners.is_of(str(path), str(root))
    path.write_bytes(owners.marks(str(root)))
    assert owners.is_of(str(path), str(root))
    shutil.copytree(root, tmp_path / "copy")
    assert not owners.is_of(str(path), str(tmp_path / "copy"))


def test_what_was_cut_short_is_noticed(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"f": b""})
    path = tmp_path / "owners"
    for content in (owners.marks(str(root)), owners.table(str(root), [])):
        path.write_bytes(content)
        assert owners.is_of(str(path), str(root))
        for size in (len(content) - 1, _HEADER.size, 20, 0):
            path.write_bytes(content[:size])
            assert not owners.is_of(str(path), str(root))
