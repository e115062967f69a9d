"""What the store takes on disk, and for what: as du(1) counts, with what is shared once."""

from __future__ import annotations

import os

from udocker.errors import UdockerError
from udocker.files import store_errors
from udocker.model.reference import Reference
from udocker.model.value import value
from udocker.store.usage import Meter, Usage, measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

    from udocker.model.reference import Digest
    from udocker.ops.session import Session

_KINDS = ("blobs", "trees", "containers", "patched")
_OTHER = "other"


@value
class Share:
    """A part of the store. ``own``: of ``used``, what no other image needs as well."""

    name: str
    used: Usage
    own: Optional[Usage] = None
    count: int = 0

    def as_json(self) -> dict[str, object]:
        found: dict[str, object] = {"name": self.name, **_json(self.used)}
        if self.own is not None:
            found["own"] = _json(self.own)
        return found


@value
class Space:
    """All that ``df`` prints. ``unread``: directories whose contents are not counted."""

    kinds: tuple[Share, ...]
    images: tuple[Share, ...]
    containers: tuple[Share, ...]
    free: Usage
    limit: int
    unread: int

    @property
    def total(self) -> Usage:
        return sum((kind.used for kind in self.kinds), Usage())

    def as_json(self) -> dict[str, object]:
        return {
            "kinds": [{**kind.as_json(), "count": kind.count} for kind in self.kinds],
            "images": [image.as_json() for image in self.images],
            "containers": [container.as_json() for container in self.containers],
            "total": _json(self.total),
            "free": _json(self.free),
            "limit": self.limit or None,
            "unread": self.unread,
        }


def _json(usage: Usage) -> dict[str, object]:
    return {"bytes": usage.bytes, "inodes": usage.entries}


def space(session: Session) -> Space:
    """Look at everything in the store. Raises StoreError."""
    top = session.store.topdir
    with store_errors("looking at the store"):
        disk = _disk(top)
        meter = Meter()
        kinds = [_kind(meter, top, name) for name in _KINDS]
        # Last, and from the top: all that has not been counted.
        rest = Share(_OTHER, meter.measure(top, skip={f"{top}/{name}" for name in _KINDS}))
        containers = tuple(
            Share(name, measure(session.store.containers.path(identity)))
            for identity, name in sorted(
                session.store.containers.called(), key=lambda each: each[1]
            )
        )
        images = tuple(_images(session))
    limit = session.config.max_store_bytes
    return Space((*kinds, rest), images, containers, disk, limit, meter.unread)


def _disk(path: str) -> Usage:
    """What an ordinary user may still take of the filesystem."""
    while not os.path.exists(path) and path != "/":
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return Usage(found.f_bavail * found.f_frsize, found.f_favail)


def _kind(meter: Meter, top: str, name: str) -> Share:
    path = f"{top}/{name}"
    count = 0
    for folder in _entries(path):
        count += 1 if name == "containers" else len(_entries(folder))
    return Share(name, meter.measure(path), count=count)


def _entries(path: str) -> list[str]:
    try:
        return [f"{path}/{name}" for name in os.listdir(path) if name != "files"]
    except OSError:
        return []


def _images(session: Session) -> Iterable[Share]:
    """Each image of this store with all that it needs, and of that what others do not."""
    from udocker.ops.images import blobs_of

    store = session.store
    needs: dict[str, set[str]] = {}
    for record in store.images.sound(session.warn_of):
        paths = {os.path.dirname(store.trees.root(record.chain_id))}
        try:
            paths |= {store.blobs.path(digest) for digest in blobs_of(session, record)}
        except UdockerError:  # its manifest is damaged: fsck says so
            paths |= _paths(session, (record.manifest, record.config))
        needs[record.reference] = {path for path in paths if path.startswith(f"{store.topdir}/")}
    sizes = {path: measure(path) for paths in needs.values() for path in paths}
    for name, paths in needs.items():
        others = set().union(*(needs[other] for other in needs if other != name))
        reference = Reference.parse(name)
        ending = f":{reference.tag}" if reference.tag else f"@{reference.digest}"
        used = sum((sizes[path] for path in paths), Usage())
        own = sum((sizes[path] for path in paths - others), Usage())
        yield Share(reference.familiar + ending, used, own)


def _paths(session: Session, digests: Iterable[Digest]) -> set[str]:
    return {session.store.blobs.path(digest) for digest in digests}
