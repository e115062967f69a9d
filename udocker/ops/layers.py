"""Layers made here: an archive as a blob of the store, and a tree with one more layer."""

from __future__ import annotations

import zlib

from udocker.files import beating
from udocker.model.oci import OCI_LAYER, Descriptor
from udocker.model.reference import Digest
from udocker.model.value import value
from udocker.ops.members import Members
from udocker.ops.pull import StoredLayer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from udocker.ops.members import Records
    from udocker.ops.session import Session
    from udocker.report import Task
    from udocker.store.blobs import Blobs
    from udocker.store.changes import Entry

_GZIP = 31  # of zlib: with gzip's header, which has no name and no time
_LEVEL = 4  # near the default in size, at twice its speed
_NO_LIMIT = 1 << 62


@value
class NewLayer:
    """A layer in the store: its compressed bytes, and the digest of the uncompressed ones."""

    blobs: Blobs
    digest: Digest
    size: int
    diff_id: Digest

    def stored(self) -> StoredLayer:
        descriptor = Descriptor(f"{OCI_LAYER}+gzip", self.digest, self.size)
        return StoredLayer(self.blobs, descriptor, self.diff_id)


class Compressor:
    """Takes an archive and writes it compressed; the same bytes for the same archive.

    zlib and no faster library: what those write is not the same on all machines.
    """

    def __init__(self, stream: BinaryIO, task: Task) -> None:
        import hashlib

        self._stream = stream
        self._task = task
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> int:
        self._plain.update(data)
        self._put(self._deflate.compress(data))
        self._task.advance(len(data))
        return len(data)

    def finish(self, blobs: Blobs) -> NewLayer:
        """What was written; it is not in ``blobs`` yet."""
        self._put(self._deflate.flush())
        packed, plain = self._packed.hexdigest(), self._plain.hexdigest()
        return NewLayer(blobs, Digest("sha256", packed), self._size, Digest("sha256", plain))

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self._size += len(data)
        self._stream.write(data)


def write_layer(
    session: Session, entries: Iterable[Entry], records: Records, path: str
) -> NewLayer:
    """Write a layer of ``entries``, of which some may be removed, to the new file ``path``, from
    where it is moved into the store. Raises OSError, StoreError.
    """
    task = session.report.task("writing the layer", None)
    with open(path, "xb") as stream:
        compressor = Compressor(stream, task)
        # A Members writes, and does no more, to what it is given.
        with Members(compressor, records) as members:  # type: ignore[arg-type]
            for entry in entries:
                if entry.is_removed:
                    members.whiteout(entry.path)
                else:
                    members.add(entry)
        layer = compressor.finish(session.store.blobs)
    session.store.blobs.adopt(path, layer.digest)
    task.done()
    return layer


def put_over(session: Session, base: str, layer: NewLayer, directory: str) -> None:
    """Make in ``directory``, which is empty, the tree of ``base`` with one more layer.

    ``base``: where a tree and its index are. The files are copied, by shared blocks where the
    filesystem can. Raises OSError, UnpackError, StoreError where ``base`` may not be read.
    """
    from udocker.store.copy import copy_as_it_is
    from udocker.unpack.limits import Limits
    from udocker.unpack.readable import is_open, open_to_all
    from udocker.unpack.tree import Builder

    # What has come from the disk is no bomb.
    limits = Limits(_NO_LIMIT, _NO_LIMIT)
    task = session.report.task("making the image's files", layer.size)
    with beating(directory):
        copy_as_it_is(f"{base}/root", f"{directory}/root")
        with Builder([layer.stored()], directory, limits, task.advance, base=base) as builder:
            builder.finish()
        if session.config.readable_trees or is_open(base):
            open_to_all(directory, limits)
    task.done()
