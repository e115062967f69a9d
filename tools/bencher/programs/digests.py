"""digests.py COMPRESSION FILE...: decompress each, hash what is read and what comes out of it."""

import hashlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

_CHUNK = 1 << 17


def gunzipped(stream: BinaryIO, packed: "hashlib._Hash") -> Iterator[bytes]:
    from isal import isal_zlib

    inflater = isal_zlib.decompressobj(wbits=31)
    while data := stream.read(_CHUNK):
        packed.update(data)
        while data:
            yield inflater.decompress(data, _CHUNK)
            data = inflater.unconsumed_tail


def unzstd(stream: BinaryIO, packed: "hashlib._Hash") -> Iterator[bytes]:
    import zstandard

    inflater = zstandard.ZstdDecompressor().decompressobj()
    while data := stream.read(_CHUNK // 8):
        packed.update(data)
        yield inflater.decompress(data)


def main(compression: str, *paths: str) -> None:
    for path in paths:
        packed, plain = hashlib.sha256(), hashlib.sha256()
        with open(path, "rb") as stream:
            for data in (gunzipped if compression == "gzip" else unzstd)(stream, packed):
                plain.update(data)
        print(packed.hexdigest(), plain.hexdigest())


main(*sys.argv[1:])
