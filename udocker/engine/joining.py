"""The step Join: into the namespaces of a process that runs, setns(2)."""

from __future__ import annotations

import os
import sys

from udocker import makers
from udocker.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from udocker.model.launch import Join
    from udocker.model.run import User

# <linux/sched.h>; the user namespace comes first, because being its owner gives the rights that
# the others want, and the mount namespace last, because it brings another root.
_NEWUSER = 0x10000000
_KINDS = (
    ("user", _NEWUSER),
    ("uts", 0x04000000),
    ("ipc", 0x08000000),
    ("net", 0x40000000),
    ("cgroup", 0x02000000),
    ("mnt", 0x00020000),
)


def is_apart(process: int) -> bool:
    """Whether a process is in other user and mount namespaces than we, and has a root there."""
    try:
        same = any(
            os.readlink(f"/proc/{process}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")
            for name in ("user", "mnt")
        )
        root, ours = os.stat(f"/proc/{process}/root"), os.stat("/")
    except OSError:
        return False
    return not same and (root.st_dev, root.st_ino) != (ours.st_dev, ours.st_ino)


def has_many_ids(process: int) -> bool:
    """Whether its namespace has more than one user and one group. False when it has ended."""
    try:
        return min(_size(process, "uid_map"), _size(process, "gid_map")) > 1
    except OSError:
        return False


def join(lib: Any, ffi: Any, step: Join) -> None:
    """Raises OSError, EngineError where the process has ended."""
    opened = []
    try:
        for name, kind in _KINDS:
            own = os.readlink(f"/proc/self/ns/{name}")
            if os.readlink(f"/proc/{step.process}/ns/{name}") != own:
                flags = os.O_RDONLY | os.O_CLOEXEC
                opened.append((os.open(f"/proc/{step.process}/ns/{name}", flags), kind))
        has_many = has_many_ids(step.process)
    except FileNotFoundError:
        opened.clear()
    # Looked at again, now that they are open: the number may be another process's by now.
    if not opened or makers.state(step.mark) != makers.ALIVE:
        raise EngineError("what runs in the container has just ended")
    # From here on files are the container's: no code may come from there.
    sys.meta_path.clear()
    for descriptor, kind in opened:
        if lib.udocker_setns(descriptor, kind) != 0:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        os.close(descriptor)
    _become(lib, ffi, step.user, has_many)


def _become(lib: Any, ffi: Any, user: User, has_many: bool) -> None:
    uid, gid = os.getuid(), os.getgid()
    if has_many:
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    elif (uid, gid) != (user.uid, user.gid):
        # There is one id only: in a namespace below it can be called otherwise.
        if lib.udocker_unshare(_NEWUSER) != 0:
            raise OSError(ffi.errno, os.strerror(ffi.errno))
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user.uid} {uid} 1"),
            ("gid_map", f"{user.gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as stream:
                stream.write(text)


def _size(process: int, name: str) -> int:
    """How many ids are mapped."""
    with open(f"/proc/{process}/{name}", encoding="ascii") as stream:
        return sum(int(line.split()[2]) for line in stream)
