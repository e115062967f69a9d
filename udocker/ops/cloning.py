"""The form of ``export --clone``: what makes a container once more, in another store.

As udocker 1.3 has it: the image's configuration in container.json, the image's name in
imagerepo.name, the mode in execmode, the files below ROOT. Ours has udocker.json besides, and
true owners.
"""

from __future__ import annotations

import json

from udocker.errors import BadReference, BadReplyError, UnpackError, UsageError
from udocker.model.container import devices_of
from udocker.model.oci import ImageConfig
from udocker.model.reference import Digest, Reference
from udocker.model.request import DeviceOptions
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from udocker.model.container import Container
    from udocker.ops.members import Members

TOP = "ROOT"
OWN = b"udocker.json"
_CONFIG, _IMAGE, _MODE = b"container.json", b"imagerepo.name", b"execmode"
NAMES = (OWN, _CONFIG, _IMAGE, _MODE)
_VERSION = 1
_HINT = "archives of export without --clone: udocker import --tocontainer FILE"


@value
class Description:
    """What the archive says of the container."""

    image: str  # canonical
    manifest: Digest
    mode: str
    config: dict[str, Any]  # the document
    devices: DeviceOptions = DeviceOptions()


def describe(members: Members, container: Container) -> None:
    """Write all but the files."""
    data: dict[str, object] = {
        "version": _VERSION,
        "image": container.image,
        "manifest": str(container.manifest),
        "created": container.created,
        "names": list(container.names),
    }
    if container.devices != DeviceOptions():
        data["devices"] = vars(container.devices)
    members.note(OWN.decode(), (json.dumps(data, indent=2, sort_keys=True) + "\n").encode())
    members.note(_CONFIG.decode(), container.config.raw)
    members.note(_IMAGE.decode(), Reference.parse(container.image).canonical.encode())
    if container.mode:
        members.note(_MODE.decode(), container.mode.encode())


def described(kept: Mapping[bytes, bytes]) -> Description:
    """What the files of ``NAMES`` say. Raises UnpackError."""
    from udocker.engine import table

    if _CONFIG not in kept:
        raise UnpackError("not an archive of export --clone: it has no container.json", hint=_HINT)
    try:
        config = ImageConfig.parse(kept[_CONFIG], "container.json")
        own = json.loads(kept[OWN]) if OWN in kept else {"version": _VERSION}
        if own["version"] != _VERSION:
            raise UnpackError(
                f"the archive is of version {own['version']!r}", hint="use a newer udocker"
            )
        image: Any = own.get("image") or kept.get(_IMAGE, b"imported").decode().strip()
        manifest: Any = own.get("manifest")
        mode = kept.get(_MODE, b"").decode().strip()
        if mode and mode != table.AUTO:
            table.find(mode)
        return Description(
            Reference.parse(image).canonical,
            Digest.parse(manifest) if manifest else config.digest,
            "" if mode == table.AUTO else mode,
            json.loads(config.raw),
            devices_of(own.get("devices")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnpackError("the archive's description of the container is damaged") from error
    except (BadReplyError, BadReference, UsageError) as error:
        raise UnpackError(
            f"the archive's description of the container is damaged: {error.message}"
        ) from error
