"""What it takes to run PRoot inside a container."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from test_elf import program as elf
from udocker import host
from udocker.elf import HEAD, read
from udocker.errors import EngineUnavailable
from udocker.model.run import Tracer
from udocker.ops.tracer import tracer

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = os.path.realpath(sys.executable)


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "proot-5"
    path.write_bytes(elf(interpreter=None))
    assert tracer(str(path)) == Tracer("proot", files=(("proot", str(path)),))


def test_a_dynamic_program_runs_with_nothing_but_its_files(tmp_path: Path) -> None:
    """A link to each of them, in one directory, is all that it is started with."""
    found = tracer(PYTHON)
    assert found.files[0] == ("proot", PYTHON)
    assert found.loader == "loader"
    for name, path in found.files:
        (tmp_path / name).symlink_to(path)
    names = {name for name, _ in found.files}
    assert len(names) == len(found.files) > 3
    loader = [str(tmp_path / found.loader), "--library-path", str(tmp_path), "--inhibit-cache"]
    words = [
        *loader,
        str(tmp_path / found.program),
        "-I",
        "-c",
        "print(open('/proc/self/maps').read())",
    ]
    maps = subprocess.run(words, env={}, capture_output=True, text=True, check=True).stdout
    mapped = {line.split()[5] for line in maps.splitlines() if ".so" in line and "/lib" in line}
    given = {os.path.realpath(path) for _, path in found.files}
    assert mapped
    assert {path for path in mapped if "/python3" not in path} <= given


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!/bin/sh\n", "is no program that can be taken into a container"),
        (b"", "is no program that can be taken into a container"),
        (elf(interpreter=b"/no/such/loader\0"), "/no/such/loader does not find all of its lib"),
        (elf(interpreter=b"/bin/false\0"), "/bin/false does not find all of its libraries"),
    ],
)
def test_what_cannot_be_taken_along(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "proot"
    path.write_bytes(content)
    with pytest.raises(EngineUnavailable, match=message) as caught:
        tracer(str(path))
    assert caught.value.hint is not None
    assert "UDOCKER_USE_PROOT_EXECUTABLE" in caught.value.hint


def test_a_program_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"cannot read .*: No such file"):
        tracer(str(tmp_path / "proot"))


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("\tlinux-vdso.so.1 (0x7f)", ()),
        ("\tlibx.so.2 => /lib/libx.so.2 (0x7f)", (("libx.so.2", "/lib/libx.so.2"),)),
        ("\tlibx.so.2 => /a b/(x) (0x7f)", (("libx.so.2", "/a b/(x)"),)),
        ("\tlibx.so.2 => not found", None),
        ("\tlibx.so.2 => /lib/x (0x7f)\n\tliby.so.2 => not found", None),
    ],
)
def test_what_a_loader_tells(
    tmp_path: Path, told: str, found: tuple[tuple[str, str], ...] | None
) -> None:
    loader = tmp_path / "loader"
    loader.write_text(f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
    loader.chmod(0o755)
    assert host.libraries("/bin/prog", str(loader)) == found


def test_libraries_of_this_python() -> None:
    with open(PYTHON, "rb") as stream:
        own = read(stream.read(HEAD))
    assert own is not None
    libraries = host.libraries(PYTHON, own.interpreter)
    assert libraries is not None
    assert "libc.so.6" in dict(libraries)
