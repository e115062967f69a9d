"""One tree, reached by descriptors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from udocker.unpack.root import Root


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Iterator[Root]:
    place = tmp_path / "tree"
    (place / "a" / "b").mkdir(parents=True)
    (place / "file").touch()
    (place / "out").symlink_to(outside)
    (place / "up").symlink_to("../outside")
    (place / "in").symlink_to("/a")
    (place / "a" / "back").symlink_to("../../../a/b/../b")
    (place / "a" / "top").symlink_to("/a")
    (place / "loop").symlink_to("loop")
    with Root(str(place)) as opened:
        yield opened
    shutil.rmtree(place)


def inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


def test_directories(root: Root) -> None:
    for path in ("", "a", "a/b", "a/b"):
        expected = os.stat(os.path.join(root.path, path)).st_ino
        assert inode(root.directory(path.encode())) == expected


@pytest.mark.parametrize("path", [b"out", b"out/inner", b"up", b"in", b"in/b", b"a/back", b"file"])
def test_no_link_is_followed(root: Root, path: bytes) -> None:
    for call in (root.directory, root.make, root.empty):
        with pytest.raises(NotADirectoryError):
            call(path)


def test_make(root: Root) -> None:
    made = root.make(b"a/x/y/z")
    assert inode(made) == os.stat(f"{root.path}/a/x/y/z").st_ino
    with pytest.raises(NotADirectoryError):
        root.make(b"out/new")
    with pytest.raises(NotADirectoryError):
        root.make(b"file/new")


def test_the_top_must_not_be_a_link(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "tree").symlink_to(outside)
    with pytest.raises(OSError, match="tree"):
        Root(str(tmp_path / "tree"))
    (tmp_path / "tree").unlink()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"a/b", b"a/b"),
        (b"in/b", b"a/b"),
        (b"in", b"a"),
        (b"a/back/c", b"a/b/c"),
        (b"in/back/../../file", b"file"),
        (b"a/top/b", b"a/b"),
        (b"a/b/../top/top/file", b"a/file"),
        (b"../../..", b""),
        (b"missing/../x/y", b"x/y"),
        (b"file/x", b"file/x"),
    ],
)
def test_resolve(root: Root, path: bytes, expected: bytes) -> None:
    assert root.resolve(path) == expected


def test_resolve_stays_inside(root: Root, outside: Path) -> None:
    assert root.resolve(b"out/secret") == f"{outside}/secret".lstrip("/").encode()
    assert root.resolve(b"up/secret") == b"outside/secret"
    with pytest.raises(OSError, match="symbolic links"):
        root.resolve(b"loop/x")


def test_find(root: Root) -> None:
    for path, where, there in (
        (b"in/b", b"a/b", True),
        (b"in", b"in", True),
        (b"out/secret", None, False),
        (b"file/x", b"file/x", False),
        (b"missing/x", b"missing/x", False),
        (b"in/missing", b"a/missing", False),
        (b"", b"", True),
    ):
        found, status = root.find(path)
        assert where in (None, found)
        assert (status is not None) == there


def test_remove(root: Root) -> None:
    root.make(b"a/b/c/d")
    root.directory(b"a/b/c")
    for path in (b"file", b"out", b"up", b"a"):
        root.remove(path)
        with pytest.raises(FileNotFoundError):
            root.remove(path)
    assert sorted(os.listdir(root.path)) == ["in", "loop"]
    assert inode(root.make(b"a/b/c")) == os.stat(f"{root.path}/a/b/c").st_ino


def test_empty(root: Root) -> None:
    root.make(b"a/b/c/d")
    root.empty(b"")
    assert os.listdir(root.path) == []


def test_few_descriptors_are_kept(root: Root) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        root.make(b"n/%d/x" % number)
    assert len(os.listdir("/proc/self/fd")) - before < 40
    for number in range(200):
        expected = os.stat(f"{root.path}/n/{number}/x").st_ino
        assert inode(root.directory(b"n/%d/x" % number)) == expected


def test_a_held_descriptor_stays(root: Root) -> None:
    with root.held(b"a/b") as held:
        for number in range(100):
            root.make(b"n/%d" % number)
        assert inode(held) == os.stat(f"{root.path}/a/b").st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held)
