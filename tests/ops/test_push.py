"""Which image is pushed where to, and which of its blobs are sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from builders.stores import add_image
from fakes.registry import FakeRegistry
from udocker.errors import (
    BadReference,
    ImageNotFound,
    StoreError,
    UsageError,
    VerificationError,
)
from udocker.model.oci import Manifest
from udocker.model.reference import Digest, Reference
from udocker.ops.push import push, push_index
from udocker.ops.tag import tag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builders.sessions import TestSession
    from udocker.model.oci import Descriptor
    from udocker.store.images import ImageRecord


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host())


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def raw(session: TestSession, record: ImageRecord) -> bytes:
    return session.store.blobs.read(record.manifest)


def layer_of(session: TestSession, record: ImageRecord) -> Descriptor:
    return Manifest.parse(raw(session, record), "", "test").layers[0]


def test_its_own_name_says_where(session: TestSession, fake: FakeRegistry) -> None:
    name = f"{fake.host}/a/b:1"
    record = add_image(session.store, name, layer=b"layer")
    receipt = push(session, name)
    manifest, _ = fake.manifests["a/b", "1"]
    assert manifest == raw(session, record)
    assert (receipt.tag, receipt.digest, receipt.size) == ("1", record.manifest, len(manifest))
    data = json.loads(manifest)
    assert fake.blobs[data["layers"][0]["digest"]] == b"layer"
    assert data["config"]["digest"] in fake.blobs


@pytest.mark.parametrize("prefix", ["", "sha256:"])
@pytest.mark.parametrize("length", [12, 64])
def test_an_id_means_its_name(
    session: TestSession, fake: FakeRegistry, prefix: str, length: int
) -> None:
    record = add_image(session.store, f"{fake.host}/a/b:1", layer=b"layer")
    push(session, prefix + record.config.hex[:length])
    assert ("a/b", "1") in fake.manifests


def test_a_destination(session: TestSession, fake: FakeRegistry) -> None:
    record = add_image(session.store, "one:1", layer=b"layer")
    push(session, "one:1", f"{fake.host}/a/b")
    assert fake.manifests["a/b", "latest"][0] == raw(session, record)


def test_the_registry_of_short_names(session: TestSession, fake: FakeRegistry) -> None:
    record = add_image(session.store, "one:1", layer=b"layer")
    push(session, "one:1", registry=fake.host)
    assert fake.manifests["one", "1"][0] == raw(session, record)
    push(session, "one:1", "two", registry=fake.host)
    assert fake.manifests["two", "latest"][0] == raw(session, record)
    own = add_image(session.store, f"{fake.host}/one:1", layer=b"another")
    push(session, "one:1", registry=fake.host)
    assert fake.manifests["one", "1"][0] == raw(session, own)


def test_the_registry_of_the_settings(store_path: Path, fake: FakeRegistry) -> None:
    session = make_session(store_path, host(), registry=fake.host)
    add_image(session.store, f"{fake.host}/one:1")
    push(session, "one:1")
    assert ("one", "1") in fake.manifests


def test_a_blob_of_another_name_is_mounted(session: TestSession, fake: FakeRegistry) -> None:
    record = add_image(session.store, f"{fake.host}/from/here:1", layer=b"layer")
    fake.uploads.elsewhere[str(layer_of(session, record).digest)] = ("from/here", b"layer")
    fake.uploads.elsewhere[str(record.config)] = ("from/here", b"config")
    push(session, f"{fake.host}/from/here:1", f"{fake.host}/to/there:1")
    assert [each for each in fake.log if each.method == "PATCH"] == []
    assert len([each for each in fake.log if each.method == "PUT"]) == 1, "the manifest alone"


def test_a_name_that_was_given_later_tells_too(session: TestSession, fake: FakeRegistry) -> None:
    add_image(session.store, "one:1", layer=b"layer")
    tag(session, "one:1", f"{fake.host}/from/here:1")
    push(session, "one:1", f"{fake.host}/to/there:1")
    asked = [each.query["from"] for each in fake.requests("mount=")]
    assert asked == [["from/here"]] * 2


def test_other_registries_are_no_source(session: TestSession, fake: FakeRegistry) -> None:
    add_image(session.store, "quay.io/from/here:1", layer=b"layer")
    add_image(session.store, f"{fake.host}/to/there:2", layer=b"layer")
    push(session, "quay.io/from/here:1", f"{fake.host}/to/there:1")
    assert fake.requests("mount=") == []


def test_a_damaged_image_beside_it(session: TestSession, fake: FakeRegistry) -> None:
    other = add_image(session.store, f"{fake.host}/other:1", layer=b"other")
    session.store.blobs.remove(other.manifest)
    add_image(session.store, "one:1", layer=b"layer")
    push(session, "one:1", f"{fake.host}/a/b")
    assert ("a/b", "latest") in fake.manifests


# What is wrong


def test_no_such_image(session: TestSession, fake: FakeRegistry) -> None:
    for name in ("one", "One:1", "deadbeef", f"{fake.host}/one"):
        with pytest.raises(ImageNotFound, match=f"no such image: {name}"):
            push(session, name, f"{fake.host}/a/b")
    assert fake.log == []


def test_a_digest_is_no_destination(session: TestSession, fake: FakeRegistry) -> None:
    add_image(session.store, "one:1", layer=b"layer")
    digest = f"sha256:{'0' * 64}"
    by_digest = add_image(session.store, f"{fake.host}/two@{digest}", layer=b"layer")
    words = [("one:1", f"{fake.host}/a/b@{digest}"), (f"{fake.host}/two@{digest}", None)]
    for text, destination in (*words, (by_digest.config.short, None)):
        if text == by_digest.config.short:
            session.store.images.remove(Reference.parse("one:1"))
        with pytest.raises(UsageError, match="cannot be pushed to") as raised:
            push(session, text, destination)
        assert str(raised.value.hint).startswith(f"push to {fake.host}/")
    assert fake.log == []


@pytest.mark.parametrize("name", ["A/B", "a b", "a:b:c", ""])
def test_a_destination_that_is_no_name(session: TestSession, name: str) -> None:
    add_image(session.store, "one:1")
    with pytest.raises(BadReference):
        push(session, "one:1", name)


def test_a_layer_that_is_not_here(session: TestSession, fake: FakeRegistry) -> None:
    record = add_image(session.store, "one:1", layer=b"layer")
    layer = layer_of(session, record)
    session.store.blobs.remove(layer.digest)
    with pytest.raises(StoreError, match=f"cannot be pushed: {layer.digest} is not in the store"):
        push(session, "one:1", f"{fake.host}/a/b")
    assert fake.manifests == {}
    fake.add_blob(b"layer")
    push(session, "one:1", f"{fake.host}/a/b")
    assert ("a/b", "latest") in fake.manifests


def test_a_layer_that_is_damaged(
    session: TestSession, fake: FakeRegistry, store_path: Path
) -> None:
    record = add_image(session.store, "one:1", layer=b"layer")
    digest = layer_of(session, record).digest
    path = store_path / "blobs" / "sha256" / digest.hex
    path.chmod(0o644)
    path.write_bytes(b"lAyer")
    with pytest.raises(VerificationError, match="is damaged"):
        push(session, "one:1", f"{fake.host}/a/b")
    assert fake.manifests == {}


# Several platforms


def two(session: TestSession) -> tuple[ImageRecord, ImageRecord]:
    one = add_image(session.store, "one:1", layer=b"layer")
    return one, add_image(session.store, "two:1", layer=b"other", architecture="arm64")


def test_an_index(session: TestSession, fake: FakeRegistry) -> None:
    records = two(session)
    receipt = push_index(session, f"{fake.host}/a/b:1", ["one:1", "two:1"])
    index, kind = fake.manifests["a/b", "1"]
    assert kind == "application/vnd.oci.image.index.v1+json"
    assert (receipt.tag, receipt.digest, receipt.size) == ("1", Digest.of(index), len(index))
    entries = json.loads(index)["manifests"]
    assert [entry["platform"] for entry in entries] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    for entry, record in zip(entries, records):
        manifest, kind = fake.manifests["a/b", entry["digest"]]
        assert (entry["size"], entry["mediaType"]) == (len(manifest), kind)
        assert manifest == raw(session, record)
    assert {b"layer", b"other"} <= set(fake.blobs.values())


def test_two_images_for_one_platform(session: TestSession, fake: FakeRegistry) -> None:
    two(session)
    with pytest.raises(UsageError, match=r"two images are for linux/amd64, the second is .*one:1"):
        push_index(session, f"{fake.host}/a/b:1", ["two:1", "one:1", "one:1"])
    assert fake.manifests == {}


def test_an_index_that_is_not_whole_is_not_there(session: TestSession, fake: FakeRegistry) -> None:
    two(session)
    with pytest.raises(ImageNotFound, match="none"):
        push_index(session, f"{fake.host}/a/b:1", ["one:1", "none"])
    session.store.blobs.remove(layer_of(session, two(session)[1]).digest)
    with pytest.raises(StoreError, match="only its files"):
        push_index(session, f"{fake.host}/a/b:1", ["one:1", "two:1"])
    assert ("a/b", "1") not in fake.manifests
    with pytest.raises(UsageError, match="a digest says what is there"):
        push_index(session, f"{fake.host}/a/b@sha256:{'0' * 64}", ["one:1"])
