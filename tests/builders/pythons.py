"""Images with Python of several releases of Debian, and NVIDIA's packages of PyPI for it."""

from __future__ import annotations

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


def python_tar(release: str) -> Path:
    """A tar for ``udocker import``: Python and what it needs, unpacked, nothing set up."""

    def make(top: Path) -> None:
        apt = Apt(top.parent / "apt", SUITES[release][0], "main")
        tree = top.parent / "tree"
        apt.unpack(apt.closure(("base-files", "dash", "libc-bin", "libstdc++6", "python3")), tree)
        subprocess.run(["tar", "-C", tree, "-cf", top / "image.tar", "."], check=True)

    return kept(f"python-{release}-1", make) / "image.tar"


def nvidia_packages(release: str) -> Path:
    """A directory for PYTHONPATH. Skips the test where PyPI cannot be had."""

    def make(top: Path) -> None:
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        chosen = ["--only-binary=:all:", f"--python-version={PYTHONS[release]}", f"--target={top}"]
        done = subprocess.run([*words, *chosen, *_PACKAGES], timeout=300, check=False)
        if done.returncode != 0:
            pytest.skip(f"host: {', '.join(_PACKAGES)} of PyPI cannot be had here")

    return kept(f"python-{release}-nvidia-1", make)
