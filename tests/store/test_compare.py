"""Every way in which two directories can differ."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.trees import Directory, File, Link, Same, grow
from udocker.store.compare import differences

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = {
    "dir": Directory(0o700),
    "dir/file": File(b"content", 0o640),
    "dir/link": Link("file"),
    "one": b"linked",
    "two": Same("one"),
    "three": b"x",
}


def made(path: Path) -> Path:
    grow(path, TABLE)
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            os.utime(f"{folder}/{name}", (1000, 1000), follow_symlinks=False)
    os.utime(path, (1000, 1000))
    return path


def keeping(path: Path, change: Callable[[], object]) -> None:
    """Change something, and the times of it and of its directory not."""
    change()
    for place in (path, path.parent):
        if os.path.lexists(place):
            os.utime(place, (1000, 1000), follow_symlinks=False)


def replaced(path: Path, make: Callable[[], object]) -> None:
    path.unlink()
    make()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("three", lambda p: p.unlink(), "/three: is missing"),
        ("more", lambda p: p.write_bytes(b""), "/more: is too much"),
        ("three", lambda p: p.chmod(0o600), "/three: has another mode"),
        ("dir", lambda p: p.chmod(0o755), "/dir: has another mode"),
        ("dir/file", lambda p: p.write_bytes(b"Content"), "/dir/file: has another content"),
        ("dir/file", lambda p: p.write_bytes(b""), "/dir/file: has 0 bytes, not 7"),
        (
            "dir/link",
            lambda p: replaced(p, lambda: p.symlink_to("x")),
            "/dir/link: leads elsewhere",
        ),
        ("three", lambda p: replaced(p, p.mkdir), "/three: is of another type"),
        ("three", lambda p: os.setxattr(p, "user.a", b"1"), "/three: has other attributes"),
        (
            "two",
            lambda p: replaced(p, lambda: p.write_bytes(b"linked")),
            "/two: is not the same file as its other names",
        ),
    ],
)
def test_a_difference(
    tmp_path: Path, name: str, change: Callable[[Path], object], told: str
) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    assert list(differences(str(one), str(other))) == []
    keeping(one / name, lambda: change(one / name))
    assert list(differences(str(one), str(other))) == [told]


def test_times(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    for name in ("three", "dir"):
        os.utime(one / name, (2000, 2000))
    assert list(differences(str(one), str(other))) == ["/three: has another time"]
