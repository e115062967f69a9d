"""A container's files read from outside: all of them, and what it changed of its image.

The upper directory is in the format of overlayfs: see ``view``.
"""

from __future__ import annotations

import os
import stat

from udocker.model.container import POINT
from udocker.model.value import value
from udocker.store.compare import has_same_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Optional

    # uid, gid, permission bits (None: those of the file)
    Owner = tuple[int, int, Optional[int]]
    # Makes a path readable; its permission bits, if that changed them
    Opening = Callable[[str], Optional[int]]

ADDED, CHANGED, DELETED = "A", "C", "D"
_OPAQUE = "user.overlay.opaque"
_OWNER = "user.overlay.owner"
_NOBODY = 2**32 - 1  # (uid_t) -1 means "no id": chown(2)


@value
class Entry:
    """What is at ``path`` ("" is the root): host paths in the upper directory and in the tree.

    "" where there is nothing. ``is_removed``: the tree has it, and the container does not.
    ``mode``: permission bits that differ from those on disk while it is open to be read.
    """

    path: str
    over: str
    under: str
    is_removed: bool = False
    mode: int | None = None

    def permissions(self, status: os.stat_result) -> int:
        """The permission bits that programs see: ``status`` has those on disk."""
        return stat.S_IMODE(status.st_mode) if self.mode is None else self.mode


def _leave(path: str) -> int | None:
    return None


def walk(
    upper: str,
    tree: str,
    *,
    opened: Opening = _leave,
    whole: bool = False,
    unchanged: bool = True,
) -> Iterator[Entry]:
    """Every entry, a directory before what is in it, names sorted. Raises OSError.

    ``opened`` opens what is in ``upper``: see ``store.closed``. ``whole``: ``upper`` has all
    files, and what it lacks is removed. ``unchanged`` False: without what is in the tree alone.
    What runs made to mount on is left out.
    """
    pending = [Entry("", upper, tree, mode=opened(upper) if upper else None)]
    while pending:
        entry = pending.pop()
        yield entry
        if not entry.is_removed and _is_directory(entry.over or entry.under):
            found = reversed(_children(entry, opened, whole))
            pending += [each for each in found if unchanged or each.over or each.is_removed]


def _children(entry: Entry, opened: Opening, whole: bool) -> list[Entry]:
    below = set(os.listdir(entry.under)) if _is_directory(entry.under) else set()
    above = set(os.listdir(entry.over)) if entry.over else set()
    is_hidden = bool(entry.over) and (whole or _is_opaque(entry.over))
    children = []
    for name in sorted(below | above, key=os.fsencode):
        path = f"{entry.path}/{name}"
        over = f"{entry.over}/{name}" if name in above else ""
        under = f"{entry.under}/{name}" if name in below else ""
        if over and _is_whiteout(over):
            over, is_removed = "", True
        elif over and _is_point(over, path):
            # Where the image has something there, the container had removed that.
            over, is_removed = "", True
        else:
            is_removed = not over and is_hidden
        if over or under:
            mode = opened(over) if over else None
            children.append(Entry(path, over, under, is_removed, mode))
    return children


def changes(
    upper: str,
    tree: str,
    owner: Callable[[str], Owner],
    *,
    opened: Opening = _leave,
    whole: bool = False,
) -> list[tuple[str, str]]:
    """ADDED, CHANGED or DELETED, and the path; directories above a change are CHANGED.

    ``owner`` tells who the image's entry at a path belongs to; the rest as ``walk``. Raises
    OSError.
    """
    found: dict[str, str] = {}
    for entry in walk(upper, tree, opened=opened, whole=whole, unchanged=False):
        kind = _kind(entry, owner, whole)
        if kind and entry.path:
            found[entry.path] = kind
            above = os.path.dirname(entry.path)
            while above != "/" and above not in found:
                found[above] = CHANGED
                above = os.path.dirname(above)
    ordered = sorted(found, key=lambda path: os.fsencode(path).split(b"/"))
    return [(found[path], path) for path in ordered]


def selected(
    upper: str,
    tree: str,
    owner: Callable[[str], Owner],
    *,
    opened: Opening = _leave,
    whole: bool = False,
) -> list[Entry]:
    """What a layer over the image has to have: all that changed, and the directories above it.

    Also the unchanged names of files that have changed ones. Arguments and errors as ``changes``.
    """
    walked: list[tuple[Entry, bool]] = []
    linked = set()
    for entry in walk(upper, tree, opened=opened, whole=whole, unchanged=False):
        is_changed = bool(_kind(entry, owner, whole))
        status = os.lstat(entry.over) if entry.over else None
        is_directory = status is not None and stat.S_ISDIR(status.st_mode)
        has_names = status is not None and status.st_nlink > 1 and not is_directory
        if is_changed and has_names:
            linked.add(_inode(entry))
        if is_changed or is_directory or has_names:
            walked.append((entry, is_changed))
    found: list[Entry] = []
    above: list[Entry] = []  # directories that have nothing that was taken yet
    for entry, is_changed in walked:
        while above and not entry.path.startswith(f"{above[-1].path}/"):
            above.pop()
        is_directory = bool(entry.over) and _is_directory(entry.over)
        if is_changed or (linked and not is_directory and _inode(entry) in linked):
            found += [*above, entry]
            above.clear()
        elif is_directory and entry.path:
            above.append(entry)
    return found


def _inode(entry: Entry) -> tuple[int, int]:
    status = os.lstat(entry.over)
    return status.st_dev, status.st_ino


def owner_of(path: str, status: os.stat_result) -> Owner | None:
    """What the file itself says of its owner: ``store.owners`` has the format."""
    if stat.S_ISLNK(status.st_mode):
        return None
    try:
        uid, gid, *mode = os.getxattr(path, _OWNER).decode().split(":")
        found = int(uid), int(gid), int(mode[0], 8) if mode else None
    except (OSError, ValueError):
        return None
    # Programs inside can write it in a root that is no union: they may have written anything.
    is_sane = 0 <= found[0] < _NOBODY and 0 <= found[1] < _NOBODY and 0 <= (found[2] or 0) <= 0o7777
    return found if is_sane else None


def _kind(entry: Entry, owner: Callable[[str], Owner], whole: bool) -> str:
    if entry.is_removed:
        return DELETED
    if not entry.under:
        return ADDED
    if not entry.over:
        return ""  # the root of a container that never ran
    return "" if _is_same(entry, owner, whole) else CHANGED


def _is_same(entry: Entry, owner: Callable[[str], Owner], whole: bool) -> bool:
    one, other = os.lstat(entry.over), os.lstat(entry.under)
    kind = stat.S_IFMT(one.st_mode)
    if kind != stat.S_IFMT(other.st_mode):
        return False
    if kind == stat.S_IFLNK:
        return os.readlink(entry.over) == os.readlink(entry.under)
    is_like = _has_same_owner(entry, one, other, owner) and (
        _attributes(entry.over) == _attributes(entry.under)
    )
    if not is_like or kind != stat.S_IFREG:
        return is_like
    if (one.st_size, one.st_mtime_ns) != (other.st_size, other.st_mtime_ns):
        return False
    # A whole root is as large as the image: a time that is the same is taken for proof.
    return whole or one.st_size == 0 or has_same_bytes(entry.over, entry.under)


def _has_same_owner(
    entry: Entry, one: os.stat_result, other: os.stat_result, owner: Callable[[str], Owner]
) -> bool:
    mode, wanted = entry.permissions(one), stat.S_IMODE(other.st_mode)
    given = owner_of(entry.over, one)
    if given is None:
        return mode == wanted
    uid, gid, true_mode = owner(entry.path)
    return given[:2] == (uid, gid) and (mode if given[2] is None else given[2]) == (
        wanted if true_mode is None else true_mode
    )


def _attributes(path: str) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in attribute_names(path)}


def attribute_names(path: str) -> list[str]:
    """Extended attributes of users, without those that are ours or overlayfs's."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return []
    return sorted(n for n in names if n.startswith("user.") and not n.startswith("user.overlay."))


def _is_point(over: str, path: str) -> bool:
    """Whether a run made it to mount on, and nothing was done with it since."""
    try:
        if os.getxattr(over, POINT, follow_symlinks=False) != os.fsencode(path):
            return False
        status = os.lstat(over)
        if owner_of(over, status) is not None or attribute_names(over):
            return False
        if stat.S_ISDIR(status.st_mode):
            return all(_is_point(f"{over}/{name}", f"{path}/{name}") for name in os.listdir(over))
        return stat.S_ISREG(status.st_mode) and status.st_size == 0
    except OSError:
        return False


def _is_directory(path: str) -> bool:
    return bool(path) and stat.S_ISDIR(os.lstat(path).st_mode)


def _is_whiteout(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE) == b"y"
    except OSError:
        return False
