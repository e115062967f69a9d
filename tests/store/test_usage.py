"""Sizes, as du(1) has them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from builders.trees import File, Link, Same, grow
from udocker.store.usage import Meter, Usage, measure


def du(*paths: Path) -> int:
    words = ["du", "-sc", "--block-size=1", *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1].split()[0])


def made(path: Path) -> Path:
    table = {
        "a": File(b"x" * 100_000),
        "dir/b": Same("a"),
        "dir/c": Link("nowhere"),
        "dir/inner/d": b"1",
    }
    grow(path, table)
    with open(path / "sparse", "wb") as stream:
        stream.truncate(10_000_000)
    return path


def test_as_du_says(tmp_path: Path) -> None:
    top = made(tmp_path / "top")
    usage = measure(str(top))
    assert usage.bytes == du(top)
    assert 100_000 <= usage.bytes < 1_000_000
    assert usage.entries == 7


def test_what_is_linked_is_counted_once_in_all(tmp_path: Path) -> None:
    top = made(tmp_path / "top")
    os.link(top / "a", tmp_path / "beside")
    meter = Meter()
    both = meter.measure(str(top)) + meter.measure(str(tmp_path / "beside"))
    assert both.bytes == du(top, tmp_path / "beside")
    assert measure(str(tmp_path / "beside")).bytes == du(tmp_path / "beside") >= 100_000


def test_what_is_not_there(tmp_path: Path) -> None:
    assert measure(str(tmp_path / "no")) == Usage(0, 0)
