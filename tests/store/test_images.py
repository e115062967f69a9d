"""References to images on disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from udocker.errors import StoreError, StoreUnwritableError
from udocker.model.reference import Digest, Reference
from udocker.model.value import replace
from udocker.store.images import ImageRecord, Images

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "sha256:" + "d" * 64


def record(name: str, number: int = 1) -> ImageRecord:
    return ImageRecord(
        reference=Reference.parse(name).canonical,
        manifest=Digest("sha256", f"{number:064x}"),
        index=Digest("sha256", "b" * 64),
        platform="linux/arm64/v8",
        config=Digest("sha256", "c" * 64),
        chain_id=Digest("sha256", "e" * 64),
        created="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture
def images(store_path: Path) -> Images:
    return Images(str(store_path / "images"))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("debian", "docker.io/library/debian/_tags/latest"),
        ("debian:12", "docker.io/library/debian/_tags/12"),
        ("ann/tool:V1.0_a", "docker.io/ann/tool/_tags/V1.0_a"),
        ("localhost:5000/a/b/c:x", "localhost:5000/a/b/c/_tags/x"),
        ("[::1]:5000/a:x", "[::1]:5000/a/_tags/x"),
        (f"quay.io/a/b@{DIGEST}", f"quay.io/a/b/_digests/sha256-{'d' * 64}"),
        (f"quay.io/a/b:tag@{DIGEST}", f"quay.io/a/b/_digests/sha256-{'d' * 64}"),
    ],
)
def test_every_reference_has_a_place_of_its_own(
    images: Images, store_path: Path, name: str, path: str
) -> None:
    reference = Reference.parse(name)
    assert images.get(reference) is None
    images.put(reference, record(name))
    assert (store_path / "images" / path).is_file()
    assert images.get(reference) == record(name)


def test_a_record_comes_back_whole(images: Images) -> None:
    for made in (record("a:b"), replace(record("a:b"), index=None)):
        images.put(Reference.parse("a:b"), made)
        assert images.get(Reference.parse("a:b")) == made


def test_a_tag_can_move(images: Images) -> None:
    images.put(Reference.parse("a:b"), record("a:b", 1))
    images.put(Reference.parse("a:b"), record("a:b", 2))
    [only] = images.all()
    assert only.manifest.hex == f"{2:064x}"


def test_a_repository_may_lie_inside_another(images: Images) -> None:
    names = ["x.io/a:1", "x.io/a/b:1", "x.io/a/b/c:1", f"x.io/a@{DIGEST}", "x.io/tags:1"]
    for number, name in enumerate(names):
        images.put(Reference.parse(name), record(name, number))
    assert {found.reference for found in images.all()} == {*names}
    assert images.remove(Reference.parse("x.io/a/b:1"))
    assert images.get(Reference.parse("x.io/a/b/c:1")) is not None
    assert images.get(Reference.parse("x.io/a:1")) is not None
    assert len(list(images.all())) == 4


@pytest.mark.parametrize("tag", ["v1.tmp", "tmp", "_tags", "a.TMP"])
def test_no_tag_is_taken_for_a_temporary_file(images: Images, tag: str) -> None:
    images.put(Reference.parse(f"a:{tag}"), record(f"a:{tag}"))
    assert [found.reference for found in images.all()] == [f"docker.io/library/a:{tag}"]


def test_what_a_killed_writer_left_is_not_an_image(images: Images, store_path: Path) -> None:
    images.put(Reference.parse("a:b"), record("a:b"))
    folder = store_path / "images/docker.io/library/a/_tags"
    (folder / f".{'0' * 32}.tmp").write_bytes(b'{"refer')
    assert len(list(images.all())) == 1


def test_remove_tells_whether_it_was_there_and_leaves_no_empty_folders(
    images: Images, store_path: Path
) -> None:
    reference = Reference.parse("quay.io/a/b:c")
    assert not images.remove(reference)
    images.put(reference, record("quay.io/a/b:c"))
    assert images.remove(reference)
    assert images.get(reference) is None
    assert os.listdir(store_path / "images") == []
    assert list(images.all()) == []


def test_no_store_has_no_images(images: Images) -> None:
    assert list(images.all()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"reference": "a", "manifest": "sha256:1", "index": null, "platform": "x", "config": "",'
        b' "chainId": "", "created": ""}',
        b'{"reference": "a", "manifest": 7, "index": null, "platform": "x", "config": "",'
        b' "chainId": "", "created": ""}',
    ],
)
def test_a_damaged_record_is_told_with_its_path(
    images: Images, store_path: Path, content: bytes
) -> None:
    images.put(Reference.parse("a:b"), record("a:b"))
    path = store_path / "images/docker.io/library/a/_tags/b"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        images.get(Reference.parse("a:b"))
    assert caught.value.message == f"the image record {path} is damaged"
    assert caught.value.hint == "remove that file and pull again"
    with pytest.raises(StoreError):
        list(images.all())


def test_what_cannot_be_read_is_not_called_absent(images: Images, store_path: Path) -> None:
    images.put(Reference.parse("a:b"), record("a:b"))
    folder = store_path / "images/docker.io"
    folder.chmod(0)
    try:
        with pytest.raises(StoreUnwritableError, match="reading the store: Permission denied"):
            images.get(Reference.parse("a:b"))
        with pytest.raises(StoreUnwritableError, match="reading the store: Permission denied"):
            list(images.all())
    finally:
        folder.chmod(0o755)


def test_a_store_that_may_not_be_written(images: Images, store_path: Path) -> None:
    (store_path / "images").mkdir(parents=True)
    (store_path / "images").chmod(0o500)
    with pytest.raises(StoreUnwritableError, match="storing the image: Permission denied"):
        images.put(Reference.parse("a:b"), record("a:b"))
