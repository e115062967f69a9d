"""Containers in which nothing runs, and images that no container needs, removed together."""

from __future__ import annotations

from udocker.errors import ContainerInUse, ContainerNotFound, ImageNotFound, StoreError
from udocker.ops import protect
from udocker.ops.containers import remove
from udocker.ops.images import remove_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from udocker.ops.session import Session


def prune_containers(session: Session, until: str, labels: Sequence[str]) -> Iterable[str]:
    """Remove those that were made before ``until`` and have ``labels``; their names or ids.

    What may not be removed is warned of and stays.
    """
    from udocker.store import said

    for container in session.store.containers.sound(session.warn_of):
        own = {**dict(container.config.labels), **dict(said.read(container.path).labels)}
        is_old = not until or container.created < until
        if not is_old or not _has(own, labels) or protect.is_protected(container):
            continue
        try:
            remove(session, container.id)
        except (ContainerInUse, ContainerNotFound):
            continue
        except StoreError as error:
            session.warn_of(error)
            continue
        yield (*container.names, container.short_id)[0]


def prune_images(session: Session, until: str, labels: Sequence[str]) -> Iterable[str]:
    """Remove those that came before ``until``, have ``labels``, and no container needs.

    Lines that tell what was done. What may not be removed is warned of and stays.
    """
    from udocker.model.oci import ImageConfig
    from udocker.model.reference import Reference

    store = session.store
    used = {each.tree for each in store.containers.sound()}
    for record in list(store.images.sound(session.warn_of)):
        if store.trees.root(record.chain_id) in used or (until and record.created >= until):
            continue
        if protect.is_image_protected(session, record):
            continue
        try:
            if labels:
                config = ImageConfig.parse(store.blobs.read(record.config), record.reference)
                if not _has(dict(config.labels), labels):
                    continue
            yield from remove_image(session, Reference.parse(record.reference).spelled)
        except ImageNotFound:
            continue
        except StoreError as error:
            session.warn_of(error)


def _has(own: Mapping[str, str], labels: Sequence[str]) -> bool:
    for text in labels:
        key, equals, wanted = text.partition("=")
        if key not in own or (equals and own[key] != wanted):
            return False
    return True
