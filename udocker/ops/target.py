"""The container that a run is of: one that is there, or a new one."""

from __future__ import annotations

import contextlib
import os

from udocker.engine import table
from udocker.errors import ContainerNotFound, UdockerError, UsageError
from udocker.model.container import UNION
from udocker.model.place import Place
from udocker.model.reference import Reference
from udocker.model.value import replace
from udocker.ops.specify import as_asked, env_files
from udocker.spec import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.model.container import Container
    from udocker.model.oci import Platform
    from udocker.model.request import RunRequest
    from udocker.ops.session import Session

# Digits of a container id: with fewer, image names such as "cafe" would mean containers.
_LEAST_ID = 8
REUSE = "reuse"  # of --pull: take the container that has the name


def write_id(session: Session, path: str, container: Container, is_new: bool) -> None:
    """Docker's --cidfile: never over a file that is there. Raises UsageError."""
    try:
        with open(path, "x", encoding="ascii") as stream:
            stream.write(container.id)
    except OSError as error:
        if is_new:
            session.store.containers.delete(container.id)
        hint = "give the name of a new file in a directory that is there"
        raise UsageError(f"--cidfile {path}: {error.strerror}", hint=hint) from error


def find_or_make(
    session: Session, request: RunRequest, trial: bool = False
) -> tuple[Container, bool]:
    """The container to run, and whether it was made for this run."""
    if request.location:
        from udocker.ops.location import at_location

        return at_location(session, request.location), True
    existing = session.store.containers.find(request.target, least=_LEAST_ID)
    if existing is None and request.pull == REUSE and request.name is not None:
        existing = session.store.containers.find(request.name)
        request = replace(request, name=None if existing is not None else request.name)
    if existing is not None:
        if request.name is not None:
            raise UsageError(
                f"{request.target} is a container and has its name",
                hint=f"udocker rename {request.target} {request.name}",
            )
        return existing, False
    from udocker.ops.create import create, in_file

    place = Place.parse(request.target)
    if place is None:
        reference = _reference(session, request)
    check_early(session, request)
    pull = "missing" if request.pull == REUSE else request.pull
    if place is not None:
        reference, pull = in_file(session, place, pull, _platform(request))
    container = create(
        session,
        reference,
        name=request.name,
        pull=pull,
        platform=_platform(request),
        remove=request.remove,
        trial=trial,
        asked={} if trial else as_asked(request),
    )
    return container, True


def with_tree(session: Session, container: Container) -> Container:
    """The container with its tree where that is now: a store may have been moved, or be gone."""
    if container.form != UNION or os.path.isdir(container.tree):
        return container
    tree = session.store.trees.root(container.config.chain_id)
    if not os.path.isdir(tree):
        return container
    with session.store.containers.lease(container):
        current = replace(session.store.containers.get(container.id), tree=tree)
        session.store.containers.update(current)
    return current


def in_job(session: Session, request: RunRequest) -> tuple[Session, RunRequest]:
    """In a job, a new container that nobody is to find later is in the job's space of this host."""
    if request.mpi != "auto" or session.task is not None:
        from udocker.ops import batch

        batch.check_mpi(session, request)
        request = batch.with_own_id(session, request)
    if session.task is None or request.name is not None or request.detach:
        return session, request
    if session.store.containers.find(request.target, least=_LEAST_ID) is not None:
        return session, request
    from udocker.ops.create import NEVER, ensure_image, in_file

    if request.location:
        return batch.in_scratch(session, session.task), request
    place, pull, platform = Place.parse(request.target), request.pull, _platform(request)
    check_early(session, request)
    if place is None:
        reference = _reference(session, request)
    else:
        reference, pull = in_file(session, place, pull, platform)
    from udocker.ops import staged

    brought = staged.find(session.task) if pull != "always" else ""
    if not brought or not staged.has(session, brought, reference, platform):
        brought = ""
        ensure_image(session, reference, pull, platform)
    found = batch.in_scratch(session, session.task, brought)
    return found, replace(request, target=reference.canonical, pull=NEVER)


def _reference(session: Session, request: RunRequest) -> Reference:
    try:
        return Reference.parse(request.target, request.registry or session.config.registry)
    except UsageError as error:
        raise ContainerNotFound(
            f"no such container, and not an image name: {request.target}", hint=error.hint
        ) from error


def check_early(session: Session, request: RunRequest) -> None:
    """What is looked at again for the run; nobody should wait for a pull to hear of it."""
    mode = request.mode or session.config.execution_mode
    if mode != table.AUTO:
        table.find(mode)
    for volume in request.volumes:
        if not volume.is_named:
            mounts.to_mount(volume)
    env_files(request)


def _platform(request: RunRequest) -> Platform | None:
    from udocker.model.oci import Platform

    return None if request.platform is None else Platform.parse(request.platform)


@contextlib.contextmanager
def gone_unless_done(session: Session, container: Container, goes: bool) -> Iterator[None]:
    """A container that ``goes`` does so if the block does not end, told to by a signal or not."""
    try:
        yield
    except BaseException:
        if goes:
            with contextlib.suppress(UdockerError):  # it may be gone already
                session.store.containers.delete(container.id)
            leave_scratch(session)
        raise


def leave_scratch(session: Session) -> None:
    if session.scratch:
        from udocker.files import remove_tree

        with contextlib.suppress(OSError):  # what stays goes with the job
            remove_tree(session.scratch)
