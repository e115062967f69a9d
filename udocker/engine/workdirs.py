"""Work directories of overlayfs: each mount of one upper directory has its own.

A mount empties its work directory (ovl_workdir_create in the kernel's fs/overlayfs/super.c). Were
it that of a container's other run, that run could no more copy, remove or rename a file.
"""

from __future__ import annotations

import contextlib
import os

from udocker import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OWNER = ".owner"


@contextlib.contextmanager
def free(parent: str) -> Iterator[str]:
    """A directory below ``parent`` that no running process needs; nobody else gets it meanwhile.

    To be called before unshare(2): afterwards other user namespaces cannot be looked into.
    Processes of another pid namespace are not seen. Raises OSError.
    """
    with files.lease(f"{parent}.lock"):
        number = 0
        living: set[str] = set()
        while True:
            path = f"{parent}/{number}"
            owner = _owner(path)
            living = living or (_namespaces() if owner else living)
            if owner not in living:
                break
            number += 1
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        yield path


@contextlib.contextmanager
def unused(parent: str) -> Iterator[bool]:
    """Whether no process needs a directory below ``parent``; none begins to while this lasts."""
    with files.lease(f"{parent}.lock"):
        names = [name for name in os.listdir(parent) if name.endswith(_OWNER)]
        owners = [_owner(f"{parent}/{name[: -len(_OWNER)]}") for name in names]
        yield not owners or _namespaces().isdisjoint(owners)


def claim(path: str) -> None:
    """Let ``path`` be taken for as long as this process's mount namespace lives."""
    with open(path + _OWNER, "w", encoding="ascii") as stream:
        stream.write(os.readlink("/proc/self/ns/mnt"))


def _owner(path: str) -> str:
    try:
        with open(path + _OWNER, encoding="ascii") as stream:
            return stream.read()
    except OSError:
        return ""


def _namespaces() -> set[str]:
    """The mount namespaces of the processes that this user may look at: namespaces(7)."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{name}/ns/mnt"))
    return found
