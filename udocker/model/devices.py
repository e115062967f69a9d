"""GPUs and fabrics: what a host has, what a run asks for, and what that changes in a container.

DeviceSet (found) + DeviceRequest (asked) -> Edits (nothing left to look up; engines apply them).
"""

from __future__ import annotations

from udocker.model.run import GuestFile, Mount
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

# C libraries of images.
GLIBC, MUSL = "glibc", "musl"
# Features of a driver: NVIDIA_DRIVER_CAPABILITIES has these words.
FEATURES = ("compute", "utility", "video", "graphics", "display", "ngx", "compat32")


@value
class Library:
    """A shared library of a driver. ``glibc``: the newest version of it that it needs; (0, 0)."""

    path: str  # on the host, links followed
    soname: str  # DT_SONAME, or the file's name
    feature: str  # of FEATURES
    bits: int  # 32 or 64
    glibc: tuple[int, int] = (0, 0)


@value
class Node:
    """A device node. ``is_open``: access(2) lets this user read and write."""

    path: str
    is_open: bool = True


@value
class Part:
    """An instance of a GPU that is divided (MIG). No nodes: they are not there."""

    name: str  # gi1/ci0
    nodes: tuple[Node, ...] = ()  # besides those of the GPU


@value
class Gpu:
    """One GPU, in the order of the bus: ``index``. A minor of -1, an empty text: not known."""

    index: int
    nodes: tuple[Node, ...]
    minor: int = -1
    uuid: str = ""
    bus: str = ""  # PCI, as 0000:07:00.0
    name: str = ""
    parts: tuple[Part, ...] = ()  # in order: 1:0 is the first of the GPU with index 1


@value
class DeviceSet:
    """What of one vendor is here. Files are paths of the host below the root that was looked in."""

    vendor: str  # nvidia, amd, intel, fabric
    version: str = ""  # of the driver
    gpus: tuple[Gpu, ...] = ()
    nodes: tuple[Node, ...] = ()  # that all GPUs share
    libraries: tuple[Library, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # more names of libraries: name, what it leads to
    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # of drivers: ICDs, profiles
    sockets: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@value
class DeviceRequest:
    """What a run asks of a vendor: all GPUs, so many, or these."""

    vendor: str
    count: int = -1  # -1: all; where ids are given they count
    ids: tuple[str, ...] = ()  # index, UUID or a beginning of it, MIG name
    features: tuple[str, ...] = ("compute", "utility")
    is_needed: bool = True  # without such a GPU: an error, or a warning
    origin: str = "--gpus"  # the words for messages


@value
class Edits:
    """What a container gets. Targets are guest paths, sources host paths."""

    mounts: tuple[Mount, ...] = ()
    nodes: tuple[tuple[str, str], ...] = ()  # host path, guest path
    hidden: tuple[str, ...] = ()  # guest paths of nodes that are not to be had
    links: tuple[tuple[str, str], ...] = ()  # where it lies, what it leads to
    files: tuple[GuestFile, ...] = ()
    env: tuple[tuple[str, Optional[str]], ...] = ()  # None: unset
    prepend: tuple[tuple[str, str], ...] = ()  # to lists of paths: name, path
    libraries: tuple[tuple[str, str, int], ...] = ()  # for ld.so.cache: soname, guest path, bits
    warnings: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
