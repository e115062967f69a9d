"""Layers made for tests, and what became of them."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

from hypothesis import settings

from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.unpack.index import NAME, Record, read
from udocker.unpack.tree import Limits, build_tree
from udocker.verified import VerifiedReader

# For @given: nothing is written beside the tests, and a slow machine is no failure.
steady = settings(database=None, deadline=None)
LIMITS = Limits(max_bytes=1 << 30)
WHEN = 1_500_000_000


class FakeLayer:
    """A layer of the bytes ``blob``, whose uncompressed bytes are ``plain``."""

    def __init__(self, blob: bytes, plain: bytes | None = None) -> None:
        self.blob = blob
        self.descriptor = Descriptor("", Digest.of(blob), len(blob))
        self.diff_id = Digest.of(blob if plain is None else plain)

    def open(self) -> BinaryIO:
        return VerifiedReader(io.BytesIO(self.blob), self.descriptor)


class Unpacked:
    """A directory that ``build_tree`` has filled."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.records: dict[str, Record] = {
            os.fsdecode(path): record for path, record in read(f"{directory}/{NAME}")
        }

    def paths(self) -> set[str]:
        return set(snapshot(self.root)) - {""}

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def mode(self, path: str) -> int:
        return stat.S_IMODE((self.root / path).lstat().st_mode)

    def mtime(self, path: str) -> float:
        return (self.root / path).lstat().st_mtime


def unpack(directory: Path, *layers: FakeLayer | bytes, limits: Limits = LIMITS) -> Unpacked:
    """Build the tree of ``layers`` (bytes: an uncompressed archive) in ``directory``/tree."""
    place = directory / "tree"
    place.mkdir(mode=0o700)
    made = [layer if isinstance(layer, FakeLayer) else FakeLayer(layer) for layer in layers]
    build_tree(made, str(place), limits, lambda _: None)
    return Unpacked(place)


def gzipped(plain: bytes) -> FakeLayer:
    return FakeLayer(gzip.compress(plain), plain)


def snapshot(directory: Path) -> dict[str, tuple[Any, ...]]:
    """All below ``directory``: kind and mode, time, and content or target."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        name = str(path.relative_to(directory))
        found["" if name == "." else name] = (status.st_mode, status.st_mtime_ns, content)
    return found


# Entries: a TarInfo and its content.

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, kind: bytes, content: bytes = b"", **fields: Any) -> Entry:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mtime = WHEN
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def file(name: str, content: bytes | str = b"", **fields: Any) -> Entry:
    data = content.encode() if isinstance(content, str) else content
    return entry(name, tarfile.REGTYPE, data, **{"mode": 0o644, **fields})


def directory(name: str, **fields: Any) -> Entry:
    return entry(name, tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(name: str, target: str, **fields: Any) -> Entry:
    return entry(name, tarfile.SYMTYPE, linkname=target, **{"mode": 0o777, **fields})


def hardlink(name: str, target: str, **fields: Any) -> Entry:
    return entry(name, tarfile.LNKTYPE, linkname=target, **fields)


def device(name: str, major: int = 1, minor: int = 3, **fields: Any) -> Entry:
    return entry(name, tarfile.CHRTYPE, devmajor=major, devminor=minor, **{"mode": 0o666, **fields})


def fifo(name: str, **fields: Any) -> Entry:
    return entry(name, tarfile.FIFOTYPE, **{"mode": 0o644, **fields})


def xattr(name: str, value: str) -> dict[str, Any]:
    return {"pax_headers": {f"SCHILY.xattr.{name}": value}}


def tar(*entries: Entry, format: int = tarfile.PAX_FORMAT, end: bool = True) -> bytes:
    """An archive of ``entries``, names and all as given."""
    data = b"".join(member(*item, format=format) for item in entries)
    return data + bytes(1024) if end else data


def member(info: tarfile.TarInfo, content: bytes, format: int = tarfile.PAX_FORMAT) -> bytes:
    header = info.tobuf(format, "utf-8", "surrogateescape")
    return header + content + bytes(-len(content) % 512)


def raw_header(**fields: Any) -> bytearray:
    """A ustar header whose fields are given as the bytes that stand there; see ``seal``."""
    block = bytearray(512)
    places = {
        "name": (0, 100),
        "mode": (100, 8),
        "uid": (108, 8),
        "gid": (116, 8),
        "size": (124, 12),
        "mtime": (136, 12),
        "kind": (156, 1),
        "link": (157, 100),
        "magic": (257, 8),
        "major": (329, 8),
        "minor": (337, 8),
        "prefix": (345, 155),
    }
    usual = {
        "name": b"name",
        "mode": b"0000644\0",
        "uid": b"0000000\0",
        "gid": b"0000000\0",
        "size": b"00000000000\0",
        "mtime": b"00000000001\0",
        "kind": b"0",
        "magic": b"ustar\x0000",
    }
    for key, value in {**usual, **fields}.items():
        start, length = places[key]
        assert len(value) <= length
        block[start : start + len(value)] = value
    return block


def seal(block: bytes | bytearray, signed: bool = False) -> bytes:
    """``block`` with its checksum."""
    block = bytearray(block)
    block[148:156] = b" " * 8
    total = sum(b - 256 if signed and b > 127 else b for b in block)
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def extended(records: bytes, kind: bytes = b"x") -> bytes:
    """A pax header with ``records``."""
    header = seal(raw_header(name=b"pax", kind=kind, size=b"%011o\0" % len(records)))
    return header + records + bytes(-len(records) % 512)


def record(key: bytes, value: bytes) -> bytes:
    """One pax record."""
    body = b" %s=%s\n" % (key, value)
    length = len(body)
    while len(b"%d%s" % (length, body)) != length:
        length = len(b"%d%s" % (length, body))
    return b"%d%s" % (length, body)
