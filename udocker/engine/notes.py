"""What programs and libraries ask of the host, in notes that compilers and linkers put into them.

Linux Standard Base, "ABI note tag"; System V ABI, x86-64 supplement, "Program property".
"""

from __future__ import annotations

import struct

from udocker import elf
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTE = 4  # PT_NOTE
_ABI_TAG, _PROPERTIES = 1, 5  # types of notes of the name GNU
_LINUX = 0
_LITTLE_64 = b"\x7fELF\x02\x01"
_ISA_NEEDED = 0xC0008002  # GNU_PROPERTY_X86_ISA_1_NEEDED


@value
class Notes:
    """``kernel``: the oldest Linux. ``level``: 3 for x86-64-v3; 0 where none is named."""

    kernel: tuple[int, int] = (0, 0)
    level: int = 0


def read(content: bytes) -> Notes:
    """The notes of a 64-bit little-endian ELF file; of any other nothing is known."""
    kernel, level = (0, 0), 0
    if content[:6] != _LITTLE_64:
        return Notes()
    for kind, words in _notes(content):
        if kind == _ABI_TAG and len(words) >= 16:
            system, major, minor = struct.unpack_from("<III", words)
            kernel = (major, minor) if system == _LINUX else kernel
        elif kind == _PROPERTIES:
            level = max(level, _level(words))
    return Notes(kernel, level)


def _notes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each note of the name GNU."""
    for segment in elf.segments(content) or ():
        if segment.kind != _NOTE:
            continue
        alignment = 8 if segment.alignment == 8 else 4
        at, end = segment.offset, min(segment.offset + segment.size, len(content))
        while at + 12 <= end:
            name_size, length, kind = struct.unpack_from("<III", content, at)
            place = _aligned(at + 12 + name_size, alignment)
            if content[at + 12 : at + 12 + name_size] == b"GNU\0":
                yield kind, content[place : min(place + length, end)]
            at = _aligned(place + length, alignment)


def _level(properties: bytes) -> int:
    """Each bit stands for a level: the highest counts."""
    at, level = 0, 0
    while at + 8 <= len(properties):
        kind, size = struct.unpack_from("<II", properties, at)
        if kind == _ISA_NEEDED and size == 4 and at + 12 <= len(properties):
            level = max(level, int.from_bytes(properties[at + 8 : at + 12], "little").bit_length())
        at = _aligned(at + 8 + size, 8)
    return level


def _aligned(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment
