"""Send an image of the store to a registry."""

from __future__ import annotations

import contextlib
from collections import Counter

from udocker.errors import (
    BadReference,
    BadReplyError,
    ImageNotFound,
    StoreError,
    UsageError,
    VerificationError,
)
from udocker.model.oci import Manifest
from udocker.model.reference import Reference
from udocker.model.value import value
from udocker.ops.images import get_image
from udocker.ops.registries import open_registry
from udocker.registry.outgoing import Outgoing
from udocker.registry.upload import MOUNTED, SENT, THERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from udocker.model.oci import Descriptor
    from udocker.model.reference import Digest
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
    manifest = Manifest.parse(session.store.blobs.read(record.manifest), "", record.reference)

    def open_blob(blob: Descriptor) -> BinaryIO:
        if not session.store.blobs.has(blob):
            raise _missing(record, blob)
        return session.store.blobs.open(blob)

    image = Outgoing(manifest, open_blob, _sources(session, record, target))
    task = session.report.task(f"pushing {target.canonical}", image.size)
    done = Counter(open_registry(session).push(target, image, task.advance))
    counted = ", ".join(f"{done[how]} {how}" for how in (SENT, MOUNTED, THERE) if done[how])
    task.done(f"blobs: {counted}")
    return Receipt(str(target.tag), manifest.digest, len(manifest.raw))


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
    target = Reference.parse(destination, registry)
    if target.digest is not None:
        raise UsageError(
            f"{target} cannot be pushed to: a digest says what is there, and a tag what is to be",
            hint=f"udocker push {text} {target.name}:TAG",
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
        hint="load it again, or pull it into another store: udocker --repo=DIR pull IMAGE",
    )
