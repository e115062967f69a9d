"""Blobs that are on their way into the store, and can be read while they come."""

from __future__ import annotations

import io
import os
from threading import Condition

from udocker.store.sink import FileSink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from udocker.model.oci import Descriptor
    from udocker.model.reference import Digest
    from udocker.store.blobs import Blobs

    class _Base(io.RawIOBase, BinaryIO):
        """What a caller may take for a BinaryIO."""
else:
    _Base = io.RawIOBase

_STEP = 1 << 17  # bytes; readers are told of no fewer


class Interrupted(Exception):
    """A blob will not come: who fetches it says why."""


class _Coming:
    """One blob: where its bytes are, and how many."""

    def __init__(self) -> None:
        self.path = ""
        self.tries = 0  # how many files there were
        self.size = 0
        self.told = 0  # so much of the size readers know of
        self.begun_again = False  # so that a reader may have seen bytes that were not the blob's
        self.proven = False


class Arrivals:
    """The blobs ``descriptors``: one thread brings them by ``sink``, others ``open`` them."""

    def __init__(self, blobs: Blobs, descriptors: Iterable[Descriptor]) -> None:
        self._blobs = blobs
        self._changed = Condition()
        self._coming = {descriptor.digest: _Coming() for descriptor in descriptors}
        self._closed = False

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._coming

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def sink(self, descriptor: Descriptor) -> FileSink:
        """Where the bytes of ``descriptor`` go as they arrive. Raises StoreError."""
        return _Sink(self, self._blobs, descriptor)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """The blob's bytes as they come. The end comes when they are proven to be the blob's.

        Where a fetch began again a reader goes on where it was: then what it has read is not
        proven, and only what comes of it can be. Raises Interrupted, OSError.
        """
        return _Reader(self, descriptor, self._blobs.path(descriptor.digest))

    def begin(self, digest: Digest, path: str, size: int) -> None:
        """The bytes will be found in the file ``path``; the first ``size`` are there."""
        with self._changed:
            coming = self._coming[digest]
            coming.path, coming.size, coming.told = path, size, size
            coming.tries += 1
            self._changed.notify_all()

    def grown(self, digest: Digest, size: int, complete: bool) -> None:
        """The first ``size`` bytes are in the file."""
        coming = self._coming[digest]
        coming.size = size
        if complete or coming.size - coming.told >= _STEP:
            with self._changed:
                coming.told = coming.size
                self._changed.notify_all()

    def lost(self, digest: Digest) -> None:
        """What has come is of no use, and the file is gone."""
        with self._changed:
            coming = self._coming[digest]
            coming.begun_again |= coming.size > 0
            coming.path, coming.size, coming.told = "", 0, 0

    def proven(self, digest: Digest, path: str) -> None:
        """The blob is in the store."""
        with self._changed:
            self._coming[digest].path = path
            self._coming[digest].proven = True
            self._changed.notify_all()

    def is_proven(self, digest: Digest) -> bool:
        """Whether the blob is in the store, as far as is known."""
        return digest not in self._coming or self._coming[digest].proven

    def was_begun_again(self, digest: Digest) -> bool:
        """Whether a reader may have had bytes of two fetches."""
        return digest in self._coming and self._coming[digest].begun_again

    def wait(self, digest: Digest, at: int, end: int) -> tuple[str, int, int]:
        """The file that has bytes from ``at`` on, its number, and up to where it has them.

        From ``end`` on: when all are proven. Raises Interrupted.
        """
        with self._changed:
            coming = self._coming[digest]
            while not coming.proven and (at == end or coming.told <= at):
                if self._closed:
                    raise Interrupted
                self._changed.wait()
            return coming.path, coming.tries, end if coming.proven else coming.told


class _Sink(FileSink):
    def __init__(self, arrivals: Arrivals, blobs: Blobs, descriptor: Descriptor) -> None:
        super().__init__(blobs.partial, blobs.path(descriptor.digest), descriptor)
        self._arrivals = arrivals
        self._digest = descriptor.digest
        arrivals.begin(self._digest, self._partial.path, self._hashed)

    def write(self, data: bytes, at: int) -> int:
        new = super().write(data, at)
        complete = self._hashed == self._descriptor.size
        self._arrivals.grown(self._digest, self._hashed, complete)
        return new

    def commit(self) -> None:
        super().commit()
        self._arrivals.proven(self._digest, self._target)

    def abort(self) -> None:
        self._arrivals.lost(self._digest)
        super().abort()


class _Reader(_Base):
    def __init__(self, arrivals: Arrivals, descriptor: Descriptor, place: str) -> None:
        super().__init__()
        self._arrivals = arrivals
        self._place = place  # in the store, when it is proven
        self._digest = descriptor.digest
        self._end = descriptor.size
        self._at = 0
        self._file = -1
        self._number = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes, at least one but at the end."""
        wanted = self._end if size is None or size < 0 else size
        while wanted:
            path, number, there = self._arrivals.wait(self._digest, self._at, self._end)
            if self._at == self._end:
                break
            if number == self._number or self._open(path, number):
                data = os.pread(self._file, min(wanted, there - self._at), self._at)
                self._at += len(data)
                return data
        return b""

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        super().close()

    def _open(self, path: str, number: int) -> bool:
        """Go to another file; False where it has just been given up, or renamed."""
        try:
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if path == self._place:
                raise
            return False
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number = opened, number
        return True
