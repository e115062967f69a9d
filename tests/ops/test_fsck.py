"""Damage of each kind: it is seen, and put right where that is possible; no container goes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import grow
from fakes.registry import FakeRegistry, directory, make_image, make_layer
from udocker.errors import ImageNotFound, NoSpaceError
from udocker.model.reference import Digest, Reference
from udocker.ops import fsck
from udocker.ops.create import create, private_copy
from udocker.ops.fsck import check, verify
from udocker.ops.images import remove_image
from udocker.ops.prune import prune
from udocker.ops.pull import pull

if TYPE_CHECKING:
    from collections.abc import Callable

    from builders.sessions import TestSession
    from udocker.store.images import ImageRecord

Damage = "Callable[[Place], object]"


class Place:
    """A store with one image and one container, which has written a file."""

    def __init__(self, session: TestSession, name: str) -> None:
        self.session = session
        self.store = session.store
        self.reference = Reference.parse(name)
        self.record: ImageRecord = pull(session, self.reference)
        made = create(session, self.reference, name="box", pull="never")
        self.container = Path(made.path)
        grow(self.container / "upper", {"written": b"by the container"})

    @property
    def tree(self) -> Path:
        return Path(self.store.trees.path(self.record.chain_id))

    @property
    def image(self) -> Path:
        return Path(self.store.images.path(self.reference))

    def blob(self, digest: Digest) -> Path:
        return Path(self.store.blobs.path(digest))

    @property
    def layer(self) -> Path:
        manifest = json.loads(self.blob(self.record.manifest).read_bytes())
        return self.blob(Digest.parse(manifest["layers"][0]["digest"]))


@pytest.fixture
def place(store_path: Path, registry: FakeRegistry) -> Place:
    layers = [
        make_layer({"etc": directory(), "etc/passwd": b"root:x:0:0::/:/bin/sh\n"}),
        make_layer({"etc": directory(), "etc/shadow": b"root"}),
    ]
    make_image(registry, "test/one", "latest", layers, {"Cmd": ["/bin/sh"]})
    return Place(make_session(store_path, host()), f"{registry.host}/test/one")


def told(place: Place, **options: bool) -> list[str]:
    return [f"{p.kind}: {p.text}" for p in check(place.session, **options).problems]


def test_a_store_without_damage(place: Place) -> None:
    checked = check(place.session)
    assert checked.problems == ()
    assert checked.left == 0
    assert dict(checked.counts) == {"blobs": 4, "images": 1, "trees": 1, "containers": 1}
    assert os.listdir(f"{place.store.topdir}/tmp") == []


def test_no_store(store_path: Path) -> None:
    assert check(make_session(store_path, host()), repair=True).problems == ()
    assert not (store_path / "blobs").exists()


def broken(path: Path) -> None:
    """The same size, and other bytes."""
    path.write_bytes(b"\0" * path.stat().st_size)


CURABLE: list[tuple[str, Callable[[Place], object], list[str]]] = [
    (
        "a layer",
        lambda p: broken(p.layer),
        ["blob: its bytes are not what its name says"],
    ),
    (
        "a file of the tree",
        lambda p: (p.tree / "root/etc/shadow").write_bytes(b"Root"),
        ["tree: /etc/shadow: has another time"],
    ),
    (
        "a file that is missing",
        lambda p: (p.tree / "root/etc/shadow").unlink(),
        ["tree: /etc/shadow: is missing"],
    ),
    (
        "the root of the tree",
        lambda p: shutil.rmtree(p.tree / "root"),
        ["image: its files are gone"],
    ),
    ("the tree", lambda p: shutil.rmtree(p.tree), ["image: its files are gone"]),
    (
        "the index",
        lambda p: (p.tree / "index.jsonl").unlink(),
        ["tree: its index is missing"],
    ),
    (
        "an index that is none",
        lambda p: (p.tree / "index.jsonl").write_bytes(b"{"),
        ["tree: its index is damaged"],
    ),
    (
        "an index with less",
        lambda p: (p.tree / "index.jsonl").write_bytes(b'{"version": 1}\n{"path": "x"}\n'),
        ["tree: /x: is missing"],
    ),
    (
        "the configuration",
        lambda p: p.blob(p.record.config).unlink(),
        ["image: its configuration is missing or damaged"],
    ),
    (
        "a container's configuration",
        lambda p: (p.container / "config.json").write_bytes(b"{}"),
        ["container: its config.json is missing or damaged"],
    ),
    (
        "a container's record",
        lambda p: (p.container / "container.json").write_bytes(b"{"),
        ["container: its container.json is missing or damaged"],
    ),
    (
        "a container's record that is gone",
        lambda p: (p.container / "container.json").unlink(),
        ["container: its container.json is missing or damaged"],
    ),
    (
        "a name",
        lambda p: os.symlink("f" * 32, f"{p.store.topdir}/names/lost"),
        ["name: its container is gone"],
    ),
]


@pytest.mark.parametrize(("what", "damage", "problems"), CURABLE, ids=[row[0] for row in CURABLE])
def test_damage_that_can_be_put_right(
    place: Place, what: str, damage: Callable[[Place], object], problems: list[str]
) -> None:
    damage(place)
    found = told(place)
    assert found[0] == problems[0], what
    checked = check(place.session, repair=True)
    assert [f"{p.kind}: {p.text}" for p in checked.problems][: len(problems)] == problems
    assert checked.left == 0
    assert all(problem.cure for problem in checked.problems)
    assert told(place) == []
    container = place.store.containers.get("box")
    assert (Path(container.upper) / "written").read_bytes() == b"by the container"
    if what != "a layer":
        assert place.store.images.get(place.reference) is not None
        assert (Path(container.tree) / "etc/shadow").read_bytes() == b"root"
    assert prune(place.session).removed == ()


FORGOTTEN: list[tuple[str, Callable[[Place], object], str]] = [
    ("a record", lambda p: p.image.write_bytes(b"{"), "its record is damaged"),
    (
        "a record of another image",
        lambda p: p.image.write_bytes(p.image.read_bytes().replace(b"test/one", b"test/two")),
        "its record is that of ",
    ),
    (
        "a manifest",
        lambda p: p.blob(p.record.manifest).unlink(),
        "its manifest is missing or damaged",
    ),
    (
        "a record of another tree",
        lambda p: p.image.write_bytes(
            p.image.read_bytes().replace(p.record.chain_id.hex.encode(), b"0" * 64)
        ),
        "its documents do not fit together",
    ),
]


@pytest.mark.parametrize(("what", "damage", "text"), FORGOTTEN, ids=[row[0] for row in FORGOTTEN])
def test_an_image_that_only_a_pull_brings_back(
    place: Place, what: str, damage: Callable[[Place], object], text: str
) -> None:
    damage(place)
    [problem] = check(place.session, repair=True).problems
    assert (problem.kind, problem.cured) == ("image", True)
    assert problem.text.startswith(text)
    assert "udocker pull " in problem.cure
    assert told(place) == []
    assert list(place.store.images.all()) == []
    assert (place.tree / "root/etc/shadow").read_bytes() == b"root"  # the container's
    pull(place.session, place.reference)
    assert told(place) == []


def test_a_tree_without_its_layers(place: Place) -> None:
    """Nothing tells what is wrong in it but its index."""
    place.layer.unlink()
    assert told(place) == []
    (place.tree / "index.jsonl").write_bytes(b"{")
    [problem] = check(place.session, repair=True).problems
    assert (problem.kind, problem.cured) == ("tree", False)
    assert problem.cure == "none here: its layers are not in the store"
    place.store.containers.remove("box")
    [problem] = check(place.session, repair=True).problems
    assert problem.cured
    assert list(place.store.trees.all()) == list(place.store.images.all()) == []
    assert told(place) == []
    pull(place.session, place.reference)
    assert told(place) == []


def test_an_image_whose_tree_and_layers_are_gone(place: Place) -> None:
    shutil.rmtree(place.tree)
    broken(place.layer)
    found = check(place.session, repair=True).problems
    assert [(p.kind, p.cured) for p in found] == [
        ("blob", True),
        ("image", True),
        ("container", False),
    ]
    assert found[2].cure.startswith("udocker pull ")
    pull(place.session, place.reference)
    assert told(place) == []
    assert (place.container / "upper/written").exists()


def test_a_container_whose_image_is_gone_keeps_what_it_has(place: Place) -> None:
    remove_image(place.session, str(place.reference))
    for name in ("container.json", "config.json"):
        kept = (place.container / name).read_bytes()
        (place.container / name).write_bytes(b"{")
        [problem] = check(place.session, repair=True).problems
        assert (problem.kind, problem.cured) == ("container", False)
        assert problem.cure == "none: the image it was made of is not in the store"
        (place.container / name).write_bytes(kept)
    assert told(place) == []


def test_what_a_container_wrote_cannot_be_brought_back(place: Place) -> None:
    place.store.containers.make_ready(place.store.containers.all()[0])
    assert told(place) == []
    shutil.rmtree(place.container / "upper")
    assert told(place, repair=True) == ["container: what it wrote is gone: upper is missing"]
    assert told(place) == []


def test_a_container_with_a_copy_of_its_image(place: Place) -> None:
    private_copy(place.session, place.store.containers.get("box"))
    (place.container / "container.json").unlink()
    check(place.session, repair=True)
    container = place.store.containers.get("box")
    assert (container.form, container.mode) == ("plain", "")
    assert (Path(container.root) / "written").exists()
    shutil.rmtree(container.root)
    [problem] = check(place.session, repair=True).problems
    assert (problem.text, problem.cured) == ("its files are gone: ROOT is missing", False)


def test_a_store_that_was_moved(place: Place, store_path: Path) -> None:
    store_path.rename(store_path.parent / "elsewhere")
    session = make_session(store_path.parent / "elsewhere", host())
    checked = check(session, repair=True)
    assert [(p.kind, p.cured) for p in checked.problems] == [("container", True)]
    assert os.path.isdir(session.store.containers.get("box").tree)
    assert check(session).problems == ()


def test_nothing_is_changed_under_a_container_that_runs(place: Place) -> None:
    place.store.containers.enter(place.store.containers.get("box"))
    (place.tree / "root/etc/shadow").write_bytes(b"Root")
    [problem] = check(place.session, repair=True).problems
    assert not problem.cured
    short = place.container.name[:12]
    assert problem.text.endswith(f"; not repaired: container {short} is running on it")
    assert (place.tree / "root/etc/shadow").read_bytes() == b"Root"


@pytest.mark.parametrize("file", ["config.json", "container.json"])
def test_a_container_that_is_removed_meanwhile(
    place: Place, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes when something of it has been looked at, and is no damage."""
    opened = f"{place.container}/{file}"

    def removing(real: Callable[..., object]) -> Callable[..., object]:
        def opening(path: str, *words: object, **more: object) -> object:
            if path == opened and os.path.exists(path):
                place.store.containers.delete(place.container.name)
            return real(path, *words, **more)

        return opening

    monkeypatch.setattr("builtins.open", removing(open))
    monkeypatch.setattr("os.open", removing(os.open))
    assert told(place) == []
    assert not place.container.exists()


def test_a_quick_look(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsck, "unpack_into", lambda *_: pytest.fail("it was unpacked"))
    broken(place.layer)
    assert told(place, quick=True) == []
    (place.tree / "index.jsonl").unlink()
    assert told(place, quick=True) == ["tree: its index is missing"]


def test_no_room_to_unpack(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/x")

    monkeypatch.setattr(fsck, "unpack_into", full)
    with pytest.raises(NoSpaceError, match="to compare it: No space left") as caught:
        check(place.session)
    assert caught.value.hint == "udocker fsck --quick needs no space"


def test_as_json(place: Place) -> None:
    (place.tree / "index.jsonl").unlink()
    assert check(place.session).as_json() == {
        "checked": {"blobs": 4, "images": 1, "trees": 1, "containers": 1},
        "problems": [
            {
                "kind": "tree",
                "name": str(place.record.chain_id),
                "problem": "its index is missing",
                "cure": "unpack it again",
                "repaired": False,
            }
        ],
        "left": 1,
    }


# One image


def told_of_image(place: Place) -> list[str]:
    return [f"{p.kind}: {p.text}" for p in verify(place.session, str(place.reference)).problems]


def test_an_image_without_damage(place: Place) -> None:
    checked = verify(place.session, str(place.reference))
    assert (checked.problems, checked.left) == ((), 0)
    assert dict(checked.counts) == {"blobs": 4, "trees": 1}


@pytest.mark.parametrize(
    ("damage", "problems"),
    [
        (lambda p: broken(p.layer), ["blob: its bytes are not what its name says"]),
        (lambda p: p.layer.unlink(), ["blob: is missing"]),
        (
            lambda p: broken(p.blob(p.record.config)),
            ["blob: its bytes are not what its name says"],
        ),
        (
            lambda p: broken(p.blob(p.record.manifest)),
            ["image: its manifest is missing or damaged"],
        ),
        (
            lambda p: (p.tree / "root/etc/shadow").write_bytes(b"Root"),
            ["tree: /etc/shadow: has another time"],
        ),
        (lambda p: shutil.rmtree(p.tree), ["image: its files are gone"]),
        (
            lambda p: [p.layer.unlink(), shutil.rmtree(p.tree)],
            ["blob: is missing", "image: its files are gone"],
        ),
    ],
)
def test_what_is_wrong_with_an_image(
    place: Place, damage: Callable[[Place], object], problems: list[str]
) -> None:
    damage(place)
    assert told_of_image(place) == problems
    assert verify(place.session, str(place.reference)).left == len(problems)


def test_other_images_are_no_matter(place: Place) -> None:
    add_image(place.store, "other")
    path = Path(place.store.images.path(Reference.parse("other")))
    path.write_bytes(b"{")
    assert told_of_image(place) == []


def test_an_image_that_is_not_there(place: Place) -> None:
    with pytest.raises(ImageNotFound, match="no such image: none"):
        verify(place.session, "none")
