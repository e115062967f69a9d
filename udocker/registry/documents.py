"""Which kind of document a registry sent: index, manifest, or something that is no image."""

from __future__ import annotations

import hashlib
import json

from udocker.errors import BadReference, BadReplyError, VerificationError
from udocker.model.oci import INDEX_TYPES, MANIFEST_TYPES, OCI_CONFIG, Index, Manifest
from udocker.model.reference import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from udocker.registry.replies import Reply

    Document = Union[Index, Manifest]

ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_CONFIG_TYPES = (
    OCI_CONFIG,
    "application/vnd.docker.container.image.v1+json",
    "application/octet-stream",
    "",
)


def parse_document(raw: bytes, content_type: str, where: str) -> Document:
    """Read an index or a manifest. Raises BadReplyError, naming ``where`` and the type.

    What the document says of itself counts more than the header: the digest covers it.
    """
    data = _object(raw, where)
    stated = data.get("mediaType")
    media_type = stated if isinstance(stated, str) and stated else content_type
    if media_type.startswith(_SCHEMA_1) or data.get("schemaVersion") == 1:
        raise BadReplyError(
            f"{where} is an image of the old schema 1 ({media_type or 'no media type'})",
            hint="push the image again with a current tool",
        )
    if "manifests" in data and ("layers" in data or "config" in data):
        raise BadReplyError(f"{where} is a manifest and an index at once")
    if media_type in INDEX_TYPES:
        return Index.parse(raw, media_type, where)
    if media_type in MANIFEST_TYPES:
        return _image_manifest(raw, media_type, where)
    raise BadReplyError(f"{where} is of a type that is no image: {_printable(media_type)}")


def _image_manifest(raw: bytes, media_type: str, where: str) -> Manifest:
    manifest = Manifest.parse(raw, media_type, where)
    if manifest.config.media_type not in _CONFIG_TYPES:
        kind = _printable(manifest.config.media_type)
        raise BadReplyError(f"{where} is not a container image but {kind}")
    return manifest


def verify(raw: bytes, digest: Digest, what: str) -> None:
    """Raise VerificationError unless ``raw`` has ``digest``."""
    found = hashlib.new(digest.algorithm, raw).hexdigest()
    if found != digest.hex:
        raise VerificationError(
            f"{what} was altered: its digest is {digest.algorithm}:{found}, not {digest}",
            hint="try again; a proxy or the registry changes what it passes on",
        )


def verify_header(reply: Reply, what: str) -> None:
    """Compare the body with Docker-Content-Digest, when the registry sends that.

    Raises VerificationError, BadReplyError.
    """
    text = reply.headers.get("docker-content-digest", "").strip()
    if not text:
        return
    try:
        digest = Digest.parse(text)
    except BadReference as error:
        raise BadReplyError(f"{what}: {reply.host} sends a broken digest header") from error
    verify(reply.body, digest, what)


def _object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadReplyError(
            f"{where} is not JSON, or only a part of it ({len(raw)} bytes)", hint="try again"
        ) from error
    if not isinstance(data, dict):
        raise BadReplyError(f"{where} is not a JSON object")
    return data


def _printable(media_type: str) -> str:
    shown = "".join(c for c in media_type if c.isprintable())[:100]
    return shown or "no media type at all"
