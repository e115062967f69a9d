"""Builds the in-process engine; setup.py calls ``build``, by hand: ``build_engine.py FILE``."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile

_NUMBER = re.compile(r"^NUMBER\((\d+), (\w+)\)", re.MULTILINE)
_TRAPPED = re.compile(r"^(?:ONE|TWO|OWN)\((\w+)", re.MULTILINE)
_RARE = ("mmap", "ioctl")
_HERE = os.path.dirname(os.path.abspath(__file__))
_CORE = os.path.join(os.path.dirname(_HERE), "core")
# Machines that the engine is written for, and the files that are theirs alone.
_MACHINES = ("x86_64",)
# No libc, so nothing that calls into one: no stack protector, no memcpy made of a loop. Only
# general registers, since the handler runs in the middle of the guest's own computation.
_FLAGS = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-ffreestanding"),
    *("-fPIE", "-fvisibility=hidden", "-mgeneral-regs-only", "-fno-stack-protector"),
    *("-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-fno-ident"),
    "-fno-tree-loop-distribute-patterns",
)
_LINK = ("-nostdlib", "-static", "-no-pie", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-s")


def is_supported(machine: str | None = None) -> bool:
    """Whether there is an engine for ``machine`` (default: this one)."""
    return (machine or platform.machine()) in _MACHINES


def build(destination: str, compiler: str = "cc") -> None:
    """Compile and link the engine to the file ``destination``.

    ``compiler`` is a command with its options, as $CC holds it. Raises
    subprocess.CalledProcessError, and OSError.
    """
    os.makedirs(os.path.dirname(os.path.abspath(destination)), exist_ok=True)
    words = shlex.split(compiler)
    include = (f"-I{_CORE}", f"-I{_HERE}")
    with tempfile.TemporaryDirectory() as directory:
        objects = []
        for source in sources():
            target = os.path.join(directory, f"{os.path.basename(source)}.o")
            subprocess.run([*words, *_FLAGS, *include, "-c", source, "-o", target], check=True)
            objects.append(target)
        script = f"-Wl,-T,{os.path.join(_HERE, 'inprocess.ld')}"
        subprocess.run([*words, *_LINK, script, *objects, "-o", destination], check=True)
    with open(f"{destination}.numbers", "w", encoding="ascii") as stream:
        stream.write("".join(f"{number}\n" for number in trapped_numbers()))


def trapped_numbers(machine: str | None = None) -> list[int]:
    """The system calls that stop in the engine, and are worth a patched place.

    Not mmap, which stops only where it maps code, and not ioctl, for a few requests.
    """
    with open(os.path.join(_CORE, f"numbers_{machine or platform.machine()}.def")) as stream:
        numbers = {name: int(number) for number, name in _NUMBER.findall(stream.read())}
    trapped = set()
    for table in ("table_common.def", "table_legacy.def"):
        with open(os.path.join(_CORE, table)) as stream:
            trapped.update(_TRAPPED.findall(stream.read()))
    return sorted(numbers[name] for name in trapped if name in numbers and name not in _RARE)


def sources() -> list[str]:
    """Every C file of the engine."""
    found = []
    for folder in (_CORE, _HERE):
        names = sorted(name for name in os.listdir(folder) if name.endswith(".c"))
        found += [os.path.join(folder, name) for name in names]
    return found


if __name__ == "__main__":
    build(sys.argv[1])
