"""The way back from steps that have changed this process, so that another engine may be tried.

Nobody returns from a user namespace, but in another one below it the ids can be what they were,
and there the user has no rights that others have not. What differs then: supplementary groups and
the owners of other users' files have no names, and programs with setuid bits do not change users.
"""

from __future__ import annotations

import contextlib
import os
import sys

from udocker.model.launch import (
    Bind,
    EnterRoot,
    MakeDirectory,
    MakeFile,
    MountUnion,
    RelativeLinks,
    SetHostname,
    ShareUnion,
    Unshare,
    WriteFile,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from udocker.model.launch import Step

_NEWUSER = 0x10000000  # <linux/sched.h>
_NAMESPACE = "/proc/self/ns/user"
# What a step of another kind does to the process, a filter above all, stays for ever.
_REVOCABLE = (
    Bind,
    EnterRoot,
    MakeDirectory,
    MakeFile,
    MountUnion,
    RelativeLinks,
    SetHostname,
    ShareUnion,
    Unshare,
    WriteFile,
)


class Retreat:
    """Remembers what has to be known to go back."""

    def __init__(self) -> None:
        self._done: list[Step] = []
        self._failed: Step | None = None
        self._namespace = ""
        self._cwd = ""
        self._finders = list(sys.meta_path)

    @contextlib.contextmanager
    def over(self, step: Step) -> Iterator[None]:
        """While ``step`` is carried out."""
        if isinstance(step, Unshare):
            self._namespace = _namespace()
        elif isinstance(step, EnterRoot):
            with contextlib.suppress(OSError):
                self._cwd = os.getcwd()
        self._failed = step
        yield
        self._failed = None
        self._done.append(step)

    def go_back(self, lib: Any, old_root: int) -> bool:
        """After a step has failed: whether this process is as it was, for what udocker does."""
        if not all(isinstance(step, _REVOCABLE) for step in self._begun()):
            return False
        try:
            return self._leave_root(lib, old_root) and self._leave_namespaces(lib)
        except OSError:
            return False

    def _begun(self) -> list[Step]:
        return [*self._done, *([self._failed] if self._failed else [])]

    def _leave_root(self, lib: Any, old_root: int) -> bool:
        if any(isinstance(step, EnterRoot) for step in self._done):
            os.fchdir(old_root)
            # The other way round: the container's root comes to lie over the old one.
            if lib.udocker_pivot_here() != 0 or lib.udocker_unmount(b".") != 0:
                return False
        sys.meta_path[:] = self._finders
        with contextlib.suppress(OSError):
            os.chdir(self._cwd or ".")
        return True

    def _leave_namespaces(self, lib: Any) -> bool:
        begun = [step for step in self._begun() if isinstance(step, Unshare)]
        if not begun or _namespace() == self._namespace:
            return True
        if begun[0] is self._failed and not _is_mapped():
            return False
        for step in self._begun():
            if isinstance(step, (MountUnion, EnterRoot)):
                target = step.target if isinstance(step, MountUnion) else step.path
                lib.udocker_unmount(os.fsencode(target))
        return _become_oneself(lib, begun[0])


def _become_oneself(lib: Any, step: Unshare) -> bool:
    """A user namespace in that of ``step``, where the ids are those outside."""
    if lib.udocker_unshare(_NEWUSER) != 0:
        return False
    for name, text in (
        ("setgroups", "deny"),  # without which nobody but root may say what a group is
        ("uid_map", f"{step.host_uid} {step.uid} 1"),
        ("gid_map", f"{step.host_gid} {step.gid} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    return (os.getuid(), os.getgid()) == (step.host_uid, step.host_gid)


def _is_mapped() -> bool:
    with open("/proc/self/gid_map", "rb") as stream:
        return stream.read() != b""


def _namespace() -> str:
    try:
        return os.readlink(_NAMESPACE)
    except OSError:
        return ""
