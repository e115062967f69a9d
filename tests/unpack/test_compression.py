"""Compressed bytes in, uncompressed pieces of bounded size out."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable

import pytest
import zstandard

from udocker.errors import UnpackError
from udocker.unpack.compression import CHUNK, LayerStream, Source, decompress
from unpack.layers import file, raw_header, seal, tar

TEXT = random.Random(1).randbytes(300_000) + bytes(2_000_000) + b"end" * 1000
ARCHIVE = tar(file("a", "x"))


def source(data: bytes) -> Source:
    return Source(io.BytesIO(data), lambda _: None, "layer")


def plain(data: bytes) -> bytes:
    pieces = list(decompress(source(data)))
    assert all(0 < len(piece) <= CHUNK for piece in pieces)
    return b"".join(pieces)


def zstd(data: bytes, **options: bool | int) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)  # type: ignore[arg-type]


def streamed_zstd(data: bytes) -> bytes:
    """A frame that does not say how long it is."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


def skippable(content: bytes) -> bytes:
    return b"\x5e\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip-stored": lambda data: gzip.compress(data, 0),
    "zstd": zstd,
    "zstd-checksum": lambda data: zstd(data, write_checksum=True),
    "zstd-no-size": lambda data: zstd(data, write_content_size=False),
    "zstd-streamed": streamed_zstd,
    "zstd-19": lambda data: zstd(data, level=19),
}
every = pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)


class TestRightData:
    @every
    @pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, len(TEXT)])
    def test_all_of_it(self, compress: Callable[[bytes], bytes], size: int) -> None:
        assert plain(compress(TEXT[:size])) == TEXT[:size]

    @every
    def test_several_members(self, compress: Callable[[bytes], bytes]) -> None:
        assert plain(b"".join(compress(part) for part in (b"one", b"", TEXT, b"four"))) == (
            b"one" + TEXT + b"four"
        )

    @pytest.mark.parametrize("distance", range(-3, 4))
    def test_a_member_that_ends_where_a_read_ends(self, distance: int) -> None:
        around = len(gzip.compress(bytes(CHUNK - 100), 0)) - (CHUNK - 100)
        first = gzip.compress(bytes(CHUNK + distance - around), 0)
        assert len(first) == CHUNK + distance
        assert plain(first + gzip.compress(b"second")).lstrip(b"\0") == b"second"

    @pytest.mark.parametrize("tail", [b"\0", bytes(100_000), b"garbage", b"\x1f", bytes(9) + b"x"])
    def test_what_follows_gzip_is_ignored(self, tail: bytes) -> None:
        data = source(gzip.compress(TEXT) + tail)
        assert b"".join(decompress(data)) == TEXT
        assert data.next() == b""

    def test_frames_that_zstd_skips(self) -> None:
        hidden = skippable(b"table of contents" * 20_000)
        assert plain(hidden + zstd(b"one") + skippable(b"") + zstd(TEXT) + hidden) == b"one" + TEXT

    def test_many_small_frames(self) -> None:
        parts = [bytes([n % 256]) * n for n in range(2000)]
        assert plain(b"".join(map(zstd, parts))) == b"".join(parts)

    def test_no_compression(self) -> None:
        assert plain(ARCHIVE) == ARCHIVE

    def test_nothing(self) -> None:
        assert plain(b"") == b""

    @pytest.mark.parametrize("name", [b"BZh", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"])
    def test_a_plain_archive_whose_first_name_looks_compressed(self, name: bytes) -> None:
        data = seal(raw_header(name=name))
        assert plain(data) == data

    @every
    def test_short_reads(self, compress: Callable[[bytes], bytes]) -> None:
        class Slow(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                return super().read(min(size or 0, 7))

        told: list[int] = []
        data = compress(b"some text" * 100)
        assert b"".join(decompress(Source(Slow(data), told.append, "layer"))) == b"some text" * 100
        assert sum(told) == len(data)


class TestWrongData:
    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (lzma.compress(ARCHIVE), "xz"),
            (lzma.compress(ARCHIVE, lzma.FORMAT_ALONE), "lzma"),
            (bz2.compress(ARCHIVE), "bzip2"),
            (b"\x04\x22\x4d\x18rest", "lz4"),
        ],
    )
    def test_other_compressions_are_named(self, data: bytes, name: str) -> None:
        with pytest.raises(UnpackError, match=f"with {name}, which is not supported") as caught:
            plain(data)
        assert caught.value.hint

    @every
    def test_cut_short_anywhere(self, compress: Callable[[bytes], bytes]) -> None:
        first = compress(b"first" * 9)
        data = first + compress(TEXT[299_000:310_000])
        for length in range(4, len(data)):
            # Between members nothing is missing; one byte more is garbage to gzip.
            if length == len(first) or (length == len(first) + 1 and data[0] == 0x1F):
                continue
            with pytest.raises(UnpackError, match=r"ends too early|followed by something else"):
                plain(data[:length])

    @pytest.mark.parametrize("compress", [gzip.compress, COMPRESSORS["zstd-checksum"]])
    def test_damaged_anywhere(self, compress: Callable[[bytes], bytes]) -> None:
        text = TEXT[299_500:301_000]
        data = compress(text)
        noticed = 0
        for at in range(4, len(data)):
            broken = bytearray(data)
            broken[at] ^= 0x10
            try:
                found = plain(bytes(broken))
            except UnpackError:
                noticed += 1
            else:
                assert found == text  # it was the time in a header
        assert noticed > len(data) - 16

    def test_something_else_after_zstd(self) -> None:
        with pytest.raises(UnpackError, match="followed by something else"):
            plain(zstd(b"x") + b"garbage")

    def test_a_zstd_block_of_a_reserved_kind(self) -> None:
        with pytest.raises(UnpackError, match="impossible block"):
            plain(b"\x28\xb5\x2f\xfd\x00\x58" + b"\x07\0\0")

    def test_a_zstd_window_that_would_take_too_much_memory(self) -> None:
        with pytest.raises(UnpackError, match="zstd data is damaged"):
            plain(b"\x28\xb5\x2f\xfd\x00\xb0" + b"\x01\0\0")

    def test_an_error_of_the_source_names_it(self) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="error: 'layer sha256:1'"):
            decompress(Source(Broken(), lambda _: None, "layer sha256:1"))


_MEASURE = """
import re, sys
from udocker.unpack.compression import Source, decompress
total = 0
for piece in decompress(Source(open(sys.argv[1], "rb"), lambda _: None, "layer")):
    total += len(piece)
with open("/proc/self/status") as status:
    print(total, re.search(r"VmHWM:\\s*(\\d+) kB", status.read())[1])
"""


def child(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class TestBombs:
    """A small input must not become a large piece."""

    @pytest.mark.parametrize("kind", ["gzip", "zstd", "zstd-runs"])
    def test_memory_is_bounded(self, tmp_path: os.PathLike[str], kind: str) -> None:
        size = 1 << 30
        if kind == "gzip":
            compressor = zlib.compressobj(9, wbits=31)
            data = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20))
            data += compressor.flush()
        elif kind == "zstd":
            zstd_compressor = zstandard.ZstdCompressor().compressobj()
            data = b"".join(zstd_compressor.compress(bytes(1 << 20)) for _ in range(size >> 20))
            data += zstd_compressor.flush()
        else:  # four bytes for each 128 KiB
            block = (CHUNK << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
            data = b"\x28\xb5\x2f\xfd\x00\x58" + block * (size // CHUNK) + b"\x01\0\0"
        bomb = os.path.join(tmp_path, "bomb")
        with open(bomb, "wb") as stream:
            stream.write(data)
        total, memory = map(int, child(_MEASURE, bomb).split())
        assert total == size
        assert memory < 80 * 1024  # KiB


class TestWithoutLibraries:
    """A None in sys.modules makes an import fail."""

    def test_zlib_where_there_is_no_isal(self) -> None:
        code = f"import sys; sys.modules['isal'] = None; {_READ}"
        assert (
            child(code, gzip.compress(TEXT[:5000]).hex()) == hashlib.sha256(TEXT[:5000]).hexdigest()
        )

    def test_zstd_where_there_is_no_zstandard(self) -> None:
        code = f"import sys; sys.modules['zstandard'] = None; {_READ}"
        assert child(code, zstd(b"x").hex()) == "pip install zstandard"


_READ = """
import hashlib, io
from udocker.errors import UnpackError
from udocker.unpack.compression import Source, decompress
try:
    data = b"".join(decompress(Source(io.BytesIO(bytes.fromhex(sys.argv[1])), print, "layer")))
except UnpackError as error:
    sys.stdout.write(str(error.hint))
else:
    sys.stdout.write(hashlib.sha256(data).hexdigest())
""".replace("print", "lambda _: None")


class TestLayerStream:
    def test_reads_across_pieces(self) -> None:
        stream = LayerStream(source(gzip.compress(TEXT)), "sha256")
        sizes = (0, 5, CHUNK - 5, 1, 2 * CHUNK, 512)
        data = b"".join(stream.read(size) for size in sizes)
        assert (data, stream.offset) == (TEXT[: sum(sizes)], sum(sizes))
        rest = b"".join(stream.pieces(len(TEXT)))
        assert data + rest == TEXT
        assert stream.read(1) == b""
        assert stream.hexdigest() == hashlib.sha256(TEXT).hexdigest()

    def test_drain_hashes_what_nobody_read(self) -> None:
        stream = LayerStream(source(gzip.compress(TEXT)), "sha256")
        stream.read(10)
        stream.drain(len(TEXT))
        assert stream.offset == len(TEXT)
        assert stream.hexdigest() == hashlib.sha256(TEXT).hexdigest()
