"""A host with the user space of NVIDIA's driver, of Debian's packages; nothing of it is ours.

It is made once, beside the images of the end-to-end tests, and kept. No GPU is needed: the driver
itself says how far it came.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from builders.drivers import DriverHost
from builders.packages import Apt, kept

if TYPE_CHECKING:
    from pathlib import Path

_SUITE, _COMPONENT = "bookworm", "non-free"
_PACKAGES = (
    *("libcuda1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1", "libnvidia-nvvm4"),
    *("libnvidia-cfg1", "nvidia-opencl-icd", "nvidia-opencl-common", "nvidia-smi"),
    *("libnvcuvid1", "libnvidia-encode1"),
)
# Branches of which Debian has a driver: suite, and the packages with libcuda and what it needs.
_OLD = "libnvidia-legacy-390xx"
BRANCHES = {
    "390": ("bullseye", (f"{_OLD}-cuda1", f"{_OLD}-fatbinaryloader")),
    "418": ("bullseye", ("libnvidia-tesla-418-cuda1", "libnvidia-tesla-418-fatbinaryloader")),
    "450": ("bullseye", ("libnvidia-tesla-450-cuda1",)),
    "460": ("bullseye", ("libnvidia-tesla-460-cuda1",)),
    "470": ("bullseye", ("libcuda1",)),
    "535": ("bookworm", ("libcuda1",)),
    "550": ("trixie", ("libcuda1",)),
}
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def driver_host() -> DriverHost:
    """Skips the test where these packages cannot be had."""
    return DriverHost(kept("nvidia-1", _make))


def libcuda(branch: str) -> Path:
    """Its file, of a branch, with what it needs beside it. Skips the test as ``driver_host``."""

    def make(top: Path) -> None:
        for number, (suite, packages) in BRANCHES.items():
            folder = top / number
            folder.mkdir()
            tree = top.parent / f"tree-{number}"
            Apt(top.parent / f"apt-{number}", suite, _COMPONENT).unpack(packages, tree)
            for path in tree.rglob("lib*.so.*"):
                if path.is_file() and not path.is_symlink():
                    shutil.copy(path, folder / path.name)

    found = kept("cuda-branches-1", make) / branch
    return next(found.glob("libcuda.so.*"))


def host_of_both() -> DriverHost:
    """With libraries of 64 bits and of 32, as for games. Skips the test as ``driver_host``."""

    def make(root: Path) -> None:
        for architecture in ("amd64", "i386"):
            apt = Apt(root.parent / architecture, _SUITE, _COMPONENT, architecture=architecture)
            apt.unpack(("libcuda1", "libnvidia-ml1"), root)

    return DriverHost(kept("nvidia-both-1", make))


def _make(root: Path) -> None:
    Apt(root.parent / "apt", _SUITE, _COMPONENT).unpack(_PACKAGES, root)
    _alternatives(DriverHost(root))


def _alternatives(host: DriverHost) -> None:
    """The links and the cache that an installation makes besides."""
    links = {
        f"{_LIBRARIES}/libcuda.so.1": f"{_LIBRARIES}/nvidia/current/libcuda.so.1",
        f"{_LIBRARIES}/libnvidia-ml.so.1": f"{_LIBRARIES}/nvidia/current/libnvidia-ml.so.1",
        "/usr/bin/nvidia-smi": "/usr/lib/nvidia/current/nvidia-smi",
    }
    for name, target in links.items():
        between = f"/etc/alternatives/nvidia--{os.path.basename(name)}"
        host.link(name, between)
        host.link(between, target)
    host.cache(*(name for name in links if name.startswith(_LIBRARIES)))
