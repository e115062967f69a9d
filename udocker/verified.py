"""Bytes that prove to be what their descriptor says while they are read."""

from __future__ import annotations

import io

from udocker.errors import VerificationError
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from udocker.model.oci import Descriptor

    class _Base(io.RawIOBase, BinaryIO):
        """What a caller may take for a BinaryIO."""
else:
    _Base = io.RawIOBase

_CHUNK = 1 << 20
_HINT = "the bytes were changed or cut short on their way: fetch them again"


class VerifiedReader(_Base):
    """Reads ``source`` and compares it with the digest and the size of ``descriptor``.

    The last byte is handed out only after both proved right, so a consumer that stops at the end
    of an archive has read verified bytes. At most one byte beyond the size is taken from the
    source. ``read`` and ``readinto`` raise VerificationError, and go on doing so. Closing closes
    the source; what was not read by then is not verified.
    """

    def __init__(self, source: BinaryIO, descriptor: Descriptor) -> None:
        import hashlib

        super().__init__()
        self._source = source
        self._digest = descriptor.digest
        self._size = descriptor.size
        self._hash = hashlib.new(descriptor.digest.algorithm)
        self._count = 0
        self._failure = ""
        self._proven = False

    @property
    def verified(self) -> bool:
        """Whether all of it was read, and is what was promised."""
        return self._proven

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes, all that are left when it is negative; nothing at the end."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self._take(_CHUNK), b""))
        return self._take(size)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        data = self._take(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()

    def _take(self, wanted: int) -> bytes:
        if self.closed:
            raise ValueError("read of a closed stream")
        if self._failure:
            self._fail(self._failure)
        if self._proven or wanted == 0:
            return b""
        wanted = min(wanted, self._size - self._count)
        data = self._source.read(wanted) if wanted else b""
        self._hash.update(data)
        self._count += len(data)
        if not data or self._count == self._size:
            self._finish()
        return data

    def _finish(self) -> None:
        digest = self._digest
        if self._count < self._size:
            self._fail(f"{digest} ends after {self._count} of {self._size} bytes")
        if self._source.read(1):
            self._fail(f"{digest} is longer than {counted(self._size, 'bytes')}, its size")
        found = self._hash.hexdigest()
        if found != digest.hex:
            self._fail(f"{digest} is damaged: its bytes are {digest.algorithm}:{found}")
        self._proven = True

    def _fail(self, message: str) -> None:
        self._failure = message
        raise VerificationError(message, hint=_HINT)
