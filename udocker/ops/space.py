"""Whether an image will fit before it is fetched, and keeping the store below its limit."""

from __future__ import annotations

import contextlib
import os
import time

from udocker.errors import NoSpaceError, UdockerError
from udocker.files import store_errors
from udocker.model.reference import Reference
from udocker.store.usage import Meter, Usage, measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from udocker.model.oci import Descriptor
    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord

_USUAL_RATIO = 3  # of unpacked bytes to compressed ones
_RECORDS = 8  # files and directories that every image needs beside blobs and tree
_FRESH = 60.0  # seconds in which whoever pulled an image makes a container of it
_HINT = "free some space (udocker prune, rm, rmi) or move the store: UDOCKER_DIR"


def check_space(
    session: Session,
    doing: str,
    missing: Sequence[Descriptor],
    layers: Sequence[Descriptor],
) -> None:
    """Refuse what cannot fit: ``missing`` are to be fetched, ``layers`` to be unpacked.

    ``doing`` says for what: "pulling NAME". How large a layer is unpacked nobody knows before:
    hardly ever smaller than it is compressed. Raises NoSpaceError.
    """
    fetched = sum(layer.size for layer in missing)
    packed = sum(layer.size for layer in layers)
    needed = Usage(fetched + packed, len(missing) + _RECORDS)
    top = session.store.topdir
    with store_errors("using the store"):
        os.makedirs(top, exist_ok=True)
        disk = os.statvfs(top)
    free = Usage(disk.f_bavail * disk.f_frsize, disk.f_favail)
    if needed.bytes > free.bytes:
        raise NoSpaceError(
            f"{doing}: No space left on device: it needs more than {needed.bytes} bytes, "
            f"{free.bytes} are free: {top}",
            hint=_HINT,
        )
    # Some filesystems count no inodes.
    if disk.f_files and needed.entries > free.entries:
        raise NoSpaceError(
            f"{doing}: No space left on device: it needs more than {needed.entries} inodes, "
            f"{free.entries} are free: {top}",
            hint=_HINT,
        )
    likely = fetched + _USUAL_RATIO * packed
    if likely > free.bytes:
        session.report.warn(
            f"{doing}: it may not fit: it will need about {likely} bytes, {free.bytes} are free"
        )


def used(session: Session, record: ImageRecord) -> None:
    """Remember that the image was used just now. Never fails."""
    reference = Reference.parse(record.reference)
    with contextlib.suppress(OSError, UdockerError):
        if session.store.images.own(reference) is not None:
            os.utime(session.store.images.path(reference))


def keep_limit(session: Session, kept: ImageRecord) -> None:
    """Remove unused images, but not ``kept``, while the store is larger than it may be.

    Never fails: what cannot be removed is told.
    """
    from udocker.ops.images import remove_image

    limit = session.config.max_store_bytes
    if not limit:
        return
    with contextlib.suppress(UdockerError):
        sizes = _Sizes(session)
        for record in _unused(session, kept) if sizes.total > limit else ():
            with contextlib.suppress(UdockerError):
                remove_image(session, record.reference, force=True)
                session.report.info(f"removed {record.reference} for want of space: it is unused")
                if sizes.total <= limit:
                    return
        if sizes.total > limit:
            session.report.warn(
                f"the store has {sizes.total} bytes, more than max_store_bytes = {limit}: what is "
                "left is in use, or new"
            )


class _Sizes:
    """What the store takes; what is removed meanwhile is taken off without looking at the rest."""

    def __init__(self, session: Session) -> None:
        store = session.store
        objects = [
            *(store.trees.path(chain_id) for chain_id in store.trees.all()),
            *(store.blobs.path(digest) for digest in store.blobs.all()),
        ]
        self._objects = {path: measure(path).bytes for path in objects}
        self._rest = Meter().measure(store.topdir, skip=frozenset(objects)).bytes

    @property
    def total(self) -> int:
        here = (size for path, size in self._objects.items() if os.path.lexists(path))
        return self._rest + sum(here)


def _unused(session: Session, kept: ImageRecord) -> list[ImageRecord]:
    """Images whose tree no container has, the longest unused first."""
    store = session.store
    taken = {container.tree for container in store.containers.all()}
    found = []
    for record in store.images.all():
        with contextlib.suppress(OSError):
            since = os.stat(store.images.path(Reference.parse(record.reference))).st_mtime
            is_taken = store.trees.root(record.chain_id) in taken
            if not is_taken and record != kept and time.time() - since > _FRESH:
                found.append((since, record.reference, record))
    return [record for *_, record in sorted(found, key=lambda row: row[:2])]
