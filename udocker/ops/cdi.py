"""A CDI spec of the devices of this host, for other programs."""

from __future__ import annotations

import json

from udocker.devices.cdi_write import spec_of
from udocker.errors import DeviceError
from udocker.ops.gpus import list_devices
from udocker.ops.output import written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from udocker.model.devices import DeviceSet
    from udocker.ops.session import Session


def write_spec(
    session: Session,
    target: str,
    *,
    vendor: str = "",
    driver: str = "/",
    device: str = "/",
    with_hooks: bool = True,
) -> None:
    """Write the spec of ``vendor``'s devices, or of the first vendor's, to ``target``; - is stdout.

    What discovery warns of is told. Raises DeviceError, StoreError.
    """
    found = list_devices(session, driver, device)
    here = [each for each in found.sets if vendor in ("", each.vendor)]
    if not here:
        what = f"of {vendor} " if vendor else ""
        raise DeviceError(f"no device {what}is here", hint="udocker gpu list shows what is")
    described, spec = _first(
        here,
        lambda each: spec_of(each, with_hooks=with_hooks, driver_root=driver, device_root=device),
    )
    for text in described.warnings:
        session.report.warn(text)
    with written(target, "writing the CDI spec") as stream:
        stream.write((json.dumps(spec, indent=2) + "\n").encode())


def _first(
    here: Sequence[DeviceSet], describe: Callable[[DeviceSet], dict[str, object]]
) -> tuple[DeviceSet, dict[str, object]]:
    """The first that has a device. Raises the first one's DeviceError when none has."""
    errors = []
    for each in here:
        try:
            return each, describe(each)
        except DeviceError as error:
            errors.append(error)
    raise errors[0]
