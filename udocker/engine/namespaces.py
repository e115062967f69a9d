"""Namespaces of a run's own, or those that it shares with the other tasks of a host."""

from __future__ import annotations

import contextlib
import errno
import os

from udocker.engine import group
from udocker.engine.kernel import MS_REC, MS_SLAVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from udocker.engine.kernel import Kernel
    from udocker.model.launch import Unshare

# <linux/sched.h>
_NEWNS = 0x00020000
_NEWUTS = 0x04000000
_NEWNET = 0x40000000
_NEWUSER = 0x10000000


def unshare(kernel: Kernel, step: Unshare, warn: Callable[[str], None]) -> bool:
    """False if there was a group to come to, and this process is alone all the same.

    Raises OSError where the host has no namespaces for its user.
    """
    flags = _NEWNS | (_NEWUTS if step.uts else 0) | (_NEWNET if step.net else 0)
    is_together = True
    if step.ids is not None:
        from udocker import idmaps

        idmaps.enter(_NEWUSER | flags, step.ids)
    elif step.group:
        is_together = _come_together(kernel, step, flags, warn)
    else:
        _make(kernel, step, flags)
    # What the host mounts later (automounters) shows up here, and nothing goes back.
    kernel.mount(None, "/", None, MS_REC | MS_SLAVE)
    if step.net:
        from udocker.engine.limits import raise_loopback

        raise_loopback()
    return is_together


def _make(kernel: Kernel, step: Unshare, flags: int) -> None:
    kernel.check(kernel.lib.udocker_unshare(_NEWUSER | flags), "user namespace")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{step.uid} {step.host_uid} 1")
    _write("/proc/self/gid_map", f"{step.gid} {step.host_gid} 1")


def _come_together(kernel: Kernel, step: Unshare, flags: int, warn: Callable[[str], None]) -> bool:
    """A namespace of the group's, or one that the group comes to; else one's own, and False."""
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(group.opened(step.group))
            is_inside = _enter_group(kernel, stream)
        except OSError as error:
            if step.tells:
                warn(
                    f"each task of this host has a user namespace of its own ({error.strerror})"
                    ": MPI is told not to read the memory of others"
                )
            _make(kernel, step, flags)
            return False
        if is_inside:
            kernel.check(kernel.lib.udocker_unshare(flags), "mount namespace")
        else:
            _make(kernel, step, flags)
        with contextlib.suppress(OSError):  # on a full disk those who come later are alone
            group.join(stream)
    return True


def _enter_group(kernel: Kernel, stream: BinaryIO) -> bool:
    """False: there is no namespace yet. Raises OSError where this process cannot come in."""
    refusal = group.refusal(kernel.lib, kernel.ffi)
    for descriptor in group.namespaces(stream) if not refusal else ():
        if kernel.lib.udocker_setns(descriptor, _NEWUSER) == 0:
            return True
        refusal = kernel.ffi.errno
    if refusal:
        raise OSError(refusal, os.strerror(refusal))
    return False


def _write(path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        # Kernels before 3.19 have no setgroups file, and need none.
        if error.errno != errno.ENOENT:
            error.filename = path
            raise
