"""A container's union on kernel overlayfs: mounted, or shared with its other runs."""

from __future__ import annotations

import os

from udocker.engine import union, workdirs
from udocker.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.engine.kernel import Kernel
    from udocker.engine.workdirs import WorkDirectory
    from udocker.model.launch import MountUnion, ShareUnion
    from udocker.model.run import IdMap


def mount_union(
    kernel: Kernel, step: MountUnion, work: WorkDirectory, warn: Callable[[str], None]
) -> None:
    """The mount that another run of the container has, or a new one.

    Raises EngineError where nobody would look at it, else OSError.
    """
    _check_is_union(step.target)
    refusal = work.refusal
    if work.tree >= 0:
        if kernel.lib.udocker_attach(work.tree, os.fsencode(step.target)) == 0:
            return
        refusal = os.strerror(kernel.ffi.errno)
    if refusal:
        warn(
            "the container is running, and its mount cannot be shared "
            f"({refusal}): files may differ between the runs"
        )
    workdirs.make(work)
    _mount_overlay(kernel, step, work)


def _mount_overlay(kernel: Kernel, step: MountUnion, work: WorkDirectory) -> None:
    # Paths by descriptor: overlayfs splits its options at commas and colons, and the
    # escapes for them changed between kernels.
    folders = (step.lower, step.upper, work.path)
    opened = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in folders]
    try:
        lower, upper, scratch = (f"/proc/self/fd/{descriptor}" for descriptor in opened)
        options = f"lowerdir={lower},upperdir={upper},workdir={scratch},userxattr"
        kernel.mount(work.label, step.target, "overlay", 0, options)
        workdirs.claim(work)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def share_union(step: ShareUnion) -> None:
    """Note what the engines that work in processes unite.

    Raises EngineError while the container runs on kernel overlayfs.
    """
    _check_is_union(step.root)
    if os.path.exists(step.state):
        return
    with workdirs.unused(step.work) as unused:
        pid = 0 if unused else workdirs.holder(step.work)
        if pid:
            raise EngineError(
                f"process {pid} ({_program(pid)}) runs in the container on kernel overlayfs, "
                "and nothing else may write to that meanwhile",
                hint="wait until it has ended, or run in the same mode: --execmode=N1",
            )
        union.share(step.state, step.upper, step.tree)


def _check_is_union(root: str) -> None:
    """What would be written to a union that nobody looks at any more would be lost."""
    if os.listdir(root):
        raise EngineError(
            "the container was given a root directory of its own at this very moment",
            hint="run it once more",
        )


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return "it has ended since"


def check_ids(work: WorkDirectory, ids: IdMap | None) -> None:
    """Raise EngineError where the other run of the container has ids of another kind."""
    if not work.ids or not all(work.ids):
        return  # nobody, or a process that has gone into a namespace without ids
    has_one = all(len(rows) == 1 and rows[0][2] == 1 for rows in work.ids)
    if has_one if ids is None else work.ids == (ids.uids, ids.gids):
        return
    raise EngineError(
        "the container is running with other ids, and its files cannot belong to both kinds",
        hint="wait until that has ended, or give the same --userns",
    )


def take_from_inprocess(work: str) -> None:
    """Raise EngineError while the container runs in an F mode.

    To be called before unshare(2): afterwards other user namespaces cannot be looked into.
    """
    pid = union.user(work)
    if pid:
        raise EngineError(
            f"process {pid} ({_program(pid)}) runs in the container in an F mode, and kernel "
            "overlayfs may not be mounted over what that writes",
            hint="wait until it has ended, or run in the same mode: --execmode=F3",
        )
    union.forget(work)
