"""A preload that makes the system calls of a command fail, be slow, or lie: programs/faults.c."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    """The preload of programs/faults.c."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed to build udocker"
    library = tmp_path / "faults.so"
    source = Path(__file__).parent / "programs" / "faults.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library
