"""Where the bytes of a blob go as they come, until they prove to be the blob."""

from __future__ import annotations

import contextlib
import os

from udocker import files
from udocker.errors import NoSpaceError, VerificationError
from udocker.files import store_errors
from udocker.store import partial
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.model.oci import Descriptor

_CHUNK = 1 << 20  # bytes


class FileSink:
    """A BlobSink: a file that another process can go on with, and that becomes the blob."""

    def __init__(self, directory: str, path: str, descriptor: Descriptor) -> None:
        import hashlib

        self._directory = directory
        self._target = path
        self._descriptor = descriptor
        self._hash = hashlib.new(descriptor.digest.algorithm)
        self._hashed = 0  # bytes from the start on
        self._open = True
        with store_errors("storing a layer"):
            self._partial = partial.take(directory, descriptor)
        try:
            with self._errors():
                self._catch_up()
        except BaseException:
            self._partial.leave()
            raise

    def missing(self) -> list[tuple[int, int]]:
        """The ranges that have not come: where each starts, and before which byte it ends."""
        return self._partial.there.missing(0, self._descriptor.size)

    def write(self, data: bytes, at: int) -> int:
        """Take the bytes that belong ``at`` a place and on; how many of them had not come yet.

        Raises VerificationError when they are too many, StoreError.
        """
        end = at + len(data)
        if end > self._descriptor.size:
            raise VerificationError(
                f"blob {self._descriptor.digest} is larger than its manifest says: "
                f"{counted(self._descriptor.size, 'bytes')}"
            )
        new = 0
        view = memoryview(data)
        for start, stop in self._partial.there.missing(at, end):
            piece = view[start - at : stop - at]
            with self._errors():
                self._partial.write(piece, start)
                new += len(piece)
                if start == self._hashed:
                    self._hash.update(piece)
                    self._hashed = stop
                    self._catch_up()
        return new

    def commit(self) -> None:
        """Verify and publish. Raises VerificationError, and then nothing is left; StoreError."""
        try:
            self._verify()
            with self._errors():
                self._partial.publish(self._target)
        except BaseException:
            self.abort()
            raise
        self._open = False
        partial.forget(self._directory, self._descriptor.digest)

    def leave(self, error: BaseException | None = None) -> None:
        """Keep what has come for another fetch: but not what filled the disk."""
        if isinstance(error, NoSpaceError):
            self.abort()
        elif self._open:
            self._open = False
            self._partial.leave()

    def abort(self) -> None:
        """Forget what was written."""
        if self._open:
            self._open = False
            self._partial.remove()

    def _catch_up(self) -> None:
        """Hash what came before those in front of it did."""
        reach = self._partial.there.reach(self._hashed)
        while self._hashed < reach:
            data = os.pread(self._partial.data, min(_CHUNK, reach - self._hashed), self._hashed)
            if not data:
                raise VerificationError(f"{self._partial.path} has become shorter")
            self._hash.update(data)
            self._hashed += len(data)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        # A write(2) that fails names no file; a message should.
        try:
            yield
        except OSError as error:
            error.filename = error.filename or self._partial.path
            raise files.translate(error, "storing a layer") from error

    def _verify(self) -> None:
        digest = self._descriptor.digest
        if self._hashed != self._descriptor.size:
            raise VerificationError(
                f"blob {digest} has {counted(self._hashed, 'bytes')}, "
                f"its manifest gives {self._descriptor.size}"
            )
        if self._hash.hexdigest() != digest.hex:
            raise VerificationError(
                f"blob {digest} does not match its digest: the bytes were altered on the way",
                hint="pull again; if it stays, the registry or a proxy is at fault",
            )
