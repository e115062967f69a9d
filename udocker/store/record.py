"""container.json and config.json: what is kept of a container."""

from __future__ import annotations

import json

from udocker import files
from udocker.errors import BadReference, BadReplyError, StoreError
from udocker.model.container import Container, devices_of
from udocker.model.oci import ImageConfig
from udocker.model.reference import Digest
from udocker.model.request import DeviceOptions

_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, BadReference, BadReplyError)


class Known:
    """What was read before, since many containers have the same."""

    def __init__(self) -> None:
        self.configs: dict[bytes, ImageConfig] = {}
        self.digests: dict[str, Digest] = {}


def read(
    path: str,
    identity: str,
    names: tuple[str, ...],
    known: Known | None = None,
) -> Container | None:
    """The container in directory ``path``; None: there is none. Raises StoreError."""
    known = known or Known()
    try:
        data = json.loads(files.content(f"{path}/container.json").decode())  # else it guesses
        raw = files.content(f"{path}/config.json")
        config = known.configs.get(raw)
        if config is None:
            config = known.configs[raw] = ImageConfig.parse(raw, f"container {identity[:12]}")
        manifest = known.digests.get(data["manifest"])
        if manifest is None:
            manifest = known.digests[data["manifest"]] = Digest.parse(data["manifest"])
        return Container(
            id=identity,
            path=path,
            image=data["image"],
            manifest=manifest,
            tree=data["tree"],
            config=config,
            created=data["created"],
            form=data["form"],
            mode=data["mode"],
            names=names,
            devices=devices_of(data.get("devices")),
            asked=_asked(data),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise files.translate(error, "reading the container") from error
    except _DAMAGE as error:
        raise damage(path, identity) from error


def _asked(data: dict[str, object]) -> dict[str, object]:
    """Kept as it is: what a newer udocker has written into it stays when it is written again."""
    asked = data.get("request", {})
    if not isinstance(asked, dict):
        raise TypeError("a request is an object")
    return asked


def damage(path: str, identity: str) -> StoreError:
    """The error that a container's record cannot be read."""
    return StoreError(
        f"container {identity[:12]} is damaged: {path}",
        hint=f"udocker fsck --repair may mend it; udocker rm {identity[:12]} removes it",
    )


def write(path: str, container: Container) -> None:
    """Write container.json. What a run was asked for may hold secrets. Raises OSError."""
    mode = 0o600 if container.asked else 0o644
    files.write_atomic(path, _encode(container), mode, parents=False)


def _encode(container: Container) -> bytes:
    data: dict[str, object] = {
        "image": container.image,
        "manifest": str(container.manifest),
        "tree": container.tree,
        "created": container.created,
        "form": container.form,
        "mode": container.mode,
    }
    if container.devices != DeviceOptions():
        data["devices"] = vars(container.devices)
    if container.asked:
        data["request"] = dict(container.asked)
    return (json.dumps(data, indent=2, sort_keys=True) + "\n").encode()
