"""The GPUs and fabrics of this host, and what of their drivers an image can take."""

from __future__ import annotations

import os
import stat

from udocker.devices.places import places as make_places
from udocker.errors import DeviceError
from udocker.model.devices import FEATURES, GLIBC, DeviceRequest
from udocker.model.oci import ImageConfig, Platform
from udocker.model.value import value
from udocker.ops import libc
from udocker.ops.needs import Need
from udocker.ops.preload import library_directories
from udocker.store.view import View
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from udocker.devices.places import Places
    from udocker.model.devices import DeviceSet, Gpu, Library, Node
    from udocker.ops.session import Session

_CACHE = "/etc/ld.so.cache"
_BY_DEFAULT = DeviceRequest("nvidia").features
_OWN = {"nvidia": "libcuda.so.1"}  # in an image: it was built on a host with the driver


# A run is for one vendor, and has no use for the others' modules.
def _nvidia(places: Places, environ: Mapping[str, str]) -> DeviceSet | None:
    from udocker.devices import nvidia

    return nvidia.discover(places, environ)


def _amd(places: Places, environ: Mapping[str, str]) -> DeviceSet | None:
    from udocker.devices import amd

    return amd.discover(places, environ)


def _intel(places: Places, environ: Mapping[str, str]) -> DeviceSet | None:
    from udocker.devices import intel

    return intel.discover(places, environ)


def _fabric(places: Places, environ: Mapping[str, str]) -> DeviceSet | None:
    from udocker.devices import fabric

    return fabric.discover(places, environ)


VENDORS = {"nvidia": _nvidia, "amd": _amd, "intel": _intel, "fabric": _fabric}


@value
class Devices:
    """All that was found, and what an image was found to need; no needs: of none was asked."""

    places: Places
    sets: tuple[DeviceSet, ...]
    needs: tuple[Need, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something is here, and nothing stands against using it."""
        return self.is_any and all(need.ok for need in self.needs)

    @property
    def is_any(self) -> bool:
        """Whether there is a device: libraries alone are none."""
        return any(each.gpus or (each.vendor == "fabric" and each.nodes) for each in self.sets)

    def as_json(self) -> dict[str, object]:
        return {
            "driverRoot": self.places.driver,
            "deviceRoot": self.places.device,
            "devices": [_set_as_json(each) for each in self.sets],
            "ok": self.ok,
            "needs": [
                {"what": need.what, "found": need.found, "ok": need.ok, "hint": need.hint}
                for need in self.needs
            ],
        }


@value
class Permission:
    """Who may open a node: its mode as ``ls`` shows it, owner and group by name."""

    mode: str
    owner: str
    group: str


def discover(places: Places, environ: Mapping[str, str]) -> tuple[DeviceSet, ...]:
    """What of every vendor is here."""
    found = (look(places, environ) for look in VENDORS.values())
    return tuple(each for each in found if each is not None)


def nvidia_of(session: Session, variables: Mapping[str, str]) -> tuple[bool, str]:
    """Whether an image with ``variables`` can have NVIDIA's GPUs here, and what there is of them.

    Nothing of the driver is run.
    """
    from udocker.devices import require
    from udocker.devices.choose import is_usable

    found = _nvidia(places_of(session), session.environ)
    if found is None:
        return False, "no driver is here"
    able = sum(map(is_usable, found.gpus))
    told = f"driver {found.version or 'of an unknown version'}, {counted(able, 'GPUs')} to be used"
    try:
        require.check(variables, require.Facts(driver=found.version or None))
    except DeviceError as error:
        return False, f"{told}: {error.message}"
    if able and found.libraries:
        return True, told
    return False, "; ".join((told, *found.warnings))


def list_devices(session: Session, driver: str = "/", device: str = "/") -> Devices:
    """What is below the roots."""
    places = places_of(session, driver, device)
    return Devices(places, discover(places, session.environ))


def places_of(session: Session, driver: str = "", device: str = "") -> Places:
    """Where the settings say that driver and devices are, but for what is given."""
    config = session.config
    return make_places(
        driver or config.driver_root or "/",
        device or config.device_root or "/",
        session.host.architecture,
        config.driver_libraries,
    )


def examine(session: Session, image: str, driver: str = "/", device: str = "/") -> Devices:
    """What is here, whether this user can use it, and whether ``image`` can.

    ``image`` "": nothing of images. Raises ImageNotFound, StoreError, BadReplyError.
    """
    found = list_devices(session, driver, device)
    needs = [need for each in found.sets for need in _host_needs(each)]
    if image:
        needs += _image_needs(session, image, found.sets)
    return Devices(found.places, found.sets, tuple(needs))


def permission(path: str) -> Permission:
    """Whose the node at ``path`` is. Raises OSError."""
    import grp
    import pwd

    status = os.stat(path)
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = str(status.st_uid)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return Permission(stat.filemode(status.st_mode), owner, group)


def by_feature(libraries: Sequence[Library]) -> list[tuple[str, list[Library]]]:
    """Those of each feature that there are any of, in the order of ``FEATURES``."""
    rows = [(name, [each for each in libraries if each.feature == name]) for name in FEATURES]
    return [(name, found) for name, found in rows if found]


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
    return f"a job that asks the batch system for it: {nodes[0].path} is {own.mode} {own.group}"


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
    library = libc.examine(view, session.host.architecture)
    yield _of_libc(library)
    if library.kind != GLIBC:
        return
    if view.read(_CACHE) is None:
        yield Need(_CACHE, "the image has none: LD_LIBRARY_PATH says where libraries are")
    for each in sets:
        yield from _of_libraries(each, library)
        yield from _own(each, view, session.host.architecture)


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


def _set_as_json(found: DeviceSet) -> dict[str, object]:
    return {
        "vendor": found.vendor,
        "version": found.version,
        "gpus": [_gpu_as_json(gpu) for gpu in found.gpus],
        "nodes": [_node_as_json(node) for node in found.nodes],
        "libraries": [
            {
                "path": each.path,
                "soname": each.soname,
                "feature": each.feature,
                "bits": each.bits,
                "glibc": ".".join(map(str, each.glibc)) if any(each.glibc) else "",
            }
            for each in found.libraries
        ],
        "links": [{"name": name, "target": target} for name, target in found.links],
        "programs": list(found.programs),
        "files": list(found.files),
        "sockets": list(found.sockets),
        "warnings": list(found.warnings),
    }


def _gpu_as_json(gpu: Gpu) -> dict[str, object]:
    return {
        "index": gpu.index,
        "minor": gpu.minor if gpu.minor >= 0 else None,
        "uuid": gpu.uuid,
        "bus": gpu.bus,
        "name": gpu.name,
        "nodes": [_node_as_json(node) for node in gpu.nodes],
        "parts": [
            {"name": part.name, "nodes": [_node_as_json(node) for node in part.nodes]}
            for part in gpu.parts
        ],
    }


def _node_as_json(node: Node) -> dict[str, object]:
    try:
        own = permission(node.path)
    except OSError:
        own = Permission("", "", "")
    return {
        "path": node.path,
        "open": node.is_open,
        "mode": own.mode,
        "owner": own.owner,
        "group": own.group,
    }
