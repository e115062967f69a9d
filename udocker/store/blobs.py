"""Content by digest: manifests, configurations, compressed layers."""

from __future__ import annotations

import contextlib
import os

from udocker import files
from udocker.errors import VerificationError
from udocker.files import store_errors
from udocker.model.reference import Digest
from udocker.store.partial import FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from udocker.model.oci import Descriptor
    from udocker.store.sink import FileSink


_CHUNK = 1 << 20


class Blobs:
    """``blobs/<algorithm>/<hex>`` under ``topdir``. What is there was verified on its way in.

    What is missing is looked for in ``others``, which are only read.
    """

    def __init__(self, topdir: str, others: Sequence[Blobs] = ()) -> None:
        self._others = tuple(others)
        self._directory = f"{topdir}/blobs"
        self.partial = f"{topdir}/{FOLDER}"
        self._temporary = f"{topdir}/tmp"

    def path(self, digest: Digest) -> str:
        return f"{self._directory}/{digest.algorithm}/{digest.hex}"

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is here with the size that ``descriptor`` gives."""
        try:
            return os.stat(self._found(descriptor.digest)).st_size == descriptor.size
        except OSError:
            return False

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """The blob's bytes; reading to the end proves them or raises VerificationError."""
        from udocker.verified import VerifiedReader

        path = self._found(descriptor.digest)
        with store_errors("reading the store"):
            stream = open(path, "rb")  # noqa: SIM115 - the reader closes it
        return VerifiedReader(stream, descriptor)

    def is_sound(self, digest: Digest) -> bool:
        """Whether the blob's bytes are what its name says. Raises StoreError."""
        import hashlib

        found = hashlib.new(digest.algorithm)
        with store_errors("reading the store"), open(self.path(digest), "rb") as stream:
            while True:
                data = stream.read(_CHUNK)
                if not data:
                    return found.hexdigest() == digest.hex
                found.update(data)

    def read(self, digest: Digest) -> bytes:
        """A small blob, whole. Raises VerificationError, StoreError."""
        with store_errors("reading the store"), open(self._found(digest), "rb") as stream:
            data = stream.read()
        if digest.algorithm == "sha256" and Digest.of(data) != digest:
            raise VerificationError(f"the stored blob {digest} is damaged", hint="pull again")
        return data

    def put(self, data: bytes) -> Digest:
        """Store a small blob, also in place of a damaged one. Raises OSError."""
        digest = Digest.of(data)
        with contextlib.suppress(OSError), open(self.path(digest), "rb") as stream:
            if stream.read() == data:
                return digest
        files.write_atomic(self.path(digest), data, aside=self._temporary)
        return digest

    def adopt(self, path: str, digest: Digest) -> None:
        """Rename the file ``path`` into the store, by its bytes' digest. Raises OSError."""
        place = self.path(digest)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.rename(path, place)

    def sink(self, descriptor: Descriptor) -> FileSink:
        """Where the bytes of ``descriptor`` go as they arrive. Raises StoreError."""
        from udocker.store.sink import FileSink

        return FileSink(self.partial, self.path(descriptor.digest), descriptor)

    def remove(self, digest: Digest) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def _found(self, digest: Digest) -> str:
        """Where the blob is; the place where it should be if it is nowhere."""
        own = self.path(digest)
        places = (own, *(other.path(digest) for other in self._others))
        return next((path for path in places if os.access(path, os.R_OK)), own)

    def all(self) -> Iterator[Digest]:
        """Every blob in the store."""
        for algorithm in _names(self._directory):
            for name in _names(f"{self._directory}/{algorithm}"):
                if len(name) in (64, 128):
                    yield Digest(algorithm, name)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
