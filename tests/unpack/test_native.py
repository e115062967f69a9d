"""What the extension module writes is what Python writes: the same tree, index and refusals."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from udocker.errors import UdockerError
from udocker.unpack.limits import Limits
from udocker.unpack.native import NativeWriter, native_module
from udocker.verified import VerifiedReader
from unpack import layers
from unpack.layers import Entry, FakeLayer, directory, entry, file, snapshot, symlink, tar, unpack
from unpack.test_fuzz import damaged

LIMITS = Limits(max_bytes=1 << 18, max_entries=60)
comparing = settings(layers.steady, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

part = st.sampled_from(["a", "b", "c", ".wh.a", "é", "n" * 90, ".."])
name = st.one_of(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join),
    st.lists(part, min_size=1, max_size=4).map("/".join),
    st.sampled_from(["./a//b/", "/a/b", "d/" * 40 + "x", ".wh..wh..opq", "a/.wh..wh..opq", "."]),
)
content = st.sampled_from([b"", b"x", b"y" * 511, b"z" * 512, b"w" * 513, b"v" * 70_000])
kind = st.sampled_from([tarfile.REGTYPE] * 5 + [tarfile.DIRTYPE] * 4 + [tarfile.SYMTYPE] * 2
                       + [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])  # fmt: skip


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    flag = draw(kind)
    made = entry(draw(name), flag, draw(content) if flag == tarfile.REGTYPE else b"")
    info = made[0]
    info.mode = draw(st.sampled_from([0o644, 0o755, 0o4755, 0o1777, 0o2000, 0, 0o222]))
    info.uid = draw(st.sampled_from([0, 0, 1000, 1 << 20, 1 << 31]))
    info.gid = draw(st.sampled_from([0, 0, 7]))
    info.mtime = draw(st.sampled_from([0, 1, 1_500_000_000, 1 << 33, 1.5]))
    if flag in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = draw(st.sampled_from(["a", "b", "/a/b", "../x", "t" * 100]))
    return made


def archive(made: list[Entry], form: int, end: bool) -> bytes:
    try:
        return tar(*made, format=form, end=end)
    except ValueError:  # more than a ustar header can say
        return tar(*made, format=tarfile.PAX_FORMAT, end=end)


archives = st.builds(
    archive,
    st.lists(entries(), max_size=30),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.booleans(),
)


class Dripping(FakeLayer):
    """A layer whose bytes come in pieces of ``size``."""

    def __init__(self, plain: bytes, size: int) -> None:
        super().__init__(plain)
        self._size = size

    def open(self) -> BinaryIO:
        stream, size = io.BytesIO(self.blob), self._size
        dripping = mock.Mock(wraps=stream)
        dripping.read = lambda wanted=-1: stream.read(min(wanted, size) if wanted >= 0 else size)
        return VerifiedReader(dripping, self.descriptor)


def outcome(place: Path, image: list[FakeLayer]) -> tuple[Any, ...]:
    """All that can be seen of unpacking ``image``."""
    place.mkdir()
    before = time.time_ns() - 3600 * 10**9
    try:
        tree = unpack(place, *image, limits=LIMITS)
    except UdockerError as error:
        return type(error), error.message, error.hint
    except OSError as error:
        return type(error), error.strerror, os.path.relpath(str(error.filename), place)
    index = (tree.directory / "index.jsonl").read_bytes()
    links = {
        path: (tree.root / path).lstat().st_nlink
        for path in tree.paths()
        if not (tree.root / path).is_dir()
    }
    shown = {
        path: (mode, when if when < before else "now", data)
        for path, (mode, when, data) in snapshot(tree.root).items()
    }
    return shown, index, links


def compare(image: list[FakeLayer]) -> str:
    assert native_module() is not None
    with tempfile.TemporaryDirectory() as top:
        theirs = outcome(Path(top, "native"), image)
        with mock.patch("udocker.unpack.apply.native_module", return_value=None):
            ours = outcome(Path(top, "python"), image)
        assert theirs == ours
    return "unpacked" if isinstance(ours[0], dict) else "refused"


@comparing
@given(st.lists(st.tuples(archives, st.sampled_from([7, 512, 1000, 1 << 17])), max_size=3))
def test_every_image_is_the_same(image: list[tuple[bytes, int]]) -> None:
    event(compare([Dripping(*each) for each in image]))


@comparing
@given(st.lists(damaged(), min_size=1, max_size=2), st.sampled_from([100, 1 << 17]))
def test_what_is_damaged_is_the_same(image: list[bytes], size: int) -> None:
    event(compare([Dripping(each, size) for each in image]))


@pytest.mark.parametrize("entry_of", [file, directory, lambda name: symlink(name, "t")])
def test_the_limit_of_entries(entry_of: Any) -> None:
    for count in (LIMITS.max_entries, LIMITS.max_entries + 1):
        compare([FakeLayer(tar(*[entry_of(f"e{n}") for n in range(count)]))])


def test_the_limit_of_bytes() -> None:
    for more in (0, 1):
        data = [bytes(LIMITS.max_bytes // 2), bytes(LIMITS.max_bytes // 2 + more)]
        compare([FakeLayer(tar(*[file(str(n), each) for n, each in enumerate(data)]))])


def test_more_notes_than_have_room() -> None:
    made = [file(f"{'d' * 80}{n}", uid=n + 1) for n in range(700)]
    limits = Limits(max_bytes=1)
    with mock.patch(f"{__name__}.LIMITS", limits):
        compare([FakeLayer(tar(directory("."), *made, format=tarfile.USTAR_FORMAT))])


def test_plain_members_do_not_come_to_python(tmp_path: Path) -> None:
    """Or all of the above would compare Python with itself."""
    made = [directory("d"), *[file(f"d/{n}", "x") for n in range(50)], symlink("s", "d")]
    with mock.patch("udocker.unpack.apply.LayerWriter._make", side_effect=AssertionError):
        assert len(unpack(tmp_path, tar(*made)).paths()) == 52


def test_what_is_left_to_python_is_found_again(tmp_path: Path) -> None:
    """Between two plain members one that is not, many times: each writer goes on at its place."""
    made = []
    for n in range(100):
        made += [file(f"d{n}/plain", str(n)), file(f"d{n}/" + "l" * 120, str(n))]
    with mock.patch.object(NativeWriter, "write", autospec=True, side_effect=NativeWriter.write):
        tree = unpack(tmp_path, tar(*made))
    assert len(tree.paths()) == 300
    assert all(tree.text(f"d{n}/plain") == str(n) for n in range(100))
