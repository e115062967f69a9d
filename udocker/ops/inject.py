"""Devices of a run: what is asked for is looked for here, and becomes part of the specification.

Requests and discovery are of ``devices``; how the changes are brought in is in ``ops.devices``.
"""

from __future__ import annotations

import os

from udocker.devices import plan, request, require
from udocker.devices.choose import choose
from udocker.devices.places import content
from udocker.errors import DeviceError
from udocker.model.devices import Edits
from udocker.model.features import FILE_MOUNTS, MOVED_DEVICES, MOVED_MOUNTS
from udocker.model.run import GuestFile
from udocker.model.value import replace
from udocker.ops import cuda_compat, gpus, libc
from udocker.ops.devices import CACHE, applied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.devices.plan import Image
    from udocker.engine.table import Mode
    from udocker.model.container import Container
    from udocker.model.devices import DeviceRequest
    from udocker.model.request import DeviceOptions
    from udocker.model.run import RunSpec
    from udocker.ops.session import Session
    from udocker.store.view import View

_LIBRARIES = "LD_LIBRARY_PATH"
_PARAMS = "/proc/driver/nvidia/params"
_PARAMS_LIMIT = 1 << 16
_DOCTOR = (
    "an image with that glibc (udocker gpu doctor IMAGE says what of the driver fits), or "
    "--host-libc: it puts the host's glibc in the place of an older one"
)
# Variables that take the place of directories in which loaders look for drivers.
_OPENCL = ("OCL_ICD_VENDORS", "/etc/OpenCL/vendors")
_VULKAN = ("/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d")
_BY_FILES = {
    "VK_DRIVER_FILES": _VULKAN,
    "VK_ICD_FILENAMES": _VULKAN,
    "__EGL_VENDOR_LIBRARY_FILENAMES": ("/usr/share/glvnd/egl_vendor.d",),
}


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
    for line in _told(edits):
        session.report.debug(line)
    return applied(session, spec, container, mode, edits=edits, view=view, dry=dry)


def _edits(session: Session, spec: RunSpec, options: DeviceOptions, view: View) -> Edits:
    variables = dict(spec.env)
    asked = request.asked(options, variables, session.config.gpus)
    image, libraries = _image(session, options, view)
    found = [_of_nodes(options), libraries]
    if options.mpi_host:
        found.append(_of_mpi(session, options, view, image))
    for each in asked:
        if each.vendor == request.CDI:
            found.append(_of_cdi(session, each, options, view, image))
        else:
            found += _of_vendor(session, each, variables, view, image)
    return _before_own(plan.joined(found), variables.get(_LIBRARIES, ""), view)


def _image(session: Session, options: DeviceOptions, view: View) -> tuple[Image, Edits]:
    """What the image has, with the host's C library where that is asked for. Raises DeviceError."""
    library = libc.examine(view, session.host.architecture)
    edits = Edits()
    if options.host_libc:
        from udocker.ops import host_libc

        mounts, library, told = host_libc.replaced(gpus.places_of(session), view, library)
        edits = Edits(mounts=mounts, warnings=(told,) if told else ())
    has_cache = view.read(CACHE) is not None
    return plan.Image(library.kind, library.version, has_cache), edits


def _of_vendor(
    session: Session,
    asked: DeviceRequest,
    variables: dict[str, str],
    view: View,
    image: Image,
) -> Iterator[Edits]:
    here = gpus.places_of(session)
    found = gpus.VENDORS[asked.vendor](here, session.environ)
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
    newer = ""
    if asked.vendor == request.NVIDIA:
        newer = cuda_compat.newer(view, found.version)
        warnings = require.check(variables, require.facts(found.version, newer))
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
        prepend=(*edits.prepend, *_before(newer)),
        warnings=(*edits.warnings, *warnings),
    )
    yield _with_own_drivers(edits, view)


def _before(newer: str) -> tuple[tuple[str, str], ...]:
    """The image's own libcuda, if it has one of version ``newer``, comes before the host's."""
    return ((_LIBRARIES, cuda_compat.FOLDER),) if newer else ()


def _before_own(edits: Edits, paths: str, view: View) -> Edits:
    """A driver that the image has itself, where ``paths`` of LD_LIBRARY_PATH lead, comes after.

    The loader looks there before it reads its cache.
    """
    names = {name for name, _, _ in edits.libraries}.intersection(plan.NEEDED)
    folders = (path for path in paths.split(":") if path.startswith("/"))
    if not names or not any(names.intersection(view.names(folder)) for folder in folders):
        return edits
    own = dict.fromkeys(os.path.dirname(path) for _, path, _ in edits.libraries)
    first = ((_LIBRARIES, folder) for folder in own)
    return replace(edits, prepend=tuple(dict.fromkeys((*first, *edits.prepend))))


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


def _of_mpi(session: Session, options: DeviceOptions, view: View, image: Image) -> Edits:
    """Raises DeviceError."""
    from udocker.ops import mpi_host

    here = gpus.places_of(session)
    edits, told = mpi_host.edits(session, view, image, here, options.mpi_host)
    task = session.task
    if task is None or task.tasks == 1 or task.rank == 0:
        for line in told:
            session.report.info(line)
    else:
        edits = replace(edits, warnings=())
    return edits


def _of_nodes(options: DeviceOptions) -> Edits:
    """``--device /dev/x:/dev/y``. Raises UsageError, DeviceError."""
    nodes = []
    named = request.host_devices(options)
    for each in named:
        if not os.path.exists(each.source):
            raise DeviceError(
                f"--device: {each.source} does not exist", hint="udocker gpu list says what is here"
            )
        if not os.access(each.source, os.R_OK):
            raise DeviceError(
                f"--device: {each.source}: permission denied",
                hint=f"ls -l {each.source} shows whose it is",
            )
        nodes.append((each.source, each.target))
    limited = ", ".join(f"{each.source}:{each.permissions}" for each in named if each.is_limited)
    told = f"--device: {limited}: permissions cannot be enforced: what the node allows holds"
    return Edits(nodes=tuple(nodes), warnings=(told,) if limited else ())


def _of_cdi(
    session: Session,
    asked: DeviceRequest,
    options: DeviceOptions,
    view: View,
    image: Image,
) -> Edits:
    """By specs of the host, or else by what is found here. Raises DeviceError."""
    from udocker.devices import cdi, cdi_edits, fit, relocate

    registry = cdi.read((*cdi.DIRECTORIES, *options.cdi_dirs))
    here = gpus.places_of(session)
    sets = gpus.discover(here, session.environ)
    registry = cdi.with_own(registry, sets, driver_root=here.driver, device_root=here.device)
    found = cdi.resolve(registry, asked.ids)
    files = cdi_edits.host_files()
    injection = cdi_edits.inject(found, files, skip_hooks=options.skip_hooks)
    loaded = next((each.version for each in sets if each.vendor == request.NVIDIA), "")
    old = {cdi.stale(each.spec, loaded) for each in found} - {""}
    edits = fit.fitted(injection.edits, injection.needs, image)
    edits = relocate.relocated(edits, plan.PLACE)
    edits = _with_own_drivers(relocate.with_loaders(edits, plan.PLACE, files.read), view)
    return replace(
        edits,
        prepend=(*edits.prepend, *_before(cuda_compat.newer(view, injection.compat))),
        warnings=(*edits.warnings, *sorted(old)),
    )


def _told(edits: Edits) -> Iterator[str]:
    """A line for each file that comes in."""
    for mount in edits.mounts:
        yield f"device file {mount.source} at {mount.target}"
    for file in edits.files:
        yield f"device file made at {file.target}"
    for link, target in edits.links:
        yield f"device link {link} to {target}"
    for source, place in edits.nodes:
        yield f"device node {source} at {place}"
    for path in edits.hidden:
        yield f"device node hidden: {path}"
