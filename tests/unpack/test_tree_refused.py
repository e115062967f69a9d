"""What a tree cannot hold, how much it may, and that it is as it was described."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from udocker.errors import ArchiveLimitError, UnpackError, VerificationError
from udocker.model.reference import Digest
from udocker.unpack.index import Record
from udocker.unpack.tree import Limits
from unpack.layers import (
    FakeLayer,
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

    def test_the_zeros_that_fill_the_last_record_may_be_missing(self, tmp_path: Path) -> None:
        whole = tar(file("a"))
        whole += bytes(-len(whole) % 10240)
        short = whole.rstrip(b"\0")
        short += bytes(-len(short) % 512 + 1024)
        assert len(short) < len(whole)
        assert unpack(tmp_path, FakeLayer(short, whole)).paths() == {"a"}

    @pytest.mark.parametrize("size", [1, 512, 10240 - 512, 20480])
    def test_other_zeros_may_not_be_missing(self, tmp_path: Path, size: int) -> None:
        plain = tar(file("a"))
        plain += bytes(-len(plain) % 10240)
        with pytest.raises(VerificationError):
            unpack(tmp_path, FakeLayer(plain, plain + bytes(size)))

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
