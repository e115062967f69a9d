"""Which GPUs a request gets, and what programs are told of it by variables.

A number means GPUs in the order of the bus, as NVIDIA's index does; minors of nodes are others.
A batch system says by variables which GPUs a job may use where its control groups do not: a count
is taken from those. What is asked for by name is had if it may be opened.
"""

from __future__ import annotations

import re

from udocker.devices.request import AUTO_ORIGIN
from udocker.errors import DeviceError
from udocker.model.value import replace, value
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

    from udocker.model.devices import DeviceRequest, DeviceSet, Gpu

# The variable by which programs of a vendor choose, those that only take numbers, and what a
# batch system says in numbers of the whole node.
_CHOICE = {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "ROCR_VISIBLE_DEVICES"}
_NUMBERS = {
    "nvidia": ("GPU_DEVICE_ORDINAL",),
    "amd": ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    "intel": ("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"),
}
_OF_JOB = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
_ORDER = "CUDA_DEVICE_ORDER"
_BY_BUS = "PCI_BUS_ID"
_NUMBER = re.compile("[0-9]{1,9}", re.ASCII)
_NAMES = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}
_DOCTOR = "udocker gpu doctor says what is here, and what is missing"


@value
class Choice:
    """GPUs, and whether others that this user may open are left out.

    Of a divided GPU (MIG) there are the parts that were chosen, which have nodes besides its own.
    """

    gpus: tuple[Gpu, ...] = ()
    is_cut: bool = False
    warnings: tuple[str, ...] = ()


def choose(
    request: DeviceRequest, found: DeviceSet, environ: Mapping[str, str] | None = None
) -> Choice:
    """The GPUs of ``found`` that ``request`` gets; ``environ`` is the host's.

    Raises DeviceError, in Docker's words, if there is no such GPU and the request is for one.
    """
    usable = tuple(gpu for gpu in found.gpus if is_usable(gpu))
    if request.count == 0 and not request.ids:
        return Choice((), bool(usable))
    if not usable:
        return _without(request, found)
    if request.ids:
        return _by_name(request, found, usable)
    if request.count < 0:
        return Choice(usable)
    return _by_count(request, found, usable, environ or {})


def is_usable(gpu: Gpu) -> bool:
    """Whether its own node may be opened; nodes for screens are not needed where there is one."""
    own = [node for node in gpu.nodes if "/dri/" not in node.path] or list(gpu.nodes)
    return any(node.is_open for node in own)


def visible(
    found: DeviceSet, choice: Choice, environ: Mapping[str, str]
) -> tuple[tuple[str, Optional[str]], ...]:
    """Variables of the container that say which GPUs there are; None: it must not be set.

    Where GPUs are left out the others get new numbers: variables name UUIDs then, or go. Otherwise
    the host's hold. What ``-e`` says comes after these.
    """
    choosing = _CHOICE.get(found.vendor, "")
    numbers = (*_NUMBERS.get(found.vendor, ()), *_OF_JOB)
    if not choice.is_cut:
        kept = (choosing, _ORDER if found.vendor == "nvidia" else "", *numbers)
        return tuple((name, environ[name]) for name in kept if name in environ)
    edits: list[tuple[str, Optional[str]]] = []
    identities = [gpu.uuid for gpu in choice.gpus]
    # An empty text is no GPU to CUDA; others may take it for nothing said.
    if choosing and all(identities) and (identities or found.vendor == "nvidia"):
        edits.append((choosing, ",".join(identities)))
    elif choosing in environ:
        edits.append((choosing, None))
    return (*edits, *((name, None) for name in numbers if name in environ))


def _without(request: DeviceRequest, found: DeviceSet) -> Choice:
    """No GPU may be opened."""
    vendor = _NAMES.get(request.vendor, request.vendor)
    is_here = bool(found.gpus or found.libraries or found.version)
    why = f"no GPU of {vendor} that may be used"
    closed = [node.path for gpu in found.gpus for node in gpu.nodes if not node.is_open]
    if closed:
        why += f": {_some(closed)} may not be opened by this user"
    elif is_here:
        why += ": the driver is here, but no node of a GPU"
    else:
        why += ": there is no driver"
    why = "; ".join((why, *found.warnings))
    if request.is_needed:
        raise DeviceError(
            f'{request.origin}: could not select device driver "" with capabilities: [[gpu]]: '
            f"{why}",
            hint=_DOCTOR if request.vendor != "nvidia" else f"{_DOCTOR}; --nv goes on without",
        )
    # A site may have it set for machines that have no GPU, too.
    is_silent = request.origin == AUTO_ORIGIN and not is_here
    return Choice(warnings=() if is_silent else (f"{request.origin}: {why}",))


def _by_count(
    request: DeviceRequest, found: DeviceSet, usable: tuple[Gpu, ...], environ: Mapping[str, str]
) -> Choice:
    said = _CHOICE.get(found.vendor, "")
    parts = [word for word in environ.get(said, "").split(",") if word.strip().startswith("MIG-")]
    if request.count <= len(parts) and not any(_fitting(word, usable) for word in parts):
        return Choice(usable)  # parts of GPUs, which have no nodes of their own: by the variable
    pool, warnings = _allotted(found.vendor, usable, environ)
    if request.count <= len(pool):
        chosen = pool[: request.count]
        return Choice(_sorted(chosen), len(chosen) < len(usable), warnings)
    why = f"{request.origin}: device error: {len(pool)}: unknown device"
    if said in environ:
        hint = f"{said}={environ[said]!r} leaves {counted(len(pool), 'GPUs')} of {_list(usable)}"
    else:
        hint = f"{counted(len(pool), 'GPUs')} may be used here: {_list(usable)}"
    if request.is_needed:
        raise DeviceError(why, hint=hint)
    return Choice(_sorted(pool), len(pool) < len(usable), (*warnings, f"{why}; {hint}"))


def _allotted(
    vendor: str, usable: tuple[Gpu, ...], environ: Mapping[str, str]
) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The GPUs that the host's variable leaves to programs, in its order, and warnings.

    As for CUDA, what comes after a name that means no GPU does not count, and an empty text is
    none.
    """
    name = _CHOICE.get(vendor, "")
    if name not in environ:
        return usable, ()
    chosen: list[Gpu] = []
    has_number = False
    for word in environ[name].split(","):
        fitting = _fitting(word.strip(), usable, by_place=True)
        if len(fitting) != 1 or fitting[0] in chosen:
            break
        has_number |= bool(_NUMBER.fullmatch(word.strip()))
        chosen += fitting
    is_mixed = len({gpu.name for gpu in usable}) > 1
    if has_number and vendor == "nvidia" and is_mixed and environ.get(_ORDER) != _BY_BUS:
        warning = (
            f"{name}={environ[name][:200]}: these GPUs differ, so which number is which depends "
            f"on their speed; taken in the order of the bus ({_ORDER}={_BY_BUS} says so)"
        )
        return tuple(chosen), (warning,)
    return tuple(chosen), ()


def _by_name(request: DeviceRequest, found: DeviceSet, usable: tuple[Gpu, ...]) -> Choice:
    chosen: list[Gpu] = []
    warnings = []
    for word in request.ids:
        try:
            chosen.append(_named(word, found, usable))
        except ValueError as error:
            why = f"{request.origin}: {error}"
            hint = f"here are {_list(usable)}"
            if request.is_needed:
                raise DeviceError(why, hint=hint) from None
            warnings.append(f"{why}; {hint}")
    gpus = _sorted(chosen)
    return Choice(gpus, gpus != usable, tuple(warnings))


def _named(word: str, found: DeviceSet, usable: tuple[Gpu, ...]) -> Gpu:
    """The GPU, or the part of one, that a word of a list means. Raises ValueError."""
    fitting = _fitting(word, found.gpus)
    if not fitting:
        part = _part(word, usable)
        if part is None:
            raise ValueError(f"device error: {word[:200]}: unknown device")
        return part
    if len(fitting) > 1:
        raise ValueError(f"device error: {word[:200]}: several devices begin so")
    if fitting[0] not in usable:
        closed = [node.path for node in fitting[0].nodes if not node.is_open]
        raise ValueError(f"{word[:200]}: {_some(closed) or 'it'} may not be opened by this user")
    return fitting[0]


def _fitting(word: str, gpus: tuple[Gpu, ...], *, by_place: bool = False) -> tuple[Gpu, ...]:
    """The GPUs that ``word`` may mean; ``by_place``: a number is a place among ``gpus``."""
    if _NUMBER.fullmatch(word):
        number = int(word)
        if by_place:
            return gpus[number : number + 1]
        return tuple(gpu for gpu in gpus if gpu.index == number)
    lower = word.lower()
    if lower.startswith(("gpu-", "mig-")):
        if len(lower) == len("gpu-"):
            return ()
        exact = tuple(gpu for gpu in gpus if gpu.uuid.lower() == lower)
        return exact or tuple(gpu for gpu in gpus if gpu.uuid.lower().startswith(lower))
    return tuple(gpu for gpu in gpus if lower and lower in (gpu.bus.lower(), gpu.name.lower()))


def _part(word: str, gpus: tuple[Gpu, ...]) -> Gpu | None:
    """A GPU with one part only, by ``1:0`` or ``MIG-GPU-UUID/1/0`` (gi and ci).

    The UUID of a part is known to NVML alone, so none is given: that of the GPU is another.
    """
    for gpu in gpus:
        for number, part in enumerate(gpu.parts):
            numbers = part.name.replace("gi", "").replace("ci", "")
            old_name = f"mig-{gpu.uuid}/{numbers}".lower()
            if word == f"{gpu.index}:{number}" or (gpu.uuid and word.lower() == old_name):
                return replace(gpu, parts=(part,), uuid="")
    return None


def _sorted(gpus: list[Gpu] | tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """In the order of the bus, each once; a whole GPU has all of its parts."""
    by_index: dict[int, Gpu] = {}
    for gpu in gpus:
        other = by_index.setdefault(gpu.index, gpu)
        if not gpu.uuid and not other.uuid:
            parts = tuple(dict.fromkeys((*other.parts, *gpu.parts)))
            by_index[gpu.index] = replace(gpu, parts=parts)
        elif gpu.uuid:
            by_index[gpu.index] = gpu
    return tuple(by_index[index] for index in sorted(by_index))


def _list(gpus: tuple[Gpu, ...]) -> str:
    shown = []
    for gpu in gpus:
        shown.append(f"{gpu.index} ({gpu.uuid})" if gpu.uuid else f"{gpu.index}")
        shown += [f"{gpu.index}:{number}" for number in range(len(gpu.parts))]
    return ", ".join(shown) or "none"


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (" and others" if len(paths) > 3 else "")
