"""What shells are given to choose from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builders.commands import Udocker
from builders.processes import SOURCE
from builders.trees import File

BASH = shutil.which("bash")


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    made = Udocker(tmp_path)
    made.add("test:1", {"file": File(b"x")})
    assert made("create", "--name=box", "--pull=never", "test:1").code == 0
    return made


def test_words(udocker: Udocker) -> None:
    def words(*before: str) -> list[str]:
        ended = udocker("completion", "words", "--", *before)
        assert (ended.code, ended.err) == (0, "")
        return ended.out.splitlines()

    assert {"run", "ps", "volume", "--repo"} <= set(words())
    assert {"box", "test:1", "--execmode", "--mount"} <= set(words("run"))
    assert words("run", "-it", "test:1") == []  # what follows is the command's own
    assert "N1" in words("run", "--execmode")
    assert words("run", "--pull") == ["always", "missing", "never", "reuse"]
    assert words("run", "--name") == []
    assert words("-q", "--config", "x", "rm")[:1] == ["box"]
    assert "prune" in words("image")
    assert "test:1" in words("image", "rm")
    assert words("nothing") == []
    assert "--hidden" not in words("ps")


@pytest.mark.skipif(BASH is None, reason="bash is missing: apt install bash")
def test_bash_takes_them(udocker: Udocker, tmp_path: Path) -> None:
    program = tmp_path / "udocker"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m udocker "$@"\n')
    program.chmod(0o755)
    script = """
        source <(udocker completion bash)
        COMP_WORDS=(udocker rm bo); COMP_CWORD=2; _udocker; echo "${COMPREPLY[*]}"
        COMP_WORDS=(udocker run --exec); COMP_CWORD=2; _udocker; echo "${COMPREPLY[*]}"
        COMP_WORDS=(udocker vol); COMP_CWORD=1; _udocker; echo "${COMPREPLY[*]}"
    """
    environ = {**udocker.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [str(BASH), "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["box", "--execmode", "volume", ""]


def test_shells(udocker: Udocker) -> None:
    for shell in ("zsh", "fish"):
        ended = udocker("completion", shell)
        assert ended.code == 0
        assert "udocker completion words --" in ended.out
    ended = udocker("completion", "csh")
    assert ended.code == 2
    assert "one of bash, zsh, fish" in ended.err
