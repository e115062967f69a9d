"""NVIDIA where libraries have no version in their names: Windows' Linux (WSL 2), and Jetson.

WSL: /dev/dxg stands for all GPUs, and Windows brings /usr/lib/wsl. Jetson: the processor's own
GPU; files in /etc say what containers get, in lines like ``lib, /usr/lib/…`` (also dev, dir, sym).
"""

from __future__ import annotations

import fnmatch
import os
import re

from udocker.devices import nvidia_libraries
from udocker.devices.places import names, nodes
from udocker.model.devices import DeviceSet, Gpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.devices.libraries import Finder
    from udocker.devices.places import Places
    from udocker.model.devices import Library, Node

_WSL, _DXG = "/usr/lib/wsl", "dxg"
_WSL_LIBRARIES = (
    *("libdxcore.so", "libd3d12.so", "libd3d12core.so", "libcuda.so.1", "libcuda.so.1.1"),
    *("libcuda_loader.so", "libnvidia-ml.so.1", "libnvidia-ml_loader.so", "libnvdxgdmal.so.1"),
    *("libnvidia-ptxjitcompiler.so.1", "libnvidia-encode.so.1", "libnvcuvid.so.1"),
    *("libnvidia-opticalflow.so.1", "libnvidia-ngx.so.1"),
)
_WSL_FILES = ("nvcubins.bin",)
_LISTS = "/etc/nvidia-container-runtime/host-files-for-container.d"
_RELEASE = re.compile(r"# R(\d+) .*?REVISION: (\d+(?:\.\d+)*)")
_RELEASE_FILE = "/etc/nv_tegra_release"


def discover(places: Places, finder: Finder) -> DeviceSet | None:
    """What is here of these; None where it is neither."""
    dxg = nodes([places.dev(_DXG)])
    if dxg:
        return _wsl(finder, dxg)
    lines = [line for name in _lists(finder) for line in _lines(finder, f"{_LISTS}/{name}")]
    return _jetson(places, finder, lines) if lines else None


def _wsl(finder: Finder, dxg: tuple[Node, ...]) -> DeviceSet | None:
    """None where the GPU of Windows is not NVIDIA's."""
    root = finder.root
    folders = [f"{_WSL}/lib", *root.glob(f"{_WSL}/drivers/*")]
    libraries = tuple(_named(finder, folders, _WSL_LIBRARIES))
    if not any(each.soname.startswith("libcuda.so") for each in libraries):
        return None
    paths = [f"{folder}/{name}" for name in _WSL_FILES for folder in folders]
    programs = [f"{folder}/nvidia-smi" for folder in folders]
    return DeviceSet(
        vendor="nvidia",
        gpus=(Gpu(0, dxg, name="all GPUs of Windows"),),
        libraries=libraries,
        links=(("libcuda.so", "libcuda.so.1"),),
        programs=tuple(_files(finder, programs))[:1],
        files=tuple(_files(finder, paths))[:1],
        warnings=tuple(finder.warnings),
    )


def _named(finder: Finder, folders: Iterable[str], wanted: Iterable[str]) -> Iterator[Library]:
    """Of each name the first; two names may lead to one file."""
    seen = set()
    for name in wanted:
        kind = nvidia_libraries.feature(name)
        here = (finder.take(f"{folder}/{name}", kind) for folder in folders)
        found = next(filter(None, here), None)
        if found is not None and found.path not in seen:
            seen.add(found.path)
            yield found


def _lists(finder: Finder) -> list[str]:
    return [name for name in finder.root.names(_LISTS) if name.endswith(".csv")]


def _lines(finder: Finder, path: str) -> Iterator[tuple[str, str]]:
    """Kind and path of each line."""
    for line in finder.root.read(path).splitlines():
        kind, _, named = line.partition(",")
        if named.strip().startswith("/"):
            yield kind.strip(), named.strip()


def _jetson(places: Places, finder: Finder, lines: list[tuple[str, str]]) -> DeviceSet | None:
    by_kind: dict[str, list[str]] = {"lib": [], "dev": [], "dir": [], "sym": []}
    for kind, path in lines:
        by_kind.get(kind, []).append(path)
    found = {}
    for pattern in by_kind["lib"]:
        for path in finder.root.glob(pattern):
            library = finder.take(path, nvidia_libraries.feature(os.path.basename(path)))
            if library is not None:
                found[library.path] = library
    there = nodes(_devices(places, by_kind["dev"]))
    if not found and not there:
        return None
    told = _RELEASE.search(finder.root.read(_RELEASE_FILE))
    links = [(os.path.basename(path), _target(finder, path)) for path in by_kind["sym"]]
    return DeviceSet(
        vendor="nvidia",
        version=f"{told[1]}.{told[2]}" if told else "",
        gpus=(Gpu(0, there, name="Tegra"),) if there else (),
        libraries=tuple(found.values()),
        links=tuple(link for link in links if link[1]),
        files=tuple(_files(finder, by_kind["dir"])),
        warnings=tuple(finder.warnings),
    )


def _devices(places: Places, patterns: Iterable[str]) -> Iterator[str]:
    """Nodes by names that may be patterns; directories of them are gone through."""
    for pattern in patterns:
        folder, _, name = f"{places.device.rstrip('/')}{pattern}".rpartition("/")
        for path in (f"{folder}/{each}" for each in fnmatch.filter(names(folder), name)):
            inner = names(path) if os.path.isdir(path) else ()
            yield from (f"{path}/{each}" for each in inner)
            yield path


def _target(finder: Finder, path: str) -> str:
    """The name that a link leads to; "" where there is no link."""
    folder = finder.root.resolve(os.path.dirname(path))
    try:
        return os.path.basename(os.readlink(finder.root.host(f"{folder}/{os.path.basename(path)}")))
    except OSError:
        return ""


def _files(finder: Finder, paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        real = finder.root.resolve(path)
        if real is not None:
            yield finder.root.host(real)
