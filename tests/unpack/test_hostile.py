"""Archives that want out, and archives that are broken: nothing outside is touched."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import shutil
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from udocker.errors import HostileArchiveError, UnpackError, VerificationError
from unpack.layers import (
    Entry,
    FakeLayer,
    device,
    directory,
    fifo,
    file,
    hardlink,
    seal,
    steady,
    symlink,
    tar,
    unpack,
)

UP = "../" * 30


class TestNames:
    @pytest.mark.parametrize(
        "name",
        ["../x", "../../outside/secret", "a/../../outside/secret", "/../x", "a/..", f"{UP}x"],
    )
    @pytest.mark.parametrize("make", [file, directory, fifo, device])
    def test_up(self, tmp_path: Path, outside: Path, name: str, make: object) -> None:
        with pytest.raises(HostileArchiveError, match=r"layer \w{12}: the entry '.*' leads out"):
            unpack(tmp_path, tar(make(name)))  # type: ignore[operator]

    def test_absolute(self, tmp_path: Path, outside: Path) -> None:
        tree = unpack(tmp_path, tar(file(f"{outside}/secret", "mine")))
        assert tree.text(f"{outside}/secret".lstrip("/")) == "mine"

    @pytest.mark.parametrize("target", ["../outside/secret", "a/../../outside/secret", "/../x"])
    def test_hard_links_up(self, tmp_path: Path, outside: Path, target: str) -> None:
        with pytest.raises(HostileArchiveError):
            unpack(tmp_path, tar(hardlink("l", target), file("l", "mine")))

    def test_hard_links_to_absolute_names(self, tmp_path: Path, outside: Path) -> None:
        with pytest.raises(UnpackError, match="not in the image"):
            unpack(tmp_path, tar(hardlink("l", f"{outside}/secret"), file("l", "mine")))

    @pytest.mark.parametrize(
        "name", [".wh...", "d/.wh..", ".wh.", "../.wh.outside", "x/../../outside/.wh.secret"]
    )
    def test_whiteouts(self, tmp_path: Path, outside: Path, name: str) -> None:
        with pytest.raises(HostileArchiveError):
            unpack(tmp_path, tar(file("d/f")), tar(file(name)))


def through(link: str) -> list[Entry]:
    """All that one may try through a link."""
    return [
        file(f"{link}/secret", "mine"),
        file(f"{link}/new", "mine"),
        directory(f"{link}/inner", mode=0),
        symlink(f"{link}/link", "x"),
        fifo(f"{link}/pipe"),
        device(f"{link}/device"),
        file(f"{link}/.wh.secret"),
        file(f"{link}/.wh..wh..opq"),
        file(f"{link}/inner/.wh.file"),
        directory(f"{link}/", mode=0o777, mtime=1),
    ]


class TestLinks:
    @pytest.mark.parametrize(
        "target", ["{outside}", "../outside", "../../outside", UP + "{outside}"]
    )
    @pytest.mark.parametrize("indirect", [False, True])
    @pytest.mark.parametrize("split", [False, True])
    def test_writing_through(
        self, tmp_path: Path, outside: Path, target: str, indirect: bool, split: bool
    ) -> None:
        first = [symlink("one", target.format(outside=outside))]
        if indirect:
            first.append(symlink("link", "one"))
        entries = through("link" if indirect else "one")
        archives = [tar(*first), tar(*entries)] if split else [tar(*first, *entries)]
        tree = unpack(tmp_path, *archives)
        assert "mine" in {p.read_text() for p in tree.root.rglob("secret")}

    def test_a_link_over_a_directory_in_use(self, tmp_path: Path, outside: Path) -> None:
        unpack(
            tmp_path,
            tar(
                directory("d"),
                file("d/f"),
                symlink("d", str(outside)),
                file("d/secret", "mine"),
                directory("e/f"),
                file("e/f/g"),
                symlink("e", str(outside)),
                file("e/f/secret", "mine"),
                directory("e/inner"),
            ),
        )

    @pytest.mark.parametrize("name", [".", "/", "", "../layer", "../root"])
    def test_the_top_cannot_be_a_link(self, tmp_path: Path, outside: Path, name: str) -> None:
        with pytest.raises(UnpackError):
            unpack(tmp_path, tar(symlink(name, str(outside)), file("secret", "mine")))

    def test_a_hard_link_to_a_link_is_not_written_through(
        self, tmp_path: Path, outside: Path
    ) -> None:
        tree = unpack(
            tmp_path,
            tar(symlink("a", f"{outside}/secret"), hardlink("b", "a"), file("b", "mine")),
            tar(hardlink("c", "a"), file("c", "mine", mode=0o777)),
        )
        assert (tree.text("b"), tree.text("c")) == ("mine", "mine")

    def test_a_merge_does_not_go_through(self, tmp_path: Path, outside: Path) -> None:
        layers = [
            tar(symlink("d", str(outside)), symlink("e", "../outside")),
            tar(directory("d", mode=0o777, mtime=1), file("d/secret", "mine")),
            tar(file("e/inner/file", "mine")),
            tar(symlink("d", str(outside)), file("e/.wh.inner")),
            tar(file("d/.wh.inner"), file("d/.wh..wh..opq"), device("d/secret")),
        ]
        unpack(tmp_path, *layers)

    def test_links_to_proc(self, tmp_path: Path, outside: Path) -> None:
        tree = unpack(tmp_path, tar(symlink("cwd", "/proc/self/cwd"), file("cwd/outside/x", "")))
        assert "proc/self/cwd/outside/x" in tree.paths()


def sample() -> bytes:
    noise = random.Random(3).randbytes(3000)
    return tar(
        directory("d", uid=5),
        file("d/" + "n" * 150, noise),
        symlink("d/l", "x" * 120),
        hardlink("h", "d/" + "n" * 150),
        file("d/.wh.x"),
        device("dev/null"),
        file("e", b"\0" * 2000, pax_headers={"SCHILY.xattr.user.a": "b"}),
    )


PLAIN = sample()
BLOBS = {
    "plain": PLAIN,
    "gzip": gzip.compress(PLAIN),
    "zstd": zstandard.ZstdCompressor().compress(PLAIN),
    "zstd-checksum": zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN),
}
broken = settings(
    steady, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class TestBroken:
    @pytest.mark.parametrize("blob", BLOBS.values(), ids=BLOBS)
    def test_cut_short_anywhere(self, tmp_path: Path, outside: Path, blob: bytes) -> None:
        lengths = {*range(0, 40), *range(len(blob) - 40, len(blob))}
        lengths |= set(random.Random(len(blob)).sample(range(len(blob)), 150))
        for length in sorted(lengths):
            place = tmp_path / "tree" / str(length)
            place.mkdir(parents=True)
            with pytest.raises((UnpackError, VerificationError)):
                unpack(place, FakeLayer(blob[:length], PLAIN))
        _forget(tmp_path)

    @broken
    @given(st.data())
    def test_changed_anywhere(self, tmp_path: Path, outside: Path, data: st.DataObject) -> None:
        """With the digests of the changed bytes, so that every change reaches the parser."""
        blob = bytearray(PLAIN)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(blob) - 1))
            blob[at] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            _seal_again(blob)
        _forget(tmp_path)
        (tmp_path / "tree").mkdir()
        place = tmp_path / "tree" / "one"
        place.mkdir()
        with contextlib.suppress(UnpackError):
            unpack(place, bytes(blob), bytes(blob))
        _forget(tmp_path)

    @broken
    @given(st.sampled_from(sorted(BLOBS)), st.integers(0, 1 << 16), st.integers(1, 255))
    def test_changed_before_decompression(
        self, tmp_path: Path, outside: Path, kind: str, at: int, change: int
    ) -> None:
        blob = bytearray(BLOBS[kind])
        blob[at % len(blob)] ^= change
        _forget(tmp_path)
        place = tmp_path / "tree" / "one"
        place.mkdir(parents=True)
        try:
            unpack(place, FakeLayer(bytes(blob), PLAIN))
        except (UnpackError, VerificationError):
            pass
        else:
            assert kind != "plain"
        _forget(tmp_path)

    @pytest.mark.parametrize("blob", [b"\0", b"\0" * 511, b"{}", b"<html>", os.urandom(5000)])
    def test_what_is_no_archive(self, tmp_path: Path, blob: bytes) -> None:
        with pytest.raises(UnpackError):
            unpack(tmp_path, blob)


def _seal_again(blob: bytearray) -> None:
    """Right checksums wherever a header of the sample was."""
    for at in range(0, len(blob), 512):
        if PLAIN[at + 257 : at + 262] == b"ustar":
            blob[at : at + 512] = seal(blob[at : at + 512])


def _forget(directory: Path) -> None:
    shutil.rmtree(directory / "tree", ignore_errors=True)
