"""Where functions of a Go program begin and end, from its line table (runtime/symtab.go)."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGICS = (0xFFFFFFF0, 0xFFFFFFF1)  # Go 1.18, and since 1.20
_HEADER = "<IHBBQQQ"  # magic, zeros, quantum, size of a pointer, functions, files, begin of text
_FUNCTIONS_AT = 64  # where the header says how far behind it the functions are


def functions(data: bytes, table: int, text: int) -> Iterator[tuple[int, int]]:
    """Beginning and end (addresses) of each function; none where the table is of another version.

    ``table`` is its file offset, ``text`` the address of the code. Raises struct.error on a
    truncated table.
    """
    magic, zeros, quantum, pointer, count, _, begin = struct.unpack_from(_HEADER, data, table)
    if magic not in _MAGICS or (zeros, quantum, pointer) != (0, 1, 8):
        return
    begin = begin or text
    at = table + struct.unpack_from("<Q", data, table + _FUNCTIONS_AT)[0]
    starts = struct.unpack_from(f"<{2 * count + 1}I", data, at)[::2]
    for start, end in zip(starts, starts[1:]):
        yield begin + start, begin + end
