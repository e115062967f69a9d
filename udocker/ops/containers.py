"""Containers in the store: describing them, their mode, their root."""

from __future__ import annotations

import contextlib
import json

from udocker.errors import ImageNotFound, StoreError
from udocker.model.container import PLAIN
from udocker.model.value import replace
from udocker.store import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.model.oci import ImageConfig
    from udocker.model.request import Published, Volume
    from udocker.ops.session import Session

# As for run: an image may have such a name.
_LEAST_ID = 8
_GOES = 5.0  # seconds
_MOMENT = 0.01


def as_json(container: Container) -> dict[str, object]:
    """What a list shows of a container."""
    from udocker.engine import table

    return {
        "id": container.id,
        "names": list(container.names),
        "image": container.image,
        "manifest": str(container.manifest),
        "mode": container.mode or table.AUTO,
        "created": container.created,
        "form": container.form,
    }


def listed(container: Container) -> dict[str, object]:
    """As ``as_json``, with how the container is."""
    from udocker.ops.status import outline, told

    found = outline(container)
    return {**as_json(container), "state": found.status, "status": told(found)}


def describe(session: Session, text: str) -> dict[str, object]:
    """A container, or else an image, with all that is known of it. Raises ImageNotFound."""
    from udocker.ops.images import get_image

    container = session.store.containers.find(text, least=_LEAST_ID)
    if container is not None:
        from udocker.ops.control import life
        from udocker.ops.status import state

        root = container.root if container.form == PLAIN else None
        noted = said.read(container.path)
        return {
            **as_json(container),
            "state": state(life(container)),
            "path": container.path,
            "tree": container.tree,
            "root": root,
            "devices": vars(container.devices),
            "labels": {**dict(container.config.labels), **dict(noted.labels)},
            "mounts": [_mount(session, volume) for volume in noted.volumes],
            "ports": _bindings(noted.ports),
            "config": _config(container.config),
        }
    try:
        record = get_image(session, text)
    except ImageNotFound:
        raise ImageNotFound(
            f"no such container or image: {text}", hint="udocker ps and udocker images list them"
        ) from None
    raw = session.store.blobs.read(record.config)
    return {
        "reference": record.reference,
        "id": str(record.config),
        "manifest": str(record.manifest),
        "index": str(record.index) if record.index else None,
        "platform": record.platform,
        "pulled": record.created,
        "tree": session.store.trees.root(record.chain_id),
        "config": json.loads(raw),
    }


def _mount(session: Session, volume: Volume) -> dict[str, object]:
    """A volume of the last run, with Docker's names."""
    stored = session.store.volumes.find(volume.source) if volume.is_named else None
    return {
        "Type": "volume" if volume.is_named else "bind",
        "Name": volume.source if volume.is_named else "",
        "Source": stored.path if stored is not None else volume.source,
        "Destination": volume.target,
        "RW": not volume.readonly,
    }


def _bindings(ports: tuple[Published, ...]) -> dict[str, list[dict[str, str]]]:
    """The ports of the last run, with Docker's names."""
    found: dict[str, list[dict[str, str]]] = {}
    if ports:
        from udocker.spec.ports import binding, singles

        for inner, address, host in map(binding, singles(ports)):
            found.setdefault(inner, []).append({"HostIp": address, "HostPort": host})
    return found


def remove(session: Session, text: str, force: bool = False) -> None:
    """Remove a container; ``force``: also one that runs, which is ended, or is used elsewhere.

    Raises ContainerInUse, ContainerNotFound, StoreError.
    """
    from udocker.ops import protect

    container = _sound(session, text)
    if container is not None:
        protect.check(container, text)
    if force:
        _end(session, text)
    _let_go(session, text)
    session.store.containers.remove(text, force, _has_processes)
    if container is not None:
        from udocker.ops import events

        events.note(session, "destroy", container)


def _end(session: Session, text: str) -> None:
    """End what runs in the container here; one that is damaged is removed all the same."""

    from udocker.errors import NotRunning, StoreError
    from udocker.ops.control import end, running
    from udocker.ops.living import end_beside

    with contextlib.suppress(NotRunning, StoreError):
        container, found = running(session, text)
        end(session, container, found)
        end_beside(container)


def _sound(session: Session, text: str) -> Container | None:
    """The container, unless it is damaged or not there."""

    try:
        return session.store.containers.find(text)
    except StoreError:
        return None


def _let_go(session: Session, text: str) -> None:
    """Where a run has just ended, wait until its supervisor has gone, too."""
    import time

    from udocker.ops.control import life
    from udocker.store import users

    container = _sound(session, text)
    end = time.monotonic() + _GOES
    while container is not None and not life(container).is_running:
        kinds = [user.kind for user in users.users(container.path) if user.is_known]
        if users.SUPERVISES not in kinds or time.monotonic() > end:
            return
        time.sleep(_MOMENT)


def is_used(session: Session, identity: str) -> bool:
    """Whether something runs in a container, as far as can be known on this host."""
    return session.store.containers.is_used(identity, _has_processes)


def _has_processes(path: str) -> bool:
    """Whether a run has left processes that still have the container's files."""
    from udocker.engine import workdirs

    try:
        return workdirs.is_used(f"{path}/work")
    except (OSError, ValueError):  # it is damaged, or has no such directory
        return False


def _config(config: ImageConfig) -> object:
    return json.loads(config.raw)


def private_root(session: Session, text: str) -> str:
    """The container's own root directory, made now if it has none. Raises ContainerNotFound."""
    from udocker.ops.create import private_copy
    from udocker.ops.ranges import settle

    container = session.store.containers.get(text)
    settle(container)
    return private_copy(session, container).root


def setup(session: Session, text: str, mode: str | None, nvidia: bool | None = None) -> Container:
    """Set the container's mode, ``auto`` clears it, and whether its runs ask for NVIDIA's GPUs.

    None: as it is. Raises UsageError, ContainerNotFound.
    """
    from udocker.engine import table

    container = session.store.containers.get(text)
    changed = container
    if mode is not None:
        from udocker.ops import protect

        protect.check(container, text)
        if mode != table.AUTO:
            support = table.find(mode).engine.probe(session.host, mode)
            if not support.ok:
                session.report.warn(f"{mode} does not work on this host: {support.reason}")
        changed = replace(changed, mode="" if mode == table.AUTO else mode)
    if nvidia is not None:
        changed = replace(changed, devices=replace(changed.devices, nv=nvidia))
    if changed != container:
        session.store.containers.update(changed)
    return changed
