"""Images in the store: which a text means, what goes with one that is removed."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from builders.stores import add_image, config_of
from udocker.errors import ImageNotFound, StoreError
from udocker.model.oci import Platform
from udocker.model.reference import Digest, Reference
from udocker.ops.create import create
from udocker.ops.images import find_image, get_image, list_images, remove_image

if TYPE_CHECKING:
    from typing import Any

    from builders.sessions import TestSession


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host())


def names(session: TestSession) -> list[str]:
    return [image.name for image in list_images(session)]


def left(session: TestSession) -> tuple[int, int, int]:
    """How many images, trees and blobs there are."""
    store = session.store
    assert os.listdir(f"{store.topdir}/tmp") == []
    return len(list(store.images.all())), len(list(store.trees.all())), len(list(store.blobs.all()))


def test_a_list_has_every_image_by_its_shortest_name(session: TestSession) -> None:
    assert list_images(session) == []
    assert not os.path.exists(session.store.topdir)
    digest = f"sha256:{'d' * 64}"
    for number, name in enumerate(["test:1", "ann/tool", "quay.io/a/b:x", f"test@{digest}"]):
        add_image(session.store, name, layer=bytes(number))
    assert names(session) == ["ann/tool:latest", f"test@{digest}", "test:1", "quay.io/a/b:x"]
    sizes = {image.name: image.size for image in list_images(session)}
    assert sizes["quay.io/a/b:x"] == 2
    shown = list_images(session)[2].as_json()
    assert shown["name"] == "test:1"
    assert shown["reference"] == "docker.io/library/test:1"
    assert shown["platform"] == "linux/amd64"
    assert shown["size"] == 0


def test_a_damaged_manifest_is_warned_of(session: TestSession) -> None:
    record = add_image(session.store, "test:1")
    os.unlink(session.store.blobs.path(record.manifest))
    assert list_images(session) == []
    [warning] = session.report.warnings
    assert "test:1 is damaged: reading the store: No such file" in warning


# Which image a text means


def test_names_and_ids(session: TestSession) -> None:
    record = add_image(session.store, "test:1")
    identity = record.config.hex
    for text in ("test:1", "docker.io/library/test:1", identity, f"sha256:{identity}"):
        assert get_image(session, text) == record
    assert get_image(session, identity[:4]) == record
    assert get_image(session, f"sha256:{identity[:4]}") == record
    for text in ("test", "test:2", identity[:3], "f" * 64, "", "UPPER", "sha256:", "a/b@c"):
        with pytest.raises(ImageNotFound, match="no such image: ") as caught:
            get_image(session, text)
        assert caught.value.hint == "udocker images lists them"


def test_the_registry_of_the_settings_is_meant(store_path: Path) -> None:
    session = make_session(store_path, host(), registry="quay.io")
    record = add_image(session.store, "quay.io/test:1")
    assert get_image(session, "test:1") == record


def test_two_names_of_one_image_are_one_id(session: TestSession) -> None:
    record = add_image(session.store, "test:1")
    add_image(session.store, "test:2")
    assert get_image(session, record.config.hex[:8]).config == record.config


def test_the_beginning_of_two_ids(session: TestSession) -> None:
    seen: dict[str, dict[str, Any]] = {}
    for number in itertools.count():
        run = {"Cmd": [str(number)]}
        short = config_of(run).digest.hex[:4]
        if short in seen:
            break
        seen[short] = run
    add_image(session.store, "one", run=run)
    add_image(session.store, "two", run=seen[short])
    with pytest.raises(ImageNotFound, match="is the beginning of several image ids"):
        get_image(session, short)


def test_a_platform_may_be_asked_for(session: TestSession) -> None:
    record = add_image(session.store, "test", architecture="arm64")
    reference = Reference.parse("test")
    assert find_image(session, reference) == record
    assert find_image(session, reference, Platform.parse("linux/arm64/v8")) == record
    assert find_image(session, reference, Platform.parse("linux/amd64")) is None
    assert find_image(session, Reference.parse("other")) is None


# Removal


def test_all_of_an_image_goes(session: TestSession) -> None:
    record = add_image(session.store, "test:1", {"dir/file": b""}, layer=b"a layer")
    assert left(session) == (1, 1, 3)
    assert remove_image(session, "test:1") == [
        "Untagged: docker.io/library/test:1",
        f"Deleted: {record.chain_id}",
    ]
    assert left(session) == (0, 0, 0)


def test_what_other_images_need_stays(session: TestSession) -> None:
    one = add_image(session.store, "one", run={"Cmd": ["1"]}, layer=b"shared")
    two = add_image(session.store, "two", run={"Cmd": ["2"]}, layer=b"shared")
    add_image(session.store, "three", layer=b"other")
    assert one.chain_id == two.chain_id
    assert left(session) == (3, 2, 8)
    assert remove_image(session, "one") == ["Untagged: docker.io/library/one:latest"]
    assert left(session) == (2, 2, 6)
    assert session.store.blobs.read(Digest.of(b"shared")) == b"shared"
    assert len(remove_image(session, "two")) == 2
    assert left(session) == (1, 1, 3)


def test_one_of_two_names_goes_alone(session: TestSession) -> None:
    record = add_image(session.store, "test:1")
    add_image(session.store, "test:2")
    assert remove_image(session, "test:1") == ["Untagged: docker.io/library/test:1"]
    assert names(session) == ["test:2"]
    assert len(list(session.store.blobs.all())) == 3
    assert session.store.trees.has(record.chain_id)
    assert len(remove_image(session, record.config.hex[:12])) == 2
    assert left(session) == (0, 0, 0)


def test_a_container_keeps_its_tree(session: TestSession) -> None:
    record = add_image(session.store, "test", {"file": b"of the image"})
    made = create(session, Reference.parse("test"), name="box")
    assert remove_image(session, "test") == ["Untagged: docker.io/library/test:latest"]
    assert left(session) == (0, 1, 0)
    assert Path(made.tree, "file").read_bytes() == b"of the image"
    session.store.containers.delete(made.id)
    add_image(session.store, "other", layer=b"other")
    assert f"Deleted: {record.chain_id}" in remove_image(session, "other")
    assert left(session) == (0, 0, 0)


def test_a_tree_from_before_a_tag_moved_goes_too(session: TestSession) -> None:
    add_image(session.store, "test", layer=b"old")
    add_image(session.store, "test", layer=b"new")
    assert len(list(session.store.trees.all())) == 2
    assert len(remove_image(session, "test")) == 3
    assert list(session.store.trees.all()) == []


def test_what_is_not_there(session: TestSession) -> None:
    with pytest.raises(ImageNotFound):
        remove_image(session, "test")
    assert remove_image(session, "test", force=True) == []
    assert not os.path.exists(session.store.topdir)


@pytest.mark.parametrize("part", ["manifest", "config"])
@pytest.mark.parametrize("damage", [None, b"", b"{}"])
def test_a_damaged_image_can_be_removed(
    session: TestSession, part: str, damage: bytes | None
) -> None:
    record = add_image(session.store, "test", layer=b"x")
    place = session.store.blobs.path(getattr(record, part))
    if damage is None:
        os.unlink(place)
    else:
        Path(place).write_bytes(damage)
    assert len(remove_image(session, "test")) == 2
    assert names(session) == []


def test_a_damaged_container_protects_all_trees(session: TestSession) -> None:
    """It may run on any of them: nothing is deleted before that is known."""
    record = add_image(session.store, "test", {"file": b""})
    made = create(session, Reference.parse("test"))
    Path(made.path, "container.json").write_bytes(b"{")
    with pytest.raises(StoreError, match="is damaged") as caught:
        remove_image(session, "test")
    assert "udocker fsck --repair" in str(caught.value.hint)
    assert session.store.trees.has(record.chain_id)
    assert names(session) == ["test:latest"]
