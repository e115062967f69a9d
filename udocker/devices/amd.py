"""AMD's GPUs: /dev/kfd for all, and the render node of each.

The user space (ROCm) is usually the image's: it depends on the kernel's module only loosely. What
the host has of it is told, so that ``--rocm`` can take it.
"""

from __future__ import annotations

from udocker.devices import drm
from udocker.devices.libraries import Finder
from udocker.devices.places import names, node, nodes, number, text
from udocker.model.devices import DeviceSet, Gpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from udocker.devices.places import Places
    from udocker.model.devices import Library, Node

_KFD = "kfd"
_LIBRARIES = {
    "compute": "libhsa-runtime64.so.1 libamdhip64.so libamdocl64.so libamd_comgr.so libhsakmt.so.1"
    " libdrm.so.2 libdrm_amdgpu.so.1 libnuma.so.1 libpci.so.3 librocm-debug-agent.so.2",
    "utility": "librocm_smi64.so libamd_smi.so",
}
_FOLDERS = ("/opt/rocm*/lib", "/opt/rocm*/lib64", "/opt/amdgpu/lib/*-linux-gnu")
_PROGRAMS = ("rocminfo", "rocm-smi", "amd-smi")
_FILES = ("/etc/OpenCL/vendors/amdocl64*.icd", "/usr/share/vulkan/icd.d/radeon_icd*.json")


def discover(places: Places, environ: Mapping[str, str]) -> DeviceSet | None:
    """What is here; None where there is no node and no card of AMD's."""
    kfd = node(places.dev(_KFD))
    gpus = tuple(_gpus(places))
    if kfd is None and not gpus:
        return None
    finder = Finder(places, environ)
    return DeviceSet(
        vendor="amd",
        version=text(f"{places.sys}/module/amdgpu/version").strip(),
        gpus=gpus,
        nodes=() if kfd is None else (kfd,),
        libraries=tuple(_libraries(finder)),
        programs=tuple(_programs(finder)),
        files=tuple(finder.existing(_FILES)),
        warnings=(*_warnings(places, gpus, kfd), *finder.warnings),
    )


def _gpus(places: Places) -> Iterator[Gpu]:
    uuids = _uuids(places)
    for index, card in enumerate(drm.cards(places, drm.AMD)):
        uuid = uuids.get(card.minor, "")
        yield Gpu(index, card.nodes, card.minor, uuid, card.bus, card.name)


def _uuids(places: Places) -> dict[int, str]:
    """As ROCm spells them, by the minor of the render node: the kernel's topology has them."""
    found = {}
    top = f"{places.sys}/class/kfd/kfd/topology/nodes"
    for name in names(top):
        lines = (line.split() for line in text(f"{top}/{name}/properties").splitlines())
        facts = {words[0]: words[1] for words in lines if len(words) == 2 and words[1].isdecimal()}
        if int(facts.get("unique_id", 0)):
            minor = int(facts.get("drm_render_minor", -1))
            found[minor] = f"GPU-{int(facts['unique_id']):016x}"
    return found


def _libraries(finder: Finder) -> Iterator[Library]:
    """By their names, in the newest of several versions."""
    folders = [folder for pattern in _FOLDERS for folder in finder.root.glob(pattern)]
    folders.sort(key=number, reverse=True)
    for feature, wanted in _LIBRARIES.items():
        for name in wanted.split():
            found = finder.find(name, feature, folders)
            if found is not None:
                yield found


def _programs(finder: Finder) -> Iterator[str]:
    for name in _PROGRAMS:
        patterns = (f"/usr/bin/{name}", f"/opt/rocm*/bin/{name}")
        yield from tuple(finder.existing(patterns))[:1]


def _warnings(places: Places, gpus: tuple[Gpu, ...], kfd: Node | None) -> Iterator[str]:
    if gpus and kfd is None:
        yield f"{places.dev(_KFD)} is missing: no computing by ROCm, but graphics"
    elif not gpus:
        yield f"{places.dev(_KFD)} is here, and no card of AMD's in {places.dev('dri')}"
    for gpu in gpus:
        if not nodes(each.path for each in gpu.nodes):
            yield f"GPU {gpu.index} ({gpu.bus}) has no node in {places.dev('dri')}"
