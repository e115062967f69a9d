"""Archives made of parts that are nearly right, given to the reader, and to Python's own.

Where tarfile takes an archive and we do too, both see the same members; what we do not take, an
UnpackError says. Whole images of such archives touch nothing outside, and are what Model says as
far as it knows them. UDOCKER_TEST_EXAMPLES is how many are tried.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Optional

import zstandard
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from udocker.errors import ArchiveLimitError, UnpackError, VerificationError
from udocker.unpack.compression import LayerStream, Source
from udocker.unpack.limits import Limits
from udocker.unpack.tar import Archive
from unpack import layers
from unpack.layers import FakeLayer, extended, raw_header, record, seal, snapshot, unpack

EXAMPLES = int(os.environ.get("UDOCKER_TEST_EXAMPLES", "150"))
fuzzing = settings(
    layers.steady,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
SMALL = Limits(max_bytes=1 << 20, max_entries=500, max_index_bytes=1 << 20)

# Names that meet, that leave the tree, and that are whiteouts.
part = st.sampled_from(
    [
        b"a",
        b"b",
        b"a",
        b"b",
        b"..",
        b".",
        b"",
        b".wh.a",
        b".wh..wh..opq",
        b".wh.",
        b".wh...",
        b"\xff\n",
    ]
)
name = st.one_of(
    st.lists(part, max_size=5).map(b"/".join),
    st.sampled_from([b"a" * 100, b"d/" * 60 + b"x", b"out/secret", b"/a/../../outside/secret"]),
)
target = st.one_of(name, st.sampled_from([b"../outside", b"/", b"../../../../outside/secret"]))
kind = st.sampled_from([*(b"%d" % n for n in range(8)), b"\0", b"5", b"0", b"S", b"Z"])
text_number = st.one_of(
    st.integers(0, 1 << 33).map(lambda n: b"%o" % n),
    st.sampled_from(
        [b"", b"0", b"-1", b"8", b" 17", b"17 ", b"7\0x", b"x", b"\x80\0\0\5", b"\xff" * 8]
    ),
)
small_number = st.one_of(st.just(b"0000644\0"), text_number.map(lambda t: t[:8]))
magic = st.sampled_from([b"ustar\x0000", b"ustar  \0", bytes(8), b"ustar\0xx"])
key = st.sampled_from(
    [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"comment", b"SCHILY.xattr.user.a"]
    + [b"GNU.sparse." + k for k in (b"map", b"size", b"major", b"realsize", b"name", b"numblocks")]
)
records = st.lists(
    st.builds(
        record,
        key,
        st.one_of(name, text_number, st.integers(-5, 600).map(lambda n: b"%d" % n)),
    ),
    min_size=1,
    max_size=3,
).map(b"".join)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """One header with its data: nearly always with a right checksum."""
    content = draw(st.sampled_from([b"", b"", b"x", b"y" * 512, b"z" * 700]))
    fields: dict[str, Any] = {
        "name": draw(name)[:100],
        "link": draw(target)[:100],
        "kind": draw(kind),
        "magic": draw(magic),
        "mode": draw(st.one_of(st.just(b"0004755\0"), small_number)),
        "size": b"%011o\0" % len(content),
    }
    if draw(st.integers(0, 5)) == 0:
        field = draw(st.sampled_from(["uid", "gid", "mtime", "size", "major", "minor"]))
        fields[field] = draw(small_number)
    # Only ustar has a prefix; tarfile takes one from any header.
    if fields["magic"] == b"ustar\x0000" and draw(st.integers(0, 3)) == 0:
        fields["prefix"] = draw(name)[:155]
    block = raw_header(**fields)
    sealed = seal(block) if draw(st.integers(0, 30)) else bytes(block)
    return sealed + content + bytes(-len(content) % 512)


@st.composite
def extensions(draw: st.DrawFn) -> bytes:
    flag = draw(st.sampled_from([b"x", b"x", b"L", b"K", b"g"]))
    data = draw(records) if flag in b"xg" else draw(target) + b"\0"
    return extended(data, flag)


archives = st.lists(
    st.one_of(headers(), headers(), headers(), extensions(), st.just(bytes(512))), max_size=8
).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An archive, some of which have a changed byte, or an end too early."""
    data = bytearray(draw(archives))
    how = draw(st.integers(0, 4))
    if data and how == 0:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    elif how == 1:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


Seen = tuple[Any, ...]


def seen_here(data: bytes) -> list[Seen]:
    """Members as our reader has them. Raises UnpackError."""
    source = Source(io.BytesIO(data), lambda _: None, "fuzz")
    archive = Archive(LayerStream(source, "sha256"), 1 << 16)
    found: list[Seen] = []
    for member in archive:
        content = b"".join(map(bytes, archive.content(member.stored)))
        link = member.link if member.kind in ("symlink", "hardlink") else b""
        found.append(
            (
                *(member.kind, _path(member.name), link, member.mode, member.uid, member.gid),
                *(
                    member.mtime // 10**9,
                    member.size,
                    None if member.sparse is not None else content,
                ),
            )
        )
    return found


def seen_by_python(data: bytes) -> Optional[list[Seen]]:
    """Members as tarfile has them; None where it does not take the archive."""
    if b"=\n" in data:
        return None  # an empty record means that there is none (POSIX), to tarfile an empty name
    if b"GNU.sparse" in data:
        return None  # of half a map each makes something else; whole ones are in test_tar
    found: list[Seen] = []
    kinds = {
        tarfile.SYMTYPE: "symlink",
        tarfile.LNKTYPE: "hardlink",
        tarfile.DIRTYPE: "directory",
        tarfile.FIFOTYPE: "fifo",
        tarfile.CHRTYPE: "char",
        tarfile.BLKTYPE: "block",
    }
    try:
        with tarfile.open(fileobj=io.BytesIO(data), errorlevel=2) as archive:
            for info in archive:
                shown = kinds.get(info.type, "file")
                is_file = shown == "file"
                stream = archive.extractfile(info) if is_file else None
                found.append(
                    (
                        *(shown, _path(os.fsencode(info.name))),
                        os.fsencode(info.linkname) if shown in ("symlink", "hardlink") else b"",
                        *(info.mode & 0o7777, info.uid, info.gid, int(info.mtime // 1)),
                        info.size if is_file else 0,
                        None if info.sparse is not None else stream.read() if stream else b"",
                    )
                )
            if archive.pax_headers:
                return None  # global ones, which we ignore as Docker does
            if archive.fileobj is not None and data[archive.offset :].strip(b"\0"):
                return None  # it has stopped at what it takes for an end
    except (tarfile.TarError, ValueError, OverflowError, IndexError, KeyError, OSError):
        return None
    return found


def _path(name: bytes) -> bytes:
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))


@fuzzing
@given(damaged())
def test_no_two_readers_see_two_archives(data: bytes) -> None:
    theirs = seen_by_python(data)
    try:
        ours = seen_here(data)
    except UnpackError:
        event("refused")
        return
    event(f"taken, by tarfile too: {theirs is not None}")
    if theirs is not None and all(path for _, path, *_ in (*ours, *theirs)):
        assert ours == theirs


def compressed(data: bytes, how: int) -> FakeLayer:
    if how == 0:
        return FakeLayer(data)
    if how == 1:
        middle = len(data) // 2
        blob = gzip.compress(data[:middle], 1) + gzip.compress(data[middle:], 1)
        return FakeLayer(blob, data)
    return FakeLayer(zstandard.ZstdCompressor().compress(data), data)


@fuzzing
@given(st.lists(st.tuples(damaged(), st.integers(0, 2)), min_size=1, max_size=4))
def test_images_touch_nothing_outside(image: list[tuple[bytes, int]]) -> None:
    with tempfile.TemporaryDirectory() as top:
        outside = Path(top, "outside")
        outside.mkdir()
        (outside / "secret").write_text("secret")
        place = Path(top, "image")
        place.mkdir()
        before = snapshot(outside)
        try:
            tree = unpack(place, *(compressed(*each) for each in image), limits=SMALL)
        except (UnpackError, VerificationError, ArchiveLimitError):
            event("refused")
        else:
            event("unpacked")
            for path, (mode, *_) in snapshot(tree.root).items():
                assert not mode & 0o6000, path  # nothing has somebody's rights
                assert ".wh." not in path or path.startswith(".wh")
        assert snapshot(outside) == before
        assert {path.name for path in Path(top).iterdir()} == {"outside", "image"}
        with contextlib.suppress(FileNotFoundError):
            left = {path.name for path in (place / "tree").iterdir()}
            assert left <= {"root", "layer-0", "layer-1", "layer-2", "index.jsonl"}
