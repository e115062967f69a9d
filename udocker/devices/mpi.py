"""The host's MPI: its library, what that needs of the host, and what it loads by itself.

The numbers at the end of a library's name are those of libtool, in its "Updating library version
information": of 40.30.4 programs ask for 40, and 30 says how many older interfaces it has, too. In
the family of MPICH, Intel's and Cray's libraries have 12.0.0 and another count:
https://www.mpich.org/abi
"""

from __future__ import annotations

import os
import re

from udocker import elf
from udocker.devices.libraries import Finder
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from udocker.devices.places import Places
    from udocker.model.devices import Library

OPEN, MPICH = "Open MPI", "MPICH"
# By family, and by the names that its programs ask for.
NAMES = {
    OPEN: (("libmpi.so.40",), ("libmpi.so.20",)),
    MPICH: (("libmpi.so.12", "libmpich.so.12"),),
}
# Checks of an ABI, as Sarus has them: the same major number; the host's has what the image's has;
# both are the same.
MAJOR, FULL, STRICT = "major", "full", "strict"
CHECKS = (MAJOR, FULL, STRICT)
# glibc, which is the image's own, and its loader.
_LIBC = re.compile(
    r"(ld-linux.*|ld64|lib(c|m|mvec|pthread|dl|rt|util|resolv|anl|nsl|BrokenLocale))\.so\.\d+"
)
# Of MPI and of fabrics: these belong together, so that all are the host's.
_OWN = re.compile(
    r"lib(mpi|open-|prrte|pmix|oshmem|mca_common|fabric|uc[tpsm]\.|psm|ibverbs|rdmacm|mlx|efa|cxi)"
)
_VERSION = re.compile(r"\.so\.(\d{1,5})(?:\.(\d{1,5}))?(?:\.(\d{1,5}))?$", re.ASCII)
_MOST = 400  # libraries
# Below the directory of a library: what it loads itself, and the variable that says where that is.
_PARTS = {
    "libmpi.so.": (("openmpi/lib/openmpi[0-9]*", "openmpi"), "OMPI_MCA_mca_base_component_path"),
    "libpmix.so.": (("pmix",), "PMIX_MCA_mca_base_component_path"),
    "libucs.so.": (("ucx",), "UCX_MODULE_DIR"),
    "libfabric.so.": (("libfabric",), "FI_PROVIDER_PATH"),
}


@value
class Parts:
    """A directory of libraries that another one loads, and the variable that names it."""

    folder: str  # on the host
    variable: str


@value
class HostMpi:
    """An MPI. ``library`` is its own, ``others`` are what that and its parts need."""

    family: str
    library: Library
    others: tuple[Library, ...] = ()
    parts: tuple[Parts, ...] = ()

    @property
    def version(self) -> tuple[int, ...]:
        return version(self.library.path)


def version(path: str) -> tuple[int, ...]:
    """The numbers at the end of the name of a library, or as many as there are."""
    found = _VERSION.search(path)
    return tuple(int(number) for number in found.groups() if number) if found else ()


def dotted(numbers: Iterable[int]) -> str:
    return ".".join(map(str, numbers)) or "unknown"


def is_own(soname: str) -> bool:
    """Whether a library is part of MPI or of a fabric's software, and not one for all."""
    return _OWN.match(soname) is not None


def fits(family: str, host: tuple[int, ...], image: tuple[int, ...], check: str) -> bool:
    """Whether programs of the image's MPI may be given the host's: by the numbers of both."""
    if check == STRICT:
        return host == image
    if host[:1] != image[:1] or not host:
        return False
    # What stands in for MPICH counts its interfaces in its own way: 12.0.0.
    counts_apart = family == MPICH and 0 in (*host[1:2], *image[1:2])
    return check == MAJOR or counts_apart or host[1:2] >= image[1:2]


def discover(
    places: Places, environ: Mapping[str, str], names: Iterable[str], family: str
) -> HostMpi | None:
    """The MPI that programs of this host would get by one of ``names``; None: there is none."""
    finder = Finder(places, environ)
    folders = tuple(_folders(environ))
    for name in names:
        found = finder.find(name, more=folders) or _beside(finder, name, folders)
        if found is not None:
            return _with_needs(finder, family, found)
    return None


def _folders(environ: Mapping[str, str]) -> Iterator[str]:
    """Directories of libraries beside those of programs: a module sets PATH at least."""
    for folder in environ.get("PATH", "").split(":"):
        if folder.startswith("/") and os.path.isfile(f"{folder}/mpirun"):
            for path in (folder, os.path.dirname(os.path.realpath(f"{folder}/mpirun"))):
                yield from (f"{os.path.dirname(path)}/{name}" for name in ("lib", "lib64"))


def _beside(finder: Finder, name: str, folders: Iterable[str]) -> Library | None:
    found = (finder.take(f"{folder}/{name}", "compute") for folder in folders)
    return next((each for each in found if each is not None and each.bits != 32), None)


def _with_needs(finder: Finder, family: str, library: Library) -> HostMpi:
    """With all that is needed, breadth first, and what is loaded from directories beside."""
    found = {library.soname: library}
    parts: dict[str, Parts] = {}
    queue = [library]
    for each in queue:
        extra = _parts(finder, each)
        if extra is not None and extra.folder not in parts:
            parts[extra.folder] = extra
            names = (f"{extra.folder}/{n}" for n in finder.listed(extra.folder) if ".so" in n)
            components = [part for name in names if (part := finder.take(name, "compute"))]
            _add(finder, components, library, found, queue)
        _add(finder, [each], library, found, queue)
    others = tuple(each for each in found.values() if each is not library)
    return HostMpi(family, library, others, tuple(parts.values()))


def _add(
    finder: Finder,
    sources: Iterable[Library],
    first: Library,
    found: dict[str, Library],
    queue: list[Library],
) -> None:
    for source in sources:
        beside = (os.path.dirname(source.path), os.path.dirname(first.path))
        for name in _needed(source.path):
            if name in found or _LIBC.fullmatch(name) or len(found) > _MOST:
                continue
            library = _beside(finder, name, beside) if is_own(name) else None
            library = library or finder.find(name, more=beside)
            if library is not None:
                found[name] = library
                queue.append(library)


def _needed(path: str) -> tuple[str, ...]:
    try:
        read = elf.shared(path)
    except OSError:
        return ()
    return read.needed if read is not None else ()


def _parts(finder: Finder, library: Library) -> Parts | None:
    for beginning, (patterns, variable) in _PARTS.items():
        if os.path.basename(library.path).startswith(beginning):
            for pattern in patterns:
                for folder in finder.root.glob(f"{os.path.dirname(library.path)}/{pattern}"):
                    if any(".so" in name for name in finder.listed(folder)):
                        return Parts(folder, variable)
    return None
