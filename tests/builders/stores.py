"""Images put into a store by hand, without a registry and without unpacking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from builders.specs import config as make_config
from builders.trees import grow
from udocker.model.oci import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Manifest
from udocker.model.reference import Digest, Reference
from udocker.store.images import ImageRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builders.trees import Node
    from udocker.model.oci import ImageConfig
    from udocker.store.store import Store

PULLED = "2026-01-02T03:04:05+00:00"


def add_image(
    store: Store,
    name: str = "test:latest",
    table: Mapping[str, Node] | None = None,
    run: dict[str, Any] | None = None,
    *,
    layer: bytes = b"",
    architecture: str = "amd64",
) -> ImageRecord:
    """An image as a pull leaves it: blobs, tree, record. ``layer`` makes its tree another one.

    ``run`` is the "config" object of the configuration.
    """
    reference = Reference.parse(name)
    config = config_of(run, layer, architecture)
    manifest = manifest_of(config, layer)
    for blob in (config.raw, manifest.raw, layer):
        store.blobs.put(blob)
    if not store.trees.has(config.chain_id):
        with store.temporary() as directory:
            grow(Path(directory) / "root", table or {})
            store.trees.publish(directory, config.chain_id)
    record = ImageRecord(
        reference=reference.canonical,
        manifest=manifest.digest,
        index=None,
        platform=str(config.platform),
        config=config.digest,
        chain_id=config.chain_id,
        created=PULLED,
    )
    store.images.put(reference, record)
    return record


def config_of(
    run: dict[str, Any] | None, layer: bytes = b"", architecture: str = "amd64"
) -> ImageConfig:
    diff_id = str(Digest.of(b"uncompressed " + layer))
    return make_config(run, architecture=architecture, layers=(diff_id,))


def manifest_of(config: ImageConfig, layer: bytes) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(config.raw, OCI_CONFIG),
        "layers": [_descriptor(layer, OCI_LAYER)],
    }
    return Manifest.parse(json.dumps(document).encode(), OCI_MANIFEST, "test")


def _descriptor(data: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}
