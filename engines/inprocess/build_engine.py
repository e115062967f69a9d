"""Builds the in-process engine; setup.py calls ``build``, by hand: ``build_engine.py FILE
[COMPILER [MACHINE]]``."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from typing import NamedTuple

_NUMBER = re.compile(r"^NUMBER\((\d+), (\w+)\)", re.MULTILINE)
_TRAPPED = re.compile(r"^(?:ONE|TWO|DESCRIPTOR|OWN)\((\w+)", re.MULTILINE)
_RARE = ("ioctl",)
_HERE = os.path.dirname(os.path.abspath(__file__))
_CORE = os.path.join(os.path.dirname(_HERE), "core")
_TRACER = os.path.join(os.path.dirname(_HERE), "ptrace")
# No libc, so nothing that calls into one: no stack protector, no memcpy made of a loop. Only
# general registers, since the handler runs in the middle of the guest's own computation.
_FLAGS = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-ffreestanding"),
    *("-fPIE", "-fvisibility=hidden", "-mgeneral-regs-only", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-ident", "-fno-tree-loop-distribute-patterns"),
    "-fdata-sections",  # inprocess.ld puts some beside each other
)
_LINK = ("-nostdlib", "-static", "-no-pie", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-s")


class _Machine(NamedTuple):
    """What is one machine's alone, besides the files that end in its name."""

    address: int  # where the engine lies: in every address space of that machine
    largest_page: int
    flags: tuple[str, ...]
    tables: tuple[str, ...]


_MACHINES = {
    # Outside of the shadows of sanitizers, below where Linux puts position-independent programs.
    "x86_64": _Machine(
        address=0x550000000000,
        largest_page=0x1000,
        flags=("-fcf-protection=none",),
        tables=("table_common.def", "table_legacy.def"),
    ),
    # Some of its kernels have addresses of 39 bits only, some have pages of 64 KiB. Atomics that
    # are not in line would be functions of libgcc.
    "aarch64": _Machine(
        address=0x3000000000,
        largest_page=0x10000,
        flags=("-mbranch-protection=none", "-mno-outline-atomics"),
        tables=("table_common.def",),
    ),
}
# Those on which it has been run, and not only built.
_SUPPORTED = ("x86_64",)


def is_supported(machine: str | None = None) -> bool:
    """Whether the engine is known to run on ``machine`` (default: this one)."""
    return (machine or platform.machine()) in _SUPPORTED


def build(destination: str, compiler: str = "cc", machine: str | None = None) -> None:
    """Compile and link the engine for ``machine`` (default: this one) to ``destination``.

    ``compiler`` is a command with its options, as $CC holds it. Raises
    subprocess.CalledProcessError, OSError, and KeyError for a machine it is not written for.
    """
    machine = machine or platform.machine()
    its = _MACHINES[machine]
    os.makedirs(os.path.dirname(os.path.abspath(destination)), exist_ok=True)
    words = shlex.split(compiler)
    compile_ = [*words, *_FLAGS, *its.flags, f"-I{_CORE}", f"-I{_HERE}", f"-I{_TRACER}", "-c"]
    with tempfile.TemporaryDirectory() as directory:
        objects = []
        for source in sources(machine):
            target = os.path.join(directory, f"{os.path.basename(source)}.o")
            subprocess.run([*compile_, source, "-o", target], check=True)
            objects.append(target)
        layout = (
            f"-Wl,-T,{os.path.join(_HERE, 'inprocess.ld')}",
            f"-Wl,--defsym=engine_address={its.address:#x}",
            f"-Wl,-z,max-page-size={its.largest_page:#x}",
        )
        subprocess.run([*words, *_LINK, *layout, *objects, "-o", destination], check=True)
    with open(f"{destination}.numbers", "w", encoding="ascii") as stream:
        stream.write("".join(f"{number}\n" for number in trapped_numbers(machine)))


def trapped_numbers(machine: str | None = None) -> list[int]:
    """The system calls that stop in the engine, and are worth a patched place.

    Not ioctl: few of its requests stop.
    """
    machine = machine or platform.machine()
    with open(os.path.join(_CORE, f"numbers_{machine}.def")) as stream:
        numbers = {name: int(number) for number, name in _NUMBER.findall(stream.read())}
    trapped = set()
    for table in _MACHINES[machine].tables:
        with open(os.path.join(_CORE, table)) as stream:
            trapped.update(_TRAPPED.findall(stream.read()))
    return sorted(numbers[name] for name in trapped if name in numbers and name not in _RARE)


def sources(machine: str | None = None) -> list[str]:
    """Every C file of the engine that is meant for ``machine``."""
    others = tuple(f"_{other}.c" for other in _MACHINES if other != (machine or platform.machine()))
    found = []
    for folder in (_CORE, _HERE, _TRACER):
        names = sorted(n for n in os.listdir(folder) if n.endswith(".c") and not n.endswith(others))
        found += [os.path.join(folder, name) for name in names]
    return found


if __name__ == "__main__":
    build(*sys.argv[1:])
