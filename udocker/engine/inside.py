"""What is made in a root that is not trusted: no symbolic link of it leads out."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from udocker.model.container import POINT


def make_inside(root: str, path: str, mode: int, is_point: bool = False) -> None:
    """Make directory ``path`` and its parents under ``root``; links stay inside the root.

    ``is_point``: mark what is made. Raises OSError.
    """
    os.close(open_inside(root, path, mode, is_point))


def make_point(target: str, is_dir: bool, upper: str, mode: int | None = None) -> None:
    """A file or directory to mount on, made and marked if it is missing.

    ``target`` is absolute, and no part of it is a link; ``upper`` is where on the host what is made
    comes to lie, and the working directory is the host's root. Raises OSError.
    """
    if os.path.exists(target):
        return
    parts = _parts(target)
    for number in range(1, len(parts) + 1):
        path = "/" + "/".join(parts[:number])
        try:
            if is_dir or number < len(parts):
                os.mkdir(path)
            else:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                os.close(os.open(path, flags, 0o644))
        except FileExistsError:
            continue
        if mode is not None and path == target:
            os.chmod(path, mode)
        # overlayfs lets nobody see or set it: in the upper, that is, by the old root.
        with contextlib.suppress(OSError):
            os.setxattr(f"{upper}{path}".lstrip("/"), POINT, os.fsencode(path))


def open_inside(root: str, path: str, mode: int, is_point: bool = False) -> int:
    """As ``make_inside``; a descriptor (O_PATH) of the directory."""
    marked = root if is_point else ""
    pending = _parts(path)[::-1]
    trail = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    links = 0
    try:
        while pending:
            name = pending.pop()
            if name == "..":
                if len(trail) > 1:
                    os.close(trail.pop())
                continue
            target = _link_or_none(name, trail[-1])
            if target is None:
                trail.append(_enter(name, trail[-1], mode if not pending else 0o755, marked))
                continue
            links += 1
            if links > 40:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                while len(trail) > 1:
                    os.close(trail.pop())
            pending += _parts(target)[::-1]
        return os.dup(trail[-1])
    finally:
        for descriptor in trail:
            os.close(descriptor)


def _link_or_none(name: str, folder: int) -> str | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return os.readlink(name, dir_fd=folder) if stat.S_ISLNK(status.st_mode) else None


def mark(descriptor: int, root: str) -> None:
    """Note on what was made that it is a mount point only; else it is taken for the user's."""
    with contextlib.suppress(OSError):
        place = f"/proc/self/fd/{descriptor}"
        path = os.readlink(place)[len(os.path.realpath(root)) :]
        os.setxattr(place, POINT, os.fsencode(path))


def _enter(name: str, folder: int, mode: int, marked: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        is_made = False
        with contextlib.suppress(FileExistsError):  # another run of the container was faster
            os.mkdir(name, mode, dir_fd=folder)
            is_made = True
        descriptor = os.open(name, flags, dir_fd=folder)
        os.chmod(f"/proc/self/fd/{descriptor}", mode)
        if is_made and marked:
            mark(descriptor, marked)
        return descriptor


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
