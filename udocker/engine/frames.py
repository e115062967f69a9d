"""What goes over the control socket of a supervised run: a kind, a length, and so many bytes."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# From the client.
ATTACH = b"a"  # wants what is printed from now on; the first frame
INPUT = b"i"
CLOSE = b"c"  # no more input will come
RESIZE = b"w"  # rows and columns, as ``SIZE``
SIGNAL = b"s"  # one byte: its number
# To the client.
OUTPUT = b"o"
ERROR = b"e"
EXIT = b"x"  # one byte: the exit code

SIZE = struct.Struct("=HH")
_HEAD = struct.Struct("=cI")
_LARGEST = 1 << 20


def pack(kind: bytes, data: bytes = b"") -> bytes:
    """One frame."""
    return _HEAD.pack(kind, len(data)) + data


class Reader:
    """Puts frames together from what comes."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The frames that are whole now: kind and data. Raises ValueError for what is none."""
        self._data += data
        while len(self._data) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self._data)
            if size > _LARGEST:
                raise ValueError("no frame is so large")
            if len(self._data) < _HEAD.size + size:
                return
            frame = self._data[_HEAD.size : _HEAD.size + size]
            self._data = self._data[_HEAD.size + size :]
            yield kind, frame
