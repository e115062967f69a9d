"""Writes an OCI image layout: image-layout.md, manifest.md and config.md of the OCI image spec."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image"
CREATED = "2024-01-01T00:00:00Z"
_PROGRAMS = {"gzip": ("gzip", "-n", "-6", "-c"), "zstd": ("zstd", "-q", "-3", "-c")}

Descriptor = dict[str, Any]


class Layer:
    """A layer in the layout: its descriptor, and the digest of its tar."""

    def __init__(self, descriptor: Descriptor, diff_id: str) -> None:
        self.descriptor = descriptor
        self.diff_id = diff_id


class Layout:
    """A layout that is being written at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blobs = path / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._tagged: list[Descriptor] = []
        (path / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))

    def layer(self, tar: Path, compression: str = "gzip") -> Layer:
        """Compress ``tar`` into the layout. Several may be added at the same time."""
        aside = self._path / f"{tar.name}.{compression}"
        with aside.open("wb") as stream:
            subprocess.run([*_PROGRAMS[compression], tar], stdout=stream, check=True)
        digest = _digest(aside)
        descriptor = {
            "mediaType": f"{OCI}.layer.v1.tar+{compression}",
            "digest": digest,
            "size": aside.stat().st_size,
        }
        os.replace(aside, self._blobs / digest.partition(":")[2])
        return Layer(descriptor, _digest(tar))

    def image(self, layers: list[Layer], architecture: str, config: dict[str, Any]) -> Descriptor:
        """Add an image of ``layers``; ``config`` is what the spec calls the execution part."""
        document = {
            "created": CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": CREATED, "created_by": "tools/images"} for _ in layers],
        }
        media_type = f"{OCI}.manifest.v1+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self._put(document, f"{OCI}.config.v1+json"),
            "layers": [layer.descriptor for layer in layers],
        }
        platform = {"architecture": architecture, "os": "linux"}
        return {**self._put(manifest, media_type), "platform": platform}

    def index(self, images: list[Descriptor]) -> Descriptor:
        """Add an index of ``images``, as a multi-platform image has."""
        media_type = f"{OCI}.index.v1+json"
        document = {"schemaVersion": 2, "mediaType": media_type, "manifests": images}
        return self._put(document, media_type)

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Let ``name`` (``repository:tag``) lead to an image or an index."""
        annotations = {"org.opencontainers.image.ref.name": name}
        self._tagged.append({**descriptor, "annotations": annotations})

    def finish(self) -> None:
        """Write the index of the layout, after all tags."""
        document = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.index.v1+json",
            "manifests": self._tagged,
        }
        (self._path / "index.json").write_text(json.dumps(document))

    def _put(self, document: dict[str, Any], media_type: str) -> Descriptor:
        data = json.dumps(document, separators=(",", ":")).encode()
        name = hashlib.sha256(data).hexdigest()
        (self._blobs / name).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
