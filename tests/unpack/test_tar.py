"""Archives as several tars write them, and as none should."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from udocker.errors import ArchiveLimitError, UnpackError
from udocker.unpack import pax
from udocker.unpack.compression import LayerStream, Source
from udocker.unpack.header import Member, is_header, number
from udocker.unpack.names import show
from udocker.unpack.tar import Archive
from unpack.layers import (
    WHEN,
    Entry,
    directory,
    extended,
    file,
    hardlink,
    raw_header,
    record,
    seal,
    steady,
    symlink,
    tar,
    unpack,
)

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
LIMIT = 1 << 16


def members(data: bytes) -> list[tuple[Member, bytes]]:
    archive = Archive(
        LayerStream(Source(io.BytesIO(data), lambda _: None, "layer"), "sha256"), LIMIT
    )
    return [(member, b"".join(archive.content(member.stored))) for member in archive]


def only(data: bytes) -> Member:
    ((member, _),) = members(data)
    return member


def header(**fields: Any) -> bytes:
    return seal(raw_header(**fields))


class TestHeaders:
    @every_format
    def test_all_fields(self, format: int) -> None:
        info, content = file("d/name", "content", mode=0o4711, uid=12, gid=34)
        member, found = members(tar((info, content), directory("d/"), format=format))[0]
        assert member == Member(
            offset=0,
            kind="file",
            name=b"d/name",
            link=b"",
            mode=0o4711,
            uid=12,
            gid=34,
            mtime=WHEN * 10**9,
            size=7,
            stored=7,
        )
        assert found == b"content"

    @every_format
    @pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 300_000])
    def test_contents_of_all_sizes(self, format: int, size: int) -> None:
        content = os.urandom(size)
        first, second = members(tar(file("a", content), file("b", "x"), format=format))
        assert (first[1], second[1], second[0].name) == (content, b"x", b"b")

    def test_contents_that_are_not_read(self) -> None:
        data = tar(file("a", b"x" * 5000), file("b", "y" * 600), file("c"))
        archive = Archive(
            LayerStream(Source(io.BytesIO(data), lambda _: None, "layer"), "sha256"), LIMIT
        )
        names = []
        for member in archive:
            names.append(member.name)
            next(archive.content(min(member.stored, 10)), None)
        assert names == [b"a", b"b", b"c"]

    def test_v7(self) -> None:
        old = {"magic": b""}
        data = header(**old, kind=b"\0") + header(**old, name=b"d/", kind=b"\0")
        data += header(**old, name=b"l", kind=b"2", link=b"name") + header(
            **old, kind=b"3", major=b"junk"
        )
        kinds = [(m.kind, m.name, m.link, m.major) for m, _ in members(data)]
        assert kinds == [
            ("file", b"name", b"", 0),
            ("directory", b"d/", b"", 0),
            ("symlink", b"l", b"name", 0),
            ("char", b"name", b"", 0),
        ]

    def test_ustar_prefix(self) -> None:
        assert (
            only(header(name=b"n" * 100, prefix=b"p" * 155)).name == b"p" * 155 + b"/" + b"n" * 100
        )

    def test_gnu_has_no_prefix(self) -> None:
        assert only(header(magic=b"ustar  \0", prefix=b"123456")).name == b"name"

    @pytest.mark.parametrize("kind", [b"\0", b"0", b"7"])
    def test_regular_files(self, kind: bytes) -> None:
        assert only(header(kind=kind)).kind == "file"

    @pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
    def test_others_have_no_content_whatever_their_size(self, kind: bytes) -> None:
        data = header(kind=kind, size=b"00000001000\0", major=b"0000001\0", minor=b"0000002\0")
        assert len(members(data + header())) == 2

    @pytest.mark.parametrize("kind", [b"V", b"M", b"D", b"X", b"s", b"\xff"])
    def test_unknown_types(self, kind: bytes) -> None:
        with pytest.raises(UnpackError, match="at offset 512: entry of unknown type"):
            members(header() + header(kind=kind))

    def test_long_names_of_gnu(self) -> None:
        name, link = "n/" * 300 + "x", "l/" * 300 + "y"
        data = tar(symlink(name, link), file("next"), format=tarfile.GNU_FORMAT)
        (first, _), (second, _) = members(data)
        assert (first.name, first.link) == (name.encode(), link.encode())
        assert (second.name, second.link) == (b"next", b"")

    @every_format
    def test_names_are_bytes(self, format: int) -> None:
        name = os.fsdecode(bytes(range(1, 47)) + bytes(range(48, 100)))
        assert only(tar(file(name), format=format)).name == os.fsencode(name)

    def test_times_of_pax(self) -> None:
        times = {
            b"1.5": 1_500_000_000,
            b"0.123456789999": 123_456_789,
            b"-1.5": -1_500_000_000,
            b"-0.5": -500_000_000,
            b"7": 7_000_000_000,
            b"7.": 7_000_000_000,
            b"9" * 25: ((1 << 34) - (1 << 31) - 1) * 10**9,
            b"-" + b"9" * 25: -(1 << 31) * 10**9,
        }
        for text, expected in times.items():
            assert only(extended(record(b"mtime", text)) + header()).mtime == expected

    def test_numbers_in_base_256(self) -> None:
        member = only(
            header(
                uid=b"\x80\0\0\0\x7f\xff\xff\xff",
                mtime=b"\xff" * 11 + b"\xfe",
                size=b"\x80" + bytes(10) + b"\0",
            )
        )
        assert (member.uid, member.mtime, member.size) == (0x7FFFFFFF, -2 * 10**9, 0)

    @steady
    @given(st.integers(min_value=-(1 << 62), max_value=1 << 62))
    @example(0o77777777777)
    @example(0o100000000000)
    def test_numbers_as_python_writes_them(self, value: int) -> None:
        field = tarfile.itn(value, 12, tarfile.GNU_FORMAT)  # type: ignore[attr-defined]
        assert number(field, "size") == value

    @pytest.mark.parametrize(
        "field", [b"0000017\0", b"    17\0 ", b"17      ", b"17\0junk!", b"\x0017 "]
    )
    def test_spellings_of_numbers(self, field: bytes) -> None:
        assert number(field, "uid") == 15

    def test_a_checksum_of_signed_bytes(self) -> None:
        data = seal(raw_header(name=b"caf\xe9\xff"), signed=True)
        assert only(data).name == b"caf\xe9\xff"

    @steady
    @given(st.binary(min_size=512, max_size=512), st.booleans())
    @example(b"\xff" * 512, False)
    def test_checksums(self, block: bytes, signed: bool) -> None:
        sealed = seal(block, signed)
        assume(b"-" not in sealed[148:156])  # no tar writes a name of such bytes
        assert is_header(sealed)
        assert not is_header(seal(block, signed)[:511])


class TestExtendedHeaders:
    def test_local_ones_are_for_one_member(self) -> None:
        data = extended(record(b"path", b"long") + record(b"uid", b"70000")) + header() + header()
        found = [(m.name, m.uid) for m, _ in members(data)]
        assert found == [(b"long", 70000), (b"name", 0)]

    def test_global_ones_mean_nothing(self) -> None:
        everywhere = record(b"uid", b"5") + record(b"path", b"x") + record(b"comment", b"x")
        data = header() + extended(everywhere, b"g") + header()
        data += extended(record(b"uid", b"7")) + extended(everywhere, b"g") + header()
        assert [(m.name, m.uid) for m, _ in members(data)] == [
            (b"name", 0),
            (b"name", 0),
            (b"name", 7),
        ]

    def test_a_global_one_must_be_a_list_of_records(self) -> None:
        with pytest.raises(UnpackError, match="at offset 0: extended header"):
            members(extended(b"x", b"g") + header())

    def test_size(self) -> None:
        data = extended(record(b"size", b"3")) + header(size=b"00000000777\0")
        ((member, content),) = members(data + b"abc".ljust(512, b"\0"))
        assert (member.size, content) == (3, b"abc")

    def test_pax_names_before_those_of_gnu(self) -> None:
        data = extended(record(b"path", b"pax")) + extended(b"gnu\0", b"L") + header()
        assert only(data).name == b"pax"

    def test_names_that_are_not_text(self) -> None:
        data = extended(
            record(b"hdrcharset", b"BINARY")
            + record(b"path", b"\xe9=\n")
            + record(b"linkpath", b"\xff")
        )
        member = only(data + header(kind=b"2"))
        assert (member.name, member.link) == (b"\xe9=\n", b"\xff")

    def test_attributes(self) -> None:
        records = b"".join(
            record(b"SCHILY.xattr." + key, value)
            for key, value in ((b"user.b", b"\0\n=\xff"), (b"user.a", b""), (b"user.=", b"x"))
        )
        # A key ends at the first equals sign.
        assert only(extended(records) + header()).xattrs == (
            (b"user.", b"=x"),
            (b"user.a", b""),
            (b"user.b", b"\0\n=\xff"),
        )

    def test_the_last_of_two_records(self) -> None:
        data = extended(record(b"path", b"first") + record(b"path", b"last"))
        assert only(data + header()).name == b"last"

    @pytest.mark.parametrize(
        "data",
        [
            b"x",
            b"5 a=b\n",
            b"7 a=b\n",
            b"6 a=bc",
            b"6 abcd\n",
            b"5 =b\n",
            b" a=b\n",
            b"-6 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"0 a=b\n",
            b"6 a=b\n\0",
            b"8 a\0c=b\n",
        ],
    )
    def test_what_is_not_a_list_of_records(self, data: bytes) -> None:
        with pytest.raises(UnpackError, match="at offset 0: extended header"):
            members(extended(data) + header())

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (b"uid", b"x"),
            (b"uid", b"-1"),
            (b"gid", b"4294967295"),
            (b"uid", b"1_0"),
            (b"uid", b" 1"),
            (b"size", b"-1"),
            (b"size", b"9223372036854775808"),
            (b"size", b"9" * 5000),
            (b"mtime", b"nan"),
            (b"mtime", b"1.x"),
            (b"mtime", b"1.-5"),
            (b"mtime", b"--1"),
            (b"path", b"a\0b"),
        ],
    )
    def test_values_that_make_no_sense(self, key: bytes, value: bytes) -> None:
        with pytest.raises(UnpackError, match="bad tar header at offset"):
            members(extended(record(key, value)) + header())

    def test_too_long(self) -> None:
        for kind in (b"x", b"g", b"L", b"K"):
            with pytest.raises(ArchiveLimitError, match="longer than 65536 bytes"):
                members(header(kind=kind, size=b"00000200001\0"))

    def test_too_many_in_a_row(self) -> None:
        with pytest.raises(UnpackError, match="too many extension headers"):
            members(extended(record(b"uid", b"1")) * 100 + header())

    def test_none_after_the_last(self) -> None:
        for end in (b"", bytes(1024)):
            with pytest.raises(UnpackError, match="the archive ends in the middle"):
                members(extended(record(b"uid", b"1")) + end)

    def test_a_global_one_may_be_all(self) -> None:
        assert members(extended(record(b"uid", b"1"), b"g")) == []

    @steady
    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        try:
            records = pax.parse(data)
        except ValueError:
            return
        assert sum(len(key) + len(value) for key, value in records.items()) <= len(data)


class TestEnd:
    @pytest.mark.parametrize(
        "end", [b"", bytes(512), bytes(1024), bytes(10240), bytes(1024) + b"garbage" * 100]
    )
    def test_accepted(self, end: bytes) -> None:
        assert len(members(header() + end)) == 1

    def test_data_after_one_block_of_zeros(self) -> None:
        with pytest.raises(UnpackError, match="at offset 512: data after a block of zeros"):
            members(header() + bytes(512) + header())

    def test_every_cut(self) -> None:
        entries: list[Entry] = [file("n" * 200, "x" * 700), hardlink("l", "n" * 200), file("e")]
        data = tar(*entries, format=tarfile.GNU_FORMAT, end=False)
        good = []
        for length in range(len(data)):
            try:
                members(data[:length])
                good.append(length)
            except UnpackError as error:
                good += [] if "ends in the middle of" in error.message else [-1]
        # Only where an entry begins, the header with its long name being part of it.
        long_name, block, content = 512 + 512, 512, 1024
        second = long_name + block + content
        assert good == [0, second, second + long_name + block]

    def test_the_message_names_the_entry(self) -> None:
        with pytest.raises(UnpackError, match="in the middle of 'name'"):
            members(header(size=b"00000000010\0") + b"1234567")
        with pytest.raises(UnpackError, match="in the middle of the header at offset 512"):
            members(header() + b"1234567")


class TestBadHeaders:
    def test_a_wrong_checksum_and_where(self) -> None:
        bad = bytearray(header())
        bad[0] ^= 1
        with pytest.raises(UnpackError, match="at offset 1024: wrong checksum"):
            members(tar(file("a", "x"), end=False) + bytes(bad))

    @pytest.mark.parametrize("field", ["mode", "uid", "gid", "size", "mtime"])
    @pytest.mark.parametrize("value", [b"0000008", b"-1", b"+1", b"0x1", b"1_0", b"1 1", b"\x81a"])
    def test_what_is_not_a_number(self, field: str, value: bytes) -> None:
        with pytest.raises(UnpackError, match=f"at offset 0: {field} is not a number"):
            members(header(**{field: value}))

    @pytest.mark.parametrize("field", ["uid", "gid", "size"])
    def test_negative_numbers(self, field: str) -> None:
        length = 12 if field == "size" else 8
        with pytest.raises(UnpackError, match=f"{field} -1 is out of range"):
            members(header(**{field: b"\xff" * length}))

    def test_a_device_without_number(self) -> None:
        with pytest.raises(UnpackError, match="minor number is not a number"):
            members(header(kind=b"3", major=b"0000001\0", minor=b"?"))

    @steady
    @given(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=8))
    def test_any_change_of_a_header(self, changes: list[tuple[int, int]]) -> None:
        block = raw_header(size=b"00000000003\0")
        for at, byte in changes:
            block[at] = byte
        try:
            for member, _ in members(seal(block) + b"abc".ljust(512, b"\0")):
                assert 0 <= member.mode <= 0o7777
        except UnpackError:
            pass


class TestGnuTar:
    """What GNU tar writes is what was there."""

    @pytest.fixture
    def original(self, tmp_path: Path) -> Path:
        place = tmp_path / "original"
        (place / "d").mkdir(parents=True)
        (place / "d" / ("n" * 90)).write_text("one")
        (place / "d" / "caf\xe9").write_bytes(os.urandom(70_000))
        (place / "empty").touch()
        (place / "link").symlink_to("../" * 20 + "x")
        (place / "hard").hardlink_to(place / "empty")
        os.mkfifo(place / "pipe")
        os.utime(place / "empty", ns=(1, 1_234_567_890_123_456_789))
        (place / "d").chmod(0o750)
        return place

    @pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
    def test_formats(self, tmp_path: Path, original: Path, format: str) -> None:
        options = ["--exclude=pipe"] if format == "v7" else []
        if format == "posix":
            (original / ("deep/" * 60)).mkdir(parents=True)
        tree = unpack(tmp_path, gnu_tar(original, f"--format={format}", *options))
        expected = {str(path.relative_to(original)) for path in original.rglob("*")}
        assert tree.paths() == (expected - {"pipe"} if format == "v7" else expected)
        for path in tree.paths():
            ours, theirs = (tree.root / path).lstat(), (original / path).lstat()
            assert (ours.st_mode, ours.st_nlink) == (theirs.st_mode, theirs.st_nlink)
            assert int(ours.st_mtime) == int(theirs.st_mtime)
            if (original / path).is_file():
                assert (tree.root / path).read_bytes() == (original / path).read_bytes()
        if format == "posix":
            assert (tree.root / "empty").stat().st_mtime_ns == 1_234_567_890_123_456_789

    @pytest.mark.parametrize(
        "options",
        [
            ["--format=gnu"],
            ["--format=oldgnu"],
            ["--format=posix", "--sparse-version=0.0"],
            ["--format=posix", "--sparse-version=0.1"],
            ["--format=posix", "--sparse-version=1.0"],
        ],
        ids="/".join,
    )
    @pytest.mark.parametrize("pieces", [0, 1, 3, 4, 5, 100])
    def test_sparse_files(self, tmp_path: Path, options: list[str], pieces: int) -> None:
        name = "holes" * 25
        place = tmp_path / "original"
        place.mkdir()
        with open(place / name, "wb") as stream:
            for piece in range(pieces):
                stream.seek((2 * piece + 1) << 16)
                stream.write(b"%d" % piece)
            stream.truncate((2 * pieces + 2) << 16)
        (place / "plain").write_text("next")
        data = gnu_tar(place, "-S", *options)
        assert len(data) < (2 * pieces + 2) << 16
        tree = unpack(tmp_path, data)
        assert tree.paths() == {name, "plain"}
        assert (tree.root / name).read_bytes() == (place / name).read_bytes()
        held = (tree.root / name).stat().st_blocks * 512
        assert held <= max((place / name).stat().st_blocks * 512, pieces << 13)
        assert tree.text("plain") == "next"


def gnu_tar(directory: Path, *options: str) -> bytes:
    command = ["tar", "-c", "-C", str(directory), *options, "."]
    return subprocess.run(command, check=True, capture_output=True).stdout


def pax_sparse(*records: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    head = extended(b"".join(record(b"GNU.sparse." + key, value) for key, value in records))
    return head + header(size=b"%011o\0" % len(data)) + data + bytes(-len(data) % 512)


class TestBadMaps:
    @pytest.mark.parametrize(
        "value",
        [
            b"0,3,2,3",  # overlaps
            b"10,3,0,3",  # goes back
            b"98,6",  # ends after the file
            b"0,8,10,-2",
            b"0,6,7",
            b"0,3",  # less than there is
            b"0,6,50,1",  # more than there is
            b"0",
            b"0,x",
            b"0,-6",
            b"-6,6",
            b",",
        ],
    )
    def test_in_a_header(self, value: bytes) -> None:
        with pytest.raises(UnpackError, match=r"bad tar header at offset 1024: .*sparse"):
            members(pax_sparse((b"map", value), (b"size", b"100"), data=b"abcdef"))

    @pytest.mark.parametrize("size", [b"", b"x", b"-1", b"9223372036854775808"])
    def test_with_no_size(self, size: bytes) -> None:
        with pytest.raises(UnpackError, match="size"):
            members(pax_sparse((b"map", b"0,6"), (b"size", size), data=b"abcdef"))

    @pytest.mark.parametrize(
        "text",
        [
            b"x\n",
            b"-1\n",
            b"1\n0\nx\n",
            b"1\n0\n600\n",
            b"2\n0\n1\n",
            b"9" * 512,
            b"99999999\n" + b"0\n" * 200,
        ],
    )
    def test_before_the_data(self, text: bytes) -> None:
        data = text.ljust(512, b"\0") + b"abc"
        with pytest.raises(UnpackError, match="sparse"):
            members(pax_sparse((b"major", b"1"), (b"realsize", b"500"), data=data))

    def test_less_than_no_pieces(self) -> None:
        with pytest.raises(UnpackError, match="number of sparse pieces is negative"):
            members(pax_sparse((b"major", b"1"), (b"realsize", b"5"), data=b"-1\n".ljust(512)))

    def test_longer_than_the_limit(self) -> None:
        block = raw_header(kind=b"S", magic=b"ustar  \0")
        for at in range(386, 482, 12):
            block[at : at + 12] = b"00000000000\0"
        block[482] = 1
        block[483:495] = b"00000000000\0"
        extension = (b"00000000000\0" * 42).ljust(504, b"\0") + b"\1" + bytes(7)
        with pytest.raises(UnpackError, match="too long"):
            members(seal(block) + extension * 1000)
        lines = b"99999999\n" + b"0\n" * 100_000
        with pytest.raises(UnpackError, match="too long"):
            members(pax_sparse((b"major", b"1"), (b"realsize", b"1"), data=lines))

    def test_a_file_that_is_all_hole(self, tmp_path: Path) -> None:
        data = pax_sparse((b"numblocks", b"0"), (b"size", b"1099511627776"))
        tree = unpack(tmp_path, data)
        status = (tree.root / "name").stat()
        assert (status.st_size, status.st_blocks) == (1 << 40, 0)

    def test_a_file_larger_than_may_be(self, tmp_path: Path) -> None:
        data = pax_sparse((b"map", b"0,1"), (b"size", b"%d" % (1 << 40)), data=b"x")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, hard))
        try:
            with pytest.raises(UnpackError, match="'name' cannot be made here"):
                unpack(tmp_path, data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def test_a_map_does_not_concern_other_kinds(self) -> None:
        data = extended(record(b"GNU.sparse.map", b"0,5")) + header(kind=b"5")
        assert only(data).kind == "directory"


def test_names_are_shown_safely() -> None:
    assert show(b"a\x1b[2J\n\xff") == "'a\\x1b[2J\\n\\udcff'"
    assert len(show(b"x" * 5000)) < 210
