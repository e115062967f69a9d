"""tools/try says in one line what it lacks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.getuid() == 0, reason="host: nothing stops root")
TRY = Path(__file__).parent.parent / "tools" / "try"


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TRY], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_a_missing_compiler_is_told(tmp_path: Path) -> None:
    result = run(UDOCKER_VENV=str(tmp_path / "venv"), CC="no-such-compiler", TMPDIR=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == (
        "tools/try: missing: a C compiler; an admin can install it: apt install gcc libc6-dev\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    result = run(UDOCKER_VENV="/proc/venv", TMPDIR=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == (
        "tools/try: /proc is not yours to write: name another place in UDOCKER_VENV\n"
    )
    assert list(tmp_path.iterdir()) == []
