"""Intel's GPUs by their render nodes, and Gaudi accelerators by /dev/accel."""

from __future__ import annotations

import os

from udocker.devices import drm
from udocker.devices.libraries import Finder
from udocker.devices.places import names, nodes, number, text
from udocker.model.devices import DeviceSet, Gpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from udocker.devices.places import Places
    from udocker.model.devices import Library, Node

_HABANA = "0x1da3"
_LIBRARIES = {
    "compute": "libze_intel_gpu.so.1 libigc.so.2 libigc.so.1 libigdfcl.so.2 libigdfcl.so.1"
    " libopencl-clang.so.14 libigdgmm.so.12",
    "utility": "libxpum.so.1",
    "video": "libmfx-gen.so.1.2 libmfxhw64.so.1",
}
_VIDEO = "dri/iHD_drv_video.so"
_ICD = "/etc/OpenCL/vendors/intel*.icd"
_FILES = (_ICD, "/usr/share/vulkan/icd.d/intel_icd*.json")
_PROGRAMS = ("/usr/bin/xpu-smi", "/usr/bin/hl-smi")


def discover(places: Places, environ: Mapping[str, str]) -> DeviceSet | None:
    """What is here; None where there is no card and no accelerator."""
    cards = drm.cards(places, drm.INTEL)
    gpus = tuple(
        Gpu(index, card.nodes, card.minor, "", card.bus, card.name)
        for index, card in enumerate(cards)
    )
    gpus += tuple(_accelerators(places, len(gpus)))
    if not gpus:
        return None
    finder = Finder(places, environ)
    warnings = [
        f"GPU {gpu.index} ({gpu.bus}) has no node in {places.dev('dri')}"
        for gpu in gpus
        if not gpu.nodes
    ]
    return DeviceSet(
        vendor="intel",
        gpus=gpus,
        nodes=tuple(_links_between(places)),
        libraries=tuple(dict.fromkeys(_libraries(finder))),
        programs=tuple(finder.existing(_PROGRAMS)),
        files=tuple(finder.existing(_FILES)),
        warnings=(*warnings, *finder.warnings),
    )


def _accelerators(places: Places, first: int) -> Iterator[Gpu]:
    top = f"{places.sys}/class/accel"
    found = []
    for name in sorted(names(top), key=number):
        if text(f"{top}/{name}/device/vendor").strip() == _HABANA:
            bus = os.path.basename(os.path.realpath(f"{top}/{name}/device"))
            control = f"accel/{name.replace('accel', 'accel_controlD')}"
            own = nodes((places.dev(f"accel/{name}"), places.dev(control)))
            found.append((bus, number(name)[0], own))
    for index, (bus, minor, own) in enumerate(sorted(found), first):
        yield Gpu(index, own, minor, "", bus, "Gaudi")


def _links_between(places: Places) -> tuple[Node, ...]:
    """The ports by which Gaudi accelerators reach each other: InfiniBand's verbs."""
    top = f"{places.sys}/class/infiniband_verbs"
    ports = [name for name in names(top) if text(f"{top}/{name}/ibdev").startswith("hbl_")]
    return nodes(places.dev(f"infiniband/{name}") for name in ports)


def _libraries(finder: Finder) -> Iterator[Library]:
    for feature, wanted in _LIBRARIES.items():
        for name in wanted.split():
            found = finder.find(name, feature)
            if found is not None:
                yield found
    for folder in finder.usual():
        found = finder.take(f"{folder}/{_VIDEO}", "video")
        if found is not None and found.bits != 32:
            yield found
    for path in finder.root.glob(_ICD):
        # An ICD names a path, or a name to be looked for.
        named = finder.root.read(path).strip().split("\n")[0]
        found = finder.take(named, "compute") if "/" in named else finder.find(named)
        if found is not None:
            yield found
