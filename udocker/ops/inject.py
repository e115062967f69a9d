"""Devices of a run: what is asked for is looked for here, and becomes part of the specification.

What the container gets lies below one directory. That is a directory of the container's own on
the host, named by what it holds: links, drivers' files that are written, and empty files on which
the host's are mounted. Runs share it, it goes with the container, nothing of it is in the image.
"""

from __future__ import annotations

import os
import re
import zlib

from udocker.devices import cdi, cdi_edits, ldcache, plan, request, require
from udocker.devices.choose import choose
from udocker.devices.places import content, places
from udocker.errors import DeviceError
from udocker.files import store_errors
from udocker.model.devices import Edits
from udocker.model.run import (
    FILE_MOUNTS,
    HOST_DEVICES,
    MOVED_DEVICES,
    MOVED_MOUNTS,
    GuestFile,
    Mount,
)
from udocker.model.value import replace
from udocker.ops import gpus, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.engine.table import Mode
    from udocker.model.container import Container
    from udocker.model.devices import DeviceRequest
    from udocker.model.run import DeviceOptions, RunSpec
    from udocker.ops.session import Session
    from udocker.store.view import View

_CACHE = "/etc/ld.so.cache"
_PARAMS = "/proc/driver/nvidia/params"
_PARAMS_LIMIT = 1 << 16
_DOCTOR = "udocker gpu doctor IMAGE says what of the driver fits"
_COMPAT = "/usr/local/cuda/compat"
_COMPAT_LIBRARY = re.compile(r"libcuda\.so\.([0-9]{1,5})(?:\.[0-9]{1,5}){1,2}", re.ASCII)
# Variables that take the place of directories in which loaders look for drivers.
_OPENCL = ("OCL_ICD_VENDORS", "/etc/OpenCL/vendors")
_VULKAN = ("/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d")
_BY_FILES = {
    "VK_DRIVER_FILES": _VULKAN,
    "VK_ICD_FILENAMES": _VULKAN,
    "__EGL_VENDOR_LIBRARY_FILENAMES": ("/usr/share/glvnd/egl_vendor.d",),
}
_HIDDEN = "hidden"  # an empty file, which is no device


def features_of(session: Session, options: DeviceOptions) -> frozenset[str]:
    """What a mode must have for ``options``. Raises UsageError."""
    named = request.host_devices(options)
    is_moved = session.config.device_root or any(each.source != each.target for each in named)
    return frozenset((FILE_MOUNTS, MOVED_MOUNTS, *((MOVED_DEVICES,) if is_moved else ())))


def with_devices(
    session: Session,
    spec: RunSpec,
    container: Container,
    mode: Mode,
    *,
    options: DeviceOptions,
    view: View,
    dry: bool = False,
) -> RunSpec:
    """``spec`` with the devices that ``options`` ask for.

    Raises UsageError, DeviceError, StoreError.
    """
    edits = _edits(session, spec, options, view)
    for warning in edits.warnings:
        session.report.warn(warning)
    if edits.refusals:
        raise DeviceError("; ".join(edits.refusals), hint=_DOCTOR)
    for path in (line for line in _told(edits)):
        session.report.debug(path)
    return _applied(session, spec, container, mode, edits=edits, view=view, dry=dry)


def _edits(session: Session, spec: RunSpec, options: DeviceOptions, view: View) -> Edits:
    variables = dict(spec.env)
    asked = request.asked(options, variables, session.config.gpus)
    found = [_of_nodes(options)]
    for each in asked:
        if each.vendor == request.CDI:
            found.append(_of_cdi(session, each, options, view))
        else:
            found += _of_vendor(session, each, variables, view)
    return plan.joined(found)


def _of_vendor(
    session: Session, asked: DeviceRequest, variables: dict[str, str], view: View
) -> Iterator[Edits]:
    here = places(*_roots(session), session.host.architecture)
    found = gpus.VENDORS[asked.vendor].discover(here, session.environ)
    if found is None:
        if asked.is_needed:
            raise DeviceError(
                f"{asked.origin}: no GPU of {asked.vendor} here, and no driver",
                hint="udocker gpu list says what is here",
            )
        if asked.origin != request.AUTO_ORIGIN:
            session.report.warn(f"{asked.origin}: no GPU of {asked.vendor} here: going on without")
        return
    choice = choose(asked, found, session.environ)
    warnings: tuple[str, ...] = ()
    if asked.vendor == request.NVIDIA:
        warnings = require.check(variables, require.Facts(driver=found.version or None))
    library = libc.examine(view, session.host.architecture)
    image = plan.Image(library.kind, library.version, view.read(_CACHE) is not None)
    params = content(f"{here.proc}{_PARAMS.removeprefix('/proc')}", _PARAMS_LIMIT)
    edits = plan.plan(
        found,
        choice,
        asked,
        image,
        places=here,
        environ=session.environ,
        params=params or None,
    )
    edits = replace(
        edits,
        prepend=(*edits.prepend, *_compatible(view, found.version)),
        warnings=(*edits.warnings, *warnings),
    )
    yield _with_own_drivers(edits, view)


def _compatible(view: View, version: str) -> tuple[tuple[str, str], ...]:
    """The image's own libcuda for drivers older than it, before the host's.

    CUDA images have it for what they need more than the driver has; where it is no newer than the
    host's, or there are several, it is not for this host.
    https://docs.nvidia.com/deploy/cuda-compatibility
    """
    found = [match for name in view.names(_COMPAT) if (match := _COMPAT_LIBRARY.fullmatch(name))]
    host = version.partition(".")[0]
    if len(found) != 1 or not host.isdigit() or int(found[0][1]) <= int(host):
        return ()
    return (("LD_LIBRARY_PATH", _COMPAT),)


def _with_own_drivers(edits: Edits, view: View) -> Edits:
    """The variables that name drivers stand for the usual directories: the image's own stay."""
    env = dict(edits.env)
    files = [
        GuestFile(f"{env[_OPENCL[0]]}/{name}", content)
        for name in (view.names(_OPENCL[1]) if _OPENCL[0] in env else ())
        if (content := view.read(f"{_OPENCL[1]}/{name}")) is not None
    ]
    for variable, folders in _BY_FILES.items():
        if env.get(variable):
            own = [f"{folder}/{name}" for folder in folders for name in view.names(folder)]
            env[variable] = ":".join([env[variable] or "", *own])
    taken = {mount.target for mount in edits.mounts}
    kept = (file for file in files if file.target not in taken)
    return replace(edits, env=tuple(env.items()), files=(*edits.files, *kept))


def _roots(session: Session) -> tuple[str, str]:
    return session.config.driver_root or "/", session.config.device_root or "/"


def _of_nodes(options: DeviceOptions) -> Edits:
    """``--device /dev/x:/dev/y``. Raises UsageError, DeviceError."""
    nodes = []
    for each in request.host_devices(options):
        if not os.path.exists(each.source):
            raise DeviceError(f"--device: {each.source} does not exist")
        if not os.access(each.source, os.R_OK):
            raise DeviceError(f"--device: {each.source}: permission denied")
        nodes.append((each.source, each.target))
    return Edits(nodes=tuple(nodes))


def _of_cdi(session: Session, asked: DeviceRequest, options: DeviceOptions, view: View) -> Edits:
    """By specs of the host, or else by what is found here. Raises DeviceError."""
    registry = cdi.read((*cdi.DIRECTORIES, *options.cdi_dirs))
    driver, device = _roots(session)
    sets = gpus.discover(places(driver, device, session.host.architecture), session.environ)
    registry = cdi.with_own(registry, sets, driver_root=driver, device_root=device)
    found = cdi.resolve(registry, asked.ids)
    injection = cdi_edits.inject(found, cdi_edits.host_files())
    loaded = next((each.version for each in sets if each.vendor == request.NVIDIA), "")
    old = {cdi.stale(each.spec, loaded) for each in found} - {""}
    edits = cdi_edits.relocated(injection.edits, plan.PLACE)
    return replace(
        edits,
        prepend=(*edits.prepend, *_compatible(view, injection.compat)),
        warnings=(*edits.warnings, *sorted(old)),
    )


def _told(edits: Edits) -> Iterator[str]:
    for mount in edits.mounts:
        yield f"device file {mount.source} at {mount.target}"
    for source, target in edits.nodes:
        yield f"device node {source} at {target}"


def _applied(
    session: Session,
    spec: RunSpec,
    container: Container,
    mode: Mode,
    *,
    edits: Edits,
    view: View,
    dry: bool,
) -> RunSpec:
    mounts = [replace(each, source=os.path.realpath(each.source)) for each in edits.mounts]
    has_host_devices = HOST_DEVICES in mode.engine.FEATURES
    for source, target in edits.nodes:
        if source != target or not has_host_devices:
            mounts.append(Mount(os.path.realpath(source), target, is_dir=False))
    if has_host_devices:
        hidden = [Mount(f"/{_HIDDEN}", path, True, is_dir=False) for path in edits.hidden]
        mounts += hidden
    features = mode.engine.FEATURES
    guest_files = [
        file
        for file in edits.files
        if not _is_inside(file.target) and _has_place(file.target, features)
    ]
    if edits.libraries:
        guest_files.append(GuestFile(_CACHE, _cache(session, view, edits)))
    stage = _stage(container, edits, mounts)
    if stage is not None and not dry:
        with store_errors("making what a device needs"):
            _make(stage[0], stage[1], session)
    if stage is not None:
        mounts = [
            replace(m, source=stage[0] + m.source) if m.source == f"/{_HIDDEN}" else m
            for m in mounts
        ]
        mounts.insert(0, Mount(stage[0], plan.PLACE, True))
    taken = {mount.target for mount in spec.mounts}
    return replace(
        spec,
        mounts=(*spec.mounts, *(mount for mount in mounts if mount.target not in taken)),
        files=(*spec.files, *guest_files),
        env=_env(spec, edits),
    )


def _has_place(path: str, features: frozenset[str]) -> bool:
    """In the kernel's own directories nothing can be made to mount on."""
    needs_none = {HOST_DEVICES, MOVED_DEVICES} <= features  # F and P modes mount nothing
    return needs_none or not path.startswith("/proc/") or os.path.exists(path)


def _is_inside(path: str) -> bool:
    return path.startswith(f"{plan.PLACE}/")


def _cache(session: Session, view: View, edits: Edits) -> bytes:
    machine = session.host.architecture
    ours = [
        ldcache.Entry(os.fsencode(name), os.fsencode(path), ldcache.FLAGS[machine, bits])
        for name, path, bits in edits.libraries
        if (machine, bits) in ldcache.FLAGS
    ]
    return ldcache.merge(view.read(_CACHE) or b"", ours)


def _env(spec: RunSpec, edits: Edits) -> tuple[tuple[str, str], ...]:
    """Variables; what ``-e`` and the image say of paths stays, behind ours."""
    found = dict(spec.env)
    for name, text in edits.env:
        if text is None:
            found.pop(name, None)
        else:
            found.setdefault(name, text)
    for name, path in edits.prepend:
        found[name] = f"{path}:{found[name]}" if found.get(name) else path
    return tuple(found.items())


def _stage(
    container: Container, edits: Edits, mounts: list[Mount]
) -> tuple[str, dict[str, str | bytes]] | None:
    """The directory for ``plan.PLACE``, and what is in it: bytes of a file, or a link's text."""
    size = len(plan.PLACE)
    inside: dict[str, str | bytes] = {
        mount.target[size:]: b"" for mount in mounts if _is_inside(mount.target)
    }
    for file in edits.files:
        if _is_inside(file.target):
            inside[file.target[size:]] = file.content
    for link, target in edits.links:
        if _is_inside(link):
            inside[link[size:]] = target
    if edits.hidden:
        inside[f"/{_HIDDEN}"] = b""
    if not inside:
        return None
    check = zlib.crc32(repr(sorted(inside.items())).encode("utf-8", "surrogateescape"))
    return f"{container.path}/files/devices-{check:08x}", inside


def _make(path: str, inside: dict[str, str | bytes], session: Session) -> None:
    if os.path.isdir(path):
        return
    with session.store.temporary() as new:
        for name, what in inside.items():
            os.makedirs(os.path.dirname(new + name), exist_ok=True)
            if isinstance(what, str):
                os.symlink(what, new + name)
            else:
                with open(new + name, "xb") as stream:
                    stream.write(what)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            os.rename(new, path)
        except OSError:
            if not os.path.isdir(path):  # another run was faster, with the same
                raise
