"""Random layers, unpacked and compared with what plain dictionaries say of them."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from udocker.errors import UnpackError
from udocker.unpack.index import Record
from unpack import layers
from unpack.layers import FakeLayer, Unpacked, snapshot, tar, unpack
from unpack.overlay import Model, Refused, Said

NAMES = ("a", "b")  # few, so that paths meet
name = st.sampled_from(NAMES)
target = st.sampled_from(
    ["a", "b", "a/b", "/a", "/b/a", "..", "../b", "../../outside", "/", "b/../a", "a/b/c"]
)
whiteout = st.sampled_from([*(f".wh.{n}" for n in NAMES), ".wh..wh..opq"])
path = st.lists(name, min_size=1, max_size=3).map(tuple)
said = st.one_of(
    st.builds(Said, kind=st.sampled_from(["file", "directory", "directory"]), path=path),
    st.builds(Said, kind=st.sampled_from(["fifo", "device"]), path=path),
    st.builds(Said, kind=st.just("symlink"), path=path, target=target),
    st.builds(Said, kind=st.just("hardlink"), path=path, target=path.map("/".join)),
    st.builds(
        Said,
        kind=st.just("file"),
        path=st.tuples(st.lists(name, max_size=2), whiteout).map(lambda p: (*p[0], p[1])),
    ),
    st.builds(Said, kind=st.just("directory"), path=st.just(())),
)
details = st.tuples(
    said,
    st.sampled_from([0o755, 0o644, 0o4755, 0o000, 0o2070, 0o1777]),
    st.sampled_from([0, 0, 1, 7]),
)
image = st.lists(st.lists(details, max_size=12), min_size=1, max_size=4)
random_images = settings(
    layers.steady,
    max_examples=int(os.environ.get("UDOCKER_TEST_EXAMPLES", "300")),
    suppress_health_check=[HealthCheck.too_slow],
)


def written(what: Said) -> layers.Entry:
    """``what`` as a tar entry."""
    place = "/".join(what.path) or "./"
    common = {"mode": what.mode, "uid": what.uid, "mtime": what.number}
    make = {
        "file": lambda: layers.file(place, str(what.number), **common),
        "directory": lambda: layers.directory(place, **common),
        "symlink": lambda: layers.symlink(place, what.target, **common),
        "hardlink": lambda: layers.hardlink(place, what.target, **common),
        "fifo": lambda: layers.fifo(place, **common),
        "device": lambda: layers.device(place, **common),
    }
    return make[what.kind]()


def checked(tree: Unpacked, model: Model) -> None:
    """``tree`` is what ``model`` has, records and all."""
    expected = {"/".join(p): thing for p, thing in model.tree.items()}
    assert tree.paths() | {""} == {p for p, thing in expected.items() if thing.kind != "device"}
    inodes: dict[int, int] = {}
    for place, thing in expected.items():
        found = tree.records.pop(place, Record())
        assert (found.uid, bool(found.device)) == (thing.uid, thing.kind == "device")
        if found.device:
            assert found.mode == thing.mode
            continue
        status = (tree.root / place).lstat()
        mode = stat.S_IMODE(status.st_mode)
        assert (mode if found.mode is None else found.mode) == thing.mode
        assert inodes.setdefault(thing.identity, status.st_ino) == status.st_ino
        if thing.mtime is not None:
            assert status.st_mtime == thing.mtime
        if thing.kind == "file":
            assert tree.text(place) == thing.content
        elif thing.kind == "symlink":
            assert os.readlink(tree.root / place) == thing.content
        else:
            assert stat.S_IFMT(status.st_mode) == (
                stat.S_IFDIR if thing.kind == "directory" else stat.S_IFIFO
            )
    assert len(set(inodes.values())) == len(inodes)
    assert tree.records == {}


@random_images
@given(image)
def test_layers_give_what_the_rules_say(image: list[list[tuple[Said, int, int]]]) -> None:
    model = Model()
    archives: list[list[Said]] = []
    refused: list[tuple[int, int, Said]] = []
    number = 0
    for entries in image:
        model.begin()
        accepted: list[Said] = []
        for what, mode, uid in entries:
            number += 1
            one = Said(what.kind, what.path, what.target, number, mode, uid)
            try:
                model.say(one)
            except Refused:
                refused.append((len(archives), len(accepted), one))
            else:
                accepted.append(one)
        archives.append(accepted)
        model.end()
    with tempfile.TemporaryDirectory() as directory:
        outside = Path(directory, "outside")
        outside.mkdir()
        (outside / "a").write_text("secret")
        before = snapshot(outside)
        place = Path(directory, "right")
        place.mkdir()
        checked(unpack(place, *(FakeLayer(tar(*map(written, a))) for a in archives)), model)
        for number, (layer, position, wrong) in enumerate(refused[:2]):
            place = Path(directory, f"wrong{number}")
            place.mkdir()
            given = [*archives[:layer], [*archives[layer][:position], wrong]]
            with pytest.raises(UnpackError):
                unpack(place, *(FakeLayer(tar(*map(written, a))) for a in given))
        assert snapshot(outside) == before
