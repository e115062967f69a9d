"""Images with Python of several releases of Debian, and NVIDIA's packages of PyPI for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from builders.packages import Apt, kept

if TYPE_CHECKING:
    from pathlib import Path

# Releases, and the version of Python that each has. 12 is the image of the other tests.
SUITES = {"11": ("bullseye", "3.9"), "13": ("trixie", "3.13")}
PYTHONS = {"12": "3.11", **{name: python for name, (_, python) in SUITES.items()}}
_PACKAGES = ("nvidia-ml-py", "cuda-bindings", "cuda-pathfinder")
# With what programs of the host may need.
_IN_IMAGE = ("base-files", "dash", "libc-bin", "libstdc++6", "libatomic1", "python3")
_OF_32_BITS = (
    *("libc6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8"),
    *("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
)


def python_tar(release: str) -> Path:
    """A tar for ``udocker import``: Python and what it needs, unpacked, nothing set up."""

    def make(top: Path) -> None:
        apt = Apt(top.parent / "apt", SUITES[release][0], "main")
        tree = top.parent / "tree"
        apt.unpack(apt.closure(_IN_IMAGE), tree)
        subprocess.run(["tar", "-C", tree, "-cf", top / "image.tar", "."], check=True)

    return kept(f"python-{release}-2", make) / "image.tar"


def nvidia_packages(release: str) -> Path:
    """A directory for PYTHONPATH. Skips the test where PyPI cannot be had."""

    def make(top: Path) -> None:
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        chosen = ["--only-binary=:all:", f"--python-version={PYTHONS[release]}", f"--target={top}"]
        done = subprocess.run([*words, *chosen, *_PACKAGES], timeout=300, check=False)
        if done.returncode != 0:
            pytest.skip(f"host: {', '.join(_PACKAGES)} of PyPI cannot be had here")

    return kept(f"python-{release}-nvidia-1", make)


def python_of_32_bits() -> Path:
    """Files that make a Python of 32 bits of the one that an image of Debian 12 has."""

    def make(top: Path) -> None:
        apt = Apt(top.parent / "apt", "bookworm", "main", architecture="i386")
        tree = top.parent / "tree"
        apt.unpack(_OF_32_BITS, tree)
        # As in an image whose /lib leads to /usr/lib.
        shutil.copytree(tree / "lib", tree / "usr/lib", symlinks=True, dirs_exist_ok=True)
        os.rename(tree / "usr", top / "usr")

    return kept("python-32-1", make)
