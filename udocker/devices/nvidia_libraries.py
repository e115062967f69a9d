"""The libraries of NVIDIA's driver: all that have the version of the loaded module in their name.

Only these are fit for any container: they are made for old C libraries, and belong to the module.
What the distribution builds (libOpenCL, libGLX, libvulkan) is the container's own business.
"""

from __future__ import annotations

import os
import re

from udocker.devices.places import text
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.devices.libraries import Finder
    from udocker.devices.places import Places
    from udocker.model.devices import Library

_MODULE = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)")
_VERSIONED = re.compile(r"(lib.+|nvidia.+)\.so\.(\d+(?:\.\d+)+)")
_OWN_VERSION = re.compile(
    r"libnvidia-egl-(?:gbm|wayland2?|xcb|xlib)\.so\.\d+\.\d+(?:\.\d+)*"
    r"|libnvidia-nvvm70\.so\.4|libnvidia-api\.so\.1"
)
_KEYS = ("libcuda.so.1", "libnvidia-ml.so.1")  # the first that has a version tells it
_BELOW = ("nvidia/current", "nvidia")  # of the usual directories
_MORE = (
    "/run/opengl-driver/lib",  # NixOS
    "/run/opengl-driver-32/lib",
    "/home/kubernetes/bin/nvidia/lib64",  # GKE
    "/usr/local/nvidia/lib64",
)
_PARTS = ("vdpau", "xorg", "xorg/modules/extensions", "nvidia/xorg")

# By the beginning of the file's name; what is not here is "compute".
_FEATURES = {
    "utility": "libnvidia-ml libnvidia-cfg libnvidia-nscq",
    "video": "libnvcuvid libnvidia-encode libnvidia-opticalflow libvdpau_nvidia",
    "graphics": "libnvidia-eglcore libnvidia-glcore libnvidia-tls libnvidia-glsi libnvidia-fbc"
    " libnvidia-ifr libnvidia-rtcore libnvidia-glvkspirv libnvidia-cbl libnvidia-vulkan-producer"
    " libnvidia-present libnvidia-api libnvoptix libGLX_nvidia libEGL_nvidia libGLESv2_nvidia"
    " libGLESv1_CM_nvidia libnvidia-egl-gbm libnvidia-egl-wayland libnvidia-egl-wayland2"
    " libnvidia-egl-xcb libnvidia-egl-xlib",
    "display": "libglxserver_nvidia libnvidia-gtk2 libnvidia-gtk3 libnvidia-wayland-client",
    "ngx": "libnvidia-ngx",
}
_FEATURE = {name: feature for feature, names in _FEATURES.items() for name in names.split()}


@value
class Driver:
    """The user space of a driver. ``module``: the version that the kernel has; "" for none."""

    version: str = ""
    module: str = ""
    libraries: tuple[Library, ...] = ()
    warnings: tuple[str, ...] = ()


def feature(name: str) -> str:
    """What a library is for, by its file's name."""
    return _FEATURE.get(name.partition(".so")[0], "compute")


def module_version(places: Places) -> str:
    """The version of the module in the kernel; "" where none is loaded."""
    told = _MODULE.search(text(f"{places.proc}/driver/nvidia/version"))
    return told[1] if told else text(f"{places.sys}/module/nvidia/version").strip()


def find(places: Places, finder: Finder) -> Driver:
    """The libraries of the version that the kernel has, else that ``libcuda.so.1`` leads to."""
    search = _Search(finder)
    module = module_version(places)
    linked = search.linked()
    known = search.versions()
    version = module or linked or max(known, key=numbers, default="")
    libraries = tuple(search.libraries(version)) if version else ()
    told = _told(module, linked, version, known, libraries)
    return Driver(version, module, libraries, (*told, *finder.warnings))


def _told(
    module: str, linked: str, version: str, known: set[str], libraries: tuple[Library, ...]
) -> Iterator[str]:
    others = ", ".join(sorted(known - {version}, key=numbers))
    if module and not libraries and others:
        yield (
            f"the kernel has driver {module}, and the libraries are of {others}: the driver was"
            " changed, and this host waits for a reboot"
        )
    elif module and linked and linked != module:
        yield f"libraries of {linked} are linked, and the kernel has {module}: those are taken"
    elif not module and not linked and others:
        yield f"no loaded module tells a version: the newest is taken, {version}, not {others}"
    if libraries and all(each.bits == 32 for each in libraries):
        yield f"only libraries of 32 bits are here for driver {version}"


def numbers(version: str) -> tuple[int, ...]:
    """To compare versions by: 535.261.03 is less than 535.300.1."""
    return tuple(int(part) for part in version.split("."))


class _Search:
    """The directories in which libraries of any version of the driver are."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._root = finder.root
        self._named: dict[str, list[str]] = {}  # directory, links followed -> names
        self._links: list[tuple[str, str]] = []  # key names, and what they lead to
        self._look()

    def _look(self) -> None:
        for entry in self._finder.cached():
            name = os.fsdecode(entry.name)
            if name in _KEYS or name.startswith("libnvidia-"):
                self._follow(os.fsdecode(entry.path))
        own = tuple(self._finder.chosen())
        usual = (*self._finder.usual(), *self._finder.usual(*_BELOW), *_MORE)
        for folder in (*own, *usual):
            for key in _KEYS:
                self._follow(f"{folder}/{key}")
        for folder in usual:  # those of modules may be many and slow: only where a key is
            self._list(folder)

    def _follow(self, path: str) -> None:
        """Take the directories of a link and of what it leads to."""
        real = self._root.resolve(path)
        if real is None:
            return
        if os.path.basename(path) in _KEYS:
            self._links.append((os.path.basename(path), real))
        for place in dict.fromkeys((os.path.dirname(real), os.path.dirname(path))):
            self._list(place)

    def _list(self, folder: str) -> None:
        real = self._root.resolve(folder)
        if real is None or real in self._named:
            return
        self._named[real] = [name for name in self._finder.listed(real) if ".so." in name]

    def linked(self) -> str:
        """The version that the first native link leads to."""
        for _, real in sorted(self._links, key=lambda link: _KEYS.index(link[0])):
            name = os.path.basename(real)
            found = self._finder.take(real, feature(name))  # what is no library is told there
            match = _VERSIONED.fullmatch(name)
            if match and found is not None and found.bits != 32:
                return match[2]
        return ""

    def versions(self) -> set[str]:
        """All for which a file of the driver's first two libraries is here."""
        matches = (_VERSIONED.fullmatch(name) for names in self._named.values() for name in names)
        return {match[2] for match in matches if match and f"{match[1]}.so.1" in _KEYS}

    def libraries(self, version: str) -> Iterator[Library]:
        """Each once, in the order in which the directories were found."""
        seen: set[tuple[str, int]] = set()
        for path in self._paths(version):
            found = self._finder.take(path, feature(os.path.basename(path)))
            key = (os.path.basename(path), found.bits if found else 0)
            if found is not None and key not in seen:
                seen.add(key)
                yield found

    def _paths(self, version: str) -> Iterator[str]:
        ending = f".so.{version}"
        for folder, names in self._named.items():
            mine = [name for name in names if name.endswith(ending)]
            if not mine:
                continue
            yield from (f"{folder}/{name}" for name in mine)
            yield from (f"{folder}/{name}" for name in names if _OWN_VERSION.fullmatch(name))
            for part in _PARTS:
                yield from self._ending(f"{folder}/{part}", ending)

    def _ending(self, folder: str, ending: str) -> Iterable[str]:
        if self._root.resolve(folder) is None:
            return ()
        return [f"{folder}/{name}" for name in self._finder.listed(folder) if name.endswith(ending)]
