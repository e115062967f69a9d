"""Where functions begin and end, from .eh_frame: Linux Standard Base, core, "Exception Frames"."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PC_RELATIVE = 0x1B  # DW_EH_PE_pcrel | DW_EH_PE_sdata4: what compilers write for x86_64
_LONG = 0xFFFFFFFF
_LONGEST_AUGMENTATION, _LONGEST_NUMBER = 16, 10  # in bytes


def functions(
    data: bytes, start: int, address_of: Callable[[int], int | None]
) -> Iterator[tuple[int, int]]:
    """Beginning and end (addresses) of each function that the table at ``start`` describes.

    ``address_of`` gives the address of a file offset. Entries in other encodings than the usual
    are passed over. Raises struct.error, IndexError, KeyError and ValueError on a broken table.
    """
    encodings: dict[int, int | None] = {}
    at = start
    while True:
        length = struct.unpack_from("<I", data, at)[0]
        if length in (0, _LONG):
            return
        body = at + 4
        pointer = struct.unpack_from("<I", data, body)[0]
        if pointer == 0:
            encodings[at] = _encoding(data, body + 4)
        elif encodings.get(body - pointer) == PC_RELATIVE:
            place = address_of(body + 4)
            offset, size = struct.unpack_from("<iI", data, body + 4)
            if place is not None:
                yield place + offset, place + offset + size
        at = body + length


def _encoding(data: bytes, at: int) -> int | None:
    """How the entries of a common entry (behind its id) write addresses; None when unclear."""
    end = data.index(b"\0", at + 1, at + 1 + _LONGEST_AUGMENTATION)
    augmentation = data[at + 1 : end]
    if not augmentation.startswith(b"z"):
        return None
    at = end + 1
    for _ in range(4):  # alignment of code and data, return register, size of what follows
        at = _after_number(data, at)
    for letter in augmentation[1:].decode("latin-1"):
        if letter == "R":
            return data[at]
        if letter == "L":
            at += 1
        elif letter == "P":
            at += 1 + _pointer_size(data[at])
        elif letter not in "SB":
            return None
    return None


def _after_number(data: bytes, at: int) -> int:
    for end in range(at, at + _LONGEST_NUMBER):
        if not data[end] & 0x80:
            return end + 1
    raise ValueError("a number without an end")


def _pointer_size(encoding: int) -> int:
    return {0: 8, 2: 2, 3: 4, 4: 8}[encoding & 7]
