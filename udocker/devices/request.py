"""What a run asks for: options, settings and the image's variables become DeviceRequests.

Only the options, the container's record and the setting ``gpus`` start a request. What the image
(or ``-e``) says in NVIDIA_VISIBLE_DEVICES narrows one for all GPUs, since every image of CUDA's
says ``all``; NVIDIA_DRIVER_CAPABILITIES says which parts of the driver come along.
"""

from __future__ import annotations

import os
import re

from udocker.devices import gpus
from udocker.errors import DeviceError, UsageError
from udocker.model.devices import FEATURES, DeviceRequest
from udocker.model.request import DeviceOptions
from udocker.model.value import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NVIDIA, AMD, CDI = "nvidia", "amd", "cdi"
AUTO, NONE = "auto", "none"  # what the setting ``gpus`` may say
AUTO_ORIGIN = "gpus=auto"
DEFAULT_FEATURES = ("compute", "utility")
ALL, NO_GPU, VOID = "all", "none", "void"  # in NVIDIA_VISIBLE_DEVICES: void is no driver either

_VISIBLE = {NVIDIA: "NVIDIA_VISIBLE_DEVICES", AMD: "AMD_VISIBLE_DEVICES"}
_CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"
_PRIVILEGED = ("NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES")
_VENDORS = {"": NVIDIA, NVIDIA: NVIDIA, AMD: AMD, CDI: CDI}
_NO_CAPABILITY = ("gpu", NVIDIA, AMD)  # of Docker's: they choose a driver
_KIND = r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_CDI_NAME = re.compile(rf"({_KIND}/{_KIND})=([A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?)")
_OWN_KIND = re.compile(r"(?:[a-z.]+\.)?nvidia\.com/gpu=|amd\.com/gpu=")
_PERMISSIONS = re.compile("[rwm]{1,3}")
_DEVICE_HINT = "--device /dev/x[:/dev/y[:rwm]], or --device vendor.com/class=name"


@value
class HostDevice:
    """``--device /dev/x:/dev/y:rwm``. No node is made: one cannot be given fewer permissions."""

    source: str
    target: str
    permissions: str = "rwm"

    @property
    def is_limited(self) -> bool:
        """Whether less is asked for than the node allows. Making nodes (m) nobody can do anyway."""
        return not {"r", "w"} <= set(self.permissions)


def asked(
    options: DeviceOptions, variables: Mapping[str, str], setting: str = NONE
) -> tuple[DeviceRequest, ...]:
    """One request for each vendor, and one for all names of CDI.

    ``variables`` are the container's: the image's, and ``-e``. A request of no count and no
    features is for nothing at all. Raises UsageError for options, DeviceError for variables.
    """
    wishes: dict[str, DeviceRequest] = {}
    if setting == AUTO:
        wishes.update((vendor, _optional(vendor, AUTO_ORIGIN)) for vendor in (NVIDIA, AMD))
    if options.nv:
        wishes[NVIDIA] = _optional(NVIDIA, "--nv")
    if options.rocm:
        wishes[AMD] = _optional(AMD, "--rocm")
    said: set[str] = set()
    for text in options.gpus:
        request, features_said = _requested(text)
        wishes[request.vendor] = request
        said = (said - {request.vendor}) | ({request.vendor} if features_said else set())
    names = tuple(text for text in options.devices if is_cdi(text))
    if names:
        more = wishes.get(CDI, DeviceRequest(CDI, ids=()))
        wishes[CDI] = replace(more, ids=(*more.ids, *names), origin="--device")
    return tuple(
        _narrowed(wish, variables, has_features=wish.vendor in said) for wish in wishes.values()
    )


def check(options: DeviceOptions) -> None:
    """Nobody should wait for a pull to hear that an option is wrong. Raises UsageError."""
    for text in options.gpus:
        _requested(text)
    host_devices(options)


def merged(kept: DeviceOptions, said: DeviceOptions) -> DeviceOptions:
    """What a container's record has and what a run says: a run's GPUs are in place of the others.

    ``--gpus 0`` is none. Devices are added.
    """
    has_gpus = bool(said.gpus) or said.nv or said.rocm
    by = said if has_gpus else kept
    return DeviceOptions(
        gpus=by.gpus,
        nv=by.nv,
        rocm=by.rocm,
        devices=tuple(dict.fromkeys((*kept.devices, *said.devices))),
        cdi_dirs=said.cdi_dirs or kept.cdi_dirs,
        skip_hooks=said.skip_hooks or kept.skip_hooks,
        host_libc=said.host_libc or kept.host_libc,
        mpi_host=said.mpi_host or kept.mpi_host,
    )


def host_devices(options: DeviceOptions) -> tuple[HostDevice, ...]:
    """The nodes that ``--device`` names by their paths. Raises UsageError."""
    return tuple(_host_device(text) for text in options.devices if not is_cdi(text))


def is_cdi(text: str) -> bool:
    """Whether ``text`` is a name of CDI, ``vendor.com/class=name``, and no path. UsageError."""
    if text.startswith("/") or "=" not in text:
        return False
    if _CDI_NAME.fullmatch(text):
        return True
    raise UsageError(f"--device {text[:200]!r}: not a name of CDI", hint=_DEVICE_HINT)


def split(name: str) -> tuple[str, str]:
    """The kind and the device of a name of CDI: ``vendor.com/class`` and ``name``."""
    kind, _, device = name.partition("=")
    return kind, device


def _optional(vendor: str, origin: str) -> DeviceRequest:
    return DeviceRequest(vendor, features=DEFAULT_FEATURES, is_needed=False, origin=origin)


def _requested(text: str) -> tuple[DeviceRequest, bool]:
    """What one ``--gpus`` asks for, and whether it says which features. Raises UsageError."""
    read = gpus.parse(text)
    origin = f"--gpus {text}"
    features = tuple(word for word in read.capabilities or () if word not in _NO_CAPABILITY)
    known = all(word in (*FEATURES, ALL) for word in features)
    if read.driver not in _VENDORS or not known:
        wanted = " ".join((*(read.capabilities or ()), "gpu"))
        raise UsageError(
            f'--gpus: could not select device driver "{read.driver}" with capabilities: '
            f"[[{wanted}]]",
            hint=f"drivers are {NVIDIA}, {AMD} and {CDI}, capabilities {', '.join(FEATURES)}",
        )
    vendor = _VENDORS[read.driver]
    if vendor == CDI:
        return _by_cdi(read, origin), True
    request = DeviceRequest(
        vendor,
        count=max(read.count, -1),
        features=_ordered(features) if features else DEFAULT_FEATURES,
        origin=origin,
    )
    if read.ids:
        try:
            request = _selected(request, read.ids)
        except ValueError as error:
            raise UsageError(f"{origin}: {error}", hint="--gpus '\"device=0,1\"'") from None
    elif request.count == 0:
        request = replace(request, features=())
    return request, bool(features)


def _by_cdi(read: gpus.Gpus, origin: str) -> DeviceRequest:
    """``driver=cdi,device=vendor.com/class=name``."""
    for name in read.ids:
        if not _CDI_NAME.fullmatch(name):
            raise UsageError(f"{origin}: {name!r} is not a name of CDI", hint=_DEVICE_HINT)
    if not read.ids:
        raise UsageError(f"{origin}: names no device", hint=_DEVICE_HINT)
    return DeviceRequest(CDI, ids=read.ids, origin=origin)


def _narrowed(
    wish: DeviceRequest, variables: Mapping[str, str], *, has_features: bool
) -> DeviceRequest:
    """``wish`` with what the container's variables say of it. Raises DeviceError."""
    name = _VISIBLE.get(wish.vendor, "")
    if not name or not wish.features:
        return wish
    if wish.vendor == NVIDIA:
        _refuse_privileged(variables)
        if not has_features:
            wish = replace(wish, features=_features(variables))
    given = variables.get(name)
    if given is None or wish.ids or wish.count >= 0:
        return wish
    words = tuple(filter(None, (word.strip() for word in given.split(",")))) or (VOID,)
    if words == (ALL,):
        return wish
    origin = f"{wish.origin}, {name}={given.strip()[:200]}"
    try:
        return _selected(replace(wish, origin=origin), words)
    except ValueError as error:
        raise DeviceError(f"{origin}: {error}", hint=f"-e {name}=all") from None


def _selected(request: DeviceRequest, words: Iterable[str]) -> DeviceRequest:
    """``request`` for the GPUs that a list names. Raises ValueError."""
    names = tuple(dict.fromkeys(_OWN_KIND.sub("", word.strip(), count=1) for word in words))
    if not any(names):
        raise ValueError("names no device")
    if "" in names:
        raise ValueError("an empty name between commas")
    special = [name for name in names if name in (ALL, NO_GPU, VOID)]
    if special and len(names) > 1:
        raise ValueError(f"{special[0]!r} cannot stand with other names")
    if any("/" in name or "=" in name for name in names if not name.startswith("MIG-")):
        raise ValueError("a device of another kind: --device names such ones")
    if not special:
        return replace(request, count=-1, ids=names)
    if special[0] == ALL:
        return replace(request, count=-1)
    features = () if special[0] == VOID else request.features
    return replace(request, count=0, features=features)


def _features(variables: Mapping[str, str]) -> tuple[str, ...]:
    """What NVIDIA_DRIVER_CAPABILITIES says; images of before it exists need everything."""
    words = [word.strip() for word in variables.get(_CAPABILITIES, "").split(",")]
    words = [word for word in words if word]
    if not words:
        return FEATURES if is_legacy(variables) else DEFAULT_FEATURES
    unknown = sorted({word for word in words if word not in (*FEATURES, ALL)})
    if unknown:
        raise DeviceError(
            f"{_CAPABILITIES}: unsupported capabilities found: {','.join(unknown)[:200]} "
            f"(allowed {','.join(FEATURES)})",
            hint=f"-e {_CAPABILITIES}=compute,utility",
        )
    return _ordered(words)


def is_legacy(variables: Mapping[str, str]) -> bool:
    """Whether an image of CUDA is of the time before NVIDIA_REQUIRE_CUDA."""
    return bool(variables.get("CUDA_VERSION")) and "NVIDIA_REQUIRE_CUDA" not in variables


def _ordered(words: Iterable[str]) -> tuple[str, ...]:
    """Features as FEATURES has them; a display needs graphics."""
    wanted = set(words)
    if ALL in wanted:
        return FEATURES
    if "display" in wanted:
        wanted.add("graphics")
    return tuple(feature for feature in FEATURES if feature in wanted)


def _refuse_privileged(variables: Mapping[str, str]) -> None:
    for name in _PRIVILEGED:
        if variables.get(name, VOID) not in ("", VOID, NO_GPU):
            raise DeviceError(
                f"{name} is set: only a privileged container may change or watch MIG",
                hint=f"-e {name}=",
            )


def _host_device(text: str) -> HostDevice:
    parts = text.split(":")
    if not parts[0] or len(parts) > 3 or "\0" in text or "\n" in text:
        raise _no_device(f"bad format for path: {text[:200]}")
    source = target = parts[0]
    permissions = "rwm"
    if len(parts) == 2 and _are_permissions(parts[1]):
        permissions = parts[1]
    elif len(parts) > 1:
        target = parts[1]
    if len(parts) == 3:
        permissions = parts[2]
        if not _are_permissions(permissions):
            raise _no_device(f"bad mode specified: {permissions[:200]}")
    for path in (source, target):
        if not path.startswith("/"):
            raise _no_device(f"{path[:200]} is not an absolute path")
    return HostDevice(_clean(source), _clean(target), permissions)


def _are_permissions(text: str) -> bool:
    return bool(_PERMISSIONS.fullmatch(text)) and len(set(text)) == len(text)


def _clean(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")


def _no_device(why: str) -> UsageError:
    return UsageError(f"--device: {why}", hint=_DEVICE_HINT)
