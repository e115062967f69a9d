"""MPI and fabrics: what this host has, and what an image brings."""

from __future__ import annotations

import glob
import os

from udocker import host
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from udocker.store.view import View

OPEN, MPICH = "Open MPI", "MPICH"
_FAMILIES = (OPEN, MPICH)
_LAUNCHERS = ("mpirun", "mpiexec")
# Programs behind the two names: Open MPI 1 to 4 and 5, MPICH and what comes of it.
_PROGRAMS = {
    "orterun": OPEN,
    "prterun": OPEN,
    "mpirun.openmpi": OPEN,
    "hydra": MPICH,
    "mpich": MPICH,
    "mpiexec.hydra": MPICH,
}
# How `mpirun --version` begins; Intel's and MVAPICH's libraries and launchers are MPICH's.
_SAID = {"Open MPI": OPEN, "OpenRTE": OPEN, "PRRTE": OPEN, "HYDRA": MPICH, "Intel(R) MPI": MPICH}
# Open MPI's libmpi is .20 (2.x) and .40 (from 3.0); .12 is MPICH's ABI, and Open MPI 1.8's too.
_LIBRARIES = {
    "libmpi.so.40": OPEN,
    "libmpi.so.20": OPEN,
    "libmpi.so.12": MPICH,
    "libmpich.so.12": MPICH,
}
_OF_OPEN_MPI = ("libopen-pal.so.13", "libopen-rte.so.12")  # beside a libmpi.so.12 of Open MPI's
# Below directories of libraries, and where images have their own builds.
_SUBDIRECTORIES = ("", "/openmpi/lib", "/mpich/lib", "/mvapich2/lib")
_OWN = tuple(
    f"{top}{name}/lib"
    for top in ("/usr/local", "/opt", "/usr/lib64")
    for name in ("", "/mpi", "/ompi", "/openmpi", "/mpich", "/mvapich2", "/hpcx/ompi")
)
_DEVICES = {
    "/dev/infiniband/uverbs*": "InfiniBand or RoCE",
    "/dev/hfi1_*": "Omni-Path",
    "/dev/cxi*": "Slingshot",
    "/dev/knem": "knem",
    "/dev/xpmem": "xpmem",
}
_FABRIC_LIBRARIES = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/local/lib", "/opt/cray/libfabric")


@value
class Launcher:
    """An mpirun of this host. ``family``: "" when it does not tell."""

    path: str
    family: str
    version: str

    @property
    def text(self) -> str:
        """For people."""
        name = " ".join(filter(None, (self.family or "MPI of an unknown kind", self.version)))
        return f"{name} ({self.path})"


def launcher(environ: Mapping[str, str]) -> Launcher | None:
    """The first of PATH, asked for its version."""
    for name in _LAUNCHERS:
        path = host.which(name, environ.get("PATH", os.defpath))
        if path is not None:
            said = host.version_of(path)
            return Launcher(path, _family(path, said), _version(said))
    return None


def _family(path: str, said: str) -> str:
    for beginning, family in _SAID.items():
        if beginning in said:
            return family
    real = os.path.basename(os.path.realpath(path))
    return next((family for name, family in _PROGRAMS.items() if name in real), "")


def _version(said: str) -> str:
    """The first word of the first lines that begins with a number and has a point."""
    for word in said.split()[:20]:
        if word[:1].isdigit() and "." in word:
            return word
    return ""


def fabrics(root: str = "") -> tuple[str, ...]:
    """Devices and libfabric with the providers that lie beside it, as far as files show them."""
    found = []
    for pattern, name in _DEVICES.items():
        paths = sorted(glob.glob(root + pattern))
        if paths:
            found.append(f"{name} ({', '.join(path[len(root) :] for path in paths[:4])})")
    for pattern in _FABRIC_LIBRARIES:
        for path in sorted(glob.glob(f"{root}{pattern}/libfabric.so.1"))[:1]:
            beside = glob.glob(f"{os.path.dirname(path)}/libfabric/lib*-fi.so")
            names = sorted(os.path.basename(each)[3:-6] for each in beside)
            more = f", providers {', '.join(names)}" if names else ""
            found.append(f"libfabric ({path[len(root) :]}{more})")
    return tuple(found)


def of_image(view: View, directories: Iterable[str]) -> tuple[str, str] | None:
    """Family and path of the MPI library in an image."""
    for folder in _places(directories):
        for name, family in _LIBRARIES.items():
            if _is_there(view, f"{folder}/{name}"):
                is_open = any(_is_there(view, f"{folder}/{each}") for each in _OF_OPEN_MPI)
                return (OPEN if is_open else family), f"{folder}/{name}"
    return None


def of_image_by_name(
    view: View, directories: Iterable[str], names: Iterable[str], is_open: bool
) -> str:
    """The path of an MPI library in an image that has one of ``names``; "": it has none.

    ``is_open``: of Open MPI, which once had a name of MPICH's.
    """
    for folder in _places(directories):
        beside = any(_is_there(view, f"{folder}/{each}") for each in _OF_OPEN_MPI)
        for name in names:
            known = _LIBRARIES.get(name) == (OPEN if is_open else MPICH)
            if known and not (beside and not is_open) and _is_there(view, f"{folder}/{name}"):
                return f"{folder}/{name}"
    return ""


def _places(directories: Iterable[str]) -> Iterator[str]:
    for folder in directories:
        for below in _SUBDIRECTORIES:
            yield folder + below
    yield from _OWN


def _is_there(view: View, path: str) -> bool:
    try:
        return os.path.exists(view.locate(path))
    except OSError:
        return False
