"""Who has the union of a container mounted, and the work directories for mounting it.

Runs of one container share one mount of overlayfs, because the kernel keeps no two mounts of one
upper directory alike. Whoever comes later borrows it from a process that has it.

Where that is refused each mount has at least a work directory of its own: a mount empties it
(ovl_workdir_create in the kernel's fs/overlayfs/super.c). Were it that of the container's other
run, that run could no more copy, remove or rename a file.
"""

from __future__ import annotations

import contextlib
import errno
import os

from udocker import files, leases
from udocker.engine import union
from udocker.engine.others import borrow, holders, ids_of, is_holder, process_id
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.engine.others import Holder, Ids

_OWNER = ".owner"


@value
class WorkDirectory:
    """How a run comes to the union: by the mount of another one, or by mounting it.

    ``label`` becomes the source of the mount, and tells it apart.
    """

    path: str
    label: str
    tree: int = -1  # descriptor of a mount that was borrowed
    refusal: str = ""  # why none could be, from a run that goes on
    ids: Ids = ()  # of the run whose mount it is, or that refused; (): there is none


@contextlib.contextmanager
def free(parent: str) -> Iterator[WorkDirectory]:
    """A mount that is there, and a place below ``parent`` for a work directory nobody needs.

    Nobody else looks or mounts meanwhile. Raises OSError.
    """
    with leases.lease(f"{parent}.lock", beats=False):
        labels = _labels(parent)
        used, tree, refusal, ids = _look(labels)
        if tree < 0:
            for number in set(labels.values()) - used:
                os.unlink(f"{parent}/{number}{_OWNER}")
        else:
            used = set(labels.values())  # not all were looked at
        number = 0
        while number in used:
            number += 1
        label = f"udocker-{files.unique_name()[:12]}"
        try:
            yield WorkDirectory(f"{parent}/{number}", label, tree, refusal, ids)
        finally:
            if tree >= 0:
                os.close(tree)


@contextlib.contextmanager
def unused(parent: str) -> Iterator[bool]:
    """Whether no process has the union, mounted or in an F mode; none begins to meanwhile."""
    with leases.lease(f"{parent}.lock", beats=False):
        yield next(holders(_labels(parent)), None) is None and not union.is_used(parent)


def is_used(parent: str) -> bool:
    """Whether a process has the union, mounted or in an F mode. Raises OSError."""
    return next(holders(_labels(parent)), None) is not None or union.is_used(parent)


def holder(parent: str) -> int:
    """A process that has the union mounted; 0: there is none."""
    return next((pid for pid in map(process_id, holders(_labels(parent))) if pid), 0)


def make(directory: WorkDirectory) -> None:
    """Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory.path, 0o700)


def claim(directory: WorkDirectory) -> None:
    """Let it be taken for as long as a process has the mount."""
    with open(directory.path + _OWNER, "w", encoding="ascii") as stream:
        stream.write(directory.label)


def _labels(parent: str) -> dict[str, int]:
    """The mounts that were made, and the numbers of their work directories."""
    found = {}
    for name in os.listdir(parent):
        if name.endswith(_OWNER):
            with open(f"{parent}/{name}", encoding="ascii") as stream:
                found[stream.read()] = int(name[: -len(_OWNER)])
    return found


def _look(labels: dict[str, int]) -> tuple[set[int], int, str, Ids]:
    """The numbers in use; a mount that was borrowed, or -1 and why there is none; whose ids.

    The search ends with the first mount: a node may have a hundred runs of a container.
    """
    while True:
        used: set[int] = set()
        refusal = ""
        ids: Ids = ()
        has_ended = False
        for found in holders(labels):
            try:
                return used, _borrow(found), "", ids_of(found)
            except OSError as error:
                if is_holder(found):
                    used.add(labels[found.label])
                    refusal = error.strerror or str(error)
                    ids = ids_of(found)
                else:
                    has_ended = True  # and may have left another one
        if not has_ended:
            return used, -1, refusal, ids


def _borrow(holder: Holder) -> int:
    if not holder.is_root:
        raise OSError(errno.EBUSY, "it is in a mount namespace of its own")
    return borrow(holder)
