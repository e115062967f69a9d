"""What of a driver comes into a container: DeviceSet, choice and image -> Edits.

All of it lies below one directory, and the loader finds it by a cache of its own: nothing is made
in the directories of the image. Only what the driver's version is part of comes in, and never a
loader (libOpenCL, libvulkan, libGL): those of a younger host would not run in an older image.
"""

from __future__ import annotations

import os
import re

from udocker.devices import loaders
from udocker.devices.choose import visible
from udocker.model.devices import GLIBC, Edits
from udocker.model.run import DEVICE_FILES, GuestFile, Mount
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from udocker.devices.choose import Choice
    from udocker.devices.places import Places
    from udocker.model.devices import DeviceRequest, DeviceSet, Library

PLACE = DEVICE_FILES
_PARAMS = "/proc/driver/nvidia/params"
_MODIFY = re.compile(rb"^ModifyDeviceFiles:.*$", re.MULTILINE)
# Without these there is no use in going on.
NEEDED = ("libcuda.so.1", "libnvidia-ml.so.1")


@value
class Image:
    """What an image brings along. ``libc``: GLIBC, or another name; "" where it has none."""

    libc: str
    version: tuple[int, ...] = ()
    has_cache: bool = True  # /etc/ld.so.cache


def plan(
    found: DeviceSet,
    choice: Choice,
    request: DeviceRequest,
    image: Image,
    *,
    places: Places,
    environ: Mapping[str, str],
    params: bytes | None = None,
) -> Edits:
    """What the container gets of ``found``. ``params``: the host's /proc/driver/nvidia/params."""
    libraries, warnings, refusals = _libraries(found, request, image)
    files: tuple[GuestFile, ...] = ()
    if params is not None and found.vendor == "nvidia":
        # Else its library removes and makes nodes whose numbers it does not know.
        files = (GuestFile(_PARAMS, _MODIFY.sub(b"ModifyDeviceFiles: 0", params)),)
    drivers, names = _drivers(found, request) if libraries else ((), ())
    programs = _programs(found, request) if libraries else ()
    mounts = [Mount(each.path, _guest_path(each), True, is_dir=False) for each in libraries]
    return Edits(
        mounts=(*mounts, *drivers, *programs, *_sockets(found, request)),
        nodes=tuple(_nodes(found, choice, places)),
        hidden=tuple(_hidden(found, choice, places)),
        links=tuple(_links(found, libraries)),
        files=files,
        env=(*visible(found, choice, environ), *names),
        prepend=tuple(_paths(libraries, image, bool(programs))),
        libraries=tuple((each.soname, _guest_path(each), each.bits) for each in libraries),
        warnings=(*(choice.warnings or found.warnings), *warnings),  # the former tell the latter
        refusals=tuple(refusals),
    )


def joined(all_of_them: Iterable[Edits]) -> Edits:
    """One set of edits in place of several; of two for one target the later counts."""
    found = list(all_of_them)
    mounts = {mount.target: mount for each in found for mount in each.mounts}
    files = {file.target: file for each in found for file in each.files}
    return Edits(
        mounts=tuple(mounts.values()),
        nodes=tuple(dict.fromkeys(node for each in found for node in each.nodes)),
        hidden=tuple(dict.fromkeys(path for each in found for path in each.hidden)),
        links=tuple(dict(link for each in found for link in each.links).items()),
        files=tuple(files.values()),
        env=tuple(dict(pair for each in found for pair in each.env).items()),
        prepend=tuple(dict.fromkeys(pair for each in found for pair in each.prepend)),
        libraries=tuple(dict.fromkeys(row for each in found for row in each.libraries)),
        warnings=tuple(dict.fromkeys(text for each in found for text in each.warnings)),
        refusals=tuple(dict.fromkeys(text for each in found for text in each.refusals)),
    )


def _libraries(
    found: DeviceSet, request: DeviceRequest, image: Image
) -> tuple[list[Library], list[str], list[str]]:
    """What the image's C library can load of what is asked for; warnings, and refusals."""
    if found.vendor != "nvidia":
        return [], [], []  # of the others the image has its own, for the kernel's part
    wanted = [each for each in found.libraries if each.feature in request.features]
    if not wanted or not image.libc:
        told = "the image has no C library for this machine: its programs load no driver"
        return [], [told] if wanted else [], []
    if image.libc != GLIBC:
        return [], [], [f"the image has {image.libc}, and the driver's libraries need glibc"]
    unfit = [each for each in wanted if each.glibc > image.version]
    have = ".".join(map(str, image.version))
    texts = [
        f"{each.soname} of the driver needs glibc {'.'.join(map(str, each.glibc))}, "
        f"the image has {have}"
        for each in unfit
    ]
    needed = [text for each, text in zip(unfit, texts) if each.soname in NEEDED]
    others = [f"{text}: left out" for text in texts if text not in needed]
    return [each for each in wanted if each not in unfit], others, needed


def _guest_path(library: Library) -> str:
    return f"{_folder(library)}/{os.path.basename(library.path)}"


def _folder(library: Library) -> str:
    return f"{PLACE}/lib{library.bits}"


def _links(found: DeviceSet, libraries: list[Library]) -> Iterator[tuple[str, str]]:
    """The names by which libraries are looked for, where these are not those of the files."""
    names = {}
    for each in libraries:
        name = os.path.basename(each.path)
        names[f"{_folder(each)}/{each.soname}"] = name
        names.update(
            (f"{_folder(each)}/{link}", to) for link, to in found.links if to == each.soname
        )
        names.update((f"{_folder(each)}/{link}", to) for link, to in found.links if to == name)
    taken = {_guest_path(each) for each in libraries}
    yield from ((link, to) for link, to in names.items() if link not in taken)


def _drivers(
    found: DeviceSet, request: DeviceRequest
) -> tuple[tuple[Mount, ...], tuple[tuple[str, str], ...]]:
    """Files that tell loaders of a driver, and the variables by which they find them."""
    known = ((path, loaders.of(path)) for path in found.files)
    files = [
        (path, loader, loader.place(PLACE, path))
        for path, loader in known
        if loader is not None and loader.feature in request.features
    ]
    mounts = tuple(Mount(path, target, True, is_dir=False) for path, _, target in files)
    return mounts, loaders.variables((loader, target) for _, loader, target in files)


def _programs(found: DeviceSet, request: DeviceRequest) -> tuple[Mount, ...]:
    if "utility" not in request.features:
        return ()
    return tuple(
        Mount(path, f"{PLACE}/bin/{os.path.basename(path)}", True, is_dir=False)
        for path in found.programs
    )


def _sockets(found: DeviceSet, request: DeviceRequest) -> tuple[Mount, ...]:
    if "utility" not in request.features:
        return ()
    return tuple(
        Mount(path, f"/run/{path.partition('/run/')[2]}", is_dir=False, required=False)
        for path in found.sockets
        if "/run/" in path
    )


def _nodes(found: DeviceSet, choice: Choice, places: Places) -> Iterator[tuple[str, str]]:
    own = [node for gpu in choice.gpus for node in gpu.nodes]
    own += [node for gpu in choice.gpus for part in gpu.parts for node in part.nodes]
    for node in (*own, *found.nodes):
        if node.is_open:
            yield node.path, _guest_node(node.path, places)


def _hidden(found: DeviceSet, choice: Choice, places: Places) -> Iterator[str]:
    if not choice.is_cut:
        return
    kept = {node.path for gpu in choice.gpus for node in gpu.nodes}
    for gpu in found.gpus:
        for node in gpu.nodes:
            if node.path not in kept and "/dri/" not in node.path:
                yield _guest_node(node.path, places)


def _guest_node(path: str, places: Places) -> str:
    return "/" + path[len(places.device.rstrip("/")) :].lstrip("/")


def _paths(libraries: list[Library], image: Image, has_programs: bool) -> Iterator[tuple[str, str]]:
    if has_programs:
        yield "PATH", f"{PLACE}/bin"
    if not image.has_cache:
        yield from (
            ("LD_LIBRARY_PATH", folder) for folder in dict.fromkeys(map(_folder, libraries))
        )
