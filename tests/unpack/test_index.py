"""The records of what a tree cannot hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from udocker.errors import ArchiveLimitError, UnpackError
from udocker.unpack.index import Index, Record, read

ONE, TWO = Record(uid=1), Record(uid=2)


def paths(index: Index) -> set[bytes]:
    return {path for path, node in index.walk() if node.record is not None}


def filled(*names: bytes, limit: int = 1 << 20) -> Index:
    index = Index(limit)
    for name in names:
        index.entry(name, ONE)
    return index


def test_what_is_written_is_read(tmp_path: Path) -> None:
    records = {
        b"": Record(gid=1 << 31),
        b"a": Record(mode=0o4755),
        b"a/b": Record(device=("char", 5, 1), mode=0),
        b"a/caf\xe9\n": Record(uid=1, gid=2, mode=0o7777),
        b"a-b": Record(xattrs=((b"security.capability", b"\0\xff"), (b"user.\xe9", b""))),
        "\N{SNOWMAN}".encode(): ONE,
    }
    index = Index(1 << 20)
    for name, record in records.items():
        index.directory(name, record)
    path = str(tmp_path / "index")
    index.write(path)
    assert list(read(path)) == list(records.items())
    lines = Path(path).read_text("ascii").splitlines()
    assert json.loads(lines[0]) == {"version": 1}
    assert json.loads(lines[2]) == {"path": "a", "mode": 0o4755}


def test_what_is_below_follows_at_once() -> None:
    index = filled(b"a", b"a/x", b"a/x/y", b"a!", b"a0", b"B")
    assert [path for path, _ in index.walk()] == [b"", b"B", b"a", b"a/x", b"a/x/y", b"a!", b"a0"]


@pytest.mark.parametrize(
    "text", ["", "{}\n", '{"version": 2}\n', "[]\n", '{"version": 1}\n{"uid": 1}\n', "x"]
)
def test_what_is_no_index(tmp_path: Path, text: str) -> None:
    path = tmp_path / "index"
    path.write_text(text)
    with pytest.raises(UnpackError, match="not an index of an image") as raised:
        list(read(str(path)))
    assert raised.value.hint == f"remove {tmp_path}, and pull the image again"


def test_an_entry_replaces_all_below() -> None:
    index = filled(b"a/b/c", b"a/d")
    index.entry(b"a/b", TWO)
    assert paths(index) == {b"a/b", b"a/d"}
    index.entry(b"a", None)
    assert paths(index) == set()


def test_a_directory_keeps_all_below() -> None:
    index = filled(b"a/b")
    index.directory(b"a", TWO)
    index.directory(b"a", None)
    index.directory(b"nowhere", None)
    assert paths(index) == {b"a/b"}


def test_clear_and_drop() -> None:
    index = filled(b"", b"a", b"a/b/c", b"a/d", b"e")
    index.clear(b"a")
    index.drop(b"nowhere/at/all")
    assert paths(index) == {b"", b"a", b"e"}
    index.drop(b"e")
    index.clear(b"")
    assert paths(index) == {b""}
    index.drop(b"")
    assert paths(index) == set()


def test_graft() -> None:
    index, other = filled(b"a/old", b"b"), filled(b"x/y", b"x/z/w")
    other.directory(b"x/plain", None, mtime=5)
    index.graft(b"a", other.find(b"x"))
    index.graft(b"b", other.find(b"nowhere"))
    assert {path for path, _ in index.walk()} == {b"", b"a", b"a/y", b"a/z", b"a/z/w"}
    index.graft(b"", filled(b"k").top)
    assert paths(index) == {b"k"}


def test_memory_is_given_back() -> None:
    index = filled(limit=3000)
    for number in range(1000):
        index.entry(b"same", ONE)
        index.entry(b"d/%d" % number, ONE)
        index.drop(b"d")
        index.graft(b"g", filled(b"x", b"y").top)
    with pytest.raises(ArchiveLimitError):
        filled(*(b"%d" % number for number in range(10)), limit=3000)


def test_what_is_grafted_counts() -> None:
    many = filled(*(b"%d" % number for number in range(10)))
    with pytest.raises(ArchiveLimitError):
        filled(limit=3000).graft(b"a", many.top)


def test_a_place_that_was_dropped_and_comes_again() -> None:
    index = filled(b"a/b/c")
    assert index.find(b"a/b") is not None
    index.drop(b"a")
    index.entry(b"a/b/d", TWO)
    assert paths(index) == {b"a/b/d"}


def test_attributes_count() -> None:
    with pytest.raises(ArchiveLimitError):
        filled(limit=3000).entry(b"a", Record(xattrs=((b"user.x", b"x" * 3000),)))
