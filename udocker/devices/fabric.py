"""Fabrics: InfiniBand, Omni-Path, Slingshot, and the libraries that find them.

UCX and libfabric find their parts beside themselves, and libibverbs its providers; the interface
between those is private (``rdmavNN``), so that all must come from one side.
"""

from __future__ import annotations

import fnmatch
import os
import re

from udocker.devices.libraries import Finder
from udocker.devices.places import names, nodes, text
from udocker.model.devices import DeviceSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from udocker.devices.places import Places
    from udocker.model.devices import Library

_NODES = (
    *("infiniband/uverbs*", "infiniband/rdma_cm", "infiniband/umad*", "infiniband/issm*"),
    *("hfi1_[0-9]*", "cxi[0-9]*", "xpmem", "kdreg2"),
)
_NAMES = (
    *("libibverbs.so.1", "librdmacm.so.1", "libmlx5.so.1", "libefa.so.1", "libibumad.so.3"),
    *("libnl-3.so.200", "libnl-route-3.so.200", "libpsm2.so.2", "libcxi.so.1", "libxpmem.so.0"),
    *("libucp.so.0", "libuct.so.0", "libucs.so.0", "libucm.so.0", "libfabric.so.1"),
)
_HELPERS = {"libnl-3.so.200", "libnl-route-3.so.200"}  # other programs have them, too
# Directories beside a library with what it loads itself, and the names of that.
_PARTS = {
    "libibverbs.so.1": ("libibverbs", "lib*-rdmav*.so"),
    "libuct.so.0": ("ucx", "lib*.so.0"),
    "libfabric.so.1": ("libfabric", "*-fi.so"),
}
_FOLDERS = ("/opt/cray/libfabric/*/lib64", "/opt/cray/xpmem/default/lib64", "/opt/mellanox/*/lib")
_FILES = ("/etc/libibverbs.d/*.driver",)
_PROGRAMS = ("/usr/bin/fi_info", "/usr/bin/ucx_info", "/usr/bin/ibv_devices")
_PRIVATE = re.compile(r"-rdmav(\d+)\.so")
_LOCKED = re.compile(r"Max locked memory +(\d+) ")
_ENOUGH = 1 << 30


def discover(places: Places, environ: Mapping[str, str]) -> DeviceSet | None:
    """What is here; None where there is no node and none of the libraries that look for one."""
    there = nodes(_paths(places))
    finder = Finder(places, environ)
    libraries = tuple(dict.fromkeys(_libraries(finder)))  # a part may be a library of its own
    if not there and {each.soname for each in libraries} <= _HELPERS:
        return None
    return DeviceSet(
        vendor="fabric",
        nodes=there,
        libraries=libraries,
        programs=tuple(finder.existing(_PROGRAMS)),
        files=tuple(finder.existing(_FILES)),
        warnings=(*_warnings(places, libraries, bool(there)), *finder.warnings),
    )


def _paths(places: Places) -> Iterator[str]:
    for pattern in _NODES:
        folder, _, name = pattern.rpartition("/")
        there = names(places.dev(folder).rstrip("/"))
        yield from (places.dev(f"{folder}/{n}".lstrip("/")) for n in fnmatch.filter(there, name))


def _libraries(finder: Finder) -> Iterator[Library]:
    folders = [folder for pattern in _FOLDERS for folder in finder.root.glob(pattern)]
    for name in _NAMES:
        found = finder.find(name, "compute", folders)
        if found is None:
            continue
        yield found
        if name in _PARTS:
            folder, pattern = _PARTS[name]
            yield from _parts(finder, found, folder, pattern)


def _parts(finder: Finder, library: Library, folder: str, pattern: str) -> Iterator[Library]:
    beside = f"{os.path.dirname(finder.root.inner(library.path))}/{folder}"
    for path in finder.root.glob(f"{beside}/{pattern}"):
        found = finder.take(path, "compute")
        if found is not None and found.bits != 32:
            yield found


def _warnings(places: Places, libraries: tuple[Library, ...], has_nodes: bool) -> Iterator[str]:
    if not has_nodes:
        yield "libraries of fabrics are here, and no node: they use shared memory and TCP"
        return
    private = {match[1] for each in libraries if (match := _PRIVATE.search(each.path))}
    if len(private) > 1:
        yield f"providers of verbs have several private interfaces: {', '.join(sorted(private))}"
    told = _LOCKED.search(text(f"{places.proc}/self/limits"))
    if told and int(told[1]) < _ENOUGH:
        yield f"only {int(told[1]) >> 10} KiB of memory may be locked: ulimit -l; verbs need more"
