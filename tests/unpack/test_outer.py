"""Archives as people compress them, and where their members are."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from builders.archives import add, tar
from udocker.errors import UnpackError
from udocker.unpack.compression import CHUNK, Source
from udocker.unpack.outer import Place, is_plain, places, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = os.urandom(50_000) + bytes(5 << 20)
PACKERS = {"xz": lzma.compress, "bzip2": bz2.compress}


def read(data: bytes) -> list[bytes]:
    return list(unpacked(Source(io.BytesIO(data), lambda _: None, "")))


@pytest.mark.parametrize("name", PACKERS)
class TestUnpacked:
    def test_one_stream(self, name: str) -> None:
        pieces = read(PACKERS[name](DATA))
        assert b"".join(pieces) == DATA
        assert max(map(len, pieces)) <= CHUNK

    def test_several(self, name: str) -> None:
        pack = PACKERS[name]
        assert b"".join(read(pack(b"one") + pack(b"") + pack(b"two"))) == b"onetwo"

    @pytest.mark.parametrize("size", [20, 40, 1000, 30_000])
    def test_cut_short(self, name: str, size: int) -> None:
        with pytest.raises(UnpackError, match=f"{name} data ends too early"):
            read(PACKERS[name](DATA)[:size])

    def test_damaged(self, name: str) -> None:
        data = bytearray(PACKERS[name](DATA))
        data[20_000] ^= 1
        with pytest.raises(UnpackError, match=f"{name} data is damaged"):
            read(bytes(data))

    def test_followed_by_something_else(self, name: str) -> None:
        with pytest.raises(UnpackError, match=f"{name} data is damaged"):
            read(PACKERS[name](b"one") + b"something else, and long enough")


def test_padding_between_streams_of_xz() -> None:
    pack: Callable[[bytes], bytes] = lzma.compress
    assert b"".join(read(pack(b"one") + bytes(8) + pack(b"two") + bytes(4))) == b"onetwo"


def test_xz_that_wants_much_memory() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 << 20, "preset": 0}]
    with pytest.raises(UnpackError, match="emory"):
        read(lzma.compress(b"x" * 1000, filters=filters))


def test_a_tar_whose_first_name_is_that_of_bzip2() -> None:
    data = tar({"BZh91AY": b"x"})
    assert is_plain(data)
    assert b"".join(read(data)) == data


def test_places(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "d", kind=tarfile.DIRTYPE)
        add(archive, "./d//a", b"one")
        add(archive, "n" * 300, os.urandom(100_000))
        add(archive, "d/link", kind=tarfile.SYMTYPE, link="a")
        add(archive, "twice", b"1")
        add(archive, "twice", b"2")
        add(archive, "pipe", kind=tarfile.FIFOTYPE)
    with path.open("rb") as stream:
        found = places(stream.fileno())
        data = {name: os.pread(stream.fileno(), p.size, p.offset) for name, p in found.items()}
    assert list(found) == ["d/a", "n" * 300, "d/link", "twice", "pipe"]
    assert data["d/a"] == b"one"
    assert found["n" * 300].size == 100_000
    assert found["d/link"].link == "d/a"
    assert [name for name, place in found.items() if not place.is_unique] == ["twice"]
    assert found["pipe"] == Place(0, 0, is_file=False)


def test_members_are_passed_over_unread(tmp_path: Path) -> None:
    """A terabyte that is not there takes no time."""
    path = tmp_path / "x.tar"
    member = tarfile.TarInfo("large")
    member.size = 1 << 40
    head = member.tobuf(tarfile.GNU_FORMAT)
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + member.size)
        stream.seek(0, os.SEEK_END)
        stream.write(tar({"small": b"x"}))
    with path.open("rb") as stream:
        assert {name: place.size for name, place in places(stream.fileno()).items()} == {
            "large": 1 << 40,
            "small": 1,
        }
    os.truncate(path, 1 << 39)
    with path.open("rb") as stream, pytest.raises(UnpackError, match="in the middle of 'large'"):
        places(stream.fileno())
