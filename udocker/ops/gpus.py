"""The GPUs and fabrics of this host, and who may open them."""

from __future__ import annotations

import os
import stat

from udocker.devices.places import places as make_places
from udocker.model.devices import FEATURES
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from udocker.devices.places import Places
    from udocker.model.devices import DeviceSet, Library
    from udocker.ops.needs import Need
    from udocker.ops.session import Session


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
