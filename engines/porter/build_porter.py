"""Builds porter; setup.py calls ``build``, by hand: ``build_porter.py FILE [COMPILER]``."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_CORE = os.path.join(os.path.dirname(_HERE), "core")
# As hello.c and the engine: no start-up code, and no libc that a loop could become a call into.
_FLAGS = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-ffreestanding", "-nostdlib"),
    *("-static", "-fno-pie", "-no-pie", "-fno-stack-protector", "-fno-ident"),
    *("-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-s", f"-I{_CORE}"),
)


def build(destination: str, compiler: str = "cc") -> None:
    """Compile and link it to ``destination``. Raises subprocess.CalledProcessError, OSError."""
    os.makedirs(os.path.dirname(os.path.abspath(destination)), exist_ok=True)
    source = os.path.join(_HERE, "porter.c")
    subprocess.run([*shlex.split(compiler), *_FLAGS, source, "-o", destination], check=True)


if __name__ == "__main__":
    build(*sys.argv[1:])
