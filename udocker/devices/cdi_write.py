"""A CDI spec of what was found, for podman, docker and others.

With hooks it is as NVIDIA's own tool writes it: libraries at their own paths, and programs of the
NVIDIA Container Toolkit that make links and the loader's cache. Without, it needs nothing but the
consumer: each name of a library is a mount, in one directory that LD_LIBRARY_PATH names.
"""

from __future__ import annotations

import os
import re

from udocker.errors import DeviceError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.model.devices import DeviceSet, Gpu, Library

_VERSION = "0.5.0"  # names of digits
_KINDS = {
    "nvidia": "nvidia.com/gpu",
    "amd": "amd.com/gpu",
    "intel": "intel.com/gpu",
    "fabric": "udocker/fabric",
}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")
_OPTIONS = ("ro", "nosuid", "nodev", "rbind", "rprivate")
_SOCKET = ("nosuid", "nodev", "noexec", "rbind", "rprivate")
_HOOK = "nvidia-cdi-hook"
_HOOK_PATH = f"/usr/bin/{_HOOK}"
_ALL = "all"
_MOST_LINKS = 8


@value
class Alias:
    """Another name of a library: where it is beside the library, and the library."""

    name: str  # may begin with a directory: gbm/x.so
    target: str  # what the link says
    library: Library


def spec_of(
    found: DeviceSet, *, with_hooks: bool = True, driver_root: str = "", device_root: str = ""
) -> dict[str, object]:
    """The spec of ``found``, as JSON has it; files were found below the roots.

    Raises DeviceError where there is no device.
    """
    dev = device_root.rstrip("/")
    kind = _KINDS.get(found.vendor, f"{found.vendor}.com/gpu")
    shared = [node.path for node in found.nodes if node.is_open]
    devices = [
        {"name": name, "containerEdits": {"deviceNodes": _nodes(nodes, dev)}}
        for name, nodes in _devices(found, shared)
    ]
    if not devices:
        raise DeviceError(
            f"there is no device of {found.vendor} to describe: no node may be opened",
            hint="udocker gpu doctor says what is here, and what is missing",
        )
    edits: dict[str, object] = {}
    if found.vendor == "nvidia":
        edits["env"] = ["NVIDIA_VISIBLE_DEVICES=void"]  # or NVIDIA's runtime would come, too
    if shared:
        edits["deviceNodes"] = _nodes(shared, dev)
    _driver(found, edits, driver_root.rstrip("/"), with_hooks)
    spec: dict[str, object] = {"cdiVersion": _VERSION, "kind": kind, "devices": devices}
    if edits:
        spec["containerEdits"] = edits
    return spec


def _devices(found: DeviceSet, shared: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each GPU by its number and its UUID, its parts, and all; their nodes."""
    every: list[str] = []
    for gpu in found.gpus:
        nodes = [node.path for node in gpu.nodes if node.is_open]
        if not nodes:
            continue
        of_parts = [node.path for part in gpu.parts for node in part.nodes if node.is_open]
        every += [*nodes, *of_parts]
        for name in (str(gpu.index), gpu.uuid):
            if _NAME.fullmatch(name):
                yield name, [*nodes, *of_parts]
        yield from _parts(gpu, nodes)
    if not every and found.vendor == "fabric":
        every = shared
    if every:
        yield _ALL, every


def _parts(gpu: Gpu, nodes: list[str]) -> Iterator[tuple[str, list[str]]]:
    for number, part in enumerate(gpu.parts):
        own = [node.path for node in part.nodes if node.is_open]
        if own:
            yield f"{gpu.index}:{number}", [*nodes, *own]


def _nodes(paths: Iterable[str], top: str) -> list[dict[str, str]]:
    return [_node(path, _inside(path, top)) for path in dict.fromkeys(paths)]


def _node(host: str, path: str) -> dict[str, str]:
    return {"path": path} if path == host else {"path": path, "hostPath": host}


def _driver(found: DeviceSet, edits: dict[str, object], top: str, with_hooks: bool) -> None:
    """Mounts, and what makes names of libraries."""
    mounts: dict[str, dict[str, object]] = {}
    for path in found.programs:  # links followed: where they are, no PATH leads
        _mount(mounts, path, f"/usr/bin/{os.path.basename(path)}", _OPTIONS)
    for path in found.files:
        _mount(mounts, path, _inside(path, top), _OPTIONS)
    for path in found.sockets:
        _mount(mounts, path, _inside(path, top), _SOCKET)
    aliases = tuple(_aliases(found))
    if with_hooks:
        for library in found.libraries:
            _mount(mounts, library.path, _inside(library.path, top), _OPTIONS)
        hooks = _hooks(found, aliases, top)
        if hooks:
            edits["hooks"] = hooks
    else:
        folders = _named(found, aliases, mounts)
        if folders:
            env = edits.get("env")
            own = [f"LD_LIBRARY_PATH={':'.join(folders)}"]
            edits["env"] = [*env, *own] if isinstance(env, list) else own
    if mounts:
        edits["mounts"] = list(mounts.values())


def _mount(
    mounts: dict[str, dict[str, object]], host: str, path: str, options: tuple[str, ...]
) -> None:
    mounts.setdefault(path, {"hostPath": host, "containerPath": path, "options": list(options)})


def _named(
    found: DeviceSet, aliases: tuple[Alias, ...], mounts: dict[str, dict[str, object]]
) -> list[str]:
    """Mount every library by every name; the directories that they are in."""
    folders: dict[str, None] = {}
    names = [(os.path.basename(library.path), library) for library in found.libraries]
    names += [(alias.name, alias.library) for alias in aliases if "/" not in alias.name]
    for name, library in names:
        folder = _folder(found.vendor, library)
        folders[folder] = None
        _mount(mounts, library.path, f"{folder}/{name}", _OPTIONS)
    return sorted(folders, key=lambda folder: not folder.endswith("64"))


def _folder(vendor: str, library: Library) -> str:
    """Where images of CUDA's have the loader look, too."""
    return f"/usr/local/{vendor}/lib{'64' if library.bits == 64 else ''}"


def _aliases(found: DeviceSet) -> Iterator[Alias]:
    """The names that the loader looks for, and those that programs do."""
    by_name: dict[tuple[str, int], Library] = {}
    for library in found.libraries:
        name = os.path.basename(library.path)
        by_name[name, library.bits] = library
        if library.soname and library.soname != name:
            by_name.setdefault((library.soname, library.bits), library)
            yield Alias(library.soname, name, library)
    leads = dict(found.links)
    for name, target in found.links:
        last = target
        for _ in range(_MOST_LINKS):
            last = leads.get(last, last)
        for bits in (64, 32):
            leading = by_name.get((os.path.basename(last), bits))
            if leading is not None:
                yield Alias(name, target, leading)
                break


def _hooks(found: DeviceSet, aliases: tuple[Alias, ...], top: str) -> list[dict[str, object]]:
    links = []
    for alias in aliases:
        folder = os.path.dirname(_inside(alias.library.path, top))
        links += ["--link", f"{alias.target}::{folder}/{alias.name}"]
    folders = sorted({os.path.dirname(_inside(lib.path, top)) for lib in found.libraries})
    hooks = []
    if links:
        hooks.append(_hook("create-symlinks", *links))
    if found.vendor == "nvidia" and found.version and found.libraries:
        hooks.append(_hook("enable-cuda-compat", f"--host-driver-version={found.version}"))
    if folders:
        words = [word for folder in folders for word in ("--folder", folder)]
        hooks.append(_hook("update-ldcache", *words))
    if found.vendor == "nvidia":
        hooks.append(_hook("disable-device-node-modification"))
    return hooks


def _hook(name: str, *words: str) -> dict[str, object]:
    return {"hookName": "createContainer", "path": _HOOK_PATH, "args": [_HOOK, name, *words]}


def _inside(path: str, top: str) -> str:
    return path[len(top) :] if top and path.startswith(f"{top}/") else path
