"""Another name for an image: nothing is copied."""

from __future__ import annotations

from udocker.errors import BadReference, StoreError
from udocker.model.reference import Reference
from udocker.model.value import replace
from udocker.ops.images import get_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord


def new_name(session: Session, text: str) -> Reference:
    """The name that an image is to get here. Raises BadReference."""
    reference = Reference.parse(text, session.config.registry)
    if reference.digest is not None:
        raise BadReference(
            f"not a name to give: {text!r}: a digest is what an image has",
            hint=f"give a tag: {reference.familiar}:{reference.tag or 'TAG'}",
        )
    return reference


def tag(session: Session, source: str, target: str) -> ImageRecord:
    """Let the name ``target`` mean the image that ``source``, a name or an id, means.

    What it meant before is replaced by one rename. Raises ImageNotFound, BadReference, StoreError.
    """
    from udocker.ops.protect import check_image

    reference = new_name(session, target)
    get_image(session, source)  # nothing is written for one that is not there
    with session.store.references():
        record = get_image(session, source)
        check_image(session, record)
        replaced = session.store.images.get(reference)
        if replaced is not None:
            check_image(session, replaced)
        if not session.store.trees.has(record.chain_id):
            raise StoreError(
                f"the files of {record.reference} are gone from the store",
                hint=f"udocker pull {record.reference}",
            )
        named = replace(record, reference=reference.canonical)
        if session.store.images.get(reference) != named:
            session.store.images.put(reference, named)
    return named
