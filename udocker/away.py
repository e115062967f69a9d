"""Files of a container that belong to ids of /etc/subuid: given to them for runs with many ids, and
taken home for everything else.

Between such runs the files may stay as they are; a mark in the container's directory tells it, with
the ids. Whoever else wants the files takes them home first: they are the user's again, and their
owners are in the attribute in which the in-process engine keeps owners (engines/core/owners.h).
Each file is at any moment one or the other, so a process that is killed in between does no harm.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat

from udocker import files, idmaps
from udocker.errors import StoreError
from udocker.model.container import RANGES
from udocker.model.run import IdMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OWNER = "user.overlay.owner"
_CAPABILITY = "security.capability"  # chown(2) takes it away
_SPECIAL = stat.S_ISUID | stat.S_ISGID  # and these


def ids_of(top: str) -> IdMap | None:
    """The ids that files of the container in directory ``top`` may have; None: they are home.

    Raises StoreError.
    """
    try:
        with open(f"{top}/{RANGES}", "rb") as stream:
            data = json.loads(stream.read())
        uids, gids = (tuple(tuple(map(int, row)) for row in data[key]) for key in ("uids", "gids"))
        return IdMap(uids, gids, tuple(map(str, data["programs"])))  # type: ignore[arg-type]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot read {top}/{RANGES}: {error}") from error


def note(top: str, ids: IdMap) -> bool:
    """Say that files may have these ids from now on; whether that is new. Raises OSError."""
    if os.path.exists(f"{top}/{RANGES}"):
        return False
    data = {"uids": ids.uids, "gids": ids.gids, "programs": ids.programs}
    files.write_atomic(f"{top}/{RANGES}", json.dumps(data).encode(), parents=False)
    return True


def go_out(folder: str) -> None:
    """Give each file below ``folder`` the owner that is kept for it, in the namespace of the ids.

    Owners that the kernel does not know there stay what they are.
    """
    for path, status in _all(folder):
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            with contextlib.suppress(OSError, ValueError):
                text = os.getxattr(path, _OWNER, follow_symlinks=False).decode("ascii")
                uid, gid, *mode = text.split(":", 2)
                wanted = int(mode[0], 8) if mode else stat.S_IMODE(status.st_mode)
                _give(path, int(uid), int(gid), status, wanted)
                os.removexattr(path, _OWNER, follow_symlinks=False)


def check(top: str) -> None:
    """That ``come_home`` can be done. Raises StoreError."""
    ids = ids_of(top)
    if ids is not None:
        idmaps.call(ids, lambda: None)


def come_home(top: str) -> None:
    """Make all files of the container in directory ``top`` the user's. Raises StoreError.

    Nobody may be at work with them.
    """
    ids = ids_of(top)
    if ids is None:
        return
    idmaps.call(ids, lambda: _take_home(top))
    with files.store_errors("taking files home"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{top}/owners")  # which files have the attribute: made anew
        os.unlink(f"{top}/{RANGES}")


def _take_home(top: str) -> None:
    for folder in ("work", "upper"):
        for path, status in _all(f"{top}/{folder}"):
            if status.st_uid == status.st_gid == 0:
                continue
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                # Before the owner changes: a process that is killed leaves one of both.
                with contextlib.suppress(OSError):
                    owner = f"{status.st_uid}:{status.st_gid}".encode()
                    os.setxattr(path, _OWNER, owner, follow_symlinks=False)
            _give(path, 0, 0, status, stat.S_IMODE(status.st_mode))


def _give(path: str, uid: int, gid: int, status: os.stat_result, mode: int) -> None:
    """chown(2) that takes nothing else away. Raises OSError."""
    capability = b""
    if stat.S_ISREG(status.st_mode):
        with contextlib.suppress(OSError):
            capability = os.getxattr(path, _CAPABILITY, follow_symlinks=False)
    os.chown(path, uid, gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode) and (
        mode & _SPECIAL or mode != stat.S_IMODE(status.st_mode)
    ):
        os.chmod(path, mode)
    if capability:
        os.setxattr(path, _CAPABILITY, capability, follow_symlinks=False)


def _all(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """``folder`` and all below, a directory before what is in it. Raises OSError."""
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return
    yield folder, status
    if stat.S_ISDIR(status.st_mode):
        for name in os.listdir(folder):
            yield from _all(f"{folder}/{name}")
