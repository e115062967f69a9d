"""Images in the store: finding, listing, removing."""

from __future__ import annotations

import contextlib

from udocker.errors import (
    BadReference,
    BadReplyError,
    ImageNotFound,
    StoreError,
    StoreUnwritableError,
    VerificationError,
)
from udocker.model.oci import Manifest, Platform
from udocker.model.reference import Digest, Reference
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from udocker.model.oci import Descriptor
    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord


_DAMAGE = (StoreError, VerificationError, BadReplyError, BadReference)


@value
class ListedImage:
    """An image with what a list shows of it; ``size`` in bytes, compressed."""

    name: str
    record: ImageRecord
    size: int

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "reference": self.record.reference,
            "id": str(self.record.config),
            "manifest": str(self.record.manifest),
            "platform": self.record.platform,
            "pulled": self.record.created,
            "size": self.size,
        }


def find_image(
    session: Session, reference: Reference, platform: Platform | None = None
) -> ImageRecord | None:
    """What ``reference`` means in the store; None when it is not there for ``platform``."""
    record = session.store.images.get(reference)
    if record is None:
        return None
    if platform is not None and not platform.accepts(Platform.parse(record.platform)):
        return None
    return record


def get_image(session: Session, text: str) -> ImageRecord:
    """The image that a name or the beginning of an image id means. Raises ImageNotFound."""
    try:
        reference = Reference.parse(text, session.config.registry)
        record = session.store.images.get(reference)
    except BadReference:
        record = None
    if record is None:
        record = _by_id(session, text)
    if record is None:
        raise ImageNotFound(f"no such image: {text}", hint="udocker images lists them")
    return record


def list_images(session: Session) -> list[ListedImage]:
    """Every image in the store, by name; a damaged one is warned about and left out."""
    found = []
    for record in session.store.images.everywhere(session.warn_of):
        try:
            found += _listed_if_there(session, record)
        except _DAMAGE as error:
            session.report.warn(
                f"image {record.reference} is damaged: {error.message}; "
                f"udocker pull {record.reference} may mend it"
            )
    return found


def describe_image(session: Session, text: str) -> ListedImage:
    """As ``get_image``, with what a list shows of it. Raises ImageNotFound, StoreError."""
    return _listed(session, get_image(session, text))


def _listed_if_there(session: Session, record: ImageRecord) -> list[ListedImage]:
    try:
        return [_listed(session, record)]
    except StoreError:
        # Perhaps it is being removed. Nobody does that while we hold the references.
        with session.store.references():
            now = session.store.images.get(Reference.parse(record.reference))
            return [] if now is None else [_listed(session, now)]


def _listed(session: Session, record: ImageRecord) -> ListedImage:
    reference = Reference.parse(record.reference)
    ending = f":{reference.tag}" if reference.tag else f"@{reference.digest}"
    size = sum(layer.size for layer in _manifest(session, record).layers)
    return ListedImage(reference.familiar + ending, record, size)


def remove_image(session: Session, text: str, force: bool = False) -> list[str]:
    """Forget an image, and delete what only it needed; what was done, line by line.

    Containers keep their trees. ``force``: no error when the image is not there. Raises
    ImageNotFound, StoreError.
    """
    from udocker.ops.protect import check_image

    store = session.store
    try:
        # Nothing is written for an image that is not there.
        _check_own(session, get_image(session, text))
        # On a full disk nothing new can be made: what is to go is only moved.
        with store.clearing() as away, store.references():
            record = get_image(session, text)
            _check_own(session, record)
            check_image(session, record)
            blobs, doomed = _blobs_of_one(session, record), _trees_of_none(session, record)
            store.images.remove(Reference.parse(record.reference))
            for chain_id in doomed:
                away.take(store.trees.path(chain_id))
            for digest in blobs:
                store.blobs.remove(digest)
    except ImageNotFound:
        if force:
            return []
        raise
    return [f"Untagged: {record.reference}", *(f"Deleted: {chain_id}" for chain_id in doomed)]


def _check_own(session: Session, record: ImageRecord) -> None:
    images, reference = session.store.images, Reference.parse(record.reference)
    # It may be in neither: just removed by another udocker.
    if images.own(reference) is None and images.elsewhere(reference) is not None:
        raise StoreUnwritableError(
            f"image {record.reference} is in a store that is only read",
            hint="udocker --repo=DIR rmi … where it may be written; UDOCKER_REPOS names them",
        )


def _by_id(session: Session, text: str) -> ImageRecord | None:
    wanted = text.removeprefix("sha256:")
    if len(wanted) < 4 or wanted.strip("0123456789abcdef"):
        return None
    images = session.store.images
    matching = [r for r in images.everywhere() if r.config.hex.startswith(wanted)]
    if len({record.config for record in matching}) > 1:
        raise ImageNotFound(
            f"{text} is the beginning of several image ids", hint="give more digits of it"
        )
    return matching[0] if matching else None


def _manifest(session: Session, record: ImageRecord) -> Manifest:
    raw = session.store.blobs.read(record.manifest)
    return Manifest.parse(raw, "", record.reference)


def _trees_of_none(session: Session, removed: ImageRecord) -> list[Digest]:
    """The trees that no container and no image but ``removed`` needs."""
    store = session.store
    others = (r for r in store.images.all() if r.reference != removed.reference)
    wanted = wanted_trees(session, others)
    return [chain_id for chain_id in store.trees.all() if chain_id not in wanted]


def wanted_trees(session: Session, records: Iterable[ImageRecord]) -> set[Digest]:
    """The trees of ``records``, of all containers, and of the image that comes with udocker.

    Raises StoreError where the record of a container is damaged: its tree is not known.
    """
    from udocker.ops.embedded import chain_id

    store = session.store
    used = {container.tree for container in store.containers.all()}
    found = {chain_id(), *(record.chain_id for record in records)}
    return {*filter(None, found), *(c for c in store.trees.all() if store.trees.root(c) in used)}


def _blobs_of_one(session: Session, record: ImageRecord) -> set[Digest]:
    """The blobs that no image but ``record`` needs; what a pull has just brought is not ours."""
    mine = _blobs(session, record)
    for other in session.store.images.all():
        if other.reference != record.reference:
            mine -= _blobs(session, other)
    return mine


def _blobs(session: Session, record: ImageRecord) -> set[Digest]:
    """As far as is known: a damaged manifest names no layers, and can still be removed."""
    with contextlib.suppress(StoreError, VerificationError):
        return blobs_of(session, record)
    return {record.manifest, record.config}


def layers_of(session: Session, record: ImageRecord) -> tuple[Descriptor, ...]:
    """The layers, as the manifest says them. Raises StoreError, VerificationError."""
    return tuple(_manifest(session, record).layers)


def blobs_of(session: Session, record: ImageRecord) -> set[Digest]:
    """Manifest, configuration and layers. Raises StoreError, VerificationError."""
    layers = _manifest(session, record).layers
    return {record.manifest, record.config, *(layer.digest for layer in layers)}
