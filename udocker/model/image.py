"""What an image is to the rest of the program, wherever it comes from.

Imported for types only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from udocker.model.oci import Descriptor, ImageConfig, Manifest
from udocker.model.reference import Digest


class Layer(Protocol):
    """One change set of a root filesystem."""

    @property
    def descriptor(self) -> Descriptor:
        """Names the compressed bytes."""
        ...

    @property
    def diff_id(self) -> Digest:
        """The digest of the uncompressed tar stream."""
        ...

    def open(self) -> BinaryIO:
        """The compressed bytes; reading to their end proves the digest or raises
        VerificationError."""
        ...


class Image(Protocol):
    """A manifest, its configuration and its layers, lowest first."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def config(self) -> ImageConfig: ...

    def layers(self) -> Sequence[Layer]: ...


class BlobSink(Protocol):
    """Takes the bytes of one blob, in any order. Nothing is visible before ``commit``."""

    def missing(self) -> Sequence[tuple[int, int]]:
        """The ranges that have not come: where each starts, and before which byte it ends."""
        ...

    def write(self, data: bytes, at: int) -> int:
        """Take the bytes that belong ``at`` a place and on; how many of them had not come yet."""
        ...

    def commit(self) -> None:
        """Verify size and digest and publish. Raises VerificationError, NoSpaceError."""
        ...

    def leave(self, error: BaseException | None = None) -> None:
        """Keep what has come for another fetch, if ``error`` allows; harmless after ``commit``."""
        ...

    def abort(self) -> None:
        """Forget what was written; harmless after ``commit``."""
        ...
