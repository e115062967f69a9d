"""prune and fsck as people and scripts see it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from builders.commands import Udocker
from udocker.model.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    return Udocker(tmp_path)


def orphan(udocker: Udocker) -> str:
    """A tree that no image has; its name."""
    record = udocker.add("gone", {"file": b"x" * 100_000}, layer=b"gone")
    udocker.store.images.remove(Reference.parse("gone"))
    time.sleep(1.1)
    return str(record.chain_id)


def test_prune(udocker: Udocker) -> None:
    tree = orphan(udocker)
    told, done, again = udocker("prune", "-n"), udocker("prune"), udocker("prune", "--force")
    assert (told.code, done.code, again.code) == (0, 0, 0)
    assert f"Would remove: tree {tree} (0.1 MB)" in told.out.splitlines()
    assert told.out.splitlines()[-1].startswith("Would free: 0.1 MB (1")
    assert f"Removed: tree {tree} (0.1 MB)" in done.out.splitlines()
    assert done.out.replace("Removed", "Would remove").replace("Freed", "Would free") == told.out
    assert again.out == "Freed: 0.0 MB (0 bytes)\n"
    assert again.err == ""


def test_prune_for_scripts(udocker: Udocker) -> None:
    orphan(udocker)
    told = json.loads(udocker("prune", "--dry-run", "--json").out)
    done = json.loads(udocker("prune", "--json").out)
    assert told["dryRun"] is True
    assert {**told, "dryRun": False} == done
    assert done["bytes"] == sum(each["bytes"] for each in done["removed"]) > 100_000
    assert {each["kind"] for each in done["removed"]} == {"tree", "blob"}


def test_prune_where_nothing_may_be_written(udocker: Udocker) -> None:
    orphan(udocker)
    (udocker.store_path / "blobs/sha256").chmod(0o500)
    (udocker.store_path / "trees/sha256").chmod(0o500)
    ended = udocker("prune")
    for name in ("blobs", "trees"):
        (udocker.store_path / name / "sha256").chmod(0o700)
    assert (ended.code, ended.out) == (125, "")
    message, hint = ended.err.splitlines()
    assert message.startswith("udocker: removing what is not needed: Permission denied")
    assert hint == "  try: choose a store you may write: UDOCKER_DIR or --repo"


@pytest.mark.parametrize("words", [("x",), ("--all",), ("--dry-run=maybe",)])
def test_bad_words(udocker: Udocker, words: tuple[str, ...]) -> None:
    ended = udocker("prune", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("udocker: prune: ")
    assert not os.path.exists(udocker.store_path)


# fsck


def test_fsck_of_a_store_without_damage(udocker: Udocker) -> None:
    ended = udocker("fsck")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "Checked 0 blobs, 0 images, 0 trees, 0 containers: nothing is wrong\n"


def test_fsck_and_repair(udocker: Udocker) -> None:
    record = udocker.add("test", layer=b"layer")  # its tree has no index
    (udocker.store_path / "names").mkdir()
    os.symlink("f" * 32, udocker.store_path / "names/lost")
    ended = udocker("fsck", "--quick")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.splitlines() == [
        f"tree {record.chain_id}: its index is missing",
        "  cure: unpack it again",
        "name lost: its container is gone",
        "  cure: remove it",
        "Checked 3 blobs, 1 image, 1 tree, 0 containers: 2 problems",
    ]
    ended = udocker("fsck", "--repair", "--json")
    assert ended.code == 1
    told = json.loads(ended.out)
    assert [each["repaired"] for each in told["problems"]] == [False, True]
    assert "not repaired: layer " in told["problems"][0]["problem"]
    assert told["left"] == 1
    assert udocker("fsck", "--json").code == 1
    assert udocker("fsck", "--quick").out.endswith("containers: 1 problem\n")


def test_fsck_where_nothing_may_be_read(udocker: Udocker) -> None:
    udocker.add("test")
    (udocker.store_path / "images").chmod(0)
    ended = udocker("fsck")
    (udocker.store_path / "images").chmod(0o700)
    assert (ended.code, ended.out) == (125, "")
    assert ended.err.startswith("udocker: reading the store: Permission denied")


@pytest.mark.parametrize("words", [("x",), ("--fix",)])
def test_bad_words_for_fsck(udocker: Udocker, words: tuple[str, ...]) -> None:
    assert udocker("fsck", *words).code == 2


# df


def test_df(udocker: Udocker) -> None:
    udocker.add("test", {"file": b"x" * 100_000}, layer=b"layer")
    ended = udocker("df")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines()]
    assert lines[0] == ["KIND", "COUNT", "SIZE", "INODES", "BYTES"]
    assert [line[0] for line in lines[1:]] == [
        "blobs",
        "trees",
        "containers",
        "patched",
        "other",
        "total",
        "free",
    ]
    kinds = [int(line[-1]) for line in lines[1:6]]
    assert int(lines[6][-1]) == sum(kinds) > 100_000
    told = json.loads(udocker("df", "--json").out)
    assert told["total"]["bytes"] == sum(kinds)
    assert [image["name"] for image in told["images"]] == ["test:latest"]
    assert "test:latest" in udocker("df", "-v").out


@pytest.mark.parametrize("words", [("x",), ("--all",), ("--json=maybe",)])
def test_bad_words_for_df(udocker: Udocker, words: tuple[str, ...]) -> None:
    ended = udocker("df", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("udocker: df: ")
