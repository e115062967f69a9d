"""Where the host's driver, devices and kernel facts are; links are followed inside of it."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import stat

from udocker.model.devices import Node
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAX_LINKS = 40  # as the kernel: path_resolution(7)
_LARGEST_TEXT = 1 << 20
# e_machine of <elf.h>: native, and of the 32 bits that the same processor runs.
_MACHINES = {"x86_64": (62, 3), "aarch64": (183, 40), "ppc64le": (21, -1), "riscv64": (243, -1)}


@value
class Places:
    """Roots: ``driver`` has /usr and /etc, ``device`` has /dev; those of /proc and /sys are they.

    ``libraries``: directories (below the driver's root) that a site names, looked in first.
    """

    driver: str = "/"
    device: str = "/"
    proc: str = "/proc"
    sys: str = "/sys"
    architecture: str = "x86_64"
    libraries: tuple[str, ...] = ()

    @property
    def machine(self) -> int:
        """What native libraries have in their head."""
        return _MACHINES.get(self.architecture, (0, 0))[0]

    @property
    def machine_of_32_bits(self) -> int:
        return _MACHINES.get(self.architecture, (0, -1))[1]

    def dev(self, name: str) -> str:
        """The host path of ``/dev/NAME``."""
        return f"{self.device.rstrip('/')}/dev/{name}"


def places(driver: str, device: str, architecture: str, libraries: tuple[str, ...] = ()) -> Places:
    """/proc and /sys are those below ``device`` where it has its own."""
    proc, system = f"{device.rstrip('/')}/proc", f"{device.rstrip('/')}/sys"
    return Places(
        driver=driver,
        device=device,
        proc=proc if names(proc) else "/proc",
        sys=system if names(system) else "/sys",
        architecture=architecture,
        libraries=libraries,
    )


class Root:
    """A directory that is taken for ``/``. Paths are those inside it; ``host`` gives the host's."""

    def __init__(self, path: str) -> None:
        self._top = path.rstrip("/")
        self._real: dict[str, str] = {"/": "/"}  # directories, links followed
        self._pending: set[str] = set()  # those that are being followed

    def host(self, path: str) -> str:
        """The host path of ``path``, whose links have been followed."""
        return self._top + path

    def inner(self, path: str) -> str:
        """The path inside of a host path below this root."""
        return path.removeprefix(self._top)

    def resolve(self, path: str) -> str | None:
        """``path`` with its links followed; None where it leads nowhere, or in circles."""
        try:
            return self._walk(path)
        except (OSError, ValueError):  # a zero byte, out of some file
            return None

    def names(self, path: str) -> list[str]:
        """What is in a directory, sorted; nothing where it cannot be read."""
        real = self.resolve(path)
        return [] if real is None else names(self.host(real))

    def read(self, path: str) -> str:
        """A small text file; "" where there is none."""
        real = self.resolve(path)
        return "" if real is None else text(self.host(real))

    def glob(self, pattern: str) -> Iterator[str]:
        """Files by a pattern of the shell, in order, as they are named."""
        folder, _, name = pattern.rpartition("/")
        folders: Iterable[str] = [folder] if not _is_pattern(folder) else self.glob(folder)
        for each in folders:
            if not _is_pattern(name):
                if self.resolve(f"{each}/{name}") is not None:
                    yield f"{each}/{name}"
                continue
            yield from (f"{each}/{n}" for n in fnmatch.filter(self.names(each or "/"), name))

    def _walk(self, path: str) -> str:
        """Directories are looked at once: most files are in few of them."""
        links = 0
        while True:
            folder, _, name = path.rstrip("/").rpartition("/")
            if not name:
                return "/"
            real = self._folder(folder or "/")
            if name in (".", ".."):
                return real if name == "." else os.path.dirname(real)
            place = f"{real.rstrip('/')}/{name}"
            target = _link(self._top + place)
            if target is None:
                return place
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            path = target if target.startswith("/") else f"{real.rstrip('/')}/{target}"

    def _folder(self, path: str) -> str:
        real = self._real.get(path)
        if real is not None:
            return real
        if path in self._pending or len(self._pending) > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        self._pending.add(path)
        try:
            self._real[path] = real = self._walk(path)
        finally:
            self._pending.discard(path)
        return real


def _link(path: str) -> str | None:
    """What a link leads to; None: it is none. Raises OSError where nothing is."""
    try:
        return os.readlink(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def node(path: str) -> Node | None:
    """The device node at ``path``, and whether this user may open it: access(2) knows cgroups."""
    if not os.path.exists(path) or os.path.isdir(path):
        return None
    return Node(path, os.access(path, os.R_OK | os.W_OK))


def is_device(path: str) -> bool:
    """Whether it is a character device. Raises OSError."""
    return stat.S_ISCHR(os.stat(path).st_mode)


def nodes(paths: Iterable[str]) -> tuple[Node, ...]:
    """Those of ``paths`` that are there, in their order."""
    return tuple(filter(None, map(node, paths)))


def names(path: str) -> list[str]:
    """What is in a host directory, sorted; nothing where it cannot be read."""
    with contextlib.suppress(OSError):
        return sorted(os.listdir(path))
    return []


def text(path: str) -> str:
    """A small text file of the host; "" where there is none."""
    return content(path, _LARGEST_TEXT).decode("utf-8", "surrogateescape")


def content(path: str, most: int) -> bytes:
    """The first bytes of a file of the host; none where there is none to read."""
    pieces = []
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        while most > 0:
            piece = os.read(descriptor, min(most, 1 << 20))
            if not piece:
                break
            pieces.append(piece)
            most -= len(piece)
    except OSError:  # a directory, or a file of /proc that went away
        return b""
    finally:
        os.close(descriptor)
    return b"".join(pieces)


def number(part: str) -> tuple[int, ...]:
    """The numbers in a name, to sort by: card10 comes after card9."""
    return tuple(int(word) for word in "".join(c if c.isdigit() else " " for c in part).split())
