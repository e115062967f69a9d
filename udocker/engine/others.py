"""Mounts that other processes of the user's have, in mount namespaces of their own.

A mount is told by its source: mountinfo shows it for every mount, and we choose it.
"""

from __future__ import annotations

import contextlib
import errno
import os

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    # Users and groups of a user namespace: rows of first inside, first outside, and how many.
    Ids = tuple[tuple[tuple[int, ...], ...], ...]

_ENDED = (errno.ENOENT, errno.ESRCH, errno.EINVAL)  # no such process, or a zombie


@value
class Holder:
    """A process that has the mount ``label``: to be used at once, while it is looked at."""

    process: int  # descriptor of its directory in /proc: never another process, as a number may be
    label: str
    device: str  # major:minor of the mounted filesystem
    is_root: bool  # nothing but that mount, and all of it, is its "/"


def holders(labels: Collection[str]) -> Iterator[Holder]:
    """Processes that have a mount of ``labels``, however they came to it.

    To be called before unshare(2): afterwards other user namespaces cannot be looked into.
    Not seen are processes of another pid namespace, that the user may not ptrace(2), or that
    went into a directory of the mount by chroot(2).
    """
    if not labels:
        return
    own = os.readlink("/proc/self/ns/mnt")
    again = True
    while again:
        again = False
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{name}/ns/mnt") == own:
                    continue
            except OSError:
                continue
            try:
                yield from _holder(name, labels)
            except OSError as error:
                # It ended meanwhile, and may have left a child that is not in the list.
                again = again or error.errno in _ENDED


def is_holder(holder: Holder) -> bool:
    """Whether it goes on, and still has the mount."""
    try:
        return bool(_held(holder.process, (holder.label,)))
    except OSError:
        return False


def process_id(holder: Holder) -> int:
    """To tell the user; 0: it has ended."""
    try:
        return int(os.readlink(f"/proc/self/fd/{holder.process}").rpartition("/")[2])
    except (OSError, ValueError):
        return 0


def ids_of(holder: Holder) -> Ids:
    """The ids that it has; (): it has ended."""
    found = []
    try:
        for name in ("uid_map", "gid_map"):
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=holder.process)
            with open(descriptor, encoding="ascii") as stream:
                found.append(tuple(tuple(map(int, line.split())) for line in stream))
    except OSError:
        return ()
    return tuple(found)


def _holder(name: str, labels: Collection[str]) -> Iterator[Holder]:
    process = os.open(f"/proc/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _held(process, labels)
    finally:
        os.close(process)


def _held(process: int, labels: Collection[str]) -> list[Holder]:
    descriptor = os.open("mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as stream:
        mounts = [line.split() for line in stream]
    found = {}
    for words in mounts:  # proc_pid_mountinfo(5)
        label = words[words.index("-") + 2]
        if label in labels:
            is_root = words[3:5] == ["/", "/"]
            if label not in found or is_root:
                found[label] = Holder(process, label, words[2], is_root)
    return list(found.values())


def borrow(holder: Holder) -> int:
    """A descriptor of a new mount, not mounted anywhere yet, of what is the holder's root.

    It is of the same filesystem, which lives until the last mount of it is gone. Raises OSError.
    """
    from udocker._native import ffi, lib

    flags = os.O_RDONLY | os.O_CLOEXEC
    with contextlib.ExitStack() as stack:
        spaces = []
        for name in ("user", "mnt"):
            spaces.append(os.open(f"ns/{name}", flags, dir_fd=holder.process))
            stack.callback(os.close, spaces[-1])
        tree = os.dup(holder.process)
        if lib.udocker_clone_root(*spaces, tree) != 0:
            number = ffi.errno
            os.close(tree)
            raise OSError(number, os.strerror(number))
    device = os.fstat(tree).st_dev
    # Another mount lies over it where the holder was about to change its root.
    if f"{os.major(device)}:{os.minor(device)}" != holder.device:
        os.close(tree)
        raise OSError(errno.EBUSY, "its root is another mount")
    return tree
