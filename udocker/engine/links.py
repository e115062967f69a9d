"""Absolute symbolic links of a root that nothing mounts: the kernel would take them to the host.

Written relative to where they lie they mean the same in every mode. So it does no harm that a run
was killed before it could see to the links that it made, or that another run goes on meanwhile.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def make_relative(root: str, outside: Sequence[str]) -> None:
    """See to all links below ``root``; those into ``outside`` are to lead to the host.

    Raises OSError.
    """
    start = os.path.realpath(root)
    for folder, folders, names, descriptor in os.fwalk(start, follow_symlinks=False):
        depth = len(_parts(folder[len(start) :]))
        changed = {}
        for name in (*folders, *names):
            target = _target(name, descriptor)
            if target is None:
                continue
            better = relative(target, depth, start, outside)
            if better != target:
                changed[name] = (target, better)
        if changed:
            _replace(descriptor, changed)


def relative(target: str, depth: int, root: str, outside: Sequence[str]) -> str:
    """What a link ``depth`` directories below ``root`` that means ``target`` should be.

    libfakechroot puts the root before the targets of links that are made.
    """
    if f"{target}/".startswith(f"{root}/"):
        target = target[len(root) :] or "/"
    parts = _parts(target)
    up = 0
    while up < len(parts) and parts[up] == "..":
        up += 1
    if not target or (not target.startswith("/") and up < depth):
        return target
    path = "/" + "/".join(parts[up:])
    if any(f"{path}/".startswith(f"{place}/") for place in outside):
        return path
    if not target.startswith("/") and up == depth:
        return target
    return "/".join([".."] * depth + parts[up:]) or "."


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _target(name: str, folder: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:  # EINVAL: no link
        return None


def _replace(folder: int, targets: dict[str, tuple[str, str]]) -> None:
    """The directory's and the links' times stay, so that nothing seems to have changed but them."""
    status = os.fstat(folder)
    closed = not status.st_mode & stat.S_IWUSR
    if closed:
        os.fchmod(folder, stat.S_IMODE(status.st_mode) | stat.S_IRWXU)
    for number, (name, (old, target)) in enumerate(targets.items()):
        temporary = f".udocker-{os.getpid()}-{number}"
        times = os.stat(name, dir_fd=folder, follow_symlinks=False)
        os.symlink(target, temporary, dir_fd=folder)
        stamps = (times.st_atime_ns, times.st_mtime_ns)
        os.utime(temporary, ns=stamps, dir_fd=folder, follow_symlinks=False)
        if _target(name, folder) == old:
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:  # another run has put something else there
            os.unlink(temporary, dir_fd=folder)
    if closed:
        os.fchmod(folder, stat.S_IMODE(status.st_mode))
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
