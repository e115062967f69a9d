"""What a container changed, and all of its files as one archive."""

from __future__ import annotations

import contextlib
import os
import sys

from udocker.errors import StoreError, StoreUnwritableError
from udocker.files import store_errors
from udocker.model.container import PLAIN
from udocker.ops import cloning
from udocker.ops.members import Members, Records
from udocker.ops.ranges import settle
from udocker.store.changes import changes, walk
from udocker.store.closed import Opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from udocker.model.container import Container
    from udocker.ops.session import Session
    from udocker.store.changes import Entry


def diff(session: Session, text: str) -> list[tuple[str, str]]:
    """A, C or D and the path of all that the container changed of its image.

    Raises ContainerNotFound, StoreError.
    """
    container = found(session, text)
    is_whole = container.form == PLAIN
    with store_errors("comparing the container with its image"), reading(session, container) as it:
        over = container.root if is_whole else upper_of(container)
        owner = Records(container.tree).owner
        return changes(over, container.tree, owner, opened=it.open, whole=is_whole)


def export(session: Session, text: str, target: str, clone: bool = False) -> None:
    """Write the container's files as a tar archive to the file ``target``; "-" is stdout.

    ``clone``: with all that makes the container once more. A file appears when it is whole.
    Raises ContainerNotFound, StoreError.
    """
    container = found(session, text)
    if target == "-":
        with _export_errors("stdout"):
            sys.stdout.flush()
            _write(session, container, sys.stdout.buffer, clone)
            sys.stdout.buffer.flush()
        return
    if os.path.exists(target) and not os.path.isfile(target):
        # A device or a pipe is written to; of a directory the system says what is wrong.
        with _export_errors(target), open(target, "wb") as stream:
            _write(session, container, stream, clone)
        return
    aside = f"{target}.{os.getpid()}.tmp"
    try:
        with _export_errors(target, aside):
            with open(aside, "xb") as stream:
                _write(session, container, stream, clone)
            os.rename(aside, target)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(aside)


@contextlib.contextmanager
def _export_errors(*targets: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has had enough
    except OSError as error:
        text = f"exporting the container to {targets[0]}: {error.strerror or error}"
        if error.filename not in (None, *targets):
            raise StoreError(f"{text}: {error.filename}", hint="udocker fsck") from error
        hint = "name a file that you may write, where there is room: udocker export -o FILE …"
        raise StoreError(text, hint=hint) from error


def found(session: Session, text: str) -> Container:
    """The container, whose files are here. Raises ContainerNotFound, StoreError."""
    container = session.store.containers.get(text)
    if not os.path.isdir(container.tree) and container.form != PLAIN:
        raise StoreError(
            f"the files of {container.image} are gone from the store: {container.tree}",
            hint=f"udocker pull {container.image}",
        )
    return container


@contextlib.contextmanager
def reading(session: Session, container: Container) -> Iterator[Opener]:
    """Read all that the container has, by what opens it. Raises ContainerInUse, StoreError."""
    settle(container)
    with contextlib.ExitStack() as stack:
        # In a store that is only read there is nobody to be kept away.
        with contextlib.suppress(StoreUnwritableError):
            stack.enter_context(session.store.containers.lease(container))
        yield stack.enter_context(Opener(container.path))


def _write(session: Session, container: Container, stream: BinaryIO, clone: bool) -> None:
    prefix = f"{cloning.TOP}/" if clone else ""
    with (
        reading(session, container) as opener,
        Members(stream, Records(container.tree), prefix) as members,
    ):
        if clone:
            cloning.describe(members, container)
        for entry in entries_of(container, opener):
            if (entry.path or clone) and not entry.is_removed:
                members.add(entry)


def upper_of(container: Container) -> str:
    """The upper directory; "" of a container that never ran."""
    return container.upper if os.path.isdir(container.upper) else ""


def entries_of(container: Container, opener: Opener) -> Iterator[Entry]:
    """All of its files. Raises OSError."""
    if container.form == PLAIN:
        # Its own attributes say what the image's index said, but for attributes and capabilities.
        return walk(container.root, "", opened=opener.open)
    return walk(upper_of(container), container.tree, opened=opener.open)
