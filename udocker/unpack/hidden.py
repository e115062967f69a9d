"""The whiteouts of one layer, kept until the layer is merged: on disk when they are many."""

from __future__ import annotations

import struct
import tempfile

from udocker.errors import ArchiveLimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_MEMORY = 1 << 16  # bytes
_ENTRY = struct.Struct("<?I")


class Hidden:
    """Paths that a layer takes from the layers below; a temporary file in ``directory``."""

    def __init__(self, directory: str, max_bytes: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed by __exit__
            max_size=_IN_MEMORY, dir=directory
        )
        self._max_bytes = max_bytes

    def close(self) -> None:
        """Forget them."""
        self._file.close()

    def add(self, path: bytes, children_only: bool) -> None:
        """Hide ``path``, or only what is in it. Raises OSError, ArchiveLimitError."""
        if self._file.tell() > self._max_bytes:
            raise ArchiveLimitError("the layer has too many whiteouts")
        self._file.write(_ENTRY.pack(children_only, len(path)) + path)

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """The arguments of every ``add``; no more may be added after this."""
        self._file.seek(0)
        while head := self._file.read(_ENTRY.size):
            children_only, length = _ENTRY.unpack(head)
            yield self._file.read(length), children_only
