"""Trees that are opened to all, and what the index keeps of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from udocker.unpack.index import Record, read
from udocker.unpack.readable import is_open, open_to_all
from unpack.layers import LIMITS, directory, file, symlink, tar, unpack


def modes(root: Path) -> dict[str, int]:
    found = {}
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            found[str(path.relative_to(root))] = stat.S_IMODE(path.stat().st_mode)
    return found


def test_modes_go_to_the_index(tmp_path: Path) -> None:
    tree = unpack(
        tmp_path,
        tar(
            directory("a", mode=0o700),
            file("a/b", mode=0o600, uid=7),
            file("a/program", mode=0o4711),
            directory("a.b", mode=0o1777),
            file("a.b/open", mode=0o644),
            file("none", mode=0),
            symlink("link", "/etc/shadow"),
        ),
    )
    above = str(tree.root.parent)
    before = list(read(f"{above}/index.jsonl"))
    assert not is_open(above)
    open_to_all(above, LIMITS)
    assert is_open(above)
    assert modes(tree.root) == {
        ".": 0o755,
        "a": 0o755,
        "a/b": 0o644,
        "a/program": 0o755,
        "a.b": 0o1777,
        "a.b/open": 0o644,
        "none": 0o444,
    }
    assert before == [
        (b"a/b", Record(7)),
        (b"a/program", Record(mode=0o4711)),
        (b"none", Record(mode=0)),
    ]
    assert list(read(f"{above}/index.jsonl")) == [
        (b"a", Record(mode=0o700)),
        (b"a/b", Record(7, mode=0o600)),
        (b"a/program", Record(mode=0o4711)),
        (b"none", Record(mode=0)),
    ]
    assert os.stat(f"{above}/index.jsonl").st_mode & 0o777 == 0o644


def test_a_root_that_is_closed(tmp_path: Path) -> None:
    tree = unpack(tmp_path, tar(directory(".", mode=0o700), file("x", mode=0o600)))
    above = str(tree.root.parent)
    open_to_all(above, LIMITS)
    assert modes(tree.root) == {".": 0o755, "x": 0o644}
    assert list(read(f"{above}/index.jsonl")) == [
        (b"", Record(mode=0o700)),
        (b"x", Record(mode=0o600)),
    ]
