"""Whether this user, and an image, can use the GPUs and fabrics of this host, and why not."""

from __future__ import annotations

from udocker.devices import require
from udocker.devices.choose import is_usable
from udocker.errors import DeviceError
from udocker.model.devices import GLIBC, DeviceRequest
from udocker.model.oci import ImageConfig, Platform
from udocker.ops import cuda_compat, libc
from udocker.ops.gpus import VENDORS, Devices, list_devices, permission, places_of
from udocker.ops.needs import Need, variables_of
from udocker.ops.preload import library_directories
from udocker.store.view import View
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from udocker.model.devices import DeviceSet, Node
    from udocker.ops.session import Session

_CACHE = "/etc/ld.so.cache"
_BY_DEFAULT = DeviceRequest("nvidia").features
_OWN = {"nvidia": "libcuda.so.1"}  # in an image: it was built on a host with the driver


def examine(session: Session, image: str, driver: str = "/", device: str = "/") -> Devices:
    """What is here, whether this user can use it, and whether ``image`` can.

    ``image`` "": nothing of images. Raises ImageNotFound, StoreError, BadReplyError.
    """
    found = list_devices(session, driver, device)
    needs = [need for each in found.sets for need in _host_needs(each)]
    if image:
        needs += _image_needs(session, image, found.sets)
    return Devices(found.places, found.sets, tuple(needs))


def nvidia_of(session: Session, variables: Mapping[str, str], view: View) -> tuple[bool, str]:
    """Whether an image can have NVIDIA's GPUs here, and what there is of them.

    ``variables`` and ``view`` are the image's. Nothing of the driver is run.
    """
    found = VENDORS["nvidia"](places_of(session), session.environ)
    if found is None:
        return False, "no driver is here"
    able = sum(map(is_usable, found.gpus))
    told = f"driver {found.version or 'of an unknown version'}, {counted(able, 'GPUs')} to be used"
    try:
        require.check(variables, _facts(found, view))
    except DeviceError as error:
        return False, f"{told}: {error.message}"
    if able and found.libraries:
        return True, told
    return False, "; ".join((told, *found.warnings))


def _host_needs(found: DeviceSet) -> Iterator[Need]:
    """Whether this user can use what is here."""
    if found.vendor == "fabric":
        nodes: tuple[Node, ...] = found.nodes
        if not nodes:
            return
        what = "nodes of fabrics"
    else:
        nodes = tuple(node for gpu in found.gpus for node in gpu.nodes[:1])
        what = f"GPUs of {found.vendor}"
    able = sum(node.is_open for node in nodes)
    told = f"{len(nodes)} here, {able} open to this user"
    yield Need(what, told, able > 0, "" if able else _why_closed(nodes))
    for node in found.nodes if found.vendor != "fabric" and nodes else ():
        if not node.is_open:
            yield Need(node.path, "not open to this user", False, _why_closed((node,)))
    if found.vendor == "nvidia" and found.gpus:
        there = f"{len(found.libraries)} libraries of {found.version or 'an unknown version'}"
        hint = "" if found.libraries else "; ".join(found.warnings)
        yield Need("driver of nvidia", there, bool(found.libraries), hint)


def _why_closed(nodes: Sequence[Node]) -> str:
    """What would open the first of them."""
    if not nodes:
        return "a machine with one, or a job that asks the batch system for one"
    try:
        own = permission(nodes[0].path)
    except OSError as error:
        return f"{nodes[0].path}: {error.strerror}"
    if own.mode[4:6] == "rw" and own.mode[7:9] != "rw":
        return f"the group {own.group}: {nodes[0].path} is {own.mode}"
    told = f"a job that asks the batch system for it: {nodes[0].path} is {own.mode} {own.group}"
    if own.mode[7:9] == "rw":
        told += ", which lets everybody: a control group, or the like, does not"
    return told


def _image_needs(session: Session, image: str, sets: Sequence[DeviceSet]) -> Iterator[Need]:
    from udocker.ops.images import get_image

    record = get_image(session, image)
    config = ImageConfig.parse(session.store.blobs.read(record.config), record.reference)
    here = Platform.of("linux", session.host.architecture)
    platform = Need(f"platform {config.platform}", f"the host's libraries are for {here}")
    if not here.accepts(config.platform):
        hint = f"udocker pull --platform={here}, if the image is made for it"
        yield Need(platform.what, platform.found, False, hint)
        return
    yield platform
    view = View((session.store.trees.root(record.chain_id),))
    for each in sets:
        yield from _requirements(each, variables_of(config), view)
    library = libc.examine(view, session.host.architecture)
    yield _of_libc(library)
    if library.kind != GLIBC:
        return
    if view.read(_CACHE) is None:
        yield Need(_CACHE, "the image has none: LD_LIBRARY_PATH says where libraries are")
    for each in sets:
        yield from _of_libraries(each, library)
        yield from _own(each, view, session.host.architecture)


def _requirements(found: DeviceSet, variables: Mapping[str, str], view: View) -> Iterator[Need]:
    """What an image of NVIDIA's requires of the driver by its variables."""
    if found.vendor != "nvidia" or not require.is_any(variables):
        return
    what, facts = "what the image requires", _facts(found, view)
    try:
        open_questions = require.check(variables, facts)
    except DeviceError as error:
        yield Need(what, error.message, False, error.hint or "")
        return
    yield Need(what, "; ".join(open_questions) or f"this host has {require.described(facts)}")


def _facts(found: DeviceSet, view: View) -> require.Facts:
    return require.facts(found.version, cuda_compat.newer(view, found.version))


def _of_libc(library: libc.CLibrary) -> Need:
    if library.kind == GLIBC:
        return Need(f"C library {library}", "drivers are made for glibc")
    hint = "an image with glibc (Debian, Ubuntu, Rocky Linux)"
    if library.kind:
        return Need(f"C library {library}", "drivers are made for glibc", False, hint)
    return Need("no C library", "static programs load no driver", False, hint)


def _of_libraries(found: DeviceSet, library: libc.CLibrary) -> Iterator[Need]:
    """What of a driver the image's C library can load."""
    native = [each for each in found.libraries if each.bits != 32]
    small = [each for each in found.libraries if each.bits == 32]
    if native:
        unfit = [each for each in native if each.glibc > library.version]
        told = f"{len(native) - len(unfit)} of {len(native)} can be loaded by {library}"
        hint = ""
        if unfit:
            newest = max(each.glibc for each in unfit)
            told += f"; not {', '.join(each.soname for each in unfit)}"
            hint = f"an image with glibc {newest[0]}.{newest[1]} or newer"
        # What is not asked for by default is left out; AMD's, Intel's and the fabrics' may as
        # well be the image's own.
        ok = found.vendor != "nvidia" or all(each.feature not in _BY_DEFAULT for each in unfit)
        yield Need(f"libraries of {found.vendor}", told, ok, hint)
    if small:
        told = (
            "can be loaded" if library.has_32_bits else "are of no use: it has no loader for them"
        )
        yield Need(f"{len(small)} libraries of 32 bits", f"in this image they {told}")


def _own(found: DeviceSet, view: View, architecture: str) -> Iterator[Need]:
    """A driver that the image has itself."""
    name = _OWN.get(found.vendor)
    if name is None:
        return
    for folder in library_directories(view, architecture):
        try:
            path = view.resolve(f"{folder}/{name}")
        except OSError:
            continue
        yield Need(f"{path} of its own", "the host's stands before it")
        return
