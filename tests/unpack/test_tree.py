"""One layer over another, and what one archive may say."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from udocker.errors import ArchiveLimitError, UnpackError, VerificationError
from udocker.model.reference import Digest
from udocker.unpack.index import Record
from udocker.unpack.tree import Limits, build_tree
from unpack.layers import (
    WHEN,
    Entry,
    FakeLayer,
    Unpacked,
    device,
    directory,
    fifo,
    file,
    gzipped,
    hardlink,
    raw_header,
    seal,
    symlink,
    tar,
    unpack,
)

SMALL = Limits(max_bytes=100, max_entries=5, max_index_bytes=4000, max_depth=4)


def xattr(name: str, value: str) -> dict[str, Any]:
    return {"pax_headers": {f"SCHILY.xattr.{name}": value}}


class TestEntries:
    def test_files_directories_and_links(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                directory("etc"),
                file("etc/name", "text"),
                symlink("etc/link", "/etc/name"),
                hardlink("etc/second", "etc/name"),
                fifo("etc/pipe"),
            ),
        )
        assert tree.paths() == {"etc", "etc/name", "etc/link", "etc/second", "etc/pipe"}
        assert tree.text("etc/name") == "text"
        assert os.readlink(tree.root / "etc/link") == "/etc/name"
        assert (tree.root / "etc/second").samefile(tree.root / "etc/name")
        assert stat.S_ISFIFO((tree.root / "etc/pipe").lstat().st_mode)
        assert tree.records == {}

    def test_leading_slashes_and_dots_mean_nothing(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path, tar(file("/a"), file("./b"), file("//c/.//./d"), hardlink("e", "/./a"))
        )
        assert tree.paths() == {"a", "b", "c", "c/d", "e"}

    def test_the_archive_names_the_root(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(directory("./", mode=0o711, mtime=7), file("a")))
        assert (tree.mode(""), tree.mtime("")) == (0o711, 7)

    def test_a_root_that_is_not_named(self, tmp_path: Path) -> None:
        assert unpack(tmp_path, tar(file("a"))).mode("") == 0o755

    def test_parents_that_are_not_named(self, tmp_path: Path) -> None:
        assert unpack(tmp_path, tar(file("a/b/c"))).mode("a/b") == 0o755

    def test_names_are_bytes(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"latin-\xe9\n\x1b")
        tree = unpack(tmp_path, tar(file(name, "x", uid=3), symlink("l", name)))
        assert tree.paths() == {name, "l"}
        assert tree.records == {name: Record(uid=3)}

    def test_times(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                directory("d", mtime=5),
                file("d/f", mtime=1.25),
                symlink("d/l", "f", mtime=-3),
                fifo("d/p", mtime=9),
                file("future", mtime=1 << 62),
            ),
        )
        assert [tree.mtime(f"d{p}") for p in ("", "/f", "/l", "/p")] == [5, 1.25, -3, 9]
        assert tree.mtime("future") > WHEN

    @pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
    def test_the_umask_means_nothing(self, tmp_path: Path, umask: int) -> None:
        data = tar(directory("d", mode=0o777), file("i/f", mode=0o666), fifo("p", mode=0o622))
        before = os.umask(umask)
        try:
            place = tmp_path / "tree"
            place.mkdir()
            place.chmod(0o700)
            build_tree([FakeLayer(data)], str(place), Limits(1000), lambda _: None)
        finally:
            os.umask(before)
        tree = Unpacked(place)
        modes = [tree.mode(p) for p in ("", "d", "i", "i/f", "p")]
        assert modes == [0o755, 0o777, 0o755, 0o666, 0o622]

    def test_no_layer_gives_an_empty_root(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path)
        assert (tree.paths(), tree.mode(""), tree.records) == (set(), 0o755, {})

    @pytest.mark.parametrize("data", [b"", bytes(512), bytes(1024), bytes(10240)])
    def test_an_empty_layer(self, tmp_path: Path, data: bytes) -> None:
        tree = unpack(tmp_path, tar(file("a")), data, gzipped(data), tar(file("b")))
        assert tree.paths() == {"a", "b"}

    def test_a_missing_end_is_accepted(self, tmp_path: Path) -> None:
        assert unpack(tmp_path, tar(file("a", "x"), end=False)).text("a") == "x"

    def test_progress_counts_compressed_bytes(self, tmp_path: Path) -> None:
        layers = [gzipped(tar(file("a", b"x" * 100_000))), FakeLayer(tar(file("b")) + bytes(9999))]
        seen: list[int] = []
        (tmp_path / "tree").mkdir()
        build_tree(layers, str(tmp_path / "tree"), Limits(1 << 20), seen.append)
        assert sum(seen) == sum(len(layer.blob) for layer in layers)

    def test_the_bytes_of_a_layer_are_closed(self, tmp_path: Path) -> None:
        opened: list[BinaryIO] = []

        class Watched(FakeLayer):
            def open(self) -> BinaryIO:
                opened.append(super().open())
                return opened[-1]

        with pytest.raises(UnpackError):
            unpack(tmp_path, Watched(tar(file("a"))), Watched(b"?" * 512))
        assert [stream.closed for stream in opened] == [True, True]

    def test_no_descriptor_is_left_open(self, tmp_path: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        unpack(tmp_path, *(tar(directory("d"), file(f"d/e{n}/f/g")) for n in range(50)))
        with pytest.raises(UnpackError):
            build_tree([FakeLayer(b"?" * 512)], str(tmp_path / "tree"), SMALL, lambda _: None)
        assert len(os.listdir("/proc/self/fd")) == before


class TestWhatTheTreeCannotHold:
    def test_owners(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                directory("d", uid=1, gid=2),
                file("f", gid=3),
                symlink("l", "f", uid=1 << 31),
                fifo("p", uid=6),
                hardlink("h", "f", uid=99),
            ),
        )
        assert tree.records == {
            "d": Record(uid=1, gid=2),
            "f": Record(gid=3),
            "h": Record(gid=3),
            "l": Record(uid=1 << 31),
            "p": Record(uid=6),
        }

    def test_modes(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                file("suid", mode=0o4755),
                file("sgid", mode=0o2711),
                file("sticky", mode=0o1644),
                file("none", "readable", mode=0),
                file("readonly", mode=0o444),
                directory("closed", mode=0o055),
                file("closed/in", "x"),
                directory("sgdir", mode=0o2775),
                directory("tmp", mode=0o1777),
                fifo("pipe", mode=0o222),
            ),
        )
        held = {path: tree.mode(path) for path in tree.paths()}
        assert held == {
            "suid": 0o755,
            "sgid": 0o711,
            "sticky": 0o1644,
            "none": 0o400,
            "readonly": 0o444,
            "closed": 0o755,
            "closed/in": 0o644,
            "sgdir": 0o775,
            "tmp": 0o1777,
            "pipe": 0o622,
        }
        true = {path: found.mode for path, found in tree.records.items()}
        assert true == {
            "suid": 0o4755,
            "sgid": 0o2711,
            "none": 0,
            "closed": 0o055,
            "sgdir": 0o2775,
            "pipe": 0o222,
        }

    def test_device_nodes(self, tmp_path: Path) -> None:
        block = seal(raw_header(name=b"dev/sda", kind=b"4", major=b"0000010\0", minor=b"0000001\0"))
        tree = unpack(
            tmp_path,
            block + tar(device("dev/null", uid=4, mode=0o666), file("opt/dev/file", "kept")),
        )
        assert tree.paths() == {"dev", "opt", "opt/dev", "opt/dev/file"}
        assert tree.records == {
            "dev/sda": Record(mode=0o644, device=("block", 8, 1)),
            "dev/null": Record(uid=4, mode=0o666, device=("char", 1, 3)),
        }

    def test_a_device_replaces_and_is_replaced(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(directory("a"), file("a/x"), device("b"), device("c"), device("k/d"), device("e")),
            tar(device("a"), file("b"), directory("c"), file("e/f"), file("s"), device("s")),
            tar(file("z"), device("z"), file("z"), device("y"), directory("y"), file("y/x")),
        )
        assert tree.paths() == {"b", "c", "k", "e", "e/f", "y", "y/x", "z"}
        assert set(tree.records) == {"a", "k/d", "s"}

    def test_a_hard_link_to_a_device(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(device("a", 5, 6), hardlink("b", "a")),
            tar(file("c"), hardlink("c", "a")),
        )
        expected = Record(mode=0o666, device=("char", 5, 6))
        assert tree.records == {"a": expected, "b": expected, "c": expected}
        assert tree.paths() == set()

    def test_nothing_is_below_a_device(self, tmp_path: Path) -> None:
        with pytest.raises(UnpackError, match="the parent of 'a/b/c' is a device"):
            unpack(tmp_path, tar(device("a"), file("a/b/c")))

    def test_attributes(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                file("f", "x", mode=0o444, **xattr("user.note", "hello")),
                directory("d", **xattr("user.note", "dir")),
                symlink("l", "f", **xattr("user.note", "link")),
                file("cap", **xattr("security.capability", "\1\0")),
            ),
        )
        assert os.getxattr(tree.root / "f", "user.note") == b"hello"
        assert os.getxattr(tree.root / "d", "user.note") == b"dir"
        assert tree.records == {
            "l": Record(xattrs=((b"user.note", b"link"),)),
            "cap": Record(xattrs=((b"security.capability", b"\1\0"),)),
        }

    def test_attributes_that_an_overlay_would_obey(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(directory("d", **xattr("user.overlay.opaque", "y"))))
        assert os.listxattr(tree.root / "d") == []
        assert tree.records == {"d": Record(xattrs=((b"user.overlay.opaque", b"y"),))}

    def test_an_attribute_that_is_too_large(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(file("f", **xattr("user.big", "x" * 200_000))))
        assert tree.records["f"].xattrs == ((b"user.big", b"x" * 200_000),)

    def test_records_go_with_what_they_are_about(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                directory("d", uid=1),
                file("d/gone", uid=1),
                file("d/again", uid=1),
                file("d/stays", uid=1),
                directory("opaque", uid=1),
                file("opaque/gone", uid=1),
                file("became-directory", uid=1),
                directory("implied", uid=1),
            ),
            tar(
                directory("d"),
                file("d/.wh.gone"),
                file("d/again"),
                file("opaque/.wh..wh..opq"),
                directory("became-directory"),
                file("implied/new"),
            ),
        )
        assert set(tree.records) == {"d/stays", "opaque", "implied"}


class TestOneLayer:
    def test_the_last_of_two_wins(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                file("f", "first, longer", uid=1),
                file("f", "last"),
                symlink("l", "a"),
                symlink("l", "b"),
                fifo("p"),
                file("p", "no pipe"),
            ),
        )
        assert (tree.text("f"), tree.text("p")) == ("last", "no pipe")
        assert os.readlink(tree.root / "l") == "b"
        assert tree.records == {}

    def test_a_directory_again_keeps_what_is_in_it(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(directory("d", mode=0o700, uid=1), file("d/f"), directory("d", mode=0o711)),
        )
        assert (tree.paths(), tree.mode("d"), tree.records) == ({"d", "d/f"}, 0o711, {})

    def test_a_file_and_a_directory_replace_each_other(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                directory("a/b"),
                file("a/b/c", uid=1),
                file("a", "file"),
                file("d", uid=1),
                directory("d", mtime=3),
                file("d/e"),
            ),
        )
        assert tree.paths() == {"a", "d", "d/e"}
        assert (tree.text("a"), tree.mtime("d"), tree.records) == ("file", 3, {})

    def test_a_parent_that_is_a_link_is_followed_inside(
        self, tmp_path: Path, outside: Path
    ) -> None:
        tree = unpack(
            tmp_path,
            tar(
                directory("usr/lib"),
                symlink("lib", "usr/lib"),
                symlink("absolute", "/usr"),
                symlink("up", "../../../usr"),
                symlink("usr/deep", "../lib/new"),
                file("lib/a", uid=5),
                file("absolute/b"),
                file("up/lib/c"),
                file("usr/deep/d/e"),
                hardlink("second", "lib/a"),
            ),
        )
        assert {p for p in tree.paths() if not (tree.root / p).is_symlink()} == {
            "second",
            "usr",
            "usr/b",
            "usr/lib",
            "usr/lib/a",
            "usr/lib/c",
            "usr/lib/new",
            "usr/lib/new/d",
            "usr/lib/new/d/e",
        }
        assert set(tree.records) == {"usr/lib/a", "second"}

    def test_the_entry_itself_is_not_followed(self, tmp_path: Path, outside: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                symlink("f", str(outside / "secret")),
                file("f", "mine"),
                symlink("d", str(outside)),
                directory("d", mode=0o777),
                file("d/x"),
                symlink("h", str(outside / "secret")),
                hardlink("i", "h"),
            ),
        )
        assert (tree.text("f"), tree.mode("d")) == ("mine", 0o777)
        assert os.readlink(tree.root / "i") == str(outside / "secret")
        assert (tree.root / "h").lstat().st_ino == (tree.root / "i").lstat().st_ino

    @pytest.mark.parametrize("target", ["loop", "a/../loop", "/loop/x"])
    def test_links_in_a_circle(self, tmp_path: Path, target: str) -> None:
        with pytest.raises(UnpackError, match="'loop/f' cannot be made here"):
            unpack(tmp_path, tar(symlink("loop", target), file("loop/f")))

    def test_a_parent_that_is_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(UnpackError, match="the parent of 'f/g/h' is not a directory"):
            unpack(tmp_path, tar(file("f"), file("f/g/h")))

    def test_a_link_without_target(self, tmp_path: Path) -> None:
        with pytest.raises(UnpackError, match="'l' has no target"):
            unpack(tmp_path, tar(symlink("l", "")))


class TestHardLinks:
    def test_to_a_layer_below(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(file("a", "x", uid=7), symlink("l", "a"), directory("usr/lib"), file("usr/lib/f")),
            tar(symlink("lib", "usr/lib")),
            tar(hardlink("b", "a"), hardlink("m", "l"), hardlink("g", "lib/f")),
        )
        assert (tree.root / "a").samefile(tree.root / "b")
        assert (tree.root / "g").samefile(tree.root / "usr/lib/f")
        assert os.readlink(tree.root / "m") == "a"
        assert tree.records == {"a": Record(uid=7), "b": Record(uid=7)}

    @pytest.mark.parametrize("whiteout_first", [True, False])
    def test_to_what_the_layer_hides(self, tmp_path: Path, whiteout_first: bool) -> None:
        entries = [file(".wh.a"), hardlink("b", "a")]
        tree = unpack(
            tmp_path, tar(file("a", "x")), tar(*(entries if whiteout_first else entries[::-1]))
        )
        assert (tree.paths(), tree.text("b")) == ({"b"}, "x")

    def test_to_the_layer_itself_before_those_below(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(file("a", "old")), tar(file("a", "new"), hardlink("b", "a")))
        assert tree.text("b") == "new"

    def test_to_another_name_of_the_file_it_replaces(self, tmp_path: Path) -> None:
        lower = tar(file("a", "x"), hardlink("b", "a"))
        tree = unpack(tmp_path, lower, tar(hardlink("b", "a")), lower)
        assert (tree.paths(), tree.text("b")) == ({"a", "b"}, "x")

    def test_to_itself(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(file("a", "x", uid=1), hardlink("a", "./a")))
        assert (tree.text("a"), tree.records) == ("x", {"a": Record(uid=1)})

    def test_twice(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(file("a", "x"), hardlink("b", "a"), hardlink("b", "a")))
        assert (tree.root / "b").samefile(tree.root / "a")

    def test_replaces_a_directory(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(file("a", "x"), file("b/c", uid=1), hardlink("b", "a")))
        assert (tree.paths(), tree.records) == ({"a", "b"}, {})

    @pytest.mark.parametrize("target", ["absent", "d/absent", "f/x", "absent/x", "d"])
    def test_with_no_target(self, tmp_path: Path, target: str) -> None:
        entries = [file("f"), directory("other"), hardlink("b", target)]
        with pytest.raises(UnpackError, match=f"not in the image: 'b' to '{target}'"):
            unpack(tmp_path, tar(*entries))

    def test_with_its_target_inside_of_what_it_replaces(self, tmp_path: Path) -> None:
        with pytest.raises(UnpackError, match="not in the image: 'b' to 'b/c'"):
            unpack(tmp_path, tar(file("b/c"), hardlink("b", "b/c")))

    @pytest.mark.parametrize("target", ["d", "/", "./d/"])
    def test_to_a_directory(self, tmp_path: Path, target: str) -> None:
        with pytest.raises(UnpackError, match="a hard link to a directory: 'b' to"):
            unpack(tmp_path, tar(directory("d")), tar(hardlink("b", target)))

    def test_more_than_the_filesystem_allows(self, tmp_path: Path) -> None:
        # ext4 has 65000 names for a file; then a copy must do.
        lower = tar(file("a", "x", mode=0o640, uid=1, **xattr("user.note", "n")))
        names = [f"{n:x}" for n in range(0x10000, 0x10000 + 65_002)]
        links = b"".join(
            seal(raw_header(name=name.encode(), kind=b"1", link=b"a")) for name in names
        )
        tree = unpack(tmp_path, lower, links)
        last = names[-1]
        assert (tree.text(last), tree.mode(last), tree.mtime(last)) == ("x", 0o640, WHEN)
        assert os.getxattr(tree.root / last, "user.note") == b"n"
        assert tree.records[last] == Record(uid=1)


class TestWhiteouts:
    @pytest.mark.parametrize("prefix", ["", "./", "/"])
    def test_at_any_level(self, tmp_path: Path, prefix: str) -> None:
        tree = unpack(
            tmp_path,
            tar(file("top"), file("d/e/f"), file("d/e/g"), file("dir/x/y")),
            tar(*(file(prefix + name) for name in (".wh.top", "d/e/.wh.f", ".wh.dir"))),
        )
        assert tree.paths() == {"d", "d/e", "d/e/g"}

    @pytest.mark.parametrize("name", ["new\nline", "caf\xe9", os.fsdecode(b"\xff"), "-rf", ". "])
    def test_of_odd_names(self, tmp_path: Path, name: str) -> None:
        assert unpack(tmp_path, tar(file(name)), tar(file(f".wh.{name}"))).paths() == set()

    @pytest.mark.parametrize("last", [True, False])
    def test_hide_only_what_is_below(self, tmp_path: Path, last: bool) -> None:
        entries = [file("d/f", "new"), file("d/.wh.f"), file("o/f", "new"), file("o/.wh..wh..opq")]
        tree = unpack(
            tmp_path,
            tar(file("d/f", "old"), file("o/f", "old"), file("o/g/h")),
            tar(*(entries if last else entries[::-1])),
        )
        assert tree.paths() == {"d", "d/f", "o", "o/f"}
        assert (tree.text("d/f"), tree.text("o/f")) == ("new", "new")

    def test_a_directory_instead_of_one_that_is_hidden(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(file("d/old")), tar(file("d/new"), file(".wh.d")))
        assert tree.paths() == {"d", "d/new"}

    def test_opaque_root(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(directory(".", mode=0o711, uid=1), file("a", uid=1), file("d/e"), device("n")),
            tar(file("b"), file(".wh..wh..opq")),
        )
        assert (tree.paths(), tree.mode(""), set(tree.records)) == ({"b"}, 0o711, {""})

    def test_of_a_device(self, tmp_path: Path) -> None:
        assert unpack(tmp_path, tar(device("n")), tar(file(".wh.n"))).records == {}

    def test_of_what_is_absent(self, tmp_path: Path) -> None:
        names = ("x/.wh.y", ".wh.z", "f/.wh.y", "x/.wh..wh..opq", "f/.wh..wh..opq")
        tree = unpack(tmp_path, tar(file("f")), tar(*map(file, names), file(f".wh.{'n' * 255}")))
        assert tree.paths() == {"f"}

    def test_in_the_lowest_layer(self, tmp_path: Path) -> None:
        assert unpack(tmp_path, tar(file("a"), file(".wh.a"), file(".wh..wh..opq"))).paths() == {
            "a"
        }

    def test_never_reach_through_a_link(self, tmp_path: Path, outside: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(
                file("d/f"),
                symlink("out", str(outside)),
                symlink("in", "d"),
                symlink("up", "../../outside"),
            ),
            tar(
                *(
                    file(f"{link}/{name}")
                    for link in ("out", "in", "up")
                    for name in (".wh.secret", ".wh.f", "inner/.wh.file", ".wh..wh..opq")
                )
            ),
        )
        assert tree.paths() == {"d", "d/f", "out", "in", "up"}

    def test_of_the_link_itself(self, tmp_path: Path, outside: Path) -> None:
        tree = unpack(tmp_path, tar(symlink("out", str(outside))), tar(file(".wh.out")))
        assert tree.paths() == set()

    def test_keep_the_time_of_the_directory(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(directory("d", mtime=5), file("d/f")), tar(file("d/.wh.f")))
        assert (tree.paths(), tree.mtime("d")) == ({"d"}, 5)

    def test_files_of_aufs(self, tmp_path: Path) -> None:
        names = (".wh..wh.plnk/1.2", ".wh..wh.aufs", "d/.wh..wh.orph/x", ".wh..wh.plnk")
        assert unpack(tmp_path, tar(*map(file, names))).paths() == set()


class TestMerge:
    def test_what_only_one_layer_has(self, tmp_path: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(file("a/b/c", "low"), file("a/d", "low")),
            tar(file("a/b/e", "high"), file("a/d", "high"), file("f/g/h", "high")),
        )
        found = {p: tree.text(p) for p in tree.paths() if (tree.root / p).is_file()}
        assert found == {"a/b/c": "low", "a/b/e": "high", "a/d": "high", "f/g/h": "high"}

    def test_every_kind_replaces_every_other(self, tmp_path: Path) -> None:
        def kinds(name: str) -> list[list[Entry]]:
            return [
                [file(name, "x", uid=1)],
                [directory(name, uid=2), file(f"{name}/in", uid=2)],
                [symlink(name, "/", uid=3)],
                [fifo(name, uid=4)],
            ]

        count = len(kinds(""))
        lower: list[Entry] = []
        upper: list[Entry] = []
        alone: list[Entry] = []
        for low in range(count):
            for high in range(count):
                name = f"{low}{high}"
                lower += kinds(name)[low]
                upper += kinds(name)[high]
                alone += kinds(name)[high]
        for part, layers in (("both", (tar(*lower), tar(*upper))), ("one", (tar(*alone),))):
            (tmp_path / part).mkdir()
            unpack(tmp_path / part, *layers)
        both, one = (Unpacked(tmp_path / part / "tree") for part in ("both", "one"))
        assert both.paths() == one.paths()
        assert both.records == one.records

    def test_a_directory_over_a_link_replaces_it(self, tmp_path: Path, outside: Path) -> None:
        tree = unpack(
            tmp_path,
            tar(file("usr/lib/a"), symlink("lib", "usr/lib"), symlink("out", str(outside))),
            tar(file("lib/b"), directory("out"), file("out/secret", "mine")),
        )
        assert tree.paths() == {
            "usr", "usr/lib", "usr/lib/a", "lib", "lib/b", "out", "out/secret",
        }  # fmt: skip

    def test_attributes_of_a_directory_that_both_name(self, tmp_path: Path) -> None:
        note = xattr("user.note", "low")
        tree = unpack(
            tmp_path,
            tar(directory("d", mode=0o755, mtime=1, uid=1, **note), file("d/f")),
            tar(directory("d", mode=0o1770, mtime=2, gid=2, **xattr("user.other", "high"))),
        )
        assert (tree.mode("d"), tree.mtime("d")) == (0o1770, 2)
        assert tree.records == {"d": Record(gid=2)}
        assert os.listxattr(tree.root / "d") == ["user.other"]

    def test_attributes_of_a_directory_that_the_upper_does_not_name(self, tmp_path: Path) -> None:
        lower = tar(directory("d", mode=0o700, mtime=1, uid=1), file("d/f"))
        tree = unpack(tmp_path, lower, tar(file("d/g")), tar(file("d/f", "new")))
        assert (tree.mode("d"), tree.mtime("d")) == (0o700, 1)
        assert (tree.text("d/f"), tree.records) == ("new", {"d": Record(uid=1)})

    def test_times_of_directories_stay(self, tmp_path: Path) -> None:
        lower = tar(directory("a", mtime=1), directory("a/b", mtime=2), file("a/b/x"))
        upper = tar(directory("a", mtime=3), file("a/b/y"), directory("n", mtime=4), file("n/f"))
        tree = unpack(tmp_path, lower, upper)
        assert [tree.mtime(path) for path in ("a", "a/b", "n")] == [3, 2, 4]

    def test_the_modes_of_closed_directories(self, tmp_path: Path) -> None:
        closed = [directory("d", mode=0), directory("d/e", mode=0), file("d/e/f", "x", mode=0)]
        tree = unpack(tmp_path, tar(*closed), tar(*closed), tar(file("d/e/.wh.f"), file("d/.wh.e")))
        assert tree.paths() == {"d"}
        assert tree.records == {"d": Record(mode=0)}

    def test_two_hundred_layers(self, tmp_path: Path) -> None:
        layers = []
        for number in range(200):
            entries = [directory("d", mtime=number), file(f"d/{number}", str(number))]
            if number:
                entries.append(file(f"d/.wh.{number - 1}"))
            if number % 50 == 0:
                entries += [file("o/.wh..wh..opq"), file(f"o/{number}/x")]
            layers.append(gzipped(tar(*entries)))
        tree = unpack(tmp_path, *layers)
        assert tree.paths() == {"d", "d/199", "o", "o/150", "o/150/x"}
        assert tree.mtime("d") == 199

    def test_the_same_layer_twice(self, tmp_path: Path) -> None:
        data = tar(directory("d", uid=1), file("d/f", "x"), symlink("d/l", "f"))
        tree = unpack(tmp_path, data, data)
        assert (tree.paths(), set(tree.records)) == ({"d", "d/f", "d/l"}, {"d"})

    def test_only_the_tree_and_the_index_are_left(self, tmp_path: Path) -> None:
        tree = unpack(tmp_path, tar(file("a")), tar(file("d/b")), tar(file("d/c")))
        assert {p.name for p in tree.directory.iterdir()} == {"root", "index.jsonl"}


class TestLimits:
    def test_bytes(self, tmp_path: Path) -> None:
        just = [tar(file("a", b"x" * 60)), tar(file("b", b"x" * 40))]
        unpack(tmp_path, *just, limits=SMALL)
        (tmp_path / "more").mkdir()
        with pytest.raises(
            ArchiveLimitError, match=r"layer \w{12}: .* more than 100 bytes, at 'c'"
        ):
            unpack(tmp_path / "more", *just, tar(file("c", b"x")), limits=SMALL)

    def test_a_size_that_is_only_claimed(self, tmp_path: Path) -> None:
        data = seal(raw_header(size=b"77777777777\0"))
        with pytest.raises(ArchiveLimitError):
            unpack(tmp_path, data, limits=SMALL)
        assert not (tmp_path / "tree/layer/name").exists()

    def test_entries(self, tmp_path: Path) -> None:
        just = [tar(*(file("same") for _ in range(3))), tar(file("a"), file(".wh.b"))]
        unpack(tmp_path, *just, limits=SMALL)
        (tmp_path / "more").mkdir()
        with pytest.raises(ArchiveLimitError, match="more than 5 archive entries"):
            unpack(tmp_path / "more", *just, tar(file("c")), limits=SMALL)

    def test_depth(self, tmp_path: Path) -> None:
        unpack(tmp_path, tar(file("a/b/c/d"), hardlink("h", "a/b/c/d")), limits=SMALL)
        for number, entries in enumerate(
            [
                [file("a/b/c/d/e")],
                [directory("a/b/c/d"), symlink("l", "a/b/c/d"), file("l/e")],
                [hardlink("h", "a/b/c/d/e")],
            ]
        ):
            (tmp_path / str(number)).mkdir()
            with pytest.raises(UnpackError, match="nested more than 4 deep: 'a/b/c/d/e'"):
                unpack(tmp_path / str(number), tar(*entries), limits=SMALL)

    def test_the_deepest_tree_can_be_changed_and_removed(self, tmp_path: Path) -> None:
        deep = "/".join("d" * 256)
        tree = unpack(tmp_path, tar(directory(deep, uid=1)), tar(file(deep)), tar(file(".wh.d")))
        assert (tree.paths(), tree.records) == (set(), {})

    def test_memory_for_the_index(self, tmp_path: Path) -> None:
        limits = Limits(max_bytes=1 << 20, max_index_bytes=10_000)
        same = tar(*(file("same", uid=n) for n in range(100)))
        unpack(tmp_path, same, same, limits=limits)
        for number, entries in enumerate(
            [
                [file(f"f{n}", uid=n) for n in range(40)],
                [directory(f"d{n}") for n in range(40)],
                [file("f", **xattr("security.x", "v" * 11_000))],
                [file(f"{n}/.wh.{'x' * 100}") for n in range(200)],
            ]
        ):
            (tmp_path / str(number)).mkdir()
            with pytest.raises(ArchiveLimitError):
                unpack(tmp_path / str(number), tar(*entries), limits=limits)

    def test_data_after_the_end(self, tmp_path: Path) -> None:
        unpack(tmp_path, tar(file("a")) + b"x" * 100, limits=SMALL)
        (tmp_path / "more").mkdir()
        with pytest.raises(ArchiveLimitError, match="too much data after the end"):
            unpack(tmp_path / "more", tar(file("a")) + bytes(1 << 20), limits=SMALL)


class TestVerification:
    def test_a_wrong_diff_id(self, tmp_path: Path) -> None:
        layer = gzipped(tar(file("a")))
        layer.diff_id = Digest.of(b"other")
        with pytest.raises(VerificationError, match=f"layer {layer.descriptor.digest.short}: "):
            unpack(tmp_path, layer)

    def test_what_follows_the_end_is_part_of_the_diff_id(self, tmp_path: Path) -> None:
        plain = tar(file("a"))
        with pytest.raises(VerificationError):
            unpack(tmp_path, FakeLayer(plain + b"more", plain))

    def test_a_wrong_blob(self, tmp_path: Path) -> None:
        layer = gzipped(tar(file("a")))
        layer.blob += b"\0"  # which gzip ignores
        with pytest.raises(VerificationError, match="longer than"):
            unpack(tmp_path, layer)

    def test_other_algorithms(self, tmp_path: Path) -> None:
        import hashlib

        layer = FakeLayer(tar(file("a")))
        layer.diff_id = Digest("sha512", hashlib.sha512(layer.blob).hexdigest())
        assert unpack(tmp_path, layer).paths() == {"a"}


class TestMessages:
    def test_layer_and_entry(self, tmp_path: Path) -> None:
        layer = FakeLayer(tar(hardlink("na\x1bme", "gone")))
        with pytest.raises(UnpackError) as caught:
            unpack(tmp_path, layer)
        assert caught.value.message == (
            f"layer {layer.descriptor.digest.short}: "
            "a hard link to what is not in the image: 'na\\x1bme' to 'gone'"
        )

    @pytest.mark.parametrize("name", ["n" * 256, "d/" * 100 + "n" * 4000])
    def test_names_that_are_too_long(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UnpackError) as caught:
            unpack(tmp_path, tar(file(name)))
        assert len(caught.value.message) < 400

    def test_a_link_target_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(UnpackError, match="'l' cannot be made here"):
            unpack(tmp_path, tar(symlink("l", "x" * 5000)))

    def test_an_error_of_the_bytes_is_not_one_of_the_tree(self, tmp_path: Path) -> None:
        class Broken(FakeLayer):
            def open(self) -> BinaryIO:
                return BrokenDisk(self.blob)

        class BrokenDisk(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if self.tell():
                    raise OSError(errno.EINVAL, "read failed")
                return super().read(size)

        layer = Broken(tar(file("a", b"x" * 1_000_000)))
        with pytest.raises(OSError, match="read failed") as caught:
            unpack(tmp_path, layer)
        assert caught.value.filename == f"layer {layer.descriptor.digest}"

    def test_an_operating_system_error_has_the_path(self, tmp_path: Path) -> None:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 6, hard))
        try:
            with pytest.raises(OSError, match="Too many open files") as caught:
                unpack(tmp_path, tar(file("a/b/c/d/e/f/g/h")))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert caught.value.filename.startswith(str(tmp_path / "tree/layer-0/a"))
