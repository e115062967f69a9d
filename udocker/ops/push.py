"""Send an image of the store to a registry."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

from udocker.errors import (
    BadReference,
    BadReplyError,
    ImageNotFound,
    StoreError,
    UsageError,
    VerificationError,
)
from udocker.model.oci import OCI_INDEX, Manifest, Platform
from udocker.model.reference import Digest, Reference
from udocker.model.value import value
from udocker.ops.images import get_image
from udocker.ops.registries import open_registry
from udocker.registry.outgoing import Outgoing
from udocker.registry.push import media_type
from udocker.registry.upload import MOUNTED, SENT, THERE
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from udocker.model.oci import Descriptor
    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord

_DAMAGE = (StoreError, VerificationError, BadReplyError, BadReference)


@value
class Receipt:
    """What the registry has now by ``tag``: the digest and the size of the manifest."""

    tag: str
    digest: Digest
    size: int


def push(
    session: Session, text: str, destination: str | None = None, registry: str | None = None
) -> Receipt:
    """Push the image ``text``, a name or the beginning of an image id, to ``destination``.

    Without one its own name says where to. ``registry`` (None: the settings') is that of names
    which give none. Blobs that are in the registry are not sent; its tag changes when all others
    are there. Raises UdockerError.
    """
    record = _find(session, text, registry)
    target = _target(record, text, destination, registry or session.config.registry)
    image = _outgoing(session, record, target)
    task = session.report.task(f"pushing {target.canonical}", image.size)
    done = open_registry(session).push(target, image, task.advance)
    task.done(f"blobs: {_counted(done)}")
    return Receipt(str(target.tag), image.manifest.digest, len(image.manifest.raw))


def push_index(
    session: Session, name: str, texts: Sequence[str], registry: str | None = None
) -> Receipt:
    """Push the images ``texts``, each of another platform, and let ``name`` mean an index of them.

    As ``push`` otherwise. Raises UsageError where two are for one platform.
    """
    target = _tagged(Reference.parse(name, registry or session.config.registry))
    records = [_find(session, text, registry) for text in texts]
    images = [_outgoing(session, record, target) for record in records]
    raw = _index(records, images)
    size = sum(image.size for image in images)
    task = session.report.task(f"pushing {target.canonical}", size)
    done = open_registry(session).push_index(target, images, raw, task.advance)
    task.done(f"{counted(len(images), 'images')}; blobs: {_counted(done)}")
    return Receipt(str(target.tag), Digest.of(raw), len(raw))


def _index(records: Sequence[ImageRecord], images: Sequence[Outgoing]) -> bytes:
    """https://github.com/opencontainers/image-spec/blob/main/image-index.md"""
    entries: dict[str, dict[str, object]] = {}
    for record, image in zip(records, images):
        if record.platform in entries:
            raise UsageError(
                f"two images are for {record.platform}, the second is {record.reference}",
                hint="give one image for each platform: udocker images shows them",
            )
        wanted = Platform.parse(record.platform)
        platform = {"architecture": wanted.architecture, "os": wanted.os}
        if wanted.variant:
            platform["variant"] = wanted.variant
        entries[record.platform] = {
            "mediaType": media_type(image.manifest),
            "digest": str(image.manifest.digest),
            "size": len(image.manifest.raw),
            "platform": platform,
        }
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries.values())}
    return json.dumps(index, separators=(",", ":")).encode()


def _outgoing(session: Session, record: ImageRecord, target: Reference) -> Outgoing:
    """Raises StoreError, BadReplyError."""
    manifest = Manifest.parse(session.store.blobs.read(record.manifest), "", record.reference)

    def open_blob(blob: Descriptor) -> BinaryIO:
        if not session.store.blobs.has(blob):
            raise _missing(record, blob)
        return session.store.blobs.open(blob)

    return Outgoing(manifest, open_blob, _sources(session, record, target))


def _counted(done: Sequence[str]) -> str:
    count = Counter(done)
    return ", ".join(f"{count[how]} {how}" for how in (SENT, MOUNTED, THERE) if count[how])


def _find(session: Session, text: str, registry: str | None) -> ImageRecord:
    """An image of ``registry`` comes before one of the same name that is elsewhere."""
    if registry is not None:
        registry = Reference.parse("name", registry).registry  # what is wrong with it is told
        with contextlib.suppress(ImageNotFound, BadReference):
            return get_image(session, Reference.parse(text, registry).canonical)
    return get_image(session, text)


def _target(record: ImageRecord, text: str, destination: str | None, registry: str) -> Reference:
    if destination is None:
        by_id = record.config.hex.startswith(text.removeprefix("sha256:"))
        destination = record.reference if by_id else text
    return _tagged(Reference.parse(destination, registry))


def _tagged(target: Reference) -> Reference:
    """Raises UsageError for a digest."""
    if target.digest is not None:
        raise UsageError(
            f"{target} cannot be pushed to: a digest says what is there, and a tag what is to be",
            hint=f"push to {target.name}:TAG",
        )
    return target


def _sources(session: Session, record: ImageRecord, target: Reference) -> dict[Digest, str]:
    """Other repositories of the registry that may have the image's blobs.

    The store does not know where a blob is from: the names of all images that have it may tell.
    """
    found: dict[Digest, str] = {}
    with contextlib.suppress(StoreError):
        for each in (record, *session.store.images.everywhere()):
            with contextlib.suppress(*_DAMAGE):
                reference = Reference.parse(each.reference)
                is_near = reference.registry == target.registry
                if is_near and reference.repository != target.repository:
                    raw = session.store.blobs.read(each.manifest)
                    manifest = Manifest.parse(raw, "", each.reference)
                    for blob in (manifest.config, *manifest.layers):
                        found.setdefault(blob.digest, reference.repository)
    return found


def _missing(record: ImageRecord, blob: Descriptor) -> StoreError:
    return StoreError(
        f"{record.reference} cannot be pushed: {blob.digest} is not in the store, only its files",
        hint=f"udocker pull {record.reference}, or load it again: either brings it",
    )
