"""pull, images and rmi as people and scripts see them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from builders.commands import Udocker
from fakes.registry import FakeRegistry, make_image, make_layer
from udocker.cli.table import age, columns, megabytes


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    return Udocker(tmp_path)


def test_a_list_for_people(udocker: Udocker) -> None:
    one = udocker.add("ann/tool:1.0", layer=b"x" * 1_234_567)
    two = udocker.add("quay.io/b:latest", architecture="arm64")
    ended = udocker("images")
    assert (ended.code, ended.err) == (0, "")
    head, first, second = (re.split(r" {3,}", line) for line in ended.out.splitlines())
    assert head == ["REPOSITORY:TAG", "IMAGE ID", "PULLED", "SIZE", "PLATFORM"]
    assert [first[0], first[1], first[3], first[4]] == [
        "ann/tool:1.0",
        one.config.short,
        "1.2 MB",
        "linux/amd64",
    ]
    assert second[0] == "quay.io/b:latest"
    assert second[4] == "linux/arm64"
    assert udocker("images", "--no-trunc").out.splitlines()[2].split()[1] == two.config.hex


def test_a_list_for_scripts(udocker: Udocker) -> None:
    record = udocker.add("ann/tool:1.0", layer=b"x")
    assert udocker("images", "-q").out == f"{record.config.short}\n"
    [image] = json.loads(udocker("images", "--json").out)
    assert image == {
        "name": "ann/tool:1.0",
        "reference": "docker.io/ann/tool:1.0",
        "id": str(record.config),
        "manifest": str(record.manifest),
        "platform": "linux/amd64",
        "pulled": record.created,
        "size": 1,
    }


def test_an_empty_list(udocker: Udocker) -> None:
    assert len(udocker("images").out.splitlines()) == 1
    assert udocker("images", "--quiet").out == ""
    assert json.loads(udocker("images", "--json").out) == []
    assert not udocker.store_path.exists()


def test_removal(udocker: Udocker) -> None:
    record = udocker.add("one", layer=b"one")
    udocker.add("two", layer=b"two")
    ended = udocker("rmi", "one", "two")
    assert ended.code == 0
    assert ended.out.splitlines()[:2] == [
        "Untagged: docker.io/library/one:latest",
        f"Deleted: {record.chain_id}",
    ]
    assert udocker("images", "-q").out == ""
    ended = udocker("rmi", "one")
    assert (ended.code, ended.out) == (125, "")
    assert ended.err == "udocker: no such image: one\n  try: udocker images lists them\n"
    ended = udocker("rmi", "-f", "one", "two")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_removal_by_id(udocker: Udocker) -> None:
    udocker.add("one")
    identity = udocker("images", "-q").out.strip()
    assert udocker("rmi", identity).code == 0
    assert udocker("images", "-q").out == ""


def test_tag(udocker: Udocker) -> None:
    record = udocker.add("one", layer=b"one")
    udocker.add("other", layer=b"other")
    for source, target in (
        ("one", "quay.io/a/b:1"),
        (record.config.short, "other"),
        ("one", "one"),
    ):
        ended = udocker("tag", source, target)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    listed = {each["name"]: each for each in json.loads(udocker("images", "--json").out)}
    assert set(listed) == {"one:latest", "other:latest", "quay.io/a/b:1"}
    assert {each["id"] for each in listed.values()} == {str(record.config)}
    # The files stay as long as one name means them.
    for name in ("one", "other"):
        assert "Deleted: " + str(record.chain_id) not in udocker("rmi", name).out
        assert udocker("create", "--pull=never", "quay.io/a/b:1").code == 0
    udocker("rm", *udocker("ps", "-q").out.split())
    assert f"Deleted: {record.chain_id}" in udocker("rmi", "quay.io/a/b:1").out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("none", "new"), 125, "no such image: none"),
        (("one", "UPPER"), 2, "image names are lower case: 'UPPER'"),
        (("one", "new:"), 2, "not a tag: ''"),
        (("one", f"new@sha256:{'0' * 64}"), 2, "not a name to give: "),
        (("one", "a/../b"), 2, "not an image name"),
        (("one", ""), 2, "no image name in ''"),
        (("one",), 2, "tag: an argument is missing"),
        (("one", "two", "three"), 2, "tag: unexpected argument 'three'"),
        (("one", "gone"), 125, "the files of docker.io/library/one:latest are gone"),
    ],
)
def test_tags_that_cannot_be(
    udocker: Udocker, words: tuple[str, ...], code: int, text: str
) -> None:
    record = udocker.add("one")
    if "gone" in words:
        Path(udocker.store.trees.path(record.chain_id)).rename(udocker.top / "away")
    ended = udocker("tag", *words)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(f"udocker: {text}")
    assert "Traceback" not in ended.err
    assert [each.reference for each in udocker.store.images.all()] == [record.reference]


def test_pull_takes_the_platform_and_the_registry_that_are_said(udocker: Udocker) -> None:
    with FakeRegistry() as registry:
        make_image(registry, "a/b", "latest", [make_layer({"f": b""})], platform="linux/arm64")
        for host in (registry.host, f"http://{registry.host}", f"https://{registry.host}"):
            ended = udocker("pull", f"--registry={host}", "--platform=linux/aarch64", "a/b")
            assert ended.code == 0, ended
        assert ended.out == ""
        [image] = json.loads(udocker("images", "--json").out)
        assert image["reference"] == f"{registry.host}/a/b:latest"
        assert image["platform"] == "linux/arm64"
        ended = udocker("pull", "a/b", env={"UDOCKER_REGISTRY": registry.host})
        assert "is made for linux/arm64, not for linux/" in ended.err


def test_a_damaged_record_is_told_with_its_path(udocker: Udocker) -> None:
    udocker.add("one")
    [path] = udocker.store_path.glob("images/**/_tags/latest")
    path.write_bytes(b"{")
    for words in (("create", "one"), ("rmi", "one")):
        ended = udocker(*words)
        assert ended.code == 125
        assert ended.err.startswith(f"udocker: the image record {path} is damaged\n")
        assert "Traceback" not in ended.err


def test_damaged_images_do_not_keep_others_from_the_list(udocker: Udocker) -> None:
    sound = udocker.add("sound", layer=b"sound")
    udocker.add("bad", layer=b"bad")
    [path] = udocker.store_path.glob("images/**/bad/_tags/latest")
    path.write_bytes(b"{")
    gone = udocker.add("gone", layer=b"gone")
    Path(udocker.store.blobs.path(gone.manifest)).unlink()
    for words in ((), ("-q",), ("--json",)):
        ended = udocker("images", *words)
        assert ended.code == 0
        assert ended.out.count(sound.config.short) == 1
        assert gone.config.short not in ended.out
        first, second = ended.err.splitlines()
        assert first.startswith(f"udocker: warning: the image record {path} is damaged; ")
        assert second.startswith("udocker: warning: image docker.io/library/gone:latest is damaged")
        assert second.endswith("udocker pull docker.io/library/gone:latest may mend it")
    assert "sound:latest" in udocker("df", "-v").out
    # Another's damage does not hide an image that is asked for by its id.
    assert udocker("inspect", sound.config.short).code == 0


# Tables


def test_cells_are_aligned() -> None:
    assert columns([("A", "BB", "C"), ("aaa", "b", "")]) == "A     BB   C\naaa   b"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0.0 MB"), (1_249_999, "1.2 MB"), (12_345_678_901, "12345.7 MB")]
)
def test_sizes(size: int, text: str) -> None:
    assert megabytes(size) == text


@pytest.mark.parametrize("moment", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00"])
def test_moments_that_are_none(moment: str) -> None:
    assert age(moment) == "unknown"


def test_ages() -> None:
    assert age("9999-01-01T00:00:00+00:00") == "just now"
    assert re.fullmatch(r"\d{4,} weeks ago", age("1970-01-01T00:00:00+00:00"))
