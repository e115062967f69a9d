"""One archive, and one layer over another."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from udocker.errors import UnpackError
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
    xattr,
)

SMALL = Limits(max_bytes=100, max_entries=5, max_index_bytes=4000, max_depth=4)


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
