"""Where the libraries of CDI specs come to lie, and what tells of them.

Specs mount libraries where the image has its own, and text files for the loaders of OpenCL, Vulkan
and EGL. Here all of that moves below one directory, so that nothing has to be made in the image.
"""

from __future__ import annotations

import os

from udocker.devices import loaders
from udocker.model.run import GuestFile, Mount
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from udocker.model.devices import Edits


def relocated(edits: Edits, folder: str) -> Edits:
    """``edits`` with the libraries below ``folder``, in the same order of directories.

    So nothing has to be made where the container has its own libraries. What is not for the
    loader's cache stays. Parts in directories below are had at both places, as are directories of
    data: some are found from where their library lies (UCX, PoCL), others by their path (VA-API).
    """
    places = {os.path.dirname(path) for _, path, _ in edits.libraries}

    def moved(path: str) -> str:
        is_library = os.path.dirname(path) in places and ".so" in os.path.basename(path)
        return folder + path if is_library else path

    def led(link: str, target: str) -> tuple[str, str]:
        absolute = os.path.normpath(os.path.join(os.path.dirname(link), target))
        if moved(link) != link and not target.startswith("/"):
            return moved(link), target
        return moved(link), target if moved(absolute) == absolute else moved(absolute)

    return replace(
        edits,
        mounts=(
            *(
                mount if mount.is_dir else replace(mount, target=moved(mount.target))
                for mount in edits.mounts
            ),
            *(
                replace(mount, target=folder + mount.target)
                for mount in edits.mounts
                if _is_part(mount, places)
            ),
        ),
        links=tuple(led(link, target) for link, target in edits.links),
        libraries=tuple((name, moved(path), bits) for name, path, bits in edits.libraries),
    )


def _is_part(mount: Mount, places: set[str]) -> bool:
    """Whether it is a library below one of ``places``, or a directory of data beside /lib."""
    if mount.is_dir:
        tops = {place.partition("/lib")[0] for place in places}
        return any(mount.target.startswith(f"{top}/share/") for top in tops)
    above = os.path.dirname(mount.target)
    if above in places or ".so" not in os.path.basename(mount.target):
        return False
    return any(above.startswith(f"{place}/") for place in places)


def with_loaders(edits: Edits, folder: str, read: Callable[[str], Optional[bytes]]) -> Edits:
    """``edits`` with the files that tell loaders of drivers below ``folder``, named by variables.

    Where one names a library by its path, and that has moved, it says the new one. ``read`` gives
    a file of the host's.
    """
    there = (*(mount.target for mount in edits.mounts), *(link for link, _ in edits.links))
    moved = {path[len(folder) :]: path for path in there if path.startswith(f"{folder}/")}
    mounts, files = [], list(edits.files)
    told = []
    for mount in edits.mounts:
        loader = loaders.of(mount.target)
        if loader is None or mount.is_dir:
            mounts.append(mount)
            continue
        target = loader.place(folder, mount.target)
        content = _renamed(read(mount.source) or b"", moved)
        told.append((loader, target))
        if content is None:
            mounts.append(replace(mount, target=target))
        else:
            files.append(GuestFile(target, content, 0o444))
    env = (*loaders.variables(told), *edits.env)  # what the spec says comes later, and counts
    return replace(edits, mounts=tuple(mounts), files=tuple(files), env=env)


def _renamed(content: bytes, moved: dict[str, str]) -> bytes | None:
    """``content`` with the new paths of libraries; None: it has none of them."""
    changed = content
    for old in sorted(moved, key=len, reverse=True):  # libx.so.1 is the beginning of libx.so.1.2
        changed = changed.replace(os.fsencode(old), os.fsencode(moved[old]))
    return None if changed == content else changed
