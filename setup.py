"""Builds the compiled parts: the extension module and the image that comes with udocker.

Manual pages are made, too, of the same tables as ``--help``.
"""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

from setuptools import setup
from setuptools.command.build_ext import build_ext


def compiler() -> str:
    """The C compiler and its options, as $CC holds them. SystemExit if none builds for Python."""
    given = os.environ.get("CC")
    choice = (given,) if given else (sysconfig.get_config_var("CC") or "cc", "cc", "gcc")
    words = next((w for w in choice if shutil.which(shlex.split(w)[0])), None)
    if words is None or not _compiles(words, "#include <stdio.h>"):
        raise SystemExit(
            "udocker needs a C compiler: install gcc (Debian: apt install gcc libc6-dev;"
            " Red Hat: dnf install gcc), or name one in CC"
        )
    if not _compiles(words, "#include <Python.h>"):
        raise SystemExit(
            f"udocker needs Python.h for {sys.executable}: install the headers of this Python"
            " (Debian: apt install python3-dev; Red Hat: dnf install python3-devel)"
        )
    return words


def _compiles(words: str, line: str) -> bool:
    headers = sysconfig.get_paths()
    with tempfile.TemporaryDirectory() as directory:
        command = [*shlex.split(words), f"-I{headers['include']}", f"-I{headers['platinclude']}"]
        command += ["-x", "c", "-", "-c", "-o", os.path.join(directory, "probe.o")]
        try:
            subprocess.run(command, input=f"{line}\n".encode(), capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


class BuildCompiled(build_ext):
    """build_ext, and beside the extension module what else the package brings along."""

    def run(self) -> None:
        super().run()
        package = "udocker" if self.inplace else os.path.join(self.build_lib, "udocker")
        data = os.path.join(package, "data")
        # What is there may be of another machine: a build in place, copied as package data.
        shutil.rmtree(data, ignore_errors=True)
        hello = runpy.run_path(os.path.join("engines", "hello", "build_hello.py"))
        hello["build"](os.path.join(data, "hello"), os.environ["CC"])
        engine = runpy.run_path(os.path.join("engines", "inprocess", "build_engine.py"))
        if engine["is_supported"]():
            engine["build"](os.path.join(data, "engine", "inprocess"), os.environ["CC"])
            porter = runpy.run_path(os.path.join("engines", "porter", "build_porter.py"))
            porter["build"](os.path.join(data, "engine", "porter"), os.environ["CC"])
        if not self.inplace:
            self.distribution.data_files = [("share/man/man1", manual_pages(self.build_temp))]


def manual_pages(directory: str) -> list[str]:
    """The manual pages, written below ``directory``."""
    target = os.path.join(directory, "man1")
    words = [sys.executable, "-m", "option_tables", "--man", target]
    path = os.pathsep.join(("tools", ".", *filter(None, [os.environ.get("PYTHONPATH")])))
    more = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(words, env={**os.environ, **more}, check=True)
    return sorted(os.path.join(target, name) for name in os.listdir(target))


os.environ["CC"] = compiler()  # what was tried is what setuptools takes
setup(
    cffi_modules="engines/native/build_native.py:FFIBUILDER",
    cmdclass={"build_ext": BuildCompiled},
)
