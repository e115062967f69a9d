"""An image of what a container changed: the layers of its image, and one more."""

from __future__ import annotations

import json
import os

from udocker.errors import (
    BadReplyError,
    NoSpaceError,
    StoreError,
    UdockerError,
    UsageError,
    VerificationError,
)
from udocker.files import beating, store_errors
from udocker.model.container import PLAIN
from udocker.model.moment import now
from udocker.model.oci import (
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Manifest,
)
from udocker.model.reference import Digest
from udocker.model.value import value
from udocker.ops.export import entries_of, found, reading, upper_of
from udocker.ops.layers import NewLayer, write_layer
from udocker.ops.members import Records
from udocker.ops.pull import StoredLayer, ensure_tree, install
from udocker.ops.ranges import settle
from udocker.ops.tag import new_name
from udocker.store.changes import selected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from udocker.model.container import Container
    from udocker.model.reference import Reference
    from udocker.ops.session import Session
    from udocker.store.changes import Entry
    from udocker.store.closed import Opener
    from udocker.store.images import ImageRecord

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
# What a configuration says of the build that made it, and not of the image.
_OF_THE_BUILD = ("container", "container_config", "docker_version", "id", "parent")


@value
class Note:
    """What the history says of a commit, besides when."""

    message: str = ""
    author: str = ""

    def check(self) -> None:
        """Raise UsageError for what JSON cannot hold."""
        for text in (self.message, self.author):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UsageError(f"not UTF-8: {text!r}") from None


def commit(
    session: Session, text: str, target: str, changes: Sequence[str] = (), note: Note | None = None
) -> ImageRecord:
    """Make an image ``target`` of the container that ``text`` means. ``changes``: see
    ``spec.instruction``.

    Layers and files of its image are used again. Where they are gone from the store, the image
    has one layer with all files. Raises ContainerNotFound, UsageError, StoreError.
    """
    from udocker.ops.containers import is_used

    note = note or Note()
    reference = new_name(session, target)
    container = found(session, text)
    document = _changed(container.config, changes, note)
    if is_used(session, container.id):
        session.report.warn(
            f"container {container.short_id} is in use: what it writes meanwhile may be missing"
        )
    settle(container)  # by a fork(2), while there are no threads yet
    # Nothing refers to the new layer and the new tree before the end: see ``pulling``.
    with session.store.pulling(), session.store.temporary() as directory:
        with beating(directory), reading(session, container) as opener:
            container = found(session, container.id)
            parent = _parent(session, container)
            chosen = _entries(session, container, parent, opener)
            layer = None
            if chosen or parent is None:
                layer = write_layer(session, chosen, Records(container.tree), f"{directory}/layer")
        image = _image(document, parent, layer, note)
        if layer is not None and parent is not None:
            _make_tree(session, container, image.config, layer)
        return _publish(session, reference, image, container)


@value
class _Image:
    manifest: Manifest
    config: ImageConfig


def _entries(
    session: Session, container: Container, parent: Manifest | None, opener: Opener
) -> list[Entry]:
    if parent is None:
        session.report.warn(
            f"the layers of {container.image} are not in the store: the new image has one layer "
            "with all files"
        )
        entries = [each for each in entries_of(container, opener) if not each.is_removed]
    else:
        over = container.root if container.form == PLAIN else upper_of(container)
        owner = Records(container.tree).owner
        is_whole = container.form == PLAIN
        entries = selected(over, container.tree, owner, opened=opener.open, whole=is_whole)
    # What a layer has under such a name means something else: layer.md, "Whiteouts".
    for each in entries:
        if _is_reserved(each):
            session.report.warn(f"{each.path} is left out: images can have no such name")
    return [each for each in entries if not _is_reserved(each)]


def _is_reserved(entry: Entry) -> bool:
    return "/.wh." in entry.path


def _parent(session: Session, container: Container) -> Manifest | None:
    """The manifest of the container's image, if the store has all that it names."""
    blobs = session.store.blobs
    try:
        manifest = Manifest.parse(blobs.read(container.manifest), "", container.image)
    except (StoreError, VerificationError, BadReplyError):
        return None
    # The container of an archive has another configuration than the image that it was made of.
    is_whole = (
        manifest.config.digest == container.config.digest
        and len(manifest.layers) == len(container.config.diff_ids)
        and all(map(blobs.has, manifest.layers))
        and os.path.isdir(container.tree)
    )
    return manifest if is_whole else None


def _changed(config: ImageConfig, changes: Sequence[str], note: Note) -> dict[str, Any]:
    from udocker.spec.instruction import apply

    note.check()
    document: dict[str, Any] = json.loads(config.raw)
    document["config"] = apply(document.get("config") or {}, changes)
    for key in _OF_THE_BUILD:
        document.pop(key, None)
    if note.author:
        document["author"] = note.author
    return document


def _image(
    document: dict[str, Any], parent: Manifest | None, layer: NewLayer | None, note: Note
) -> _Image:
    diff_ids = list(document["rootfs"]["diff_ids"]) if parent is not None else []
    history = _history(document, len(diff_ids))
    entry = {"created": now().replace("+00:00", "Z"), "created_by": "udocker commit"}
    if note.author:
        entry["author"] = note.author
    if note.message:
        entry["comment"] = note.message
    added = [str(layer.diff_id)] if layer else []
    document = {
        **document,
        "created": entry["created"],
        "history": [*history, entry if layer else {**entry, "empty_layer": True}],
        "rootfs": {"type": "layers", "diff_ids": [*diff_ids, *added]},
    }
    config = ImageConfig.parse(_encode(document), "the new image")
    return _Image(manifest_of(config, parent, layer), config)


def _history(document: dict[str, Any], layers: int) -> list[Any]:
    """That of the image, if it fits to its layers: else as if there had been none."""
    history = document.get("history")
    known = history if isinstance(history, list) else []
    kept = sum(isinstance(each, dict) and not each.get("empty_layer") for each in known)
    return known if kept == layers else [{"created_by": ""}] * layers


def manifest_of(config: ImageConfig, parent: Manifest | None, layer: NewLayer | None) -> Manifest:
    """The manifest of the image with ``config``: the layers of ``parent``, and ``layer``."""
    raw = json.loads(parent.raw) if parent else {}
    # Docker's own kind of manifest has layers of Docker's own kind.
    is_docker = raw.get("mediaType") == DOCKER_MANIFEST
    media_type = DOCKER_MANIFEST if is_docker else OCI_MANIFEST
    of_layer = f"{DOCKER_LAYER}.gzip" if is_docker else f"{OCI_LAYER}+gzip"
    added = [_described(of_layer, layer.digest, layer.size)] if layer else []
    of_config = _DOCKER_CONFIG if is_docker else OCI_CONFIG
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _described(of_config, config.digest, len(config.raw)),
        "layers": [*raw.get("layers", ()), *added],
    }
    return Manifest.parse(_encode(document), media_type, "the new image")


def _described(media_type: str, digest: Digest, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(digest), "size": size}


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _make_tree(
    session: Session, container: Container, config: ImageConfig, layer: NewLayer
) -> None:
    """Put the layer over a copy of the tree that the container has."""
    from udocker.ops.layers import put_over

    trees = session.store.trees
    chain_id = config.chain_id
    with session.store.lease(f"tree {chain_id}"):
        if trees.has(chain_id):
            return
        with session.store.temporary() as directory, store_errors("making the image's files"):
            try:
                put_over(session, os.path.dirname(container.tree), layer, directory)
            except NoSpaceError:
                raise
            except StoreError as error:
                # Another user keeps some of that from us: the layers have it all.
                session.report.debug(f"unpacking all layers: {error.message}")
                return
            trees.publish(directory, chain_id)


def _publish(
    session: Session, reference: Reference, image: _Image, container: Container
) -> ImageRecord:
    blobs = session.store.blobs
    layers = [
        StoredLayer(blobs, descriptor, diff_id)
        for descriptor, diff_id in zip(image.manifest.layers, image.config.diff_ids)
    ]
    try:
        ensure_tree(session, image.config, layers)
    except UdockerError as error:
        _check_layers(session, image.manifest.layers, container, error)
        raise
    record = install(session, reference, image.manifest, image.config, layers)
    with session.store.references():
        _check_layers(session, image.manifest.layers, container, None)
    return record


def _check_layers(
    session: Session,
    layers: Sequence[Descriptor],
    container: Container,
    cause: UdockerError | None,
) -> None:
    """Another process may have removed the image, and with it its layers."""
    if not all(map(session.store.blobs.has, layers)):
        raise StoreError(
            f"the layers of {container.image} were removed meanwhile",
            hint="commit again: the image then has one layer with all files",
        ) from cause
