"""A host with the user space of NVIDIA's driver, of Debian's packages; nothing of it is ours.

It is made once, beside the images of the end-to-end tests, and kept. No GPU is needed: the driver
itself says how far it came.
"""

from __future__ import annotations

import os
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
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def driver_host() -> DriverHost:
    """Skips the test where these packages cannot be had."""
    return DriverHost(kept("nvidia-1", _make))


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
