"""What devices of CDI change in a container, as Edits.

Hooks are programs of the vendor's that would work on the container's root as root. None is run:
what the known ones do is said in Edits, and an unknown one is refused by its name. Nodes are the
host's own, so modes and owners that a spec gives them are of no use; groups cannot be added.
"""

from __future__ import annotations

import os
import re
import stat

from udocker import elf
from udocker.errors import DeviceError
from udocker.model.devices import Edits
from udocker.model.run import GuestFile, Mount
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Optional

    from udocker.devices.cdi import Found
    from udocker.devices.cdi_rules import Changes, Hook, Spec

_PROGRAMS = ("nvidia-cdi-hook", "nvidia-ctk", "nvidia-ctk.real")
_PARAMS = "/proc/driver/nvidia/params"
_MODIFY = re.compile(rb"^ModifyDeviceFiles:.*$", re.MULTILINE)
_PROFILE = "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
_GPU = re.compile(r"/nvidia([0-9]{1,2})")
_LARGEST_TEXT = 1 << 16
_MOST_MINORS = 64  # bits of the mask
_REMAKE = "make the spec anew: udocker gpu cdi, or nvidia-ctk cdi generate"


@value
class HostFiles:
    """What is asked of the host.

    ``is_directory`` None: nothing is there. ``library`` None: it is none. ``read`` None: it cannot
    be read.
    """

    is_directory: Callable[[str], Optional[bool]]
    library: Callable[[str], Optional[elf.Shared]]
    read: Callable[[str], Optional[bytes]]


def host_files() -> HostFiles:
    """Those of this host."""
    return HostFiles(_is_directory, _library, _read)


def _is_directory(path: str) -> bool | None:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return None


def _library(path: str) -> elf.Shared | None:
    try:
        return elf.shared(path)
    except OSError:  # it is not for this user, and so not for the container
        return None


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read(_LARGEST_TEXT)
    except OSError:
        return None


@value
class Injection:
    """``compat``: the driver's version, where a hook wants CUDA's forward compatibility; or "".

    ``needs``: libraries by their guest paths, and the newest version of glibc that each needs.
    """

    edits: Edits
    compat: str = ""
    needs: tuple[tuple[str, tuple[int, int]], ...] = ()


def inject(devices: Iterable[Found], host: HostFiles, *, skip_hooks: bool = False) -> Injection:
    """What ``devices`` change, with what their specs say for all of them.

    ``skip_hooks``: those that are not known are warned of and passed over. Raises DeviceError.
    """
    writer = _Writer(host, skip_hooks)
    seen: list[str] = []
    for device in devices:
        if device.spec.path not in seen:
            seen.append(device.spec.path)
            writer.add(device.spec, device.spec.changes)
            writer.know(device.spec)
        writer.add(device.spec, device.changes)
    return writer.finish()


class _Writer:
    def __init__(self, host: HostFiles, skip_hooks: bool) -> None:
        self._host = host
        self._skip_hooks = skip_hooks
        self._mounts: dict[str, Mount] = {}
        self._nodes: dict[str, str] = {}
        self._known: list[str] = []  # guest paths of GPUs, whichever are chosen
        self._env: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._folders: list[str] = []
        self._hooks: list[tuple[Spec, Hook]] = []
        self._warnings: list[str] = []
        self._files: dict[str, GuestFile] = {}
        self._libraries: list[tuple[str, str, int]] = []
        self._compat = ""

    def add(self, spec: Spec, changes: Changes) -> None:
        if changes.others:
            raise DeviceError(
                f"CDI spec {spec.path}: {changes.others[0]} cannot be given without privileges",
                hint="a spec without it",
            )
        for node in changes.nodes:
            self._must_be(spec, node.host)
            self._nodes[node.path] = node.host
        for mount in changes.mounts:
            is_directory = self._must_be(spec, mount.host)
            readonly = "ro" in mount.options
            self._mounts[mount.path] = Mount(mount.host, mount.path, readonly, is_directory)
        self._env.update(changes.env)
        self._hooks += [(spec, hook) for hook in changes.hooks]
        if changes.groups:
            numbers = ", ".join(str(group) for group in changes.groups)
            self._warnings.append(
                f"CDI spec {spec.path}: groups cannot be added ({numbers}): yours hold"
            )

    def know(self, spec: Spec) -> None:
        """Of the GPUs that are not chosen the nodes are hidden where /dev is the host's."""
        paths = (node.path for _, changes in spec.devices for node in changes.nodes)
        self._known += (path for path in paths if _GPU.fullmatch(path.removeprefix("/dev")))

    def finish(self) -> Injection:
        """Hooks come when all else is there."""
        for spec, hook in self._hooks:
            self._translate(spec, hook)
        for folder in dict.fromkeys(self._folders):
            self._cache(folder)
        edits = Edits(
            mounts=tuple(self._mounts.values()),
            nodes=tuple((host, path) for path, host in self._nodes.items()),
            hidden=tuple(
                path
                for path in dict.fromkeys(self._known)
                if path not in self._nodes and self._host.is_directory(path) is False
            ),
            links=tuple(self._links.items()),
            files=tuple(self._files.values()),
            env=tuple(self._env.items()),
            libraries=tuple(dict.fromkeys(self._libraries)),
            warnings=tuple(dict.fromkeys(self._warnings)),
        )
        return Injection(edits, self._compat, tuple(self._needs()))

    def _needs(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Of the libraries that are mounted, whatever finds them."""
        for mount in self._mounts.values():
            if not mount.is_dir and ".so" in os.path.basename(mount.target):
                found = self._host.library(mount.source)
                if found is not None:
                    yield mount.target, found.glibc

    def _must_be(self, spec: Spec, path: str) -> bool:
        found = self._host.is_directory(path)
        if found is None:
            raise DeviceError(f"CDI spec {spec.path}: {path} is not there", hint=_REMAKE)
        return found

    # Hooks

    def _translate(self, spec: Spec, hook: Hook) -> None:
        name, options = _command(hook)
        translate = {
            "create-symlinks": self._create_links,
            "update-ldcache": self._update_cache,
            "create-soname-symlinks": self._update_cache,
            "enable-cuda-compat": self._enable_compat,
            "disable-device-node-modification": self._keep_nodes,
            "update-application-profile": self._profile,
            "chmod": _nothing,  # of directories for nodes, which are the host's
        }.get(name)
        if translate is None:
            told = f"CDI spec {spec.path}: the hook {name or os.path.basename(hook.path)} is"
            if self._skip_hooks:
                self._warnings.append(f"{told} passed over: what it does is not known")
                return
            raise DeviceError(
                f"{told} not known, and no hook is run",
                hint="a spec without that hook (udocker gpu cdi --hook-free writes one), or "
                "--allow-cdi-hooks=skip",
            )
        try:
            translate(options)
        except ValueError as error:
            raise DeviceError(f"CDI spec {spec.path}: the hook {name}: {error}") from None

    def _create_links(self, options: dict[str, list[str]]) -> None:
        _only(options, "link")
        for text in options.get("link", ()):
            target, separator, path = text.partition("::")
            if not separator or not target or not path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"not a link: {text[:200]!r}")
            self._links[os.path.normpath(path).replace("//", "/")] = target

    def _update_cache(self, options: dict[str, list[str]]) -> None:
        _only(options, "folder", "ldconfig-path")
        self._folders += [os.path.normpath(folder) for folder in options.get("folder", ())]

    def _enable_compat(self, options: dict[str, list[str]]) -> None:
        self._compat = (options.get("host-driver-version") or [self._compat])[-1]

    def _keep_nodes(self, options: dict[str, list[str]]) -> None:
        """Or NVIDIA's libraries would make nodes anew whose numbers seem wrong to them."""
        content = self._host.read(_PARAMS)
        if content is not None:
            changed = _MODIFY.sub(b"ModifyDeviceFiles: 0", content)
            self._files[_PARAMS] = GuestFile(_PARAMS, changed, 0o444)

    def _profile(self, options: dict[str, list[str]]) -> None:
        """EGL finds GPUs by the driver, not by nodes: it is told which ones there are."""
        names = (_GPU.search(host) for host in self._nodes.values() if _GPU.search(host))
        minors = {int(match[1]) for match in names if match and match.end() == len(match.string)}
        mask = sum(1 << minor for minor in minors if minor < _MOST_MINORS)
        if mask:
            rule = '"rules": [{"pattern": [], "profile": "_container_"}]'
            setting = f'"settings": ["EGLVisibleDGPUDevices", {mask:#x}]'
            content = f'{{"profiles": [{{"name": "_container_", {setting}}}], {rule}}}\n'
            self._files[_PROFILE] = GuestFile(_PROFILE, content.encode(), 0o444)

    def _cache(self, folder: str) -> None:
        """What ldconfig would do in one directory: names of libraries, and entries of its cache."""
        for mount in self._mounts.values():
            name = os.path.basename(mount.target)
            if mount.is_dir or ".so" not in name or os.path.dirname(mount.target) != folder:
                continue
            found = self._host.library(mount.source)
            if found is None:
                continue
            soname = found.soname or name
            path = f"{folder}/{soname}"
            if path != mount.target and path not in self._mounts:
                self._links.setdefault(path, name)
            self._libraries.append((soname, path, found.bits))
            if name != soname:  # ldconfig has no such entry, but this folder is not searched
                self._libraries.append((name, mount.target, found.bits))


def _nothing(options: dict[str, list[str]]) -> None:
    pass


def _only(options: dict[str, list[str]], *known: str) -> None:
    for name in options:
        if name not in known:
            raise ValueError(f"--{name} is not known")


def _command(hook: Hook) -> tuple[str, dict[str, list[str]]]:
    """The word that says what a hook of NVIDIA's does, and its options; "" of other programs."""
    if os.path.basename(hook.path) not in _PROGRAMS:
        return "", {}
    words = list(hook.arguments[1:])
    if words[:1] == ["hook"]:
        words = words[1:]
    return (words[0] if words else ""), dict(_options(iter(words[1:])))


def _options(words: Iterator[str]) -> dict[str, list[str]]:
    """``--name=value`` and ``--name value``."""
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, given = word.lstrip("-").partition("=")
        found.setdefault(name, []).append(given if equals else next(words, ""))
    return found
