"""What is pushed: an image, and the bytes of its blobs from any place on."""

from __future__ import annotations

from udocker.model.value import value
from udocker.registry.http import Content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from udocker.model.oci import Descriptor, Manifest
    from udocker.model.reference import Digest

_CHUNK = 1 << 20
# Layers that are to be had from their makers only, by the URLs in their descriptors.
_NOT_TO_BE_SENT = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)


@value
class Outgoing:
    """An image to push.

    ``open`` gives a blob's bytes, and proves them when they are read to the end. ``sources``:
    another repository of the registry that may have a blob.
    """

    manifest: Manifest
    open: Callable[[Descriptor], BinaryIO]
    sources: Mapping[Digest, str]

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """Those that are to be in the registry, each once."""
        unique = {layer.digest: layer for layer in self.manifest.layers}
        unique.pop(self.manifest.config.digest, None)
        return tuple(layer for layer in unique.values() if not _is_foreign(layer))

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return self.manifest.config.size + sum(layer.size for layer in self.layers)


def _is_foreign(layer: Descriptor) -> bool:
    return bool(layer.urls) and layer.media_type.startswith(_NOT_TO_BE_SENT)


class Source:
    """The bytes of ``blob``, which ``open_blob`` gives and proves when they are read to the end.

    ``advance`` is told of each byte that is read, once.
    """

    def __init__(
        self,
        blob: Descriptor,
        open_blob: Callable[[Descriptor], BinaryIO],
        advance: Callable[[int], None],
    ) -> None:
        self.blob = blob
        self._open = open_blob
        self._advance = advance
        self._stream: BinaryIO | None = None
        self._at = 0
        self._told = 0

    def content(self, start: int, end: int) -> Content:
        """The bytes from ``start`` to before ``end``; only one such is read at a time."""
        return Content(end - start, lambda: _Part(self, start, end))

    def complete(self) -> None:
        """The blob is where it should be: nothing more will be read."""
        self.close()
        self._tell(self.blob.size)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def seek(self, position: int) -> None:
        """Have ``position`` read next; what is before it is read too, to be proven with it."""
        if self._stream is None or position < self._at:
            self.close()
            self._stream = self._open(self.blob)
            self._at = 0
        while self._at < position and self.read(min(_CHUNK, position - self._at)):
            pass

    def read(self, size: int) -> bytes:
        """The next bytes, after a ``seek``."""
        assert self._stream is not None
        data = self._stream.read(size)
        self._at += len(data)
        self._tell(self._at)
        return data

    def _tell(self, have: int) -> None:
        if have > self._told:
            self._advance(have - self._told)
            self._told = have


class _Part:
    """A reader of a part of ``source``."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._source = source
        self._left = end - start
        source.seek(start)

    def read(self, size: int = -1) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        data = self._source.read(size) if size else b""
        self._left -= len(data)
        return data
