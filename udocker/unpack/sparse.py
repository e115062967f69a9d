"""Where the data of a sparse file lies: the four ways of GNU tar.

GNU tar manual, "Storing Sparse Files". A map is pairs of offset and length. Functions raise
ValueError saying what is wrong.
"""

from __future__ import annotations

from udocker.unpack.header import BLOCK, number
from udocker.unpack.pax import integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Map = tuple[tuple[int, int], ...]

_PAIR = 24  # bytes of one pair in an old header


def old_gnu(header: bytes, block: Callable[[], bytes], max_bytes: int) -> Map:
    """The map of an old GNU header, four pairs, and of the blocks after it, 21 pairs each."""
    pairs = _pairs(header[386:482])
    more = header[482]
    while more:
        if len(pairs) * _PAIR > max_bytes:
            raise ValueError("map of a sparse file is too long")
        extension = block()
        pairs += _pairs(extension[:504])
        more = extension[504]
    return tuple(pairs)


def pax_0(records: dict[bytes, bytes]) -> Map | None:
    """The map that formats 0.0 and 0.1 keep in the extended header; None: not sparse so."""
    if b"GNU.sparse.map" in records:
        values = records[b"GNU.sparse.map"].split(b",")
        return _paired(values[0::2], values[1::2])
    if b"GNU.sparse.numblocks" in records:
        return _paired(
            records.get(b"GNU.sparse.offset", b"").split(b",")[:-1],
            records.get(b"GNU.sparse.numbytes", b"").split(b",")[:-1],
        )
    return None


def pax_1(block: Callable[[], bytes], max_bytes: int) -> tuple[Map, int]:
    """The map that format 1.0 puts before the data, and its size in bytes, padding included.

    Decimal numbers, one a line: how many pairs, then offsets and lengths in turn.
    """
    data = block()
    read = BLOCK
    lines = data.split(b"\n")
    wanted = 1 + 2 * integer(lines[0], "number of sparse pieces")
    if wanted < 1:
        raise ValueError("number of sparse pieces is negative")
    while len(lines) <= wanted:
        if read >= max_bytes:
            raise ValueError("map of a sparse file is too long")
        data = block()
        read += BLOCK
        first, *rest = data.split(b"\n")
        lines[-1] += first
        lines += rest
    return _paired(lines[1:wanted:2], lines[2:wanted:2]), read


def checked(pieces: Map, size: int, stored: int) -> Map:
    """``pieces`` if they are in order, inside a file of ``size`` bytes, and ``stored`` in sum."""
    end = total = 0
    for offset, length in pieces:
        if length < 0 or offset < end or offset + length > size:
            raise ValueError("map of a sparse file is not in order")
        end = offset + length
        total += length
    if total != stored:
        raise ValueError("map of a sparse file does not fit its data")
    return pieces


def _pairs(data: bytes) -> list[tuple[int, int]]:
    found = []
    for at in range(0, len(data), _PAIR):
        if not data[at]:
            break
        offset = number(data[at : at + 12], "offset of a sparse piece")
        found.append((offset, number(data[at + 12 : at + 24], "length of a sparse piece")))
    return found


def _paired(offsets: list[bytes], lengths: list[bytes]) -> Map:
    if len(offsets) != len(lengths):
        raise ValueError("map of a sparse file is not made of pairs")
    return tuple(
        (integer(offset, "offset of a sparse piece"), integer(length, "length of a sparse piece"))
        for offset, length in zip(offsets, lengths)
    )
