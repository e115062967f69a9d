"""The volumes of a run: named ones, those of another container, and directories for tmpfs."""

from __future__ import annotations

import contextlib
import os

from udocker.errors import ContainerInUse
from udocker.model.launch import RemoveTree
from udocker.model.run import Mount
from udocker.model.value import replace
from udocker.ops.specify import layers
from udocker.spec.mounts import ordered
from udocker.store import said
from udocker.store.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from udocker.model.container import Container
    from udocker.model.request import RunRequest, Tmpfs, Volume
    from udocker.model.run import RunSpec
    from udocker.ops.session import Session


def noted(session: Session, request: RunRequest, container: Container, is_new: bool) -> RunRequest:
    """``request`` with the volumes of --volumes-from; what is said is written down, and so are the
    ports of this run.

    Raises ContainerNotFound.
    """
    request = _with_others(session, request)
    before = said.read(container.path)
    labels = dict(before.labels)
    if is_new:
        labels.update(request.labels)
    now = said.Said(tuple(labels.items()), request.volumes or before.volumes, request.ports)
    if now != before:
        with contextlib.suppress(OSError):  # on a full disk it can be run all the same
            said.write(container.path, now)
    return request


def with_volumes(
    session: Session, request: RunRequest, container: Container, dry: bool
) -> RunRequest:
    """``request`` with host paths for the volumes that are called by a name, made if need be.

    Raises ContainerNotFound, StoreError.
    """
    request = _with_others(session, request)
    given = (
        _placed(session, volume, container, dry) if volume.is_named else volume
        for volume in request.volumes
    )
    return replace(request, volumes=tuple(volume for volume in given if volume is not None))


def _with_others(session: Session, request: RunRequest) -> RunRequest:
    found: list[Volume] = []
    for name, readonly in request.volumes_from:
        other = session.store.containers.get(name)
        found += [
            replace(volume, readonly=volume.readonly or readonly)
            for volume in said.read(other.path).volumes
        ]
    return replace(request, volumes=(*found, *request.volumes), volumes_from=())


def _placed(session: Session, volume: Volume, container: Container, dry: bool) -> Volume | None:
    volumes = session.store.volumes
    stored = volumes.find(volume.source)
    if stored is None and dry:
        return None
    if stored is None:
        stored = volumes.create(volume.source)
    if volume.copies and not dry and not os.listdir(stored.path):
        source = _of_image(container, volume.target)
        if source and os.listdir(source):
            volumes.fill(stored, source)
    return replace(volume, source=stored.path)


def _of_image(container: Container, target: str) -> str:
    """Where the image has a directory ``target``; "": nowhere."""
    try:
        path = View(layers(container)[-1:]).locate(target)
    except OSError:
        return ""
    return path if os.path.isdir(path) else ""


def with_directories(
    session: Session, spec: RunSpec, dry: bool
) -> tuple[RunSpec, tuple[RemoveTree, ...]]:
    """``spec`` with directories of the run's own for its tmpfs, and what removes them."""
    top = f"{spec.directory}/runs/{spec.token}-tmpfs"
    mounts = list(spec.mounts)
    for number, tmpfs in enumerate(spec.tmpfs):
        path = f"{top}/{number}"
        if not dry:
            os.makedirs(path)
            os.chmod(path, tmpfs.mode)
            _make_point(spec.tmpfs[:number], tmpfs.target, top)
        mounts.append(Mount(path, tmpfs.target, tmpfs.readonly, True))
        if any(option.startswith("size=") for option in tmpfs.options):
            session.report.warn(
                f"{tmpfs.target} is a directory of the store in this mode: it has no limit"
            )
    return replace(spec, mounts=ordered(mounts), tmpfs=()), (RemoveTree(top),)


def _make_point(outer: Sequence[Tmpfs], target: str, top: str) -> None:
    """One inside another is seen in a listing of that."""
    for number, tmpfs in enumerate(outer):
        if target.startswith(f"{tmpfs.target}/"):
            os.makedirs(f"{top}/{number}{target[len(tmpfs.target) :]}", exist_ok=True)


def users(session: Session, name: str) -> list[Container]:
    """The containers that had the volume in their last run."""
    return [
        container
        for container in session.store.containers.sound()
        if any(volume.source == name for volume in said.read(container.path).volumes)
    ]


def remove(session: Session, name: str) -> None:
    """Remove a volume that no container has. Raises ContainerInUse, VolumeNotFound."""
    having = users(session, name)
    if having:
        shown = ", ".join((*each.names, each.short_id)[0] for each in having[:4])
        raise ContainerInUse(f"volume {name} belongs to {shown}", hint=f"udocker rm {shown} first")
    session.store.volumes.remove(name)


def prune(session: Session) -> list[str]:
    """Remove all volumes that no container has; their names."""
    containers = session.store.containers.sound()
    used = {v.source for each in containers for v in said.read(each.path).volumes}
    doomed = [name for name in session.store.volumes.names() if name not in used]
    for name in doomed:
        session.store.volumes.remove(name)
    return doomed
