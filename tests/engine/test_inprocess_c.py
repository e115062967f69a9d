"""The core of the C engines as an ordinary library, with sanitizers, driven by tests in C.

``tests/c``: each ``test_*.c`` and ``fuzz_*.c`` is a program of its own.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

_TOP = Path(__file__).resolve().parents[2]
_CORE = _TOP / "engines" / "core"
_TESTS = _TOP / "tests" / "c"
_SHARED = ("harness.c", "guests.c")
_PROGRAMS = sorted(p.stem for p in _TESTS.glob("*.c") if p.name.startswith(("test_", "fuzz_")))
_FLAGS = (
    *("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wshadow"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
)
_SANITIZER_SAYS = "detect_leaks=0"  # it would need ptrace(2)

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="host: the engine is written for x86_64"
)


def _compile(sources: list[Path], target: Path, *more: str) -> None:
    compiler = shutil.which("cc") or "gcc"
    words = [compiler, *_FLAGS, f"-I{_CORE}", f"-I{_TESTS}", *more, *map(str, sources)]
    done = subprocess.run([*words, "-o", str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The object files of the core and of what the tests share."""
    folder = tmp_path_factory.mktemp("core")
    objects = []
    for source in [*sorted(_CORE.glob("*.c")), *(_TESTS / name for name in _SHARED)]:
        target = folder / f"{source.stem}.o"
        _compile([source], target, "-c")
        objects.append(target)
    return objects


def test_there_are_programs() -> None:
    assert {"test_path", "test_calls", "fuzz_path"} <= set(_PROGRAMS)


@pytest.mark.parametrize("name", _PROGRAMS)
def test_program(name: str, library: list[Path], tmp_path: Path) -> None:
    program = tmp_path / name
    _compile([_TESTS / f"{name}.c", *library], program)
    done = subprocess.run(
        [str(program)],
        env={**os.environ, "TMPDIR": str(tmp_path), "ASAN_OPTIONS": _SANITIZER_SAYS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " 0 failures" in done.stdout
