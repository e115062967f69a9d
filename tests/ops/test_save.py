"""Saved images: what is in the archive, that it is whole or absent, and that it can be loaded."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.archives import Image, Layout, docker_files, tar
from builders.hosts import host
from builders.sessions import session as make_session
from udocker.errors import ImageNotFound, StoreError, UsageError, VerificationError
from udocker.model.oci import OCI_LAYER, OCI_MANIFEST, Manifest
from udocker.model.reference import Digest, Reference
from udocker.model.value import replace
from udocker.ops.load import load
from udocker.ops.save import FORMATS, save

if TYPE_CHECKING:
    from builders.sessions import TestSession
    from udocker.store.images import ImageRecord

ONE = Image(tar({"a": os.urandom(1000)}), tar({"b": b"2"}), packing="gzip")
TWO = Image(ONE.plain[0], tar({"c": b"3"}), packing="gzip")


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host())


def put(session: TestSession, image: Image, *names: str) -> list[ImageRecord]:
    path = Path(session.store.topdir).with_name("put.tar")
    path.write_bytes(tar(docker_files((image, names))))
    return load(session, str(path))


def put_oci(session: TestSession, image: Image, name: str) -> ImageRecord:
    path = Path(session.store.topdir).with_name("put-oci.tar")
    path.write_bytes(tar(Layout().add(image, name).files))
    return load(session, str(path))[0]


def read(path: Path) -> dict[str, bytes]:
    """All files of an archive, or of a directory."""
    if path.is_dir():
        files = (each for each in path.rglob("*") if each.is_file())
        return {str(each.relative_to(path)): each.read_bytes() for each in files}
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isdir():
                continue
            stream = archive.extractfile(member)
            assert stream is not None
            assert member.name not in found
            found[member.name] = stream.read()
    return found


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_it_is_loaded_as_it_was(
    session: TestSession, tmp_path: Path, form: str, packing: str, kind: str
) -> None:
    image = Image(*ONE.plain, packing=packing)
    if kind == "docker":
        [record] = put(session, image, "a:1")
    else:
        record = put_oci(session, image, "docker.io/library/a:1")
    target = tmp_path / "out"
    save(session, ["a:1"], str(target), form)
    fresh = make_session(tmp_path / "fresh", host())
    [loaded] = load(fresh, str(target))
    assert (loaded.reference, loaded.config) == (record.reference, record.config)
    if kind == "oci":
        assert loaded.manifest == record.manifest
    files = read(target)
    assert ("manifest.json" in files) == (form == "docker-archive")
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{Digest.of(data).hex}"
    for layer in image.layers:
        assert files[f"blobs/sha256/{Digest.of(layer).hex}"] == layer
    again = tmp_path / "again"
    save(session, ["a:1"], str(again), form)
    assert read(again) == files
    if not target.is_dir():
        assert again.read_bytes() == target.read_bytes()


def test_several_share_their_layers(session: TestSession, tmp_path: Path) -> None:
    put(session, ONE, "a:1", "q.io/a:2")
    put(session, TWO, "b:1")
    target = tmp_path / "out.tar"
    save(session, ["a:1", "b:1", "q.io/a:2", "a:1"], str(target))
    files = read(target)
    listed = json.loads(files["manifest.json"])
    assert [entry["RepoTags"] for entry in listed] == [
        ["docker.io/library/a:1", "q.io/a:2"],
        ["docker.io/library/b:1"],
    ]
    assert listed[0]["Layers"][0] == listed[1]["Layers"][0]
    assert all(files[entry["Config"]] for entry in listed)
    blobs = [name for name in files if name.startswith("blobs/")]
    assert len(blobs) == 3 + 2 + 2  # layers, configurations, manifests


def test_manifests_of_docker_become_those_of_oci(session: TestSession, tmp_path: Path) -> None:
    [record] = put(session, ONE, "a:1")
    target = tmp_path / "out"
    save(session, ["a:1"], str(target), "oci-dir")
    files = read(target)
    [entry] = json.loads(files["index.json"])["manifests"]
    assert entry["mediaType"] == OCI_MANIFEST
    assert entry["platform"] == {"os": "linux", "architecture": "amd64"}
    manifest = Manifest.parse(files[f"blobs/sha256/{entry['digest'][7:]}"], "", "test")
    assert manifest.digest != record.manifest
    assert manifest.config.digest == record.config
    assert {layer.media_type for layer in manifest.layers} == {f"{OCI_LAYER}+gzip"}


def test_by_id(session: TestSession, tmp_path: Path) -> None:
    [record] = put(session, ONE, "a:1")
    target = tmp_path / "out.tar"
    save(session, [record.config.short], str(target))
    assert json.loads(read(target)["manifest.json"])[0]["RepoTags"] == ["docker.io/library/a:1"]


def test_without_a_tag(session: TestSession, tmp_path: Path) -> None:
    [record] = put(session, ONE, "a:1")
    name = Reference.parse(f"a@{record.manifest}")
    session.store.images.put(name, replace(record, reference=name.canonical))
    session.store.images.remove(Reference.parse("a:1"))
    target = tmp_path / "out.tar"
    save(session, [f"a@{record.manifest}"], str(target))
    files = read(target)
    assert json.loads(files["manifest.json"])[0]["RepoTags"] is None
    assert "annotations" not in json.loads(files["index.json"])["manifests"][0]


def test_to_stdout(session: TestSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(session, ONE, "a:1")
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data))
    save(session, ["a:1"], "-")
    save(session, ["a:1"], str(tmp_path / "out.tar"))
    assert data.getvalue() == (tmp_path / "out.tar").read_bytes()
    with pytest.raises(UsageError, match="stdout"):
        save(session, ["a:1"], "-", "oci-dir")


class TestFailures:
    def left(self, tmp_path: Path) -> set[str]:
        return {path.name for path in tmp_path.iterdir()} - {"store", "put.tar", "put-oci.tar"}

    def test_no_such_image(self, session: TestSession, tmp_path: Path) -> None:
        put(session, ONE, "a:1")
        with pytest.raises(ImageNotFound):
            save(session, ["a:1", "b:1"], str(tmp_path / "out"))
        assert self.left(tmp_path) == set()

    def test_a_layer_is_not_there(self, session: TestSession, tmp_path: Path) -> None:
        put(session, ONE, "a:1")
        session.store.blobs.remove(Digest.of(ONE.layers[1]))
        with pytest.raises(StoreError, match="library/a:1 cannot be saved: its layer sha256"):
            save(session, ["a:1"], str(tmp_path / "out"))
        assert self.left(tmp_path) == set()

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_layer_is_damaged(self, session: TestSession, tmp_path: Path, form: str) -> None:
        put(session, ONE, "a:1")
        place = Path(session.store.blobs.path(Digest.of(ONE.layers[1])))
        place.write_bytes(place.read_bytes()[:-1] + b"x")
        target = tmp_path / "out"
        if form != "oci-dir":
            target.write_bytes(b"what was there")
        with pytest.raises(VerificationError, match="damaged"):
            save(session, ["a:1"], str(target), form)
        if form == "oci-dir":
            assert self.left(tmp_path) == set()
        else:
            assert self.left(tmp_path) == {"out"}
            assert target.read_bytes() == b"what was there"

    def test_it_cannot_be_written(self, session: TestSession, tmp_path: Path) -> None:
        put(session, ONE, "a:1")
        with pytest.raises(StoreError, match=r"saving to /dev/full: No space left"):
            save(session, ["a:1"], "/dev/full")
        with pytest.raises(StoreError, match="Is a directory"):
            save(session, ["a:1"], str(tmp_path))
        with pytest.raises(StoreError, match="absent/out: No such file"):
            save(session, ["a:1"], str(tmp_path / "absent" / "out"))

    def test_a_directory_that_is_there(self, session: TestSession, tmp_path: Path) -> None:
        put(session, ONE, "a:1")
        target = tmp_path / "out"
        target.mkdir()
        save(session, ["a:1"], f"{target}/", "oci-dir")
        with pytest.raises(StoreError, match="there already"):
            save(session, ["a:1"], str(target), "oci-dir")
        assert self.left(tmp_path) == {"out"}
        assert "index.json" in read(target)

    def test_a_store_that_is_only_read(self, session: TestSession, tmp_path: Path) -> None:
        put(session, ONE, "a:1")
        other = make_session(tmp_path / "mine", host(), repos=(session.store.topdir,))
        save(other, ["a:1"], str(tmp_path / "out"))
        assert "manifest.json" in read(tmp_path / "out")
        assert not (tmp_path / "mine").exists()
