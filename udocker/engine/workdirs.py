"""Work directories of overlayfs: each mount of one upper directory has its own.

A mount empties its work directory (ovl_workdir_create in the kernel's fs/overlayfs/super.c). Were
it that of a container's other run, that run could no more copy, remove or rename a file.
"""

from __future__ import annotations

import contextlib
import os

from udocker import files
from udocker.engine import union
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OWNER = ".owner"


@value
class WorkDirectory:
    """A directory to mount with; ``label`` becomes the source of the mount, and tells it apart."""

    path: str
    label: str


@contextlib.contextmanager
def free(parent: str) -> Iterator[WorkDirectory]:
    """One below ``parent`` that no running process needs; nobody else gets it meanwhile.

    To be called before unshare(2): afterwards other user namespaces cannot be looked into.
    Processes of another pid namespace are not seen. Raises OSError.
    """
    with files.lease(f"{parent}.lock"):
        number = 0
        while _is_used(f"{parent}/{number}"):
            number += 1
        path = f"{parent}/{number}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        yield WorkDirectory(path, f"udocker-{files.unique_name()[:12]}")


@contextlib.contextmanager
def unused(parent: str) -> Iterator[bool]:
    """Whether no process needs one below ``parent``, nor has the F modes' there.

    None begins to while this lasts.
    """
    with files.lease(f"{parent}.lock"):
        names = [name for name in os.listdir(parent) if name.endswith(_OWNER)]
        is_mounted = any(_is_used(f"{parent}/{name[: -len(_OWNER)]}") for name in names)
        yield not is_mounted and not union.is_used(parent)


def claim(directory: WorkDirectory) -> None:
    """Let it be taken for as long as this process's mount namespace lives."""
    with open(directory.path + _OWNER, "w", encoding="ascii") as stream:
        stream.write(f"{os.readlink('/proc/self/ns/mnt')} {directory.label}")


def _is_used(path: str) -> bool:
    """Whether the mount namespace that claimed ``path`` has a process: namespaces(7)."""
    try:
        with open(path + _OWNER, encoding="ascii") as stream:
            namespace, _, label = stream.read().partition(" ")
    except OSError:
        return False
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/mnt") == namespace:
                    # The kernel gives the number of a namespace that is gone to the next one.
                    return _has_mount(name, label)
    return False


def _has_mount(pid: str, label: str) -> bool:
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        return f" {label} " in stream.read()
