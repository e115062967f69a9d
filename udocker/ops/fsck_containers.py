"""What may be wrong with one container, and how to put it right without losing what it wrote."""

from __future__ import annotations

import functools
import os

from udocker.errors import BadReplyError, ContainerNotFound, StoreError, UdockerError
from udocker.files import write_atomic
from udocker.model.container import PLAIN, UNION, Container
from udocker.model.moment import moment
from udocker.model.oci import ImageConfig
from udocker.model.reference import Digest
from udocker.model.value import replace
from udocker.ops.findings import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord


def examine(session: Session, identity: str) -> Finding | None:
    """The first thing that is wrong with a container; None when there is none.

    One that is being removed looks damaged for an instant: what is wrong with it is seen twice.
    """
    container = _Container(session, identity)
    try:
        return container.examine() and container.examine()
    except ContainerNotFound:
        return None


class _Container:
    def __init__(self, session: Session, identity: str) -> None:
        self._store = session.store
        self._id = identity
        self._path = session.store.containers.path(identity)

    def examine(self) -> Finding | None:
        if not os.path.isdir(self._path):
            return None
        return self._config() or self._record() or self._directories() or self._tree()

    def _finding(self, text: str, cure: str, act: Callable[[], object] | None = None) -> Finding:
        return Finding("container", self._id[:12], text, cure, act)

    def _config(self) -> Finding | None:
        if self._read_config() is not None:
            return None
        text = "its config.json is missing or damaged"
        record = self._image_of_its_manifest()
        if record is None:
            return self._finding(text, "none: the image it was made of is not in the store")
        raw = self._store.blobs.read(record.config)
        return self._finding(
            text, "take that of its image", lambda: self._write("config.json", raw)
        )

    def _read_config(self) -> ImageConfig | None:
        try:
            with open(f"{self._path}/config.json", "rb") as stream:
                return ImageConfig.parse(stream.read(), self._id)
        except (OSError, BadReplyError):
            return None

    def _image_of_its_manifest(self) -> ImageRecord | None:
        import json

        try:
            with open(f"{self._path}/container.json", "rb") as stream:
                manifest = Digest.parse(json.loads(stream.read())["manifest"])
            for record in self._store.images.all():
                if record.manifest == manifest:
                    self._store.blobs.read(record.config)
                    return record
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UdockerError):
            pass
        return None

    def _write(self, name: str, data: bytes) -> None:
        write_atomic(f"{self._path}/{name}", data, parents=False)

    def _record(self) -> Finding | None:
        try:
            if self._store.containers.find(self._id) is not None:
                return None
        except StoreError:
            pass
        text = "its container.json is missing or damaged"
        record = self._image_of_its_config()
        if record is None:
            return self._finding(text, "none: the image it was made of is not in the store")
        return self._finding(text, "write it anew", lambda: self._rebuild(record))

    def _image_of_its_config(self) -> ImageRecord | None:
        config = self._read_config()
        try:
            for record in self._store.images.all():
                if config is not None and record.config == config.digest:
                    return record
        except UdockerError:
            pass
        return None

    def _rebuild(self, record: ImageRecord) -> None:
        """All but a mode that was set: the image, and the form that its files are in."""
        config = self._read_config()
        if config is None:
            raise StoreError("its config.json is gone")
        status = os.stat(self._path)
        container = Container(
            id=self._id,
            path=self._path,
            image=record.reference,
            manifest=record.manifest,
            tree=self._store.trees.root(record.chain_id),
            config=config,
            created=moment(status.st_mtime_ns),
        )
        has_copy = os.path.isdir(container.root) and os.listdir(container.root)
        self._store.containers.update(replace(container, form=PLAIN if has_copy else UNION))

    def _directories(self) -> Finding | None:
        container = self._store.containers.get(self._id)
        if container.form == PLAIN:
            if os.path.isdir(container.root):
                return None
            return self._finding("its files are gone: ROOT is missing", "none")
        # It is made before the work directory: see Containers.make_ready.
        if os.path.isdir(container.work) and not os.path.isdir(container.upper):
            make = functools.partial(self._store.containers.make_ready, container)
            return self._finding("what it wrote is gone: upper is missing", "make it", make)
        return None

    def _tree(self) -> Finding | None:
        container = self._store.containers.get(self._id)
        if container.form == PLAIN or os.path.isdir(container.tree):
            return None
        text = f"the files of its image are gone: {container.tree}"
        here = self._store.trees.root(container.config.chain_id)
        if not os.path.isdir(here):
            return self._finding(text, f"udocker pull {container.image}")
        moved = replace(container, tree=here)
        return self._finding(
            text, "use those in this store", lambda: self._store.containers.update(moved)
        )
