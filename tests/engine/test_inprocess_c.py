"""The core of the C engines as an ordinary library, driven by tests in C.

``tests/c``: each ``test_*.c`` and ``fuzz_*.c`` is a program of its own. They run with sanitizers
here, and without them as programs of another architecture, in an emulator.
"""

from __future__ import annotations

import os
import platform
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from udocker.engine import union

_TOP = Path(__file__).resolve().parents[2]
_CORE = _TOP / "engines" / "core"
_FRONT = _TOP / "engines" / "inprocess"
_TRACER = _TOP / "engines" / "ptrace"
_TESTS = _TOP / "tests" / "c"
_ENGINE = runpy.run_path(str(_TOP / "engines" / "inprocess" / "build_engine.py"))
_SHARED = ("harness.c", "guests.c", "unions.c")
_OF_THE_TRACER = ("threads.c", "judge.c")
_PROGRAMS = sorted(p.stem for p in _TESTS.glob("*.c") if p.name.startswith(("test_", "fuzz_")))
_FLAGS = ("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wshadow")
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
_NO_CALLS = ("__NR_syscalls", "__NR_arch_specific_syscall")
_SANITIZER_SAYS = "detect_leaks=0"  # it would need ptrace(2)

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="host: the engine runs on x86_64"
)


class _Machine(NamedTuple):
    """How C becomes a program of an architecture, and how that is run."""

    compiler: tuple[str, ...]
    options: tuple[str, ...]
    runner: tuple[str, ...]

    def missing(self) -> list[str]:
        words = (self.compiler[0], *self.runner[:1])
        return [word for word in words if shutil.which(word) is None]


_MACHINES = {
    "x86_64": _Machine(("gcc",), _SANITIZERS, ()),
    "aarch64": _Machine(("aarch64-linux-gnu-gcc",), ("-static",), ("qemu-aarch64",)),
}


class Library(NamedTuple):
    """The core for one machine, what tests share, and the numbers of the kernel's headers."""

    machine: _Machine
    objects: list[Path]
    header: Path

    def run(self, source: Path, folder: Path) -> str:
        """Compile and run a test; what it says."""
        program = folder / source.stem
        _compile(self.machine, [source, *self.objects], program)
        done = subprocess.run(
            [*self.machine.runner, str(program)],
            env={
                **os.environ,
                "TMPDIR": str(folder),
                "ASAN_OPTIONS": _SANITIZER_SAYS,
                "HEADER": str(self.header),
                **({"EMULATED": "yes"} if self.machine.runner else {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def _compile(machine: _Machine, sources: list[Path], target: Path, *more: str) -> None:
    words = [
        *machine.compiler,
        *_FLAGS,
        *machine.options,
        f"-I{_CORE}",
        f"-I{_FRONT}",
        f"-I{_TRACER}",
        f"-I{_TESTS}",
    ]
    done = subprocess.run(
        [*words, *more, *map(str, sources), "-o", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _write_header(machine: _Machine, target: Path) -> None:
    """What ``<asm/unistd.h>`` defines, however it gets there, as numbers."""
    done = subprocess.run(
        [*machine.compiler, "-E", "-dM", "-"],
        input="#include <asm/unistd.h>\n",
        capture_output=True,
        text=True,
        check=True,
    )
    macros = dict(re.findall(r"^#define (\w+) (\S+)$", done.stdout, re.MULTILINE))
    with target.open("w") as stream:
        for name, value in macros.items():
            if name.startswith("__NR_") and name not in _NO_CALLS:
                number = value if value.isdigit() else macros[value]
                stream.write(f"#define {name} {number}\n")


@pytest.fixture(scope="session", params=_MACHINES)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    machine = _MACHINES[request.param]
    if machine.missing():
        pytest.skip(f"no {' and no '.join(machine.missing())} here: see tools/check")
    folder = tmp_path_factory.mktemp("core")
    sources = [Path(p) for p in _ENGINE["sources"](request.param) if Path(p).parent == _CORE]
    objects = []
    sources += [_TRACER / name for name in _OF_THE_TRACER]
    for source in [*sources, *(_TESTS / name for name in _SHARED)]:
        target = folder / f"{source.stem}.o"
        _compile(machine, [source], target, "-c")
        objects.append(target)
    _write_header(machine, folder / "unistd.h")
    return Library(machine, objects, folder / "unistd.h")


_AS_PYTHON_MAKES_IT = """
#include "union_shared.h"
_Static_assert(SHARED_FORMAT == {format}, "format");
_Static_assert(offsetof(struct shared, opaque_count) == 8, "count");
_Static_assert(offsetof(struct shared, is_local) == 56, "local");
_Static_assert(offsetof(struct shared, opaque) == {hashes_at}, "hashes");
_Static_assert(SHARED_OPAQUE == {hashes}, "room for hashes");
_Static_assert(sizeof(struct shared) == {size}, "size");
"""


def test_the_shared_file_is_as_python_makes_it(library: Library, tmp_path: Path) -> None:
    """It begins with numbers of 8 bytes: format, count of hashes, five, and whether it is local."""
    source = tmp_path / "shared.c"
    values = {
        "format": union._FORMAT,
        "hashes_at": union._HASHES_AT,
        "hashes": union._HASHES,
        "size": union._SIZE,
    }
    source.write_text(_AS_PYTHON_MAKES_IT.format(**values))
    _compile(library.machine, [source], tmp_path / "shared.o", "-c")


def test_there_are_programs() -> None:
    assert {"test_path", "test_calls", "fuzz_path"} <= set(_PROGRAMS)


@pytest.mark.parametrize("name", _PROGRAMS)
def test_program(name: str, library: Library, tmp_path: Path) -> None:
    assert " 0 failures" in library.run(_TESTS / f"{name}.c", tmp_path)
