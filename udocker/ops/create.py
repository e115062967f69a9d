"""Make a container from an image: one empty upper directory over the image's tree."""

from __future__ import annotations

import os
from types import MappingProxyType

from udocker.errors import EngineError, ImageNotFound, StoreError
from udocker.files import unique_name
from udocker.model.container import PLAIN, UNION, Container
from udocker.model.moment import now
from udocker.model.oci import ImageConfig
from udocker.model.request import DeviceOptions
from udocker.model.value import replace
from udocker.ops.images import find_image
from udocker.ops.space import used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from udocker.model.oci import Platform
    from udocker.model.place import Place
    from udocker.model.reference import Reference
    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord

ALWAYS = "always"
MISSING = "missing"
NEVER = "never"
_NO_DEVICES = DeviceOptions()
_TRIES = 5  # each is a pull, if the image has to come anew


def create(
    session: Session,
    reference: Reference,
    *,
    name: str | None = None,
    pull: str = MISSING,
    platform: Platform | None = None,
    remove: bool = False,
    copy: bool = False,
    trial: bool = False,
    devices: DeviceOptions = _NO_DEVICES,
    asked: Mapping[str, object] = MappingProxyType({}),
) -> Container:
    """A new container of ``reference``, pulled first as ``pull`` says.

    ``remove``: it goes once the process that runs it has ended. ``copy``: with a root directory of
    its own. ``trial``: the image does not count as used. ``devices``: what its runs ask for.
    ``asked``: what ``start`` is to run.

    Raises UdockerError; then there is no new container.
    """
    containers = session.store.containers
    if name is not None:
        # Looked at before a long pull, and once more when the container is made.
        containers.check_name(name)
    for _ in range(_TRIES):
        record = ensure_image(session, reference, pull, platform)
        with session.store.temporary() as directory, session.store.references():
            is_here = session.store.trees.has(record.chain_id)
            if is_here and session.store.images.get(reference) == record:
                container = replace(_new(session, record), devices=devices, asked=asked)
                made = containers.create(directory, container, name, remove=remove)
                if not trial:
                    used(session, record)
                break
        # Another process has removed or replaced the image after it had been found: once more.
    else:
        raise StoreError(
            f"image {reference} was removed or replaced {_TRIES} times while a container of it "
            "was made",
            hint="end what removes it (udocker rmi, udocker pull), and try again",
        )
    if not copy:
        return made
    try:
        return private_copy(session, made)
    except BaseException:
        containers.delete(made.id)
        raise


def ensure_image(
    session: Session, reference: Reference, pull: str, platform: Platform | None
) -> ImageRecord:
    """The image in the store, pulled as ``pull`` says. Raises ImageNotFound for ``never``."""
    record = None if pull == ALWAYS else find_image(session, reference, platform)
    if record is not None and session.store.trees.has(record.chain_id):
        return record
    if pull == NEVER:
        raise ImageNotFound(
            f"image {reference} is not in the store", hint=f"udocker pull {reference}"
        )
    from udocker.ops.pull import pull as pull_image

    return pull_image(session, reference, platform, missing=pull == MISSING)


def in_file(
    session: Session, place: Place, pull: str, platform: Platform | None
) -> tuple[Reference, str]:
    """The name of an image in a file, which is in the store from now on, and how to ``pull`` it.

    For ``never`` it is only looked what it is called. Raises UdockerError.
    """
    from udocker.ops.load import load_one

    return load_one(session, place, platform, dry=pull == NEVER), NEVER


def private_copy(session: Session, container: Container, mode: str = "") -> Container:
    """The container with a root directory of its own, for engines that cannot show a union.

    Made once, by copying the image's tree and what the container wrote; it stays. Raises
    StoreError, or EngineError while something runs on the union: what that wrote from now on
    would be lost. Then the container is as it was.
    """
    from udocker.engine import workdirs
    from udocker.model.value import replace
    from udocker.ops import owners
    from udocker.store.copy import copy_container

    if container.form == PLAIN:
        return container
    session.store.containers.make_ready(container)
    with session.store.containers.lease(container), workdirs.unused(container.work) as unused:
        current = session.store.containers.get(container.id)
        if current.form == PLAIN:
            return current
        if not unused:
            raise EngineError(
                f"container {current.short_id} is running without a copy of the image, "
                "and cannot be given one now",
                hint="wait until that has ended, or run in the same mode",
            )
        session.report.info(_why(current, mode))
        copy_container(current, session.store.temporary, owners.given(current))
        plain = replace(current, form=PLAIN)
        session.store.containers.update(plain)
        return plain


def _why(container: Container, mode: str) -> str:
    text = "making the container's own copy of the image"
    owner = os.stat(container.tree).st_uid
    if mode and owner != os.getuid():
        return f"{text}: it belongs to uid {owner}, and {mode} could not change it"
    return f"{text} for mode {mode}" if mode else text


def settled(session: Session, container: Container) -> Container:
    """The container as it is recorded: a copy that is not is of a process that was killed.

    The container may have changed since. Raises StoreError.
    """
    from udocker.engine import workdirs
    from udocker.files import store_errors
    from udocker.store.copy import empty

    lease = session.store.containers.lease(container)
    with lease, store_errors("using the container"), workdirs.unused(container.work):
        current = session.store.containers.get(container.id)
        if current.form == UNION:
            empty(current.root)
        return current


def _new(session: Session, record: ImageRecord) -> Container:

    identity = unique_name()
    return Container(
        id=identity,
        path=session.store.containers.path(identity),
        image=record.reference,
        manifest=record.manifest,
        tree=session.store.trees.root(record.chain_id),
        config=ImageConfig.parse(session.store.blobs.read(record.config), record.reference),
        created=now(),
        form=UNION,
    )
