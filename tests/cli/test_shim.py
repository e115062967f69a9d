"""shim: programs called docker that are udocker."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from builders.commands import Udocker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    return Udocker(tmp_path)


def test_it_is_udocker(udocker: Udocker) -> None:
    ended = udocker("shim", env={"PATH": str(udocker.top)})
    made = udocker.home / ".local/bin/docker"
    assert (ended.code, ended.out) == (0, f"{made}\n")
    assert f"{made.parent} is not in PATH" in ended.err
    found = subprocess.run(
        [made, "nothing"], cwd=udocker.top, env={}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert "udocker: unknown command 'nothing'" in found.stderr


def test_another_docker_before_it_is_told(udocker: Udocker) -> None:
    before, after = udocker.top / "before", udocker.top / "after"
    before.mkdir()
    (before / "docker").write_text("#!/bin/sh\n")
    (before / "docker").chmod(0o755)
    env = {"PATH": f"{before}:{after}"}
    ended = udocker("shim", "--dir", str(after), "docker", "podman", env=env)
    assert ended.code == 0
    assert f"docker is still {before}/docker" in ended.err
    assert "podman is still" not in ended.err
    ended = udocker("shim", "--dir", str(after), env={"PATH": str(after)})
    assert (ended.code, ended.err) == (0, "")


def test_what_is_not_ours_stays(udocker: Udocker) -> None:
    (udocker.top / "podman").write_text("mine")
    for words in ((), ("--remove",)):
        ended = udocker("shim", "--dir", ".", "docker", "podman", *words)
        assert ended.code == 125
        assert "podman is there, and was not made by udocker" in ended.err
    assert (udocker.top / "podman").read_text() == "mine"
    assert not (udocker.top / "docker").exists()


def test_they_can_be_removed(udocker: Udocker) -> None:
    assert udocker("shim", "--dir=x", "docker", "podman").code == 0
    ended = udocker("shim", "--dir=x", "--remove", "docker")
    assert (ended.code, ended.out) == (0, f"{udocker.top}/x/docker\n")
    assert [path.name for path in (udocker.top / "x").iterdir()] == ["podman"]
    assert udocker("shim", "--dir=x", "--remove", "docker").out == ""


def test_other_names_have_none(udocker: Udocker) -> None:
    ended = udocker("shim", "nerdctl")
    assert ended.code == 2
    assert "no shim for 'nerdctl'" in ended.err
