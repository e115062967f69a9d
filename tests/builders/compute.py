"""Real devices that need no GPU, of Debian's packages: PoCL for OpenCL, lavapipe for Vulkan.

Beside them the programs that tell of AMD's GPUs and of fabrics. What the image has itself is left
out; loaders, and programs that use them, are packages to be installed in the image.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from builders.packages import Apt, kept
from udocker import elf

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

# What a site has on its machines, and what an image brings along.
_HOST = (
    *("pocl-opencl-icd", "mesa-vulkan-drivers", "rocminfo", "libfabric-bin", "ucx-utils"),
    "ibverbs-utils",
)
_IMAGE = ("clinfo", "vulkan-tools")
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_TEXTS = ("etc/OpenCL/vendors/pocl.icd", "usr/share/vulkan/icd.d/lvp_icd.x86_64.json")
_PROGRAMS = ("rocminfo", "fi_info", "ucx_info", "ibv_devices")
KIND = "debian.test/tools"


def compute_host(status: str) -> Path:
    """A directory with ``root``, files of a host, and ``debs`` for an image of Debian 12.

    ``status``: that image's /var/lib/dpkg/status. Skips the test where there are no packages.
    """

    def make(top: Path) -> None:
        apt = Apt(top.parent / "apt", "bookworm", "main", status=status)
        own = apt.closure(_IMAGE)
        (top / "debs").mkdir()
        apt.download(own, top / "debs")
        (top / "root").mkdir()
        apt.unpack(sorted({*apt.closure(_HOST)} - {*own}), top / "root")

    return kept("compute-1", make)


def spec_of(root: Path) -> dict[str, Any]:
    """A CDI spec with all of it, as somebody would write it by a list of files."""
    mounts = [_mount(root, f"/{name}") for name in _TEXTS]
    mounts += [_mount(root, f"/usr/bin/{name}") for name in _PROGRAMS]
    mounts.append(_mount(root, "/usr/share/pocl"))
    libraries = {}
    for top in (root / _LIBRARIES[1:], root / _LIBRARIES[5:], root / "usr/lib/libpsm1"):
        for path in sorted(top.rglob("*.so*")):
            real = os.path.realpath(path)
            # Links to another directory, and those by whose names parts of UCX are loaded.
            is_needed = real == str(path) or os.path.dirname(real) != str(top)
            if is_needed and os.path.isfile(real) and elf.shared(real):
                libraries[f"{_LIBRARIES}/{path.relative_to(top)}"] = real
    mounts += [_mount(root, path, real) for path, real in libraries.items()]
    hook = {
        "hookName": "createContainer",
        "path": "/usr/bin/nvidia-cdi-hook",
        "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", _LIBRARIES],
    }
    node = {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/null"}]}}
    return {
        "cdiVersion": "0.6.0",
        "kind": KIND,
        "devices": [node],
        "containerEdits": {"mounts": mounts, "hooks": [hook]},
    }


def _mount(root: Path, path: str, real: str = "") -> dict[str, Any]:
    return {"hostPath": real or f"{root}{path}", "containerPath": path, "options": ["ro", "bind"]}
