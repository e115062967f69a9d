"""Layers made to cost much: in bytes, entries, names and loops. And trees that change meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from udocker.errors import ArchiveLimitError, UnpackError
from udocker.model.config import Config
from udocker.ops.limits import unpack_limits
from udocker.unpack import limits as limits_module
from udocker.unpack.limits import Limits
from unpack.layers import (
    Entry,
    directory,
    extended,
    fifo,
    file,
    gzipped,
    hardlink,
    raw_header,
    record,
    seal,
    snapshot,
    symlink,
    tar,
    unpack,
)

DEEP = "a/" * 100_000
PATIENCE = 10  # seconds; each takes a small part of one


class TestSize:
    @pytest.mark.parametrize(
        ("settings", "compressed", "allowed", "setting"),
        [
            ({}, 1 << 20, 4 << 30, "max_unpack_ratio"),
            ({}, 1 << 30, 250 << 30, "max_unpack_ratio"),
            ({}, 5 << 30, 1 << 40, "max_unpacked_bytes"),
            ({"max_unpack_ratio": 3}, 2 << 30, 6 << 30, "max_unpack_ratio"),
            ({"max_unpacked_bytes": 99}, 1, 99, "max_unpacked_bytes"),
        ],
    )
    def test_the_lower_of_two_limits_holds(
        self, settings: dict[str, int], compressed: int, allowed: int, setting: str
    ) -> None:
        limits = unpack_limits(Config(topdir="", **settings), compressed)
        assert limits.max_bytes == allowed
        assert limits.hint.endswith(f"raise the limit {setting}")

    def test_entries_are_a_setting(self) -> None:
        limits = unpack_limits(Config(topdir="", max_unpacked_entries=7), 1)
        assert limits.max_entries == 7

    @pytest.mark.parametrize("kind", ["whiteout", "headers"])
    def test_what_is_read_and_not_kept(
        self, tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """Contents of whiteouts, and headers, are no part of the tree, and have a limit still."""
        monkeypatch.setattr(limits_module, "_HEADERS", 1 << 20)
        plain = tar(file(".wh.a", bytes(1_100_000)))
        if kind == "headers":
            extension = extended(record(b"comment", b"x" * 60_000))
            plain = (extension + seal(raw_header())) * 20
        with pytest.raises(ArchiveLimitError, match="archive is much longer") as caught:
            unpack(tmp_path, gzipped(plain), limits=Limits(max_bytes=1000))
        assert "max_unpack_ratio" in str(caught.value.hint)

    def test_what_is_read_and_not_kept_and_is_little(self, tmp_path: Path, outside: Path) -> None:
        unpack(tmp_path, tar(file(".wh.a", bytes(1_100_000))), limits=Limits(max_bytes=1000))

    @pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\0" * 4 + b"\x7f" * 7])
    def test_a_size_beyond_the_limit_is_not_even_begun(
        self, tmp_path: Path, outside: Path, size: bytes
    ) -> None:
        limits = Limits(max_bytes=1 << 30)
        data = seal(raw_header(size=size)) + bytes(1 << 20)
        with pytest.raises(ArchiveLimitError, match=r"more than 1073741824 bytes, at 'name'"):
            unpack(tmp_path, gzipped(data), limits=limits)
        assert not any((tmp_path / "tree" / "layer-0").iterdir())

    @pytest.mark.parametrize("claimed", [513, 1024, 100_000])
    def test_a_size_that_is_not_true(self, tmp_path: Path, outside: Path, claimed: int) -> None:
        """What follows is no header, or is missing; never is it taken for something else."""
        data = seal(raw_header(size=b"%011o\0" % claimed)) + b"y" * 512
        with pytest.raises(UnpackError, match=r"checksum|in the middle"):
            unpack(tmp_path, data + tar(file("b", "x" * 600)))

    def test_a_hole_of_an_exbibyte_takes_no_disk(self, tmp_path: Path, outside: Path) -> None:
        """ext4 has no such files, others do: what is made has no blocks."""
        sparse = record(b"GNU.sparse.numblocks", b"0") + record(
            b"GNU.sparse.size", b"%d" % (1 << 60)
        )
        with contextlib.suppress(UnpackError):
            tree = unpack(tmp_path, extended(sparse) + seal(raw_header()))
            assert (tree.root / "name").lstat().st_blocks == 0

    def test_eight_gibibytes_that_are_a_hole(self, tmp_path: Path) -> None:
        size = (8 << 30) + 5
        sparse = record(b"GNU.sparse.size", b"%d" % size) + record(
            b"GNU.sparse.map", b"0,3,%d,2" % (size - 2)
        )
        data = (
            extended(sparse) + seal(raw_header(size=b"00000000005\0")) + b"abcyz".ljust(512, b"\0")
        )
        tree = unpack(tmp_path, data, limits=Limits(max_bytes=5))
        with (tree.root / "name").open("rb") as stream:
            assert stream.read(4) == b"abc\0"
            stream.seek(-3, os.SEEK_END)
            assert stream.read() == b"\0yz"
        assert (tree.root / "name").lstat().st_size == size
        assert (tree.root / "name").lstat().st_blocks < 1000


class TestNames:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: file(f"{DEEP}f"),
            lambda: directory(DEEP),
            lambda: file(f"{DEEP}.wh.f"),
            lambda: file(f"{DEEP}.wh..wh..opq"),
            lambda: symlink("l", DEEP),
            lambda: hardlink("l", DEEP),
            lambda: file("a/.wh." + "b" * 100_000),
        ],
    )
    def test_a_hundred_thousand_components(
        self, tmp_path: Path, outside: Path, make: object
    ) -> None:
        start = time.monotonic()
        with pytest.raises(UnpackError) as caught:
            unpack(tmp_path, tar(file("l/x"), make()))  # type: ignore[operator]
        assert len(caught.value.message) < 500
        assert time.monotonic() - start < PATIENCE

    @pytest.mark.parametrize("name", ["./" * 100_000 + "f", "/" * 200_000 + "f"])
    def test_components_that_are_none(self, tmp_path: Path, outside: Path, name: str) -> None:
        assert unpack(tmp_path, tar(file(name, "x"))).text("f") == "x"

    @pytest.mark.parametrize("more", [0, 1])
    def test_the_longest_path(self, tmp_path: Path, more: int) -> None:
        parts = ["n" * 250] * 16
        name = "/".join([*parts, "f" * (4095 - 16 * 251 + more)])
        layers = tar(file(name)), tar(hardlink("h", name), file("x"))
        try:
            if more:
                with pytest.raises(UnpackError, match="too long"):
                    unpack(tmp_path, *layers)
            else:
                unpack(tmp_path, *layers)
                assert (tmp_path / "tree" / "root" / "h").lstat().st_nlink == 2
        finally:
            _remove(tmp_path / "tree")  # what pytest could not

    @pytest.mark.parametrize("kind", [b"s", b"A", b"D", b"M", b"N", b"V", b"\xff"])
    def test_kinds_that_no_layer_has(self, tmp_path: Path, outside: Path, kind: bytes) -> None:
        """Sockets have no kind in any tar; GNU's dumps and multi-volumes are of no use."""
        with pytest.raises(UnpackError, match="entry of unknown type"):
            unpack(tmp_path, seal(raw_header(kind=kind)))

    @pytest.mark.parametrize("place", ["name", "link", "prefix"])
    def test_a_nul_ends_a_name(self, tmp_path: Path, outside: Path, place: str) -> None:
        fields = {"name": b"d/a", "link": b"t", "kind": b"2"}
        fields[place] = fields.get(place, b"p") + b"\0/../../outside/secret"
        tree = unpack(tmp_path, seal(raw_header(**fields)))
        (path,) = (p for p in tree.paths() if (tree.root / p).is_symlink())
        assert path.endswith("d/a")
        assert os.readlink(tree.root / path) == "t"


class TestLoops:
    @pytest.mark.parametrize(
        "entries",
        [
            [hardlink("a", "b"), hardlink("b", "a")],
            [hardlink("a", "a")],
            [symlink("a", "b"), symlink("b", "a"), hardlink("c", "a/x")],
            [symlink("a", "a/a"), file("a/f")],
            [symlink(f"l{n}", f"l{n + 1}/l{n + 1}") for n in range(60)] + [file("l0/f")],
            [symlink("a", "./" * 2000 + "a"), file("a/f")],
        ],
    )
    def test_none_ends_in_one(self, tmp_path: Path, outside: Path, entries: list[Entry]) -> None:
        start = time.monotonic()
        with pytest.raises(UnpackError):
            unpack(tmp_path, tar(*entries))
        assert time.monotonic() - start < PATIENCE

    def test_an_archive_in_itself_is_a_file(self, tmp_path: Path, outside: Path) -> None:
        inner = tar(file("../../outside/secret", "mine"), symlink("x", "/"))
        tree = unpack(tmp_path, tar(file("a", inner), file("b", inner)))
        assert tree.paths() == {"a", "b"}


def test_memory_does_not_grow_with_entries(tmp_path: Path) -> None:
    """Thousands of names of one file: nothing is kept of any."""
    plain = seal(raw_header(name=b"same")) * 3_000 + bytes(1024)
    layer = gzipped(plain)
    tracemalloc.start()
    try:
        assert unpack(tmp_path, layer).paths() == {"same"}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


# Renames directories of the layer that is being unpacked, and puts links to outside in their place.
_SWAPPER = """
import os, sys
top, target = sys.argv[1:]
print("ready", flush=True)
while True:
    for name in ("d", "d/e", "root/d"):
        path = os.path.join(top, name)
        try:
            os.rename(path, path + "-")
            os.symlink(target, path)
            os.unlink(path)
            os.rename(path + "-", path)
        except OSError:
            pass
"""


@pytest.mark.parametrize("layers", [1, 2])
def test_a_directory_that_becomes_a_link_meanwhile(
    tmp_path: Path, outside: Path, layers: int
) -> None:
    """Another process of the user's swaps what is unpacked for links to outside, all the time."""
    before = snapshot(outside)
    entries = [directory("d"), directory("d/e")]
    for number in range(80):
        entries += [
            file(f"d/e/f{number}", "mine", mode=0o777),
            file(f"above{number}"),  # so that what is next is looked up anew
            directory(f"d/e/g{number}", mtime=1),
            file(f"over{number}"),
        ]
        entries += [hardlink(f"d/e/h{number}", f"d/e/f{number}"), file(f"d/e/.wh.secret{number}")]
    entries += [file("d/.wh.secret"), file("d/e/.wh..wh..opq"), file("d/e/secret", "mine")]
    met = 0
    for attempt in range(30):
        place = tmp_path / "tree" / str(attempt)
        (place / "tree").mkdir(parents=True)
        swapping = place / "tree" / ("layer-0" if attempt % 2 else "")
        command = [sys.executable, "-c", _SWAPPER, str(swapping), str(outside)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
            assert swapper.stdout is not None
            swapper.stdout.readline()
            try:
                (place / "tree").rmdir()
                unpack(place, *[tar(*entries)] * layers)
            except (UnpackError, OSError):
                met += 1
            finally:
                swapper.kill()
        assert snapshot(outside) == before
        if met == 2:
            break
    assert met  # or nothing was swapped at the right time
    _remove(tmp_path / "tree")


@pytest.mark.parametrize(("call", "make"), [("mkdir", directory), ("mkfifo", fifo)])
def test_a_link_in_the_worst_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, make: Callable[[str], Entry]
) -> None:
    """What was made is a link before its mode is set."""
    canary = tmp_path / "canary"
    canary.mkdir(mode=0o700)
    before = snapshot(canary)
    made = getattr(os, call)

    def swapped(name: bytes, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        made(name, mode, dir_fd=dir_fd)
        if name == b"swapped":
            os.rename(name, b"aside", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            os.symlink(canary, name, dir_fd=dir_fd)

    monkeypatch.setattr("udocker.unpack.apply.native_module", lambda: None)
    monkeypatch.setattr(os, call, swapped)
    with pytest.raises((UnpackError, OSError)):
        unpack(tmp_path, tar(directory("d"), make("d/swapped")))
    assert snapshot(canary) == before


def _remove(path: Path) -> None:
    subprocess.run(["rm", "-rf", str(path)], check=True)
