"""NVIDIA's programs, files and sockets on the host, below the driver's root."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from udocker.devices.libraries import Finder
    from udocker.devices.places import Root

# nvidia-modprobe is not among them: it has the set-user-id bit.
_PROGRAMS = (
    *("nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nv-fabricmanager"),
    *("nvidia-cuda-mps-control", "nvidia-cuda-mps-server", "nvidia-imex", "nvidia-imex-ctl"),
)
_FOLDERS = (
    *("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/lib/nvidia/current"),
    *("/run/current-system/sw/bin", "/home/kubernetes/bin/nvidia/bin"),
)
_FILES = (
    "/etc/OpenCL/vendors/nvidia*.icd",
    "/etc/vulkan/icd.d/nvidia_icd*.json",
    "/usr/share/vulkan/icd.d/nvidia_icd*.json",
    "/etc/vulkan/implicit_layer.d/nvidia_layers.json",
    "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    "/etc/glvnd/egl_vendor.d/10_nvidia*.json",
    "/usr/share/glvnd/egl_vendor.d/10_nvidia*.json",
    "/usr/share/egl/egl_external_platform.d/*nvidia*.json",
    "/usr/share/nvidia/nvoptix.bin",
    "/usr/share/nvidia/nvidia-application-profiles-*-rc",
    "/etc/nvidia/nvidia-application-profiles-rc*",
    "/etc/cufile.json",
)
_BESIDE = ("xorg/modules/drivers/nvidia_drv.so", "nvidia/nvidia_drv.so")
_SOCKETS = ("/run/nvidia-persistenced/socket", "/run/nvidia-fabricmanager/socket")
_MPS = "/tmp/nvidia-mps"


def programs(root: Root, environ: Mapping[str, str], more: Iterable[str] = ()) -> tuple[str, ...]:
    """The driver's programs. Empty files, that some tools leave behind, are none."""
    own = (path for path in environ.get("PATH", "").split(":") if path.startswith("/"))
    folders = (*more, *_FOLDERS, *own)
    return tuple(filter(None, (_program(root, name, folders) for name in _PROGRAMS)))


def _program(root: Root, name: str, folders: Iterable[str]) -> str:
    for folder in folders:
        real = root.resolve(f"{folder}/{name}")
        if real is None:
            continue
        path = root.host(real)
        if os.access(path, os.X_OK) and os.path.isfile(path) and os.path.getsize(path):
            return path
    return ""


def files(finder: Finder, folders: Iterable[str]) -> tuple[str, ...]:
    """What says that the driver is there, and data. ``folders``: those that have its libraries."""
    beside = (f"{folder}/{name}" for folder in folders for name in _BESIDE)
    return tuple(finder.existing((*_FILES, *beside)))


def sockets(root: Root, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Sockets of services, and the directory of the Multi-Process Service."""
    found = []
    for path in _SOCKETS:
        real = root.resolve(path)
        if real is not None and _is_socket(root.host(real)):
            found.append(root.host(real))
    pipes = environ.get("CUDA_MPS_PIPE_DIRECTORY") or _MPS
    real = root.resolve(pipes) if pipes.startswith("/") else None
    if real is not None and os.path.isdir(root.host(real)):
        found.append(root.host(real))
    return tuple(found)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
