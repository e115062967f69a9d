"""What umoci and podman make of an image, beside what is made of it here."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from udocker.model.image import Layer
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.unpack.index import NAME, read
from udocker.unpack.tree import Limits, build_tree
from udocker.verified import VerifiedReader
from unpack import peer_program
from unpack.layers import FakeLayer
from unpack.peer_program import Facts, Tree

_OCI = "application/vnd.oci.image"
_NAMESPACE = ("unshare", "--user", "--map-auto", "--map-root-user", "--mount")
# Later than what the layers of tests say, and earlier than any test.
_LONG_AGO = 1_700_000_000 * 10**9
PEERS = tuple(peer_program.PEERS)


class StoredLayer:
    """A layer of an OCI layout."""

    def __init__(self, layout: Path, descriptor: Descriptor, diff_id: Digest) -> None:
        self._layout = layout
        self.descriptor = descriptor
        self.diff_id = diff_id

    def open(self) -> BinaryIO:
        stream = blob(self._layout, str(self.descriptor.digest)).open("rb")
        return VerifiedReader(stream, self.descriptor)


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def stored(layout: Path, name: str) -> list[Layer]:
    """The layers of an image that an OCI layout has."""
    index = json.loads((layout / "index.json").read_bytes())
    named = {m["annotations"]["org.opencontainers.image.ref.name"]: m for m in index["manifests"]}
    manifest = json.loads(blob(layout, named[name]["digest"]).read_bytes())
    config = json.loads(blob(layout, manifest["config"]["digest"]).read_bytes())
    return [
        StoredLayer(
            layout,
            Descriptor(row["mediaType"], Digest.parse(row["digest"]), row["size"]),
            Digest.parse(diff_id),
        )
        for row, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"])
    ]


class Layout:
    """An OCI layout of images made by tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifests: list[dict[str, Any]] = []
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add(self, name: str, layers: list[FakeLayer | bytes]) -> None:
        """An image of ``layers``; bytes are an archive, still to be compressed."""
        made = [layer if isinstance(layer, FakeLayer) else _zipped(layer) for layer in layers]
        diff_ids = [str(layer.diff_id) for layer in made]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": "test"} for _ in made],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": self._put(json.dumps(config).encode(), "config.v1+json"),
            "layers": [self._put(layer.blob, "layer.v1.tar+gzip") for layer in made],
        }
        descriptor = self._put(json.dumps(manifest).encode(), "manifest.v1+json")
        named = {"org.opencontainers.image.ref.name": name}
        self._manifests.append({**descriptor, "annotations": named})
        index = {"schemaVersion": 2, "manifests": self._manifests}
        (self.path / "index.json").write_text(json.dumps(index))

    def _put(self, data: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blob(self.path, digest).write_bytes(data)
        return {"mediaType": f"{_OCI}.{media_type}", "digest": digest, "size": len(data)}


def _zipped(plain: bytes) -> FakeLayer:
    return FakeLayer(gzip.compress(plain, 1, mtime=0), plain)


def ours(layers: list[Layer], place: Path) -> Tree:
    """What is made of ``layers`` in ``place``: the tree, and what the index says of it."""
    place.mkdir(mode=0o700)
    build_tree(layers, str(place), Limits(max_bytes=1 << 40), lambda _: None)
    found = peer_program.listing(str(place / "root"))
    shutil.rmtree(place / "root")
    for facts in found.values():
        facts["uid"] = facts["gid"] = 0
    for path, record in read(f"{place}/{NAME}"):
        facts = found.setdefault(os.fsdecode(path), {"mtime": None, "xattrs": {}})
        facts["uid"], facts["gid"] = record.uid, record.gid
        if record.mode is not None and facts.get("kind") != "symlink":
            facts["mode"] = record.mode
        if record.device is not None:
            facts["kind"], *facts["number"] = record.device
        more = {os.fsdecode(name): base64.b64encode(data) for name, data in record.xattrs}
        facts["xattrs"].update({name: data.decode() for name, data in more.items()})
    return found


def theirs(layout: Path, names: list[str], peers: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What the peers make of images of ``layout``: name -> peer -> error and tree."""
    missing = [name for name in ("unshare", "newuidmap", *peers) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: tools/check installs them")
    tried = subprocess.run([*_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"host: no namespace with the ids of other users: {tried.stderr.strip()}")
    words = [str(layout), ",".join(peers), *names]
    command = [*_NAMESPACE, sys.executable, peer_program.__file__, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def differences(mine: Tree, others: Tree) -> dict[str, tuple[Any, Any]]:
    """``path: fact`` -> what is here, and what is there.

    The time of a directory that no layer names is the time of unpacking, here as there.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for path in mine.keys() | others.keys():
        here, there = mine.get(path), others.get(path)
        if here is None or there is None:
            found[path] = (here and here["kind"], there and there["kind"])
            continue
        for fact in here.keys() | there.keys():
            if fact == "mtime" and min(here[fact] or 0, there.get(fact) or 0) > _LONG_AGO:
                continue
            if here.get(fact) != there.get(fact):
                found[f"{path}: {fact}"] = (here.get(fact), there.get(fact))
    return found


__all__ = ["PEERS", "Facts", "Layout", "Tree", "differences", "ours", "stored", "theirs"]
