"""What of the libraries of CDI specs the image's C library can load."""

from __future__ import annotations

import os

from udocker.model.devices import GLIBC, Edits
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from udocker.devices.plan import Image

# Where a spec has these, it is of NVIDIA's driver, and only they are needed by all programs.
_NEEDED = ("libcuda.so.", "libnvidia-ml.so.")


def fitted(edits: Edits, needs: Iterable[tuple[str, tuple[int, int]]], image: Image) -> Edits:
    """``edits`` without what ``image`` cannot load; refusals where nothing would work then.

    ``needs``: libraries by their guest paths, and the version of glibc that each needs.
    """
    known = dict(needs)
    if not known or not image.libc:
        return edits
    if image.libc != GLIBC:
        told = f"the image has {image.libc}, and {os.path.basename(next(iter(known)))} needs glibc"
        return replace(edits, refusals=(*edits.refusals, told))
    unfit = {path: version for path, version in known.items() if version > image.version}
    keys = [path for path in known if os.path.basename(path).startswith(_NEEDED)]
    needed = {path: unfit[path] for path in keys or known if path in unfit}
    if needed:
        return replace(edits, refusals=(*edits.refusals, _told(needed, image)))
    if not unfit:
        return edits
    links = tuple((link, to) for link, to in edits.links if _leads(link, to) not in unfit)
    gone = {path for path, _ in edits.links} - {path for path, _ in links}
    return replace(
        edits,
        mounts=tuple(mount for mount in edits.mounts if mount.target not in unfit),
        links=links,
        libraries=tuple(r for r in edits.libraries if r[1] not in unfit and r[1] not in gone),
        warnings=(*edits.warnings, f"{_told(unfit, image)}: left out"),
    )


def _leads(link: str, target: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(link), target))


def _told(unfit: dict[str, tuple[int, int]], image: Image) -> str:
    """The first of them that needs most, and how many more there are."""
    newest = max(unfit.values())
    name = os.path.basename(next(path for path, version in unfit.items() if version == newest))
    others = f" and {len(unfit) - 1} more" if len(unfit) > 1 else ""
    verb = "" if others else "s"
    needed, here = (".".join(map(str, version)) for version in (newest, image.version))
    return f"{name}{others} of the host need{verb} glibc {needed}, the image has {here}"
