"""What cp copies, and where it comes to: the same rules for every way of writing."""

from __future__ import annotations

import os
import stat

from udocker.model.value import value
from udocker.store.changes import owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.store.writing import Plain

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@value
class Item:
    """What is to be copied: ``name`` below the top ("" is it), and a link's target, if it is one.

    ``path``: where on the host it is read; absolute, no part a link.
    """

    name: str
    path: str
    link: str | None = None
    is_dir: bool = False


def of_host(path: str, name: str = "") -> Iterator[Item]:
    """What is at ``path`` of the host, and below. Raises OSError."""
    mode = os.lstat(path).st_mode
    is_dir = stat.S_ISDIR(mode)
    yield Item(name, path, os.readlink(path) if stat.S_ISLNK(mode) else None, is_dir)
    if is_dir:
        for each in sorted(os.listdir(path)):
            yield from of_host(f"{path}/{each}", f"{name}/{each}")


def goal(writer: Plain, path: str, said: str, top: Item, source: str) -> str:
    """Where the top comes to, as Docker has it. Raises OSError."""
    path = path.rstrip("/")
    base = os.path.basename(source.rstrip("/"))
    if writer.is_directory(path or "/"):
        only_content = base in ("", ".") and top.is_dir
        return path if only_content else f"{path}/{base}"
    if writer.place(path) is not None and top.is_dir:
        raise NotADirectoryError(20, os.strerror(20), said)
    is_parent = writer.is_directory(os.path.dirname(path) or "/")
    if (said.endswith("/") and not top.is_dir) or not is_parent:
        raise FileNotFoundError(2, os.strerror(2), said)
    return path


def put(items: list[Item], writer: Plain, target: str, base: int = -1) -> None:
    """``base``: a descriptor of the host's root, where that is not ours any more.

    Raises OSError.
    """
    modes: list[tuple[str, int]] = []
    where = {"dir_fd": base} if base >= 0 else {}
    for item in items:
        place = target + item.name
        if item.link is not None:
            writer.link(place, item.link)
            continue
        path = item.path.lstrip("/") or "." if base >= 0 else item.path
        if not is_copied(os.lstat(path, **where).st_mode):
            continue  # sockets and the like are nothing without who made them
        source = os.open(path, _READ, **where)
        try:
            status = os.fstat(source)
            if not stat.S_ISDIR(status.st_mode):
                writer.file(place, source, status)
            elif not writer.is_directory(place or "/"):
                writer.directory(place, 0o700)
                modes.append((place, shown(item.path, status) if base < 0 else status.st_mode))
        finally:
            os.close(source)
    for place, mode in reversed(modes):
        writer.change_mode(place, mode)


def shown(path: str, status: os.stat_result) -> int:
    """The permission bits that programs in the container see."""
    owner = owner_of(path, status)
    return status.st_mode if owner is None or owner[2] is None else owner[2]


def is_copied(mode: int) -> bool:
    """Whether cp copies files of that kind, which is no link."""
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
