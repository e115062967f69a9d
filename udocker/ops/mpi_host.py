"""``--mpi-host``: the host's MPI in the place of the image's, where the numbers of both allow it.

A program of the image then speaks through what this machine's fabric was set up for. What belongs
to MPI and to fabrics is all the host's; of what is for all programs (libstdc++, libz) the newer
counts. The host's files are mounted over the image's own, and all of them lie in one directory
more, for programs that look elsewhere first.
"""

from __future__ import annotations

import os

from udocker.devices import fit, mpi, plan
from udocker.errors import DeviceError
from udocker.model.devices import Edits
from udocker.model.run import Mount
from udocker.model.value import value
from udocker.ops.mpi import OPEN, of_image_by_name
from udocker.ops.preload import library_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.devices.mpi import HostMpi
    from udocker.devices.places import Places
    from udocker.devices.plan import Image
    from udocker.model.devices import Library
    from udocker.ops.session import Session
    from udocker.store.view import View

OPTION = "--mpi-host"
PLACE = f"{plan.PLACE}/mpi"
_HINT = {
    mpi.STRICT: f"{OPTION} (full) takes a host's MPI that has all interfaces of the image's",
    mpi.FULL: f"{OPTION}=major tries it all the same; or run with the image's own MPI",
    mpi.MAJOR: "an image with an MPI of the host's kind, or run with the image's own",
}


@value
class Swap:
    """A library of the image's, by its path there, and the MPI that takes its place."""

    path: str
    names: tuple[str, ...]
    host: HostMpi


def edits(
    session: Session, view: View, image: Image, places: Places, check: str
) -> tuple[Edits, tuple[str, ...]]:
    """What comes into the container, and a line for each MPI that is replaced.

    Raises DeviceError where none can be.
    """
    folders = tuple(dict.fromkeys(library_directories(view, session.host.architecture)))
    found, refused = _swaps(session, view, places, folders, check)
    if not found:
        hint = _HINT[check] if refused else "an image with Open MPI or one of MPICH's kind"
        why = "; ".join(refused) or "the image has no MPI that is known"
        raise DeviceError(f"{OPTION}: {why}", hint=hint)
    parts = [_of_one(view, folders, swap, image) for swap in found]
    warnings = tuple(f"{OPTION}: {text}: left as it is" for text in refused)
    joined = plan.joined([*parts, Edits(warnings=warnings)])
    return joined, tuple(_told(swap) for swap in found)


def _swaps(
    session: Session, view: View, places: Places, folders: tuple[str, ...], check: str
) -> tuple[list[Swap], list[str]]:
    """What may be replaced, and why the rest may not."""
    found: list[Swap] = []
    refused: list[str] = []
    for family, groups in mpi.NAMES.items():
        for names in groups:
            path = of_image_by_name(view, folders, names, family == OPEN)
            if not path:
                continue
            host = mpi.discover(places, session.environ, names, family)
            image = mpi.version(view.resolve(path)) or mpi.version(path)
            ours = f"the image's {family} is {os.path.basename(path)} ({mpi.dotted(image)})"
            if host is None:
                refused.append(f"{ours}, and this host has no {' or '.join(names)}")
            elif not mpi.fits(family, host.version, image, check):
                theirs = f"the host's {host.library.path} ({mpi.dotted(host.version)})"
                refused.append(f"{ours}, {theirs}: not {check} ABI compatible")
            else:
                found.append(Swap(path, names, host))
    return found, refused


def _of_one(view: View, folders: tuple[str, ...], swap: Swap, image: Image) -> Edits:
    taken = [swap.host.library, *(_chosen(view, folders, swap.host.others))]
    mounts = {mount.target: mount for each in taken for mount in _mounts(view, folders, each)}
    own = view.resolve(swap.path)
    mounts[own] = Mount(swap.host.library.path, own, True, is_dir=False)
    links = {
        f"{PLACE}/{name}": os.path.basename(each.path)
        for each in taken
        for name in (each.soname, *(swap.names if each is swap.host.library else ()))
        if name != os.path.basename(each.path)
    }
    env = []
    for part in swap.host.parts:
        target = f"{PLACE}/parts{part.folder}"
        mounts[target] = Mount(part.folder, target, True)
        env.append((part.variable, target))
    made = Edits(
        mounts=tuple(mounts.values()),
        links=tuple(links.items()),
        env=tuple(env),
        prepend=(("LD_LIBRARY_PATH", PLACE),),
    )
    needs = [(_place(each), each.glibc) for each in taken]
    return fit.fitted(made, needs, image)


def _place(library: Library) -> str:
    return f"{PLACE}/{os.path.basename(library.path)}"


def _mounts(view: View, folders: tuple[str, ...], library: Library) -> Iterator[Mount]:
    """In the directory of ours; and where the image has the same, over that."""
    yield Mount(library.path, _place(library), True, is_dir=False)
    if mpi.is_own(library.soname):
        for path in _there(view, folders, library.soname):
            yield Mount(library.path, path, True, is_dir=False)


def _there(view: View, folders: tuple[str, ...], name: str) -> Iterator[str]:
    for folder in folders:
        try:
            if os.path.isfile(view.locate(f"{folder}/{name}")):
                yield view.resolve(f"{folder}/{name}")
        except OSError:
            continue


def _chosen(
    view: View, folders: tuple[str, ...], libraries: Iterable[Library]
) -> Iterator[Library]:
    """Those of the host that count; of the rest the image has one that is as new."""
    for each in libraries:
        image = next(_there(view, folders, each.soname), "")
        is_older = mpi.version(os.path.realpath(each.path)) <= mpi.version(image)
        if mpi.is_own(each.soname) or not image or not is_older:
            yield each


def _told(swap: Swap) -> str:
    host = swap.host
    own = sum(mpi.is_own(each.soname) for each in host.others)
    return (
        f"{host.family} of the host, {host.library.path} (ABI {mpi.dotted(host.version)}), with "
        f"{own} of its libraries in the place of the image's {swap.path}"
    )
