"""Finding the host's libraries: by ld.so.cache, LD_LIBRARY_PATH and the usual directories."""

from __future__ import annotations

import os

from udocker import elf
from udocker.devices import ldcache
from udocker.devices.places import Root, content
from udocker.model.devices import Library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from udocker.devices.places import Places

_TRIPLETS = {
    "x86_64": ("x86_64-linux-gnu", "i386-linux-gnu"),
    "aarch64": ("aarch64-linux-gnu", "arm-linux-gnueabihf"),
    "ppc64le": ("powerpc64le-linux-gnu",),
    "riscv64": ("riscv64-linux-gnu",),
}
_LARGEST = 64 << 20  # of a cache, in bytes
_STUBS = "stubs"  # of the CUDA toolkit: they are to be linked with, and do nothing


class Finder:
    """The libraries below the driver's root. Reads what is asked for, and remembers it."""

    def __init__(self, places: Places, environ: Mapping[str, str]) -> None:
        self.root = Root(places.driver)
        self.warnings: list[str] = []
        self._places = places
        self._cache: tuple[ldcache.Entry, ...] | None = None
        self._own = tuple(_absolute(environ.get("LD_LIBRARY_PATH", "")))
        self._read: dict[str, Library | None] = {}

    def cached(self) -> tuple[ldcache.Entry, ...]:
        """What /etc/ld.so.cache says; nothing where it is missing or damaged."""
        if self._cache is None:
            real = self.root.resolve(ldcache.PATH)
            data = content(self.root.host(real), _LARGEST) if real is not None else b""
            self._cache = ldcache.parse(data)
            if data and not self._cache:
                self.warnings.append(
                    f"{self.root.host(ldcache.PATH)} is no cache of libraries: not used"
                )
        return self._cache

    def chosen(self) -> tuple[str, ...]:
        """Directories that the site or the user names."""
        return (*self._places.libraries, *self._own)

    def usual(self, *below: str) -> Iterator[str]:
        """Directories in which distributions have libraries, or those ``below`` each of them."""
        triplets = _TRIPLETS.get(self._places.architecture, ())
        folders = (
            *("/usr/lib64", *(f"/usr/lib/{triplet}" for triplet in triplets), "/usr/lib"),
            *("/lib64", *(f"/lib/{triplet}" for triplet in triplets), "/usr/lib32"),
            "/usr/local/lib",
        )
        for name in below:
            yield from (f"{folder}/{name}" for folder in folders)
        if not below:
            yield from folders

    def listed(self, folder: str) -> list[str]:
        """What is in a directory; one that may not be read is warned about."""
        real = self.root.resolve(folder)
        if real is None:
            return []
        try:
            return sorted(os.listdir(self.root.host(real)))
        except NotADirectoryError:
            return []
        except OSError as error:
            self.warnings.append(f"{self.root.host(real)} cannot be read: {error.strerror}")
            return []

    def find(self, name: str, feature: str = "compute", more: Iterable[str] = ()) -> Library | None:
        """The native library that a program here would get by ``name``: ld.so(8)."""
        wanted = os.fsencode(name)
        known = (os.fsdecode(entry.path) for entry in self.cached() if entry.name == wanted)
        paths = (
            *(f"{folder}/{name}" for folder in self.chosen()),
            *known,
            *(f"{folder}/{name}" for folder in (*more, *self.usual())),
        )
        for path in paths:
            found = self.take(path, feature)
            if found is not None and found.bits != 32:
                return found
        return None

    def existing(self, patterns: Iterable[str]) -> Iterator[str]:
        """Host paths of the files that ``patterns`` name, each once.

        As they are named, which says what they are for; links followed where these are absolute
        and the root is not the host's.
        """
        seen = set()
        for pattern in patterns:
            for path in self.root.glob(pattern):
                real = self.root.resolve(path)
                if real is not None and real not in seen and os.path.isfile(self.root.host(real)):
                    seen.add(real)
                    named, target = self.root.host(path), self.root.host(real)
                    yield named if os.path.realpath(named) == os.path.realpath(target) else target

    def take(self, path: str, feature: str) -> Library | None:
        """The library at ``path``; None where it is none, or not one of this machine."""
        real = self.root.resolve(path)
        if real is None:
            return None
        if real not in self._read:
            self._read[real] = self._library(real, feature)
        return self._read[real]

    def _library(self, real: str, feature: str) -> Library | None:
        host = self.root.host(real)
        try:
            found = elf.shared(host)
        except IsADirectoryError:
            return None
        except OSError as error:
            self.warnings.append(f"{host} cannot be read: {error.strerror}")
            return None
        if found is None:
            self.warnings.append(f"{host} is no library: passed over")
            return None
        is_native = found.machine == self._places.machine
        if not is_native and found.machine != self._places.machine_of_32_bits:
            return None
        kind = feature if is_native else "compat32"
        return Library(host, found.soname or os.path.basename(real), kind, found.bits, found.glibc)


def _absolute(paths: str) -> Iterator[str]:
    """The directories of a list, without those of stubs."""
    for path in paths.split(":"):
        if path.startswith("/") and _STUBS not in path.split("/"):
            yield os.path.normpath(path)
