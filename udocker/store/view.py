"""A container's files as its programs see them, read from outside.

Symbolic links are followed as they would be inside, and never lead out. The upper directory is
in the format of overlayfs: a whiteout is a character device 0:0, an opaque directory has the
extended attribute user.overlay.opaque
(https://docs.kernel.org/filesystems/overlayfs.html).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_LINKS = 40  # as the kernel: path_resolution(7)
_MAX_FILE = 16 << 20
_OPAQUE = "user.overlay.opaque"


class View:
    """Files under ``layers`` (host directories, uppermost first) with ``mounts`` over them.

    ``mounts``: pairs of guest target and host source, an outer target before those inside it. As
    engines do it, a mount is where links at its target lead, and its parents are made.
    """

    def __init__(self, layers: Sequence[str], mounts: Sequence[tuple[str, str]] = ()) -> None:
        self._layers = tuple(layers)
        self._mounts: dict[str, str] = {}
        self._made: set[str] = set()  # directories that are there only for the sake of a mount
        for target, source in mounts:
            # Where nothing can be mounted, the engine will say so.
            with contextlib.suppress(OSError):
                self._mounts[self._walk(target, make=True)[1]] = source

    def locate(self, path: str) -> str:
        """The host path of the file that guest ``path`` names, links followed.

        Raises FileNotFoundError, NotADirectoryError, or OSError (ELOOP).
        """
        places = self._walk(path)[0]
        if not places:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return places[0]

    def entry(self, path: str) -> tuple[str, str | None]:
        """As ``locate``; where the last part is a link "", and what that says."""
        folder, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            return self.locate(path), None
        places, guest = self._walk(folder or "/")
        found, target = self._step(guest.rstrip("/"), places, name, False)
        return (found[0] if found else ""), target

    def resolve(self, path: str) -> str:
        """Guest ``path`` with all links followed. Raises as ``locate``."""
        return self._walk(path)[1]

    def canonical(self, path: str) -> str:
        """``path`` with the links followed of as much of it as exists."""
        missing = ""
        while path not in ("", "/"):
            try:
                return self.resolve(path).rstrip("/") + missing
            except OSError:
                path, _, name = path.rpartition("/")
                missing = f"/{name}{missing}"
        return missing or "/"

    def read(self, path: str) -> bytes | None:
        """The content of a small regular file, None when there is none to read."""
        try:
            descriptor = os.open(self.locate(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(_MAX_FILE)

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there, and no link on the way."""
        try:
            places, resolved = self._walk(path)
        except OSError:
            return False
        return resolved == path and bool(places) and os.path.isdir(places[0])

    def names(self, path: str) -> tuple[str, ...]:
        """What the directory has, sorted; nothing where there is none, or it cannot be read."""
        found: set[str] = set()
        hidden: set[str] = set()
        with contextlib.suppress(OSError):
            for place in self._walk(path)[0]:
                for name in os.listdir(place):
                    status = os.lstat(f"{place}/{name}")
                    is_whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
                    if name not in found:
                        (hidden if is_whiteout else found).add(name)
        return tuple(sorted(found - hidden))

    def _walk(self, path: str, make: bool = False) -> tuple[list[str], str]:
        pending = _parts(path)[::-1]
        trail: list[tuple[str, list[str]]] = [("", self._at("/", list(self._layers)))]
        links = 0
        while pending:
            name = pending.pop()
            if name == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            guest, places = trail[-1]
            found, target = self._step(guest, places, name, make)
            if target is None:
                trail.append((f"{guest}/{name}", found))
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                del trail[1:]
            pending += _parts(target)[::-1]
        guest, places = trail[-1]
        return places, guest or "/"

    def _step(
        self, guest: str, places: list[str], name: str, make: bool
    ) -> tuple[list[str], str | None]:
        """One component: where it is, or the target of the link that it is."""
        path = f"{guest}/{name}"
        if path in self._mounts:
            return [self._mounts[path]], None
        found: list[str] = []
        for place in places:
            candidate = f"{place}/{name}"
            try:
                status = os.lstat(candidate)
            except FileNotFoundError:
                continue
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                break
            if not stat.S_ISDIR(status.st_mode):
                if found:
                    break
                if stat.S_ISLNK(status.st_mode):
                    return [], os.readlink(candidate)
                return [candidate], None
            found.append(candidate)
            if _is_opaque(candidate):
                break
        if make and not found:
            self._made.add(path)
        if not found and path not in self._made:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found, None

    def _at(self, guest: str, places: list[str]) -> list[str]:
        return [self._mounts[guest]] if guest in self._mounts else places


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE) == b"y"
    except OSError:
        return False
