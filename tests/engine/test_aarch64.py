"""The engine for aarch64: it is built, and what it can do in an emulator it does.

The emulator has no seccomp filters, so no call of a guest is trapped here: the loader maps a
program, and that runs.
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

_TOP = Path(__file__).resolve().parents[2]
_COMPILER = "aarch64-linux-gnu-gcc"
_SYSROOT = "/usr/aarch64-linux-gnu"
# No system call of the program is taken here: it looks for its libraries on the host. Not with
# -L, for then an emulated program has another root directory than its paths.
_LIBRARIES = ("-E", f"LD_LIBRARY_PATH={_SYSROOT}/lib")
_INTERPRETER = "/lib/ld-linux-aarch64.so.1"
_PROGRAM = r"""
#include <stdio.h>
#include <sys/auxv.h>
static int counter = 5;
static int zero[100000];
int main(int count, char **words) {
    int used = 0;
    for (int index = 0; index < 100000; index++) {
        used += zero[index] != 0;
    }
    printf("%d %s %s; %d %d; %lu %lu; %s; %lu\n", count, words[0], words[1], counter, used,
           getauxval(AT_UID), getauxval(AT_GID), (char *)getauxval(AT_EXECFN),
           getauxval(AT_PAGESZ));
    return 7;
}
"""
_MISSING = [word for word in (_COMPILER, "qemu-aarch64") if shutil.which(word) is None]

pytestmark = pytest.mark.skipif(
    bool(_MISSING), reason=f"no {' and no '.join(_MISSING)} here: see tools/check"
)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("aarch64") / "inprocess"
    build = runpy.run_path(str(_TOP / "engines" / "inprocess" / "build_engine.py"))["build"]
    build(str(target), _COMPILER, "aarch64")
    return target


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with one program, in the three forms that compilers give it."""
    folder = tmp_path_factory.mktemp("root")
    source = folder / "program.c"
    source.write_text(_PROGRAM)
    for name, option in (("static", "-static"), ("pie", "-static-pie"), ("dynamic", "-pie")):
        subprocess.run([_COMPILER, option, source, "-o", folder / name], check=True)
    return folder


def emulate(
    engine: Path, *words: str, page: int = 4096, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["qemu-aarch64", *options, "-p", str(page), *_LIBRARIES, str(engine), *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("page", [4096, 16384, 65536])
@pytest.mark.parametrize("name", ["static", "pie", "dynamic"])
def test_programs_are_loaded(
    engine: Path, root: Path, tmp_path: Path, name: str, page: int
) -> None:
    description = tmp_path / "description"
    words = ["root", str(root), "rw", "/lib", f"{_SYSROOT}/lib", ""]
    description.write_text("\0".join(words))
    interpreter = _INTERPRETER if name == "dynamic" else ""
    done = emulate(
        engine,
        *("exec 12 12 34 34 0 0", str(description), f"/{name}", interpreter, "/given"),
        *("first", "second"),
        page=page,
    )
    assert done.stderr == ""
    assert done.stdout == f"2 first second; 5 0; 12 34; /given; {page}\n"
    assert done.returncode == 7


@pytest.mark.parametrize("page", [4096, 65536])
def test_mappings_are_of_whole_pages(engine: Path, root: Path, tmp_path: Path, page: int) -> None:
    description = tmp_path / "description"
    description.write_text(f"root\0{root}\0")
    done = emulate(
        engine,
        *("exec 0 0 0 0 0 0", str(description), "/static", "", "/static", "first", "second"),
        page=page,
        options=("-strace",),  # the emulator itself would forgive others
    )
    assert done.returncode == 7
    placed = re.findall(r"mmap\((0x\w+),.*(?:MAP_FIXED|0x100000)", done.stderr)
    assert len(placed) >= 3
    assert [address for address in placed if int(address, 16) % page != 0] == []


def test_programs_of_another_machine_are_refused(engine: Path, root: Path, tmp_path: Path) -> None:
    program = bytearray((root / "static").read_bytes())
    program[18] = 62  # e_machine: x86_64
    (tmp_path / "other").write_bytes(program)
    description = tmp_path / "description"
    description.write_text(f"root\0{tmp_path}\0")
    done = emulate(engine, "exec 0 0 0 0 0 0", str(description), "/other", "", "/other", "x")
    assert done.returncode == 126
    assert done.stderr == "udocker: cannot load /other: no program for aarch64, and no script\n"
