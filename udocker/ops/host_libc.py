"""The host's C library in the place of an image's that is older, where a user asks for it.

What the host has built needs its C library or a newer one. glibc runs all programs of older ones,
but its parts belong together: the loader and all of its libraries are replaced at once. Programs
that read their own libraries' sections (old binutils) may fail, so nobody gets it unasked.

What the host has built in C++ needs libstdc++ and libgcc as new as it was built with. They are no
parts of glibc, and run all programs of older ones as well: each comes along where it is newer.
"""

from __future__ import annotations

import os
import re

from udocker.devices.libraries import Finder
from udocker.errors import DeviceError
from udocker.model.devices import GLIBC
from udocker.model.run import Mount
from udocker.model.value import replace
from udocker.ops import libc
from udocker.ops.preload import library_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.devices.places import Places
    from udocker.ops.libc import CLibrary
    from udocker.store.view import View

OPTION = "--host-libc"
_LIBRARY = "libc.so.6"
_LOADERS = {
    "x86_64": "/lib64/ld-linux-x86-64.so.2",
    "aarch64": "/lib/ld-linux-aarch64.so.1",
}
# All that glibc makes and programs load by these names.
_FAMILY = (
    *(_LIBRARY, "libm.so.6", "libmvec.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"),
    *("libutil.so.1", "libresolv.so.2", "libanl.so.1", "libnsl.so.1", "libthread_db.so.1"),
    *("libBrokenLocale.so.1", "libc_malloc_debug.so.0", "libnss_files.so.2", "libnss_dns.so.2"),
    *("libnss_compat.so.2", "libnss_hesiod.so.2"),
)
# Libraries that come along, and the versions of their symbols, of which the newest counts.
_BESIDE = {
    "libstdc++.so.6": re.compile(rb"(?<=\0)GLIBCXX_(\d+)\.(\d+)(?:\.(\d+))?(?=\0)"),
    "libgcc_s.so.1": re.compile(rb"(?<=\0)GCC_(\d+)\.(\d+)(?:\.(\d+))?(?=\0)"),
}


def replaced(
    places: Places, view: View, library: CLibrary
) -> tuple[tuple[Mount, ...], CLibrary, str]:
    """Mounts, the C library that programs have then, and a warning where nothing is replaced.

    Raises DeviceError where it cannot be done.
    """
    if library.kind != GLIBC:
        what = f"the image has {library}" if library.kind else "the image has no C library"
        hint = "an image with glibc, or without the option"
        raise DeviceError(f"{OPTION}: {what}: glibc cannot stand in its place", hint=hint)
    for root in dict.fromkeys((places.driver, "/")):  # a driver of elsewhere may bring its own
        finder = Finder(replace(places, driver=root, libraries=()), {})
        found = finder.find(_LIBRARY)
        if found is not None:
            break
    else:
        raise DeviceError(f"{OPTION}: this host has no {_LIBRARY}", hint="a host with glibc")
    own = libc.of_file(found.path)
    if own.version <= library.version:
        told = f"{OPTION}: the image's {library} is no older than the host's {own}: it stays"
        return (), library, told
    mounts = (*_mounts(finder, view, places.architecture), *_beside(finder, view, places))
    return mounts, replace(library, version=own.version), ""


def _mounts(finder: Finder, view: View, architecture: str) -> Iterator[Mount]:
    """Each of them where the image has it, links followed."""
    names = [(name, _paths(view, architecture, name)) for name in _FAMILY]
    loader = _LOADERS.get(architecture)
    names += [(os.path.basename(loader), [loader])] if loader else []
    done = set()
    for name, paths in names:
        found = finder.find(name)
        for path in paths if found is not None else ():
            try:
                target = view.resolve(path)
            except OSError:
                continue
            if found is not None and target not in done:
                done.add(target)
                yield Mount(os.path.realpath(found.path), target, True, is_dir=False)


def _paths(view: View, architecture: str, name: str) -> list[str]:
    """Where the image may have a library."""
    folders = dict.fromkeys(library_directories(view, architecture))
    return [f"{folder}/{name}" for folder in folders]


def _beside(finder: Finder, view: View, places: Places) -> Iterator[Mount]:
    """Libraries of compilers, where the image has an older one than the host."""
    for name, version in _BESIDE.items():
        found = finder.find(name)
        if found is None:
            continue
        with open(found.path, "rb") as stream:
            newest = _newest(version, stream.read())
        targets = set()
        for path in _paths(view, places.architecture, name):
            content = view.read(path)
            if content is not None and _newest(version, content) < newest:
                targets.add(view.resolve(path))
        yield from (Mount(found.path, target, True, is_dir=False) for target in sorted(targets))


def _newest(version: re.Pattern[bytes], content: bytes) -> tuple[int, ...]:
    """Nothing where there is none: then it is no such library."""
    found = (
        tuple(int(part or 0) for part in match.groups()) for match in version.finditer(content)
    )
    return max(found, default=())
