"""Limits: a control group where one is delegated, else what a process can do for itself."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from udocker.ops import resources
from udocker.ops.resources import join


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """As the kernel shows control groups, in plain files."""
    made = tmp_path / "cgroup"
    own = made / "user.slice" / "mine"
    own.mkdir(parents=True)
    for folder in (made, made / "user.slice", own):
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (folder / "cgroup.procs").write_text("")
        (folder / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (tmp_path / "own").write_text("1:name=systemd:/\n0::/user.slice/mine\n")
    return made


WANTED = {"memory.max": "1000", "pids.max": "5"}


def test_a_group_beside_ones_own(top: Path) -> None:
    left = top / "user.slice" / "udocker-of-before"
    left.mkdir()
    assert join(WANTED, str(top), str(top.parent / "own")) == ""
    made = top / "user.slice" / f"udocker-{os.getpid()}"
    assert {path.name: path.read_text() for path in made.iterdir()} == {
        **WANTED,
        "cgroup.procs": str(os.getpid()),
    }
    assert not left.exists()


def test_below_ones_own_where_the_parent_gives_no_controllers(top: Path) -> None:
    (top / "user.slice" / "cgroup.subtree_control").write_text("cpu\n")
    assert join(WANTED, str(top), str(top.parent / "own")) == ""
    assert (top / "user.slice" / "mine" / f"udocker-{os.getpid()}").is_dir()


def test_why_there_is_none(top: Path) -> None:
    own = top.parent / "own"
    for folder in (top / "user.slice", top / "user.slice" / "mine"):
        (folder / "cgroup.subtree_control").write_text("")
    assert join(WANTED, str(top), str(own)) == "no control group is delegated to you here"
    own.write_text("1:memory:/x\n")
    told = "this host has no control groups of version 2"
    assert join(WANTED, str(top), str(own)) == told
    own.write_text("0::/../../etc\n")
    assert join(WANTED, str(top), str(own)) == told
    (top / "cgroup.controllers").unlink()
    assert join(WANTED, str(top), str(own)) == told


def test_what_cannot_be_written_leaves_nothing(top: Path) -> None:
    own = str(top.parent / "own")
    (top / "user.slice" / f"udocker-{os.getpid()}" / "x").mkdir(parents=True)
    assert "cannot be used" in join(WANTED, str(top), own)


def test_cpus_without_a_group() -> None:
    here = tuple(sorted(os.sched_getaffinity(0)))
    assert resources._some((), len(here) + 1.0) == ()
    assert len(resources._some((), 0.5)) == (1 if len(here) > 1 else 0)
    assert resources._some((3, 4, 5), 1.5) in ((3, 4), (4, 5), (3, 5))


def test_more_than_the_hard_limit_is_told() -> None:
    told: list[str] = []
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() == 0 or most == resource.RLIM_INFINITY:
        assert resources._rlimit("nofile", most + 1, most + 1, told.append) == (
            7,
            most + 1,
            most + 1,
        )
        return
    assert resources._rlimit("nofile", most + 1, most + 1, told.append) == (7, most, most)
    assert told == [f"--ulimit nofile: you may have {most} here, and no more"]
    assert resources._rlimit("nofile", 5, most + 1, told.append) == (7, 5, most)
    assert resources._rlimit("nofile", 5, 6, told.append) == (7, 5, 6)
    assert len(told) == 1
