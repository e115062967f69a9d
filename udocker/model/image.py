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
    """Takes the bytes of one blob. Nothing is visible before ``commit``."""

    def write(self, data: bytes) -> object: ...

    def commit(self) -> None:
        """Verify size and digest and publish. Raises VerificationError, NoSpaceError."""
        ...

    def abort(self) -> None:
        """Forget what was written; harmless after ``commit``."""
        ...
