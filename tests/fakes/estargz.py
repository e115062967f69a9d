"""Layers as eStargz has them: many gzip members, a table of contents, a footer.

Format: https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fakes.registry import Entry

TOC = "stargz.index.json"
_LANDMARK = ".no.prefetch.landmark"
_KINDS = {
    tarfile.REGTYPE: "reg",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
}
_EMPTY_BLOCK = b"\x01\x00\x00\xff\xff"  # RFC 1951, 3.2.4: the last one, stored, of no bytes


def estargz(entries: Mapping[str, Entry], chunk: int) -> bytes:
    """A layer of ``entries``; files are cut so that each member has ``chunk`` bytes of one."""
    from fakes.registry import Entry

    blob = bytearray()
    table: list[dict[str, Any]] = []
    for name, entry in {**entries, _LANDMARK: Entry(b"\x0f")}.items():
        info = _info(name, entry)
        blob += _member(info.tobuf(tarfile.PAX_FORMAT))
        table.append({"name": name, "type": _KINDS[entry.kind], "mode": info.mode})
        if info.size == 0:
            continue
        table[-1].update({"size": info.size, "digest": _digest(entry.content)})
        table += _chunks(blob, name, entry.content, chunk)
        blob += _member(bytes(-info.size % tarfile.BLOCKSIZE))
    start = len(blob)
    document = json.dumps({"version": 1, "entries": table}).encode()
    last = io.BytesIO()
    with tarfile.open(fileobj=last, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = _info(TOC, Entry(document))
        archive.addfile(info, io.BytesIO(document))
    return bytes(blob) + _member(last.getvalue()) + _footer(start)


def _chunks(blob: bytearray, name: str, content: bytes, chunk: int) -> list[dict[str, Any]]:
    """Add the members of a file to ``blob``; what the table says of all but the first."""
    rows = []
    for at in range(0, len(content), chunk):
        part = content[at : at + chunk]
        place = {"offset": len(blob), "chunkOffset": at, "chunkSize": len(part)}
        rows.append({"name": name, "type": "chunk", **place, "chunkDigest": _digest(part)})
        blob += _member(part)
    return rows


def _info(name: str, entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = entry.kind, entry.target
    info.mode = 0o644 if entry.mode is None else entry.mode
    info.size = len(entry.content) if entry.kind == tarfile.REGTYPE else 0
    return info


def _member(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def _footer(start: int) -> bytes:
    """An empty member (RFC 1952, 2.3.1.1) whose extra field has the place of the table."""
    field = b"%016xSTARGZ" % start
    extra = b"SG" + struct.pack("<H", len(field)) + field
    head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H", len(extra)) + extra
    return head + _EMPTY_BLOCK + struct.pack("<II", zlib.crc32(b""), 0)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
