"""NVIDIA's GPUs and nodes, by what the module tells in /proc/driver/nvidia.

``gpus/BUS/information`` has the bus, the minor and the UUID of each GPU, so NVML is not needed.
Its order, that of the bus, is the order of NVML; minors may have another.
"""

from __future__ import annotations

import fnmatch
import re

from udocker.devices import drm
from udocker.devices.places import is_device, names, node, nodes, number, text
from udocker.model.devices import Gpu, Node, Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.devices.places import Places

# Below /dev; the directory nvidia-caps is none of them.
_SHARED = (
    *("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"),
    *("nvidia-nvswitchctl", "nvidia-nvswitch[0-9]*", "nvidia-fs*", "gdrdrv"),
)
_CHANNELS = "nvidia-caps-imex-channels"
_GPU = re.compile(r"nvidia(\d+)")
_MIG = re.compile(r"gpu(\d+)/gi(\d+)(?:/ci(\d+))?/access (\d+)")


def shared_nodes(places: Places) -> tuple[Node, ...]:
    """What all GPUs share."""
    there = names(places.dev("").rstrip("/"))
    found = [name for pattern in _SHARED for name in fnmatch.filter(there, pattern)]
    channels = sorted(names(places.dev(_CHANNELS)), key=number)
    found += [f"{_CHANNELS}/{name}" for name in channels]
    return nodes(places.dev(name) for name in dict.fromkeys(found))


def gpus(places: Places) -> tuple[Gpu, ...]:
    """Those of the bus in its order, then nodes of which the module says nothing."""
    found = []
    known = set()
    folder = f"{places.proc}/driver/nvidia/gpus"
    for bus in names(folder):
        facts = _facts(text(f"{folder}/{bus}/information"))
        known.add(_minor(facts))
        if facts.get("GPU Excluded") != "Yes":  # by the module's settings: NVML counts it not
            found.append((facts.get("Bus Location", bus).lower(), facts))
    found.sort(key=lambda item: item[0])
    rows = [_gpu(places, index, bus, facts) for index, (bus, facts) in enumerate(found)]
    there = (_GPU.fullmatch(name) for name in names(places.dev("").rstrip("/")))
    for minor in sorted(int(match[1]) for match in there if match):
        own = node(places.dev(f"nvidia{minor}"))
        if minor not in known and own is not None:
            rows.append(Gpu(len(rows), (own,), minor, parts=_parts(places, minor)))
    return tuple(rows)


def warnings(places: Places, found: Iterable[Gpu], shared: Iterable[Node]) -> Iterator[str]:
    """What is missing, or is not what it seems."""
    rows = tuple(found)
    control = places.dev("nvidia-uvm")
    if rows and not any(each.path == control for each in shared):
        yield f"{control} is missing, which CUDA needs: the module nvidia-uvm is not loaded"
    for gpu in rows:
        if not gpu.nodes:
            yield f"GPU {gpu.index} ({gpu.bus}) has no node: {places.dev(f'nvidia{gpu.minor}')}"
        for each in gpu.nodes[:1]:
            if not is_device(each.path):
                yield f"{each.path} is a plain file and no device"
        if any(not part.nodes for part in gpu.parts):
            yield f"GPU {gpu.index} is divided (MIG), and nodes are missing: {places.dev(_CAPS)}"


def _gpu(places: Places, index: int, bus: str, facts: dict[str, str]) -> Gpu:
    minor = _minor(facts)
    own = nodes([places.dev(f"nvidia{minor}")] if minor >= 0 else [])
    uuid = facts.get("GPU UUID", "")
    return Gpu(
        index=index,
        nodes=own + (drm.nodes_at(places, bus) if own else ()),
        minor=minor,
        uuid="" if "?" in uuid else uuid,  # as long as nobody has used it
        bus=bus,
        name=facts.get("Model", ""),
        parts=_parts(places, minor),
    )


def _minor(facts: dict[str, str]) -> int:
    told = facts.get("Device Minor", "")
    return int(told) if told.isdecimal() and len(told) < 9 else -1


def _facts(content: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in content.splitlines())
    return {name.strip(): fact.strip() for name, _, fact in pairs}


# MIG: instances of a GPU (gi), and of their processors (ci), each opened by a node.

_CAPS = "nvidia-caps"


def _parts(places: Places, minor: int) -> tuple[Part, ...]:
    """The instances that there are, in order; the file of minors also has those that could be."""
    minors = _minors(places, minor)
    folder = f"{places.proc}/driver/nvidia/capabilities/gpu{minor}/mig"
    found = []
    for gi in _instances(folder, "gi"):
        for ci in _instances(f"{folder}/gi{gi}", "ci"):
            wanted = [minors.get((gi, -1)), minors.get((gi, ci))]
            there = nodes(places.dev(f"{_CAPS}/nvidia-cap{number}") for number in wanted)
            found.append(Part(f"gi{gi}/ci{ci}", there if len(there) == len(wanted) else ()))
    return tuple(found)


def _instances(folder: str, kind: str) -> list[int]:
    ends = (name[len(kind) :] for name in names(folder) if name.startswith(kind))
    return sorted(int(end) for end in ends if end.isdecimal())


def _minors(places: Places, minor: int) -> dict[tuple[int, int], int]:
    """Of each pair of instances of a GPU its node's number; -1 stands for no ci."""
    content = text(f"{places.proc}/driver/nvidia-caps/mig-minors")
    found = {}
    for match in filter(None, map(_MIG.fullmatch, content.splitlines())):
        if int(match[1]) == minor:
            found[int(match[2]), int(match[3] or -1)] = int(match[4])
    return found
