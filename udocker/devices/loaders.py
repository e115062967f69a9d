"""Loaders of the image that look for drivers: OpenCL, Vulkan, EGL.

Each reads small files in a directory; a variable names others in their place.
"""

from __future__ import annotations

import os

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


@value
class Loader:
    """``ending``: how the usual directories of the host end. ``folder``: ours.

    ``variables`` name the files, or the directory of them (``by_folder``).
    """

    ending: str
    folder: str
    variables: tuple[str, ...]
    feature: str  # of a driver
    by_folder: bool = False

    def place(self, top: str, path: str) -> str:
        """Where a file of the host's lies below ``top``."""
        return f"{top}/{self.folder}/{os.path.basename(path)}"


_LOADERS = (
    Loader("OpenCL/vendors", "opencl", ("OCL_ICD_VENDORS",), "compute", by_folder=True),
    Loader("vulkan/icd.d", "vulkan", ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"), "graphics"),
    Loader("glvnd/egl_vendor.d", "egl", ("__EGL_VENDOR_LIBRARY_FILENAMES",), "graphics"),
)


def of(path: str) -> Loader | None:
    """The loader that reads the file at ``path``; None: none does."""
    folder = os.path.dirname(path)
    return next((each for each in _LOADERS if folder.endswith(f"/{each.ending}")), None)


def variables(files: Iterable[tuple[Loader, str]]) -> tuple[tuple[str, str], ...]:
    """What tells the loaders of ``files``, guest paths."""
    found: dict[str, list[str]] = {}
    for loader, path in files:
        for name in loader.variables:
            found.setdefault(name, []).append(os.path.dirname(path) if loader.by_folder else path)
    return tuple((name, ":".join(dict.fromkeys(paths))) for name, paths in found.items())
