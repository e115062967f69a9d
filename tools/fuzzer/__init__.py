"""Targets of libFuzzer for the core of the C engines: tests/c/fuzz, and what was found for them.

The corpus is kept as text, tests/c/corpus/TARGET.hex: a line of hexadecimal bytes for each input.
TARGET.found.hex has those that were added by hand.
"""

from __future__ import annotations

import hashlib
import re
import runpy
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
_C = TOP / "tests" / "c"
_ENGINES = TOP / "engines"
_FLAGS = (
    *("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wshadow"),
    *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"),
)
_INCLUDED = re.compile(r'^#include "(\w+\.c)"', re.MULTILINE)
_LONGEST = {"path": 4600, "guest": 9000}  # of paths longer than the kernel takes
_LONGEST_OF_OTHERS = 1000
_LONGEST_KEPT = 2000
TARGETS = tuple(sorted(path.stem for path in (_C / "fuzz").glob("*.c")))


class CrashError(Exception):
    """A target failed. The input it failed on, and what it said."""

    def __init__(self, found: bytes, said: str) -> None:
        super().__init__(f"{said}\ninput: {found.hex()}")


def build(target: str, program: Path, objects: Path) -> None:
    """Compile a target to ``program``, with the core in the folder ``objects``, made if need be.

    Raises subprocess.CalledProcessError.
    """
    source = _C / "fuzz" / f"{target}.c"
    every = runpy.run_path(str(_ENGINES / "inprocess" / "build_engine.py"))["sources"]()
    shared = [path for path in map(Path, every) if path.parent.name == "core"]
    shared += [_C / name for name in ("harness.c", "guests.c", "unions.c")]
    if not objects.exists():
        objects.mkdir()
        _compile(*shared, "-c", folder=objects)
    included = _INCLUDED.findall(source.read_text())
    rest = [objects / f"{path.stem}.o" for path in shared if path.name not in included]
    _compile(source, *rest, "-o", program, folder=objects)


def _compile(*words: str | Path, folder: Path) -> None:
    """Run the compiler in ``folder``."""
    folders = (_ENGINES / "core", _ENGINES / "inprocess", _C, _C / "fuzz")
    command = ["clang", *_FLAGS, *(f"-I{each}" for each in folders), *map(str, words)]
    subprocess.run(command, cwd=folder, check=True)


def _longest(target: str) -> int:
    return _LONGEST.get(target, _LONGEST_OF_OTHERS)


def _corpus(target: str) -> Path:
    return _C / "corpus" / f"{target}.hex"


def _found(target: str) -> Path:
    """What was wrong once, or is meant to be tried: it stays, whatever else reaches the same."""
    return _C / "corpus" / f"{target}.found.hex"


def unpack(target: str, folder: Path) -> int:
    """Write each input that is kept to a file of ``folder``; how many there are."""
    folder.mkdir()
    kept = [path for path in (_corpus(target), _found(target)) if path.exists()]
    lines = [line for path in kept for line in path.read_text().splitlines()]
    for number, line in enumerate(lines):
        (folder / f"{number:04}").write_bytes(bytes.fromhex(line))
    return len(lines)


def run(program: Path, folder: Path, *options: str, more: tuple[Path, ...] = ()) -> str:
    """Run the target ``program`` on the inputs of ``folder``, and on what it makes of them.

    Gives what it says. New inputs that matter come into ``folder``, also those of the folders
    ``more``. Raises CrashError.
    """
    crash = folder.parent / "crash"
    words = [
        str(program),
        f"-exact_artifact_path={crash}",
        f"-max_len={_longest(program.name)}",
        *options,
    ]
    done = subprocess.run(
        [*words, str(folder), *map(str, more)],
        cwd=folder.parent,
        env={"TMPDIR": str(folder.parent), "ASAN_OPTIONS": "detect_leaks=0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise CrashError(crash.read_bytes() if crash.exists() else b"", said)
    return said


def keep(target: str, program: Path, folder: Path) -> int:
    """Make the smallest corpus that reaches what the inputs of ``folder`` do; its size."""
    smallest = folder.parent / "smallest"
    smallest.mkdir()
    options = ("-merge=1", "-use_counters=0", f"-max_len={_LONGEST_KEPT}")
    run(program, smallest, *options, more=(folder,))
    inputs = {hashlib.sha256(data).digest(): data for data in _contents(smallest)}
    ordered = sorted(inputs.values(), key=lambda data: (len(data), data))
    _corpus(target).parent.mkdir(exist_ok=True)
    _corpus(target).write_text("".join(f"{data.hex()}\n" for data in ordered))
    return len(ordered)


def _contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]
