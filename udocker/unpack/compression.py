"""The bytes of a layer: decompressed a piece at a time, and hashed as they pass.

The compression is known by its magic number (gzip: RFC 1952, Zstandard: RFC 8878), since media
types are often wrong. No piece is larger than CHUNK, whatever the input.
"""

from __future__ import annotations

from udocker.errors import ArchiveLimitError, UnpackError
from udocker.unpack.header import BLOCK, is_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

CHUNK = 1 << 17
_RECORD = 20 * BLOCK
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_UNSUPPORTED = (
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x1f\x9d", "compress"),
    (b"PK\x03\x04", "zip"),
)


class Source:
    """Compressed bytes; ``advance`` is told of every one."""

    def __init__(self, stream: BinaryIO, advance: Callable[[int], None], name: str) -> None:
        self._stream = stream
        self._advance = advance
        self._name = name
        self._held = b""
        self._at = 0

    def next(self) -> bytes:
        """Some bytes; none at the end."""
        if self._at < len(self._held):
            data = self._held[self._at :]
            self._held, self._at = b"", 0
            return data
        return self._read()

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        self.peek(size)
        data = self._held[self._at : self._at + size]
        self._at += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """What ``take`` would give."""
        while len(self._held) - self._at < size:
            data = self._read()
            if not data:
                break
            self._held, self._at = self._held[self._at :] + data, 0
        return self._held[self._at : self._at + size]

    def give_back(self, data: bytes) -> None:
        """Put ``data`` before what comes next."""
        self._held, self._at = data + self._held[self._at :], 0

    def drain(self) -> None:
        """Read to the end, which is what proves the blob."""
        while self.next():
            pass

    def _read(self) -> bytes:
        try:
            data = self._stream.read(CHUNK)
        except OSError as error:
            error.filename = error.filename or self._name
            raise
        self._advance(len(data))
        return data


class LayerStream:
    """The uncompressed bytes of a layer, with the digest of those that were read."""

    def __init__(self, source: Source, algorithm: str, max_bytes: int = 1 << 63) -> None:
        import hashlib

        self._chunks = _limited(decompress(source), max_bytes)
        self._hash = hashlib.new(algorithm)
        self._chunk = b""
        self._at = 0
        self._passed = 0

    @property
    def offset(self) -> int:
        """How many bytes were taken."""
        return self._passed + self._at

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end. ``size`` is small: all are held."""
        end = self._at + size
        if end <= len(self._chunk):
            data = self._chunk[self._at : end]
            self._at = end
            return data
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes without a copy; fewer only at the end."""
        while size:
            if self._at == len(self._chunk) and not self._next():
                return
            piece = memoryview(self._chunk)[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def pass_over(self, size: int) -> int:
        """Go on behind the next ``size`` bytes; how many of them are missing."""
        for piece in self.pieces(size):
            size -= len(piece)
        return size

    def held(self) -> tuple[bytes, int]:
        """Bytes at hand, and where in them the next one is; ``skip`` takes some."""
        return self._chunk, self._at

    def skip(self, size: int) -> None:
        """Take ``size`` of the bytes at hand."""
        self._at += size

    def more(self) -> bool:
        """Put more bytes behind those at hand; False at the end."""
        rest = self._chunk[self._at :]
        if not rest:
            return self._next()
        passed = self._passed + self._at
        chunk = next(self._chunks, b"")
        self._hash.update(chunk)
        self._passed, self._chunk, self._at = passed, rest + chunk, 0
        return bool(chunk)

    def drain(self, limit: int) -> None:
        """Read to the end. Raises ArchiveLimitError when that is more than ``limit`` bytes."""
        limit += self.offset
        self._at = len(self._chunk)
        while self._next():
            self._at = len(self._chunk)
            if self.offset > limit:
                raise ArchiveLimitError("there is too much data after the end of the archive")

    def hexdigest(self) -> str:
        """The digest of all bytes; call it after ``drain``."""
        return self._hash.hexdigest()

    def is_of(self, hexdigest: str) -> bool:
        """Whether all bytes have that digest; call it after ``drain``.

        The zeros that fill up the last record of an archive (POSIX pax, "ustar Interchange
        Format") may be missing: skopeo and podman of Debian 12 drop them from zstd:chunked.
        """
        if self.hexdigest() == hexdigest:
            return True
        padded = self._hash.copy()
        padded.update(bytes(-self.offset % _RECORD))
        return padded.hexdigest() == hexdigest

    def _next(self) -> bool:
        self._passed += len(self._chunk)
        self._at = 0
        self._chunk = next(self._chunks, b"")
        self._hash.update(self._chunk)
        return bool(self._chunk)


def _limited(chunks: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    for chunk in chunks:
        max_bytes -= len(chunk)
        if max_bytes < 0:
            raise ArchiveLimitError(
                "its archive is much longer than what the image may unpack to",
                hint="if you trust the image, raise the limit max_unpacked_bytes or "
                "max_unpack_ratio",
            )
        yield chunk


def decompress(source: Source) -> Iterator[bytes]:
    """All uncompressed bytes of ``source``, which is read to its end.

    Raises UnpackError for data that is damaged, cut short, or of an unsupported compression.
    """
    head = source.peek(BLOCK)
    if is_header(head):
        return iter(source.next, b"")
    if head.startswith(_GZIP):
        return _gzip(source)
    if head.startswith(_ZSTD) or _is_skippable(head):
        return _zstd(source)
    for magic, name in _UNSUPPORTED:
        if head.startswith(magic):
            raise UnpackError(
                f"it is compressed with {name}, which is not supported",
                hint="have the image rebuilt with layers compressed by gzip or zstd",
            )
    return iter(source.next, b"")


def _gzip(source: Source) -> Iterator[bytes]:
    zlib: Any
    try:
        from isal import isal_zlib as zlib
    except ImportError:
        import zlib
    while source.peek(2) == _GZIP:
        try:
            yield from _gzip_member(source, zlib.decompressobj(wbits=31))
        except zlib.error as error:
            raise UnpackError(f"its gzip data is damaged: {error}") from error
    # What follows the last member is padding or garbage; gzip(1) ignores both.
    source.drain()


def _gzip_member(source: Source, inflater: Any) -> Iterator[bytes]:
    data = b""
    while not inflater.eof:
        data = data or source.next()
        out = inflater.decompress(data, CHUNK)
        if not out and not data and not inflater.eof:
            raise UnpackError("its gzip data ends too early")
        data = inflater.unconsumed_tail
        if out:
            yield out
    source.give_back(inflater.unused_data)


def _zstd(source: Source) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise UnpackError(
            "it is compressed with zstd, and the Python package zstandard is not installed",
            hint="pip install zstandard",
        ) from error
    context = zstandard.ZstdDecompressor()
    while True:
        magic = source.take(4)
        if not magic:
            return
        if _is_skippable(magic):
            _skip(source, int.from_bytes(_need(source, 4), "little"))
            continue
        if magic != _ZSTD:
            raise UnpackError("its zstd data is followed by something else")
        try:
            yield from _zstd_frame(source, context.decompressobj(), magic)
        except zstandard.ZstdError as error:
            raise UnpackError(f"its zstd data is damaged: {error}") from error


def _zstd_frame(source: Source, inflater: Any, magic: bytes) -> Iterator[bytes]:
    """Feed one block at a time: a block gives 128 KiB at most, and no other call has a limit.

    It also tells a frame that was cut short from one that is whole.
    """
    descriptor = _need(source, 1)
    flags = descriptor[0]
    single_segment = flags >> 5 & 1
    size_bytes = (single_segment, 2, 4, 8)[flags >> 6]
    rest = _need(source, 1 - single_segment + (0, 1, 2, 4)[flags & 3] + size_bytes)
    out = inflater.decompress(magic + descriptor + rest)
    last = 0
    while not last:
        header = _need(source, 3)
        number = int.from_bytes(header, "little")
        last, kind, size = number & 1, number >> 1 & 3, number >> 3
        if kind == 3 or size > CHUNK:
            raise UnpackError("its zstd data is damaged: impossible block")
        out += inflater.decompress(header + _need(source, 1 if kind == 1 else size))
        if out:
            yield out
        out = b""
    if flags >> 2 & 1:  # the checksum
        inflater.decompress(_need(source, 4))


def _is_skippable(head: bytes) -> bool:
    return head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50


def _need(source: Source, size: int) -> bytes:
    data = source.take(size)
    if len(data) < size:
        raise UnpackError("its zstd data ends too early")
    return data


def _skip(source: Source, size: int) -> None:
    while size:
        piece = _need(source, min(size, CHUNK))
        size -= len(piece)
