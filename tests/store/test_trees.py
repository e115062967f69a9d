"""Trees of images: they come whole, by one rename, and once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from builders.processes import race
from builders.trees import grow
from udocker.model.reference import Digest
from udocker.store.trees import Trees

CHAIN = Digest("sha256", "c" * 64)


def made(tmp_path: Path, name: str, word: bytes) -> str:
    directory = tmp_path / name
    grow(directory / "root", {"etc/word": word})
    (directory / "index.jsonl").write_bytes(b"")
    return str(directory)


@pytest.fixture
def trees(store_path: Path) -> Trees:
    return Trees(str(store_path / "trees"))


def test_a_published_tree_is_there_whole(trees: Trees, tmp_path: Path) -> None:
    assert not trees.has(CHAIN)
    assert list(trees.all()) == []
    trees.publish(made(tmp_path, "one", b"1"), CHAIN)
    assert trees.has(CHAIN)
    assert Path(trees.root(CHAIN), "etc/word").read_bytes() == b"1"
    assert Path(trees.path(CHAIN), "index.jsonl").is_file()
    assert list(trees.all()) == [CHAIN]


def test_of_two_the_first_stays(trees: Trees, tmp_path: Path) -> None:
    trees.publish(made(tmp_path, "one", b"1"), CHAIN)
    loser = made(tmp_path, "two", b"2")
    trees.publish(loser, CHAIN)
    assert Path(trees.root(CHAIN), "etc/word").read_bytes() == b"1"
    assert os.path.isdir(loser)  # for its maker to remove


def test_what_lost_its_root_is_put_back(trees: Trees, tmp_path: Path) -> None:
    trees.publish(made(tmp_path, "one", b"1"), CHAIN)
    shutil.rmtree(trees.root(CHAIN))
    trees.publish(made(tmp_path, "two", b"2"), CHAIN)
    assert Path(trees.root(CHAIN), "etc/word").read_bytes() == b"2"
    assert [path.name for path in tmp_path.iterdir() if path.name in ("one", "two.aside")] == []


def test_many_publishers_at_once(trees: Trees, tmp_path: Path, store_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from builders.trees import grow
from udocker.model.reference import Digest
from udocker.store.trees import Trees
top, made, number = sys.argv[1:]
made = Path(made) / number
grow(made / "root", {f"dir/{n}": number.encode() for n in range(50)})
go()
Trees(top).publish(str(made), Digest("sha256", "c" * 64))
"""
    ended = race(code, 4, store_path / "trees", tmp_path / "made")
    assert [process.returncode for process in ended] == [0] * 4, ended
    files = list(Path(trees.root(CHAIN), "dir").iterdir())
    assert len(files) == 50
    assert len({path.read_bytes() for path in files}) == 1


def test_other_errors_are_not_taken_for_a_tree_that_is_there(
    trees: Trees, tmp_path: Path, store_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        trees.publish(str(tmp_path / "missing"), CHAIN)
    (store_path / "trees/sha256").chmod(0o500)
    with pytest.raises(PermissionError):
        trees.publish(made(tmp_path, "one", b"1"), CHAIN)
    assert not trees.has(CHAIN)


def test_a_tree_that_lost_its_root_does_not_win(trees: Trees, tmp_path: Path) -> None:
    trees.publish(made(tmp_path, "one", b"1"), CHAIN)
    os.rename(trees.root(CHAIN), tmp_path / "lost")
    grow(Path(trees.path(CHAIN)), {"index.jsonl": b"", "owners": b""})
    trees.publish(made(tmp_path, "two", b"2"), CHAIN)
    assert trees.has(CHAIN)
    assert sorted(os.listdir(tmp_path)) == ["lost", "store"]


def test_one_takes_the_place_of_a_damaged_one(trees: Trees, tmp_path: Path) -> None:
    trees.publish(made(tmp_path, "one", b"1"), CHAIN)
    before = os.stat(trees.root(CHAIN)).st_ino
    trees.replace(made(tmp_path, "two", b"2"), CHAIN)
    assert os.stat(trees.root(CHAIN)).st_ino != before
    assert os.listdir(tmp_path) == ["store"]
    trees.replace(made(tmp_path, "three", b"3"), Digest("sha256", "e" * 64))
    assert len(list(trees.all())) == 2
