"""Tar archives that hold images, or the files of a root: found in a file, perhaps compressed.

Layers are compressed with gzip or zstd; people compress whole archives with xz and bzip2, too.
"""

from __future__ import annotations

import os

from udocker.errors import ArchiveLimitError, HostileArchiveError, UnpackError
from udocker.model.value import value
from udocker.unpack.compression import CHUNK, LayerStream, decompress
from udocker.unpack.header import BLOCK, FILE, HARDLINK, SYMLINK, ZEROS, is_header
from udocker.unpack.names import components, show
from udocker.unpack.tar import Archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Optional

    from udocker.unpack.compression import Source

_XZ = b"\xfd7zXZ\0"
_BZIP2 = b"BZh"
# What xz -9 needs is 65 MiB; a header may ask for 4 GiB.
_XZ_MEMORY = 128 << 20
_HEADER_LIMIT = 1 << 16  # bytes of an extension header: names, and times that nobody needs
_NAME_LIMIT = 1024  # bytes; digests and what people call files are far shorter
_MEMBER_LIMIT = 1 << 16


@value
class Place:
    """Where a file's bytes are in the archive, or the path that a link leads to."""

    offset: int
    size: int
    link: Optional[str] = None
    is_file: bool = True
    is_unique: bool = True  # the archive has no other member with this name


def is_plain(head: bytes) -> bool:
    """Whether an archive that begins so is not compressed."""
    return is_header(head[:BLOCK]) or head[:BLOCK] == ZEROS


def unpacked(source: Source) -> Iterator[bytes]:
    """The uncompressed bytes, in pieces of at most CHUNK. Raises UnpackError as ``decompress``."""
    head = source.peek(BLOCK)
    if head.startswith(_XZ):
        return _inflated(source, "xz")
    if head.startswith(_BZIP2) and not is_plain(head):
        return _inflated(source, "bzip2")
    return decompress(source)


def _inflated(source: Source, name: str) -> Iterator[bytes]:
    """All streams of xz or bzip2, one after the other."""
    inflater: Any = None
    data = b""
    while True:
        if not data and (inflater is None or inflater.needs_input):
            data = source.next()
        if inflater is None:
            data = data.lstrip(b"\0") if name == "xz" else data  # padding between streams
            if not data:
                if source.peek(1):
                    continue
                return
            inflater = _inflater(name)
        elif not data and inflater.needs_input:
            raise UnpackError(f"its {name} data ends too early")
        out = _step(inflater, data, name)
        data = b""
        if inflater.eof:
            data, inflater = inflater.unused_data, None
        if out:
            yield out


def _inflater(name: str) -> Any:
    if name == "xz":
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    import bz2

    return bz2.BZ2Decompressor()


def _step(inflater: Any, data: bytes, name: str) -> bytes:
    try:
        out: bytes = inflater.decompress(data, CHUNK)
    except Exception as error:  # lzma.LZMAError, OSError, EOFError: of two modules
        if isinstance(error, MemoryError):
            raise
        raise UnpackError(f"its {name} data is damaged: {error}") from error
    return out


def places(descriptor: int) -> dict[str, Place]:
    """Where the members of the uncompressed archive in an open file are, by their paths.

    Directories are left out. What has a name twice is there once, and marked. Raises UnpackError
    for what is not an archive or is cut short, HostileArchiveError for a name that leads out of it,
    ArchiveLimitError.
    """
    stream = _PlainFile(descriptor)
    found: dict[str, Place] = {}
    for member in Archive(stream, _HEADER_LIMIT):
        path = _path(member.name)
        if member.kind in (FILE, SYMLINK, HARDLINK):
            if member.sparse is not None:
                raise UnpackError(
                    f"{show(member.name)} is a sparse member", hint="tar without -S, --sparse"
                )
            place = Place(stream.offset, member.size, is_unique=path not in found)
            if member.kind != FILE:
                link = _target(path, member.kind, member.link)
                place = Place(0, 0, link, is_unique=path not in found)
            found[path] = place
        elif member.kind != "directory":
            found[path] = Place(0, 0, is_file=False)
        if len(found) > _MEMBER_LIMIT:
            raise ArchiveLimitError(f"it has more than {_MEMBER_LIMIT} members")
    return found


def _path(name: bytes) -> str:
    if len(name) > _NAME_LIMIT:
        raise ArchiveLimitError(f"a name is too long: {show(name)}")
    return os.fsdecode(b"/".join(components(name)))


def _target(path: str, kind: str, link: bytes) -> str:
    """The path that a link leads to. Raises HostileArchiveError where that is outside."""
    if len(link) > _NAME_LIMIT:
        raise ArchiveLimitError(f"a link is too long: {show(link)}")
    parts = path.split("/")[:-1] if kind == SYMLINK and not link.startswith(b"/") else []
    for part in os.fsdecode(link).split("/"):
        if part == ".." and not parts:
            raise HostileArchiveError(f"the link {path!r} leads out of it, to {show(link)}")
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _PlainFile(LayerStream):
    """The bytes of a file that is not compressed; those that are passed over are not read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._end = os.fstat(descriptor).st_size
        self._chunk = b""
        self._at = 0
        self._passed = 0

    def pass_over(self, size: int) -> int:
        missing = max(0, self.offset + size - self._end)
        self._at += size
        if self._at > len(self._chunk):
            self._passed, self._at, self._chunk = self.offset, 0, b""
        return missing

    def _next(self) -> bool:
        self._passed += len(self._chunk)
        self._at = 0
        # Headers lie far apart: what is read ahead is seldom used.
        self._chunk = os.pread(self._descriptor, 8 * BLOCK, self._passed)
        return bool(self._chunk)
