"""Images of a registry that are made to cost much: a pull says why not, and leaves nothing."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from fakes.registry import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, FakeRegistry, make_image
from udocker.errors import ArchiveLimitError, BadReplyError, UdockerError
from udocker.model.reference import Digest, Reference
from udocker.ops.pull import pull

NAME = "test/hostile"
MILLION = 1_000_000


def refused(registry: FakeRegistry, store: Path, **settings: int) -> UdockerError:
    """The error of a pull, after which nothing is there."""
    session = make_session(store, host(), **settings)
    with pytest.raises(UdockerError) as caught:
        pull(session, Reference.parse(f"{registry.host}/{NAME}"))
    assert list(session.store.images.all()) == []
    assert list(session.store.trees.all()) == []
    assert len(caught.value.message) < 500
    return caught.value


def claimed(size: int) -> bytes:
    """A small layer whose one file would have ``size`` bytes."""
    member = tarfile.TarInfo("zeros")
    member.size = size
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))


def test_a_bomb_by_ratio(registry: FakeRegistry, store_path: Path) -> None:
    make_image(registry, NAME, "latest", [claimed(5 << 30)])
    error = refused(registry, store_path)
    assert isinstance(error, ArchiveLimitError)
    assert "unpacks to more than 4294967296 bytes, at 'zeros'" in error.message
    assert str(error.hint).endswith("raise the limit max_unpack_ratio")
    allowed = refused(registry, store_path, max_unpack_ratio=10 * MILLION)
    assert "ends in the middle of 'zeros'" in allowed.message


def test_a_bomb_by_entries(registry: FakeRegistry, store_path: Path) -> None:
    entry = tarfile.TarInfo("same").tobuf(tarfile.GNU_FORMAT)
    make_image(registry, NAME, "latest", [gzip.compress(entry * 1001)])
    error = refused(registry, store_path, max_unpacked_entries=1000)
    assert "more than 1000 archive entries" in error.message
    assert str(error.hint).endswith("raise the limit max_unpacked_entries")


@pytest.mark.parametrize(("part", "count"), [("config", MILLION), ("manifest", MILLION // 10)])
def test_a_million_layers(registry: FakeRegistry, store_path: Path, part: str, count: int) -> None:
    layer = registry.add_blob(gzip.compress(bytes(1024)), OCI_LAYER)
    diff_id = str(Digest.of(bytes(1024)))
    counts = {"config": 1, "manifest": 1, part: count}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id] * counts["config"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": registry.add_blob(json.dumps(config).encode(), OCI_CONFIG),
        "layers": [layer] * counts["manifest"],
    }
    registry.add_manifest(NAME, "latest", json.dumps(manifest).encode(), OCI_MANIFEST)
    error = refused(registry, store_path)
    assert isinstance(error, BadReplyError)
    assert "4194304 bytes" in error.message
