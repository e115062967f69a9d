"""``protect``: a container or an image that is not removed, renamed or given another mode."""

from __future__ import annotations

import contextlib
import os

from udocker import files
from udocker.errors import ImageNotFound, StoreError
from udocker.files import store_errors
from udocker.model.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord

_CONTAINER = "protected"
_LEAST_ID = 8  # as for run


def protect(session: Session, text: str, wanted: bool = True) -> None:
    """Protect a container or an image, or do so no more. Raises ImageNotFound, StoreError."""
    from udocker.ops.images import get_image

    container = session.store.containers.find(text, least=_LEAST_ID)
    if container is not None:
        path = _of_container(container)
    else:
        try:
            path = _of_image(session, get_image(session, text))
        except ImageNotFound:
            raise ImageNotFound(
                f"no such container or image: {text}",
                hint="udocker ps and udocker images list them",
            ) from None
    with store_errors("protecting"):
        if wanted:
            files.write_atomic(path, b"", parents=False)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def is_protected(container: Container) -> bool:
    """Whether a container is."""
    return os.access(_of_container(container), os.F_OK)


def is_image_protected(session: Session, record: ImageRecord) -> bool:
    """Whether an image is, by that name."""
    return os.path.exists(_of_image(session, record))


def check(container: Container, name: str) -> None:
    """Raise StoreError where the container is protected."""
    if is_protected(container):
        raise StoreError(f"container {name} is protected", hint=f"udocker unprotect {name}")


def check_image(session: Session, record: ImageRecord) -> None:
    """Raise StoreError where the image is protected."""
    if is_image_protected(session, record):
        name = Reference.parse(record.reference).spelled
        raise StoreError(f"image {name} is protected", hint=f"udocker unprotect {name}")


def _of_container(container: Container) -> str:
    return f"{container.path}/{_CONTAINER}"


def _of_image(session: Session, record: ImageRecord) -> str:
    """Beside the record: no record's name begins with a dot."""
    folder, _, name = session.store.images.path(Reference.parse(record.reference)).rpartition("/")
    return f"{folder}/.{_CONTAINER}-{name}"
