"""What a container changed of its image, by its upper directory or its own root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.trees import Directory, File, Link, Whiteout, grow
from udocker.store.changes import changes, walk
from udocker.store.closed import Opener

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.trees import Node

TREE: dict[str, Node] = {
    "a/b/file": b"text",
    "a/other": b"other",
    "a.b": b"",
    "dir/x": b"1",
    "dir/y/z": b"2",
    "link": Link("a"),
    "program": File(b"#!", 0o755),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return grow(tmp_path / "tree", TREE)


def owner(path: str) -> tuple[int, int, int | None]:
    return (7, 8, 0o4755) if path == "/program" else (0, 0, None)


def found(tree: Path, table: Mapping[str, Node], **options: bool) -> list[str]:
    upper = grow(tree.parent / "upper", table)
    return [f"{kind} {path}" for kind, path in changes(str(upper), str(tree), owner, **options)]


def copied(tree: Path, name: str) -> Path:
    """A copy in the upper directory that is as the file in the tree was."""
    status = os.lstat(tree / name)
    upper = grow(tree.parent / "upper", {name: File((tree / name).read_bytes(), status.st_mode)})
    os.utime(upper / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    return upper / name


def test_nothing(tree: Path) -> None:
    assert found(tree, {}) == []
    assert found(tree, {"a/b": Directory(), "dir": Directory()}) == []


def test_a_mode_that_forbids_reading_is_a_change(tree: Path) -> None:
    (tree / "a/other").chmod(0o400)
    copied(tree, "a/other").chmod(0)
    with Opener(str(tree.parent)) as opener:
        told = changes(str(tree.parent / "upper"), str(tree), owner, opened=opener.open)
    assert told == [("C", "/a"), ("C", "/a/other")]


def test_files(tree: Path) -> None:
    table = {"a/b/file": b"texts", "a/new": b"", "a.b": Whiteout(), "n/e/w": b"", "no": Whiteout()}
    assert found(tree, table) == [
        "C /a",
        "C /a/b",
        "C /a/b/file",
        "A /a/new",
        "D /a.b",
        "A /n",
        "A /n/e",
        "A /n/e/w",
    ]


def test_other_kinds(tree: Path) -> None:
    table = {"a": b"", "link": Link("b"), "a.b/in": b"", "program": Link("/")}
    assert found(tree, table) == ["C /a", "C /a.b", "A /a.b/in", "C /link", "C /program"]


def test_an_opaque_directory_lost_what_it_does_not_have(tree: Path) -> None:
    table = {"dir/x": b"new", "dir": Directory(opaque=True)}
    assert found(tree, table) == ["C /dir", "C /dir/x", "D /dir/y"]


def test_a_copy_that_is_as_it_was_is_no_change(tree: Path) -> None:
    path = copied(tree, "a/b/file")
    assert found(tree, {}) == []
    status = path.stat()
    path.write_bytes(b"TEXT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert found(tree, {}) == ["C /a", "C /a/b", "C /a/b/file"]


@pytest.mark.parametrize(
    ("attribute", "changed"),
    [("7:8:4755", False), ("7:8", True), ("7:9:4755", True), ("0:8:4755", True), (None, False)],
)
def test_owners(tree: Path, attribute: str | None, changed: bool) -> None:
    path = copied(tree, "program")
    if attribute is not None:
        os.setxattr(path, "user.overlay.owner", attribute.encode())
    assert found(tree, {}) == (["C /program"] if changed else [])


def test_modes_attributes_times(tree: Path) -> None:
    copied(tree, "program").chmod(0o700)
    os.setxattr(copied(tree, "a.b"), "user.note", b"1")
    os.utime(copied(tree, "a/other"), (1, 1))
    (tree.parent / "upper/dir").mkdir(mode=0o700)
    assert found(tree, {}) == ["C /a", "C /a/other", "C /a.b", "C /dir", "C /program"]


POINTS: dict[str, Node] = {"mnt/in": Directory(), "mnt/file": b"", "a/b/file": b""}


def pointed(tree: Path) -> Path:
    """An upper with what a run made to mount on; the image's file there had been removed."""
    upper = grow(tree.parent / "upper", POINTS)
    for name in ("mnt", *POINTS):
        os.setxattr(upper / name, "user.overlay.point", f"/{name}".encode())
    return upper


def test_what_a_run_made_to_mount_on_is_no_change(tree: Path) -> None:
    upper = pointed(tree)
    removed = ["C /a", "C /a/b", "D /a/b/file"]
    assert found(tree, {}) == removed
    assert [each.path for each in walk(str(upper), str(tree)) if each.path.startswith("/m")] == []
    (upper / "mnt/in/mine").write_bytes(b"")
    assert found(tree, {}) == [*removed, "A /mnt", "A /mnt/in", "A /mnt/in/mine"]
    (upper / "mnt/in/mine").unlink()
    (upper / "mnt/file").write_bytes(b"text")
    assert found(tree, {}) == [*removed, "A /mnt", "A /mnt/file"]


@pytest.mark.parametrize("act", ["move", "again", "owner", "attribute"])
def test_what_the_user_did_with_a_mount_point_is_a_change(tree: Path, act: str) -> None:
    upper = pointed(tree)
    path = upper / "mnt/in"
    if act == "move":
        path.rename(upper / "mnt/else")
    elif act == "again":
        path.rmdir()
        path.mkdir()
    else:
        name, data = ("overlay.owner", b"1:1") if act == "owner" else ("note", b"x")
        os.setxattr(path, f"user.{name}", data)
    told = found(tree, {})[3:]
    assert told == ["A /mnt", "A /mnt/else" if act == "move" else "A /mnt/in"]


def test_a_whole_root(tree: Path) -> None:
    for name in ("a/b/file", "a/other", "dir/x", "program"):
        copied(tree, name)
    table = {"dir/new": b"", "link": Link("a")}
    assert found(tree, table, whole=True) == ["D /a.b", "C /dir", "A /dir/new", "D /dir/y"]


def test_all_files_are_walked_in_order(tree: Path) -> None:
    table = {"a/b/file": b"new", "a/other": Whiteout(), "dir": Directory(opaque=True), "z": b""}
    upper = grow(tree.parent / "upper", table)
    entries = [each for each in walk(str(upper), str(tree)) if not each.is_removed]
    assert [each.path for each in entries] == [
        "",
        "/a",
        "/a/b",
        "/a/b/file",
        "/a.b",
        "/dir",
        "/link",
        "/program",
        "/z",
    ]
