"""Which ids of /etc/subuid and /etc/subgid a user has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from udocker.model.run import IdMap
from udocker.ops.ranges import find

if TYPE_CHECKING:
    from pathlib import Path

ANN = host(username="ann", uid=1000, gid=1001)


@pytest.fixture
def programs(tmp_path: Path) -> str:
    for name in ("newuidmap", "newgidmap"):
        place = tmp_path / "bin" / name
        place.parent.mkdir(exist_ok=True)
        place.touch()
        place.chmod(0o755)
    return str(tmp_path / "bin")


def _found(tmp_path: Path, programs: str, uids: str, gids: str = "ann:7:9\n") -> IdMap | str:
    (tmp_path / "subuid").write_text(uids)
    (tmp_path / "subgid").write_text(gids)
    return find(ANN, f"relative::/none:{programs}", str(tmp_path))


@pytest.mark.parametrize(
    ("uids", "rows"),
    [
        ("ann:100000:65536\n", [(1, 100000, 65536)]),
        ("bob:5:5\n\n# ann:1:1\nann:100000:65536", [(1, 100000, 65536)]),
        ("1000:100000:10\nann:200000:5\n", [(1, 100000, 10), (11, 200000, 5)]),
        # As newuidmap would refuse all, or the kernel: what is there twice, or is your own id.
        ("ann:100000:10\nann:100005:10\n", [(1, 100000, 10)]),
        ("ann:900:200\nann:100000:10\n", [(1, 100000, 10)]),
        # What is no range.
        ("ann:x:5\nann:5:\nann:5:-1\nann:5:0\nann::\nann\nann:5:6:7\nann:9:9\n", [(1, 9, 9)]),
        ("ann:4294967290:10\nann:99999999999:1\nann:9:9\n", [(1, 9, 9)]),
        ("ann:\u00b2:5\nann:9:9\n", [(1, 9, 9)]),
    ],
)
def test_rows(tmp_path: Path, programs: str, uids: str, rows: list[tuple[int, int, int]]) -> None:
    found = _found(tmp_path, programs, uids)
    assert found == IdMap(
        ((0, 1000, 1), *rows),
        ((0, 1001, 1), (1, 7, 9)),
        (f"{programs}/newuidmap", f"{programs}/newgidmap"),
    )


def test_no_more_rows_than_the_kernel_takes(tmp_path: Path, programs: str) -> None:
    found = _found(tmp_path, programs, "".join(f"ann:{n}0:5\n" for n in range(200, 900)))
    assert isinstance(found, IdMap)
    assert len(found.uids) == 340


@pytest.mark.parametrize(
    ("uids", "gids", "part"),
    [
        ("", "ann:7:9\n", "/etc/subuid has no ids for ann"),
        ("bob:7:9\n", "ann:7:9\n", "/etc/subuid has no ids for ann"),
        ("ann:7:9\n", "1001:7:9\n", "/etc/subgid has no ids for ann"),
    ],
)
def test_there_are_none(tmp_path: Path, programs: str, uids: str, gids: str, part: str) -> None:
    assert _found(tmp_path, programs, uids, gids) == part


def test_files_that_are_not_there(tmp_path: Path, programs: str) -> None:
    assert find(ANN, programs, str(tmp_path / "none")) == "/etc/subuid has no ids for ann"


def test_programs_that_are_not_there(tmp_path: Path, programs: str) -> None:
    (tmp_path / "bin" / "newgidmap").chmod(0o644)
    found = find(ANN, programs, str(tmp_path))
    assert isinstance(found, str)
    assert found.startswith("newuidmap and newgidmap are not here")
