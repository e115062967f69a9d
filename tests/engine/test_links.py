"""Absolute symbolic links that must not lead to the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from udocker.engine.links import make_relative, relative

if TYPE_CHECKING:
    from pathlib import Path

OUTSIDE = ("/dev", "/proc", "/etc/hosts")


@pytest.mark.parametrize(
    ("target", "depth", "better"),
    [
        ("file", 2, "file"),
        ("../file", 2, "../file"),
        ("../../file", 2, "../../file"),
        ("a/../../../../file", 1, "a/../../../../file"),  # of such a one nothing is known
        ("/file", 0, "file"),
        ("/file", 2, "../../file"),
        ("//a//b/./c/", 1, "../a/b/c"),
        ("/", 2, "../.."),
        ("/", 0, "."),
        ("", 1, ""),
        # Above the root there is nothing.
        ("../../../file", 2, "../../file"),
        ("../file", 0, "file"),
        ("..", 0, "."),
        ("/../../file", 1, "../file"),
        # What libfakechroot made
        ("/store/ROOT/file", 1, "../file"),
        ("/store/ROOT", 1, ".."),
        ("/store/ROOTS", 1, "../store/ROOTS"),
        # Links to the host
        ("/proc/self/fd", 1, "/proc/self/fd"),
        ("/dev", 1, "/dev"),
        ("/device", 1, "../device"),
        ("/etc/hosts", 1, "/etc/hosts"),
        ("/store/ROOT/proc/mounts", 1, "/proc/mounts"),
        ("../proc/mounts", 1, "/proc/mounts"),
        ("../../proc/mounts", 1, "/proc/mounts"),
        ("proc/mounts", 0, "/proc/mounts"),
        ("../proc/mounts", 2, "../proc/mounts"),
    ],
)
def test_where_a_link_leads(target: str, depth: int, better: str) -> None:
    assert relative(target, depth, "/store/ROOT", OUTSIDE) == better


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "ROOT"
    (path / "a" / "b").mkdir(parents=True)
    (path / "file").write_text("of the container")
    return path


def test_links_lead_to_the_same_files_of_the_container(root: Path) -> None:
    (root / "a/b/file").symlink_to("/file")
    (root / "a/folder").symlink_to("/a/b")
    (root / "a/b/made").symlink_to(root / "file")
    (root / "a/b/kept").symlink_to("../../file")
    (root / "null").symlink_to("/dev/null")
    make_relative(str(root), OUTSIDE)
    make_relative(str(root), OUTSIDE)
    assert os.readlink(root / "a/b/file") == os.readlink(root / "a/b/made") == "../../file"
    assert os.readlink(root / "a/folder") == "../a/b"
    assert os.readlink(root / "null") == "/dev/null"
    for path in ("a/b/file", "a/b/made", "a/b/kept", "a/folder/file"):
        assert (root / path).read_text() == "of the container"
    assert sorted(os.listdir(root / "a/b")) == ["file", "kept", "made"]


def test_nothing_beside_the_target_changes(root: Path) -> None:
    link = root / "a/b/file"
    link.symlink_to("/file")
    os.utime(link, (1, 2), follow_symlinks=False)
    os.utime(root / "a/b", (3, 4))
    make_relative(str(root), OUTSIDE)
    assert os.readlink(link) == "../../file"
    assert link.lstat().st_mtime == 2
    assert (root / "a/b").stat().st_mtime == 4


def test_directories_that_may_not_be_written(root: Path) -> None:
    (root / "a/b/file").symlink_to("/file")
    (root / "a/b").chmod(0o555)
    make_relative(str(root), OUTSIDE)
    assert os.readlink(root / "a/b/file") == "../../file"
    assert (root / "a/b").stat().st_mode & 0o777 == 0o555
    (root / "a/b").chmod(0o755)  # or it cannot be removed


def test_what_lies_outside_of_the_root_is_left_alone(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "link").symlink_to("/file")
    (root / "a/out").symlink_to(other)
    (root / "a/up").symlink_to("../../other")
    make_relative(str(root), OUTSIDE)
    assert os.readlink(other / "link") == "/file"
    assert os.readlink(root / "a/out") == f"..{other}"
    assert os.readlink(root / "a/up") == "../other"


def test_a_store_that_is_reached_by_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(root)
    (root / "a/b/made").symlink_to(root / "file")
    make_relative(str(tmp_path / "way"), OUTSIDE)
    assert os.readlink(root / "a/b/made") == "../../file"
