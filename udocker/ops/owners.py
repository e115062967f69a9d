"""What the in-process engine needs to show owners: made where it is missing, or was moved."""

from __future__ import annotations

import contextlib
import os

from udocker import files
from udocker.files import store_errors
from udocker.model.container import PLAIN
from udocker.store import owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from udocker.model.container import Container
    from udocker.ops.session import Session
    from udocker.store.owners import Owner


def shared(session: Session, container: Container) -> str:
    """The file by which the container's processes share what they know. Raises StoreError."""
    path = f"{container.path}/owners"
    root = container.root if container.form == PLAIN else container.upper
    if not owners.is_of(path, root):
        with session.store.containers.lease(container), store_errors("reading owners"):
            if not owners.is_of(path, root):
                files.write_atomic(path, owners.marks(root), 0o600)
    return path


def of_image(container: Container) -> str:
    """The table of the container's tree; "" where the container has a copy of that.

    Raises StoreError.
    """
    if container.form == PLAIN:
        return ""
    beside = os.path.dirname(container.tree)
    path = f"{beside}/owners"
    if not owners.is_of(path, container.tree) and not os.access(beside, os.W_OK):
        path = f"{container.path}/image-owners"  # a store that is shared, and somebody else's
    with store_errors("reading owners"):
        if not owners.is_of(path, container.tree):
            files.write_atomic(path, owners.table(container.tree, _records(container)))
    return path


def given(container: Container) -> Callable[[str], None]:
    """What gives a copy of the container's tree the owners of the image. It raises OSError."""
    from udocker.unpack.readable import is_open

    is_opened = is_open(os.path.dirname(container.tree))

    def give(copy: str) -> None:
        for path, uid, gid, mode in _records(container):
            place = os.path.join(copy, os.fsdecode(path))
            # A device node is not there; some filesystems have no attributes.
            with contextlib.suppress(OSError):
                owners.remember(place, uid, gid, mode)
            if is_opened and mode is not None:
                with contextlib.suppress(OSError):
                    _close(place, mode)

    return give


def _close(path: str, mode: int) -> None:
    """The mode of the image again, as far as an unprivileged tree has it."""
    if not os.path.islink(path):
        os.chmod(path, mode & 0o1777 | (0o700 if os.path.isdir(path) else 0o400))


def _records(container: Container) -> Iterator[Owner]:
    from udocker.unpack import index

    path = f"{os.path.dirname(container.tree)}/{index.NAME}"
    if os.path.exists(path):
        for name, record in index.read(path):
            if record.device is None:
                yield name, record.uid, record.gid, record.mode
