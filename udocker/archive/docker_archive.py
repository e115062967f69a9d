"""Images as ``docker save`` wrote them before Docker 25, and as podman and skopeo still do.

A list, manifest.json, says which files are an image's configuration and layers, and what it is
called. Since Docker 25 there is an OCI image layout beside it, which keeps digests; that is read by
``oci_layout``. https://github.com/moby/docker-image-spec/blob/main/v1.2.md
"""

from __future__ import annotations

import hashlib
import json
import os

from udocker.archive.files import INCOMPLETE, document, reading
from udocker.errors import BadReplyError, VerificationError
from udocker.model.oci import DOCKER_LAYER, DOCKER_MANIFEST, Descriptor, ImageConfig, Manifest
from udocker.model.reference import Digest
from udocker.model.value import value
from udocker.verified import VerifiedReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, BinaryIO

    from udocker.archive.files import Files

LIST = "manifest.json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCUMENT_LIMIT = 4 << 20  # bytes, as for what registries give
_CHUNK = 1 << 20
_USTAR = slice(257, 262)
_MAGIC = ((b"\x1f\x8b", ".gzip"), (b"\x28\xb5\x2f\xfd", ".zstd"))


@value
class ArchivedLayer:
    """A layer whose bytes are a file of the archive."""

    files: Files
    path: str
    descriptor: Descriptor
    diff_id: Digest

    def open(self) -> BinaryIO:
        """The bytes as they are in the archive; reading to their end proves the digest or raises
        VerificationError."""
        stream, size = self.files.open(self.path)
        if size != self.descriptor.size:
            stream.close()
            raise VerificationError(
                f"{self.files.name}/{self.path} has changed meanwhile", hint=INCOMPLETE
            )
        return VerifiedReader(stream, self.descriptor)


@value
class ArchivedImage:
    """An Image of such an archive, with the manifest that is made of it: always the same."""

    manifest: Manifest
    config: ImageConfig
    archived: tuple[ArchivedLayer, ...]

    def layers(self) -> tuple[ArchivedLayer, ...]:
        return self.archived


@value
class ListedImage:
    """An image as manifest.json has it.

    ``names``: what it is called there, NAME:TAG. ``paths``: of the layers, lowest first.
    """

    files: Files
    names: tuple[str, ...]
    config: ImageConfig
    paths: tuple[str, ...]

    def image(self) -> ArchivedImage:
        """Compressed layers are read for it, to know their digests.

        Raises BadReplyError, HostileArchiveError, UdockerError.
        """
        known: dict[str, Descriptor] = {}
        layers = []
        for path, diff_id in zip(self.paths, self.config.diff_ids):
            if path not in known:
                known[path] = _descriptor(self.files, path, diff_id)
            layers.append(ArchivedLayer(self.files, path, known[path], diff_id))
        return ArchivedImage(self._manifest(layers), self.config, tuple(layers))

    def _manifest(self, layers: Sequence[ArchivedLayer]) -> Manifest:
        config = Descriptor(_CONFIG, self.config.digest, len(self.config.raw))
        content = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": _as_json(config),
            "layers": [_as_json(layer.descriptor) for layer in layers],
        }
        raw = json.dumps(content, separators=(",", ":")).encode()
        return Manifest.parse(raw, DOCKER_MANIFEST, self.files.name)


def _as_json(descriptor: Descriptor) -> dict[str, object]:
    digest = str(descriptor.digest)
    return {"mediaType": descriptor.media_type, "digest": digest, "size": descriptor.size}


def images(files: Files) -> tuple[ListedImage, ...]:
    """The images that manifest.json lists, in its order.

    Raises BadReplyError for one that is not what Docker writes or names files that are missing,
    VerificationError, HostileArchiveError, UdockerError.
    """
    where = f"{files.name}/{LIST}"
    try:
        entries = json.loads(document(files, LIST, _DOCUMENT_LIMIT))
    except (ValueError, RecursionError) as error:
        raise BadReplyError(f"not JSON: {where}") from error
    if not isinstance(entries, list) or not entries:
        raise BadReplyError(f"not a list of images: {where}")
    known: dict[Digest, str] = {}
    return tuple(_image(files, entry, where, known) for entry in entries)


def _image(files: Files, entry: Any, where: str, known: dict[Digest, str]) -> ListedImage:
    """``known``: the layers of the images before."""
    if not isinstance(entry, dict):
        raise BadReplyError(f"not a list of images: {where}")
    paths = _strings(entry.get("Layers"), f"Layers in {where}")
    place = entry.get("Config")
    if not isinstance(place, str) or not place:
        raise BadReplyError(f"an image without a Config in {where}")
    config = ImageConfig.parse(document(files, place, _DOCUMENT_LIMIT), f"{files.name}/{place}")
    named = os.path.basename(place).partition(".")[0]
    if len(named) == 64 and not named.strip("0123456789abcdef") and named != config.digest.hex:
        raise VerificationError(
            f"{files.name}/{place} is damaged: its bytes are {config.digest}", hint=INCOMPLETE
        )
    layers = _complete(paths, config.diff_ids, known)
    if len(layers) != len(config.diff_ids):
        raise BadReplyError(
            f"{where} gives {place} {len(paths)} layers, its configuration {len(config.diff_ids)}"
        )
    known.update(zip(config.diff_ids, layers))
    names = _strings(entry.get("RepoTags"), f"RepoTags in {where}")
    return ListedImage(files, tuple(dict.fromkeys(names)), config, layers)


def _complete(
    paths: tuple[str, ...], diff_ids: Sequence[Digest], known: Mapping[Digest, str]
) -> tuple[str, ...]:
    """``paths`` with the layers that udocker 1.3 left out: those that it had listed before."""
    new = [diff_id for diff_id in dict.fromkeys(diff_ids) if diff_id not in known]
    if len(paths) == len(diff_ids) or len(paths) != len(new):
        return paths
    places = {**known, **dict(zip(new, paths))}
    return tuple(places[diff_id] for diff_id in diff_ids)


def _strings(items: Any, where: str) -> tuple[str, ...]:
    if items is None:
        return ()
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadReplyError(f"not a list of strings: {where}")
    return tuple(items)


def _descriptor(files: Files, path: str, diff_id: Digest) -> Descriptor:
    stream, size = files.open(path)
    with stream, reading(f"{files.name}/{path}"):
        first = head = stream.read(512)
        if head[_USTAR] == b"ustar":
            # It is not compressed: if it is what it should be, its digest is the diffID.
            return Descriptor(DOCKER_LAYER, diff_id, size)
        found = hashlib.sha256(head)
        while head:
            head = stream.read(_CHUNK)
            found.update(head)
    ending = next((text for magic, text in _MAGIC if first.startswith(magic)), "")
    return Descriptor(DOCKER_LAYER + ending, Digest("sha256", found.hexdigest()), size)
