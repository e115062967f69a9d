"""Images that a batch job has on its nodes: where they are, and whether an image is there."""

from __future__ import annotations

import contextlib
import os

from udocker.ops import batch
from udocker.ops.images import find_image
from udocker.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.batch.job import Task
    from udocker.model.oci import Platform
    from udocker.model.reference import Reference
    from udocker.ops.session import Session


def name(task: Task) -> str:
    return f"staged-{task.job}"


def directory(session: Session, task: Task, parent: str = "") -> str:
    """Where this node's store for the job is, or is to be: below ``parent``, or in its scratch
    space. "": nowhere can be written."""
    for place in [parent] if parent else task.scratch:
        own = batch.own_directory(place)
        if own:
            return f"{own}/{name(task)}"
    return ""


def note(task: Task, path: str) -> None:
    """Tell the runs of this node where it is. Raises OSError."""
    node = batch.node_directory()
    if not node:
        return
    _sweep(node)
    link = f"{node}/{name(task)}.link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(path, link)


def _sweep(node: str) -> None:
    """Remove what jobs left whose scratch space has gone. Never fails."""
    with contextlib.suppress(OSError):
        for other in os.listdir(node):
            path = f"{node}/{other}"
            if other.startswith("staged-") and os.path.islink(path) and not os.path.exists(path):
                os.unlink(path)


def find(task: Task) -> str:
    """The store of this node for the job; "": there is none."""
    node = batch.node_directory()
    if not node:
        return ""
    try:
        path = os.readlink(f"{node}/{name(task)}.link")
    except OSError:
        return ""
    return path if os.path.isdir(path) else ""


def has(session: Session, path: str, reference: Reference, platform: Platform | None) -> bool:
    """Whether the image is in the store ``path``, whole."""
    there = session.over(Store(path))
    record = find_image(there, reference, platform)
    return record is not None and there.store.trees.has(record.chain_id)
