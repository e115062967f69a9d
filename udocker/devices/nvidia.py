"""NVIDIA: the driver of any layout, its GPUs, and what belongs to them."""

from __future__ import annotations

import os

from udocker.devices import nvidia_files, nvidia_gpus, nvidia_libraries, nvidia_others
from udocker.devices.libraries import Finder
from udocker.model.devices import DeviceSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from udocker.devices.places import Places
    from udocker.model.devices import Library


_NAMES = {"libcuda.so": "libcuda.so.1", "libnvidia-opticalflow.so": "libnvidia-opticalflow.so.1"}
_INDIRECT, _GLX = "libGLX_indirect.so.0", "libGLX_nvidia.so.0"
_GBM, _ALLOCATOR = "gbm/nvidia-drm_gbm.so", "libnvidia-allocator.so."


def discover(places: Places, environ: Mapping[str, str]) -> DeviceSet | None:
    """What is here; None where there is no library, no node and no module of NVIDIA's."""
    finder = Finder(places, environ)
    other = nvidia_others.discover(places, finder)
    if other is not None:
        return other
    driver = nvidia_libraries.find(places, finder)
    shared, gpus = nvidia_gpus.shared_nodes(places), nvidia_gpus.gpus(places)
    if not (driver.libraries or driver.module or shared or gpus):
        return None
    told = (
        *driver.warnings,
        *_missing(places, driver.libraries, bool(gpus)),
        *nvidia_gpus.warnings(places, gpus, shared),
    )
    root = finder.root
    folders = dict.fromkeys(
        os.path.dirname(root.inner(each.path)) for each in driver.libraries if each.bits != 32
    )
    return DeviceSet(
        vendor="nvidia",
        version=driver.version,
        gpus=gpus,
        nodes=shared,
        libraries=driver.libraries,
        links=tuple(_links(driver.libraries)),
        programs=nvidia_files.programs(root, environ),
        files=nvidia_files.files(finder, folders),
        sockets=nvidia_files.sockets(root, environ),
        warnings=tuple(dict.fromkeys(told)),
    )


def _missing(places: Places, libraries: Sequence[Library], has_gpus: bool) -> Iterator[str]:
    native = [each.soname for each in libraries if each.bits != 32]
    if has_gpus and not libraries:
        yield "GPUs are here, and no libraries of their driver are found"
    if libraries and not has_gpus:
        yield f"the driver's libraries are here, and no GPU: {places.dev('nvidia0')} is missing"
    if native and "libcuda.so.1" not in native:
        yield "libcuda.so.1 is not among the driver's libraries: no CUDA"


def _links(libraries: Sequence[Library]) -> Iterator[tuple[str, str]]:
    """Names that programs look for, besides those that libraries have themselves."""
    names = {each.soname: os.path.basename(each.path) for each in libraries if each.bits != 32}
    yield from ((name, target) for name, target in _NAMES.items() if target in names)
    if _GLX in names:
        yield _INDIRECT, names[_GLX]
    for name in names.values():
        if name.startswith(_ALLOCATOR):
            yield _GBM, f"../{name}"
