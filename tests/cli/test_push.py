"""push and manifest as people and scripts see them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from builders.commands import Udocker
from fakes.registry import OCI_MANIFEST, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    return Udocker(tmp_path)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def test_the_digest_is_printed(udocker: Udocker, fake: FakeRegistry) -> None:
    record = udocker.add("one", layer=b"layer")
    ended = udocker("push", "one", f"{fake.host}/a/b")
    size = len(fake.manifests["a/b", "latest"][0])
    assert ended.out == f"latest: digest: {record.manifest} size: {size}\n"
    assert f"pushing {fake.host}/a/b:latest: blobs: 2 sent" in ended.err
    ended = udocker("push", "one", f"{fake.host}/a/b")
    assert "blobs: 2 there" in ended.err


def test_quietly(udocker: Udocker, fake: FakeRegistry) -> None:
    udocker.add("one")
    for words in (["push", "-q"], ["-q", "push"]):
        ended = udocker(*words, "one", f"{fake.host}/a/b")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("latest: digest: sha256:")


@pytest.mark.parametrize("registry", ["{}", "http://{}"])
def test_the_option_registry(udocker: Udocker, fake: FakeRegistry, registry: str) -> None:
    udocker.add("one:1")
    assert udocker("push", f"--registry={registry.format(fake.host)}", "one:1").code == 0
    assert ("one", "1") in fake.manifests
    shown = udocker("manifest", "inspect", "--registry", registry.format(fake.host), "one:1")
    assert json.loads(shown.out) == json.loads(fake.manifests["one", "1"][0])


def test_a_manifest_is_shown(udocker: Udocker, fake: FakeRegistry) -> None:
    raw = b'{"schemaVersion":2,  "mediaType": "x/y", "a": "\\u001b[1m"}'
    digest = fake.add_manifest("a/b", "latest", raw, OCI_MANIFEST)
    for name in (f"{fake.host}/a/b", f"{fake.host}/a/b@{digest}"):
        ended = udocker("manifest", "inspect", name)
        assert ended.err == ""
        assert list(json.loads(ended.out)) == ["schemaVersion", "mediaType", "a"]
        assert ended.out.splitlines()[1] == '  "schemaVersion": 2,'
        assert "\x1b" not in ended.out
        assert udocker("manifest", "inspect", "--raw", name).out.encode() == raw
    assert not udocker.store_path.exists()


def test_what_is_not_json(udocker: Udocker, fake: FakeRegistry) -> None:
    fake.add_manifest("a/b", "latest", b"{", OCI_MANIFEST)
    ended = udocker("manifest", "inspect", f"{fake.host}/a/b")
    assert (ended.code, ended.out) == (125, "")
    assert ended.err == f"udocker: {fake.host}/a/b is not JSON\n  try: --raw prints it as it is\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["push"], "argument is missing"),
        (["push", "a", "b", "c"], "unexpected argument 'c'"),
        (["push", "--all-tags", "a"], "--all-tags"),
        (["push", "--registry=nohost", "a"], "not a registry host"),
        (["manifest"], "argument is missing"),
        (["manifest", "inspect"], "argument is missing"),
        (["manifest", "create", "a"], "unknown word 'create'"),
        (["manifest", "inspect", "a", "b"], "unexpected argument 'b'"),
        (["manifest", "inspect", "A"], "lower case"),
    ],
)
def test_a_bad_command_line(udocker: Udocker, words: list[str], told: str) -> None:
    ended = udocker(*words)
    assert (ended.code, ended.out) == (2, ""), ended
    assert told in ended.err.splitlines()[0]
    assert ended.err.splitlines()[1].startswith("  try: ")
    assert not udocker.store_path.exists()


def test_a_name_for_several_platforms(udocker: Udocker, fake: FakeRegistry) -> None:
    udocker.add("one", layer=b"layer")
    ended = udocker("manifest", "push", f"{fake.host}/a/b", "one")
    index = fake.manifests["a/b", "latest"][0]
    digest = hashlib.sha256(index).hexdigest()
    assert ended.out == f"latest: digest: sha256:{digest} size: {len(index)}\n"
    assert "1 image; blobs: 2 sent" in ended.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("push", "a"), "manifest push: an argument is missing"),
        (("inspect",), "manifest inspect: an argument is missing"),
        (("inspect", "a", "b"), "manifest inspect: unexpected argument 'b'"),
        (("create", "a", "b"), "manifest: unknown word 'create'"),
    ],
)
def test_bad_words(udocker: Udocker, words: tuple[str, ...], told: str) -> None:
    ended = udocker("manifest", *words)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
