"""The documents of an archive of images, and what blobs go with them. Nothing is read or written.

What ``docker save`` writes since version 25: an OCI image layout, and manifest.json for programs
that know no layouts. An oci-archive, or a directory, is the same without that list.
"""

from __future__ import annotations

import json

from udocker.errors import UdockerError
from udocker.model.oci import (
    DOCKER_LAYER,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Manifest,
)
from udocker.model.reference import Digest, Reference
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_VERSION = {"imageLayoutVersion": "1.0.0"}
_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_LAYER_TYPES = {DOCKER_LAYER: OCI_LAYER, _FOREIGN: _OCI_FOREIGN}
_ENDINGS = {"": "", ".gzip": "+gzip", ".zstd": "+zstd", "+gzip": "+gzip", "+zstd": "+zstd"}


@value
class Saved:
    """An image and all that it is to be called; it may have no name."""

    manifest: Manifest
    config: ImageConfig
    references: tuple[Reference, ...]


@value
class Contents:
    """The files of an archive: small ones with their bytes, then blobs by their paths."""

    documents: tuple[tuple[str, bytes], ...]
    blobs: tuple[tuple[str, Descriptor], ...]

    @property
    def directories(self) -> tuple[str, ...]:
        """All that lead to files, outer ones first."""
        paths = [path for path, _ in (*self.documents, *self.blobs)]
        inner = {path.rpartition("/")[0] for path in paths} - {""}
        return tuple(sorted(inner | {path.partition("/")[0] for path in inner}))


def contents(images: Sequence[Saved], *, with_list: bool) -> Contents:
    """The archive of ``images``; ``with_list``: with what ``docker load`` reads.

    Manifests of Docker's own kind become OCI ones: their digests change, those of layers and
    configurations do not.
    """
    documents: dict[str, bytes] = {"oci-layout": _json(_VERSION)}
    blobs: dict[str, Descriptor] = {}
    entries: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    for image in images:
        manifest = in_oci(image.manifest)
        documents[path_of(manifest.digest)] = manifest.raw
        documents[path_of(image.config.digest)] = image.config.raw
        blobs.update((path_of(layer.digest), layer) for layer in manifest.layers)
        entries += _entries(manifest, image)
        listed.append(_listed(image))
    documents["index.json"] = _json(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    )
    if with_list:
        documents["manifest.json"] = _json(listed)
    # A layer may be an image's configuration too: a name is there once.
    for path in documents:
        blobs.pop(path, None)
    return Contents(tuple(sorted(documents.items())), tuple(blobs.items()))


def path_of(digest: Digest) -> str:
    """Where a layout has a blob."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def in_oci(manifest: Manifest) -> Manifest:
    """The manifest, or one of OCI's kind in place of one of Docker's. Raises UdockerError."""
    data = json.loads(manifest.raw)
    told = data.get("mediaType") or manifest.media_type
    is_oci = told in ("", OCI_MANIFEST) and manifest.config.media_type == OCI_CONFIG
    if is_oci or told == OCI_MANIFEST:
        return manifest
    raw = _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(manifest.config, OCI_CONFIG),
            "layers": [_descriptor(layer, _layer_type(layer)) for layer in manifest.layers],
        }
    )
    return Manifest.parse(raw, OCI_MANIFEST, "saved image")


def _layer_type(layer: Descriptor) -> str:
    for before, after in _LAYER_TYPES.items():
        ending = _ENDINGS.get(layer.media_type.removeprefix(before))
        if layer.media_type.startswith(before) and ending is not None:
            return after + ending
    if layer.media_type.startswith("application/vnd.oci.image.layer."):
        return layer.media_type
    raise UdockerError(
        f"layer {layer.digest} is of a kind that OCI has not: {layer.media_type!r}",
        hint="udocker export writes the files of a container",
    )


def _entries(manifest: Manifest, image: Saved) -> list[dict[str, Any]]:
    """The image in index.json, once for each name. podman takes the first annotation for its
    name, containerd and Docker the second."""
    platform = image.config.platform
    told = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        told["variant"] = platform.variant
    entry = {
        "mediaType": OCI_MANIFEST,
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
        "platform": told,
    }
    named = [reference.canonical for reference in image.references]
    return [
        {
            **entry,
            "annotations": {
                "org.opencontainers.image.ref.name": name,
                "io.containerd.image.name": name,
            },
        }
        for name in named
    ] or [entry]


def _listed(image: Saved) -> dict[str, Any]:
    """The image in manifest.json. Of a name without a registry podman thinks that it is its own."""
    return {
        "Config": path_of(image.config.digest),
        "RepoTags": [reference.canonical for reference in image.references] or None,
        "Layers": [path_of(layer.digest) for layer in image.manifest.layers],
    }


def _descriptor(descriptor: Descriptor, media_type: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "mediaType": media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.urls:
        found["urls"] = list(descriptor.urls)
    return found


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
