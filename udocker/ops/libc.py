"""An image's C library: what decides which of the host's libraries can be loaded in it."""

from __future__ import annotations

import re

from udocker import elf
from udocker.devices.places import Places
from udocker.model.devices import GLIBC, MUSL
from udocker.model.value import value
from udocker.ops.preload import library_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.store.view import View

_MUSL = "/lib/ld-musl-{}.so.1"
_MUSL_VERSION = re.compile(rb"\0(\d+\.\d+\.\d+)\0")
_LOADERS_32 = {"x86_64": "/lib/ld-linux.so.2", "aarch64": "/lib/ld-linux-armhf.so.3"}


@value
class CLibrary:
    """``kind``: glibc, musl, or "" where none is found: then programs are static.

    ``has_32_bits``: programs of 32 bits find a loader too.
    """

    kind: str = ""
    version: tuple[int, ...] = ()
    path: str = ""
    has_32_bits: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {'.'.join(map(str, self.version))}".strip()


def of_file(path: str) -> CLibrary:
    """The glibc whose libc.so.6 is a file of the host's. Raises OSError."""
    with open(path, "rb") as stream:
        return CLibrary(GLIBC, elf.glibc_release(stream.read()) or (), path)


def examine(view: View, architecture: str) -> CLibrary:
    """What is in ``view`` for programs of ``architecture``."""
    machine = Places(architecture=architecture).machine  # images for others have theirs besides
    has_32_bits = view.read(_LOADERS_32.get(architecture, "/none")) is not None
    for folder in library_directories(view, architecture):
        path = f"{folder}/libc.so.6"
        content = view.read(path)
        head = elf.read((content or b"")[: elf.HEAD])
        if content and head is not None and head.bits == 64 and head.machine == machine:
            return CLibrary(GLIBC, elf.glibc_release(content) or (), path, has_32_bits)
    path = _MUSL.format(architecture)
    content = view.read(path)
    if content is None:
        return CLibrary(has_32_bits=has_32_bits)
    told = _MUSL_VERSION.search(content)
    version = tuple(map(int, told[1].split(b"."))) if told else ()
    return CLibrary(MUSL, version, path, has_32_bits)
