"""/etc/ld.so.cache: where the dynamic loader of glibc finds libraries.

The format is that of glibc since 2.2, ``glibc-ld.so.cache1.1``: a header of 48 bytes, entries of
24 bytes {flags, name, path, version of the system, hardware}, texts; since 2.33 an extension
that says what made it, and names sorts of processors (glibc-hwcaps). It may stand behind a part
in the format before that, which nothing reads any more. Texts are counted from the header.
"""

from __future__ import annotations

import re
import struct
import sys

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PATH = "/etc/ld.so.cache"
X86_64, I386, AARCH64 = 0x0303, 0x0003, 0x0A03  # flags: libraries of glibc 2, for a machine
FLAGS = {("x86_64", 64): X86_64, ("x86_64", 32): I386, ("aarch64", 64): AARCH64}

_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_MAGIC = b"ld.so-1.7.0\0"
_HEADER, _ENTRY, _OLD_ENTRY = struct.Struct("=20sIIB3xI12x"), struct.Struct("=iIIIQ"), 12
_EXTENSION, _SECTION = struct.Struct("=II"), struct.Struct("=IIII")
_EXTENSION_MAGIC = 0xEAA42174
_GENERATOR, _HWCAPS = 0, 1  # tags of sections
_NAMED = 1 << 62  # of hardware: the rest is an index into the section of names
_ORDER = 2 if sys.byteorder == "little" else 3
_LARGEST = 64 << 20
_MOST = 1 << 17  # entries, and
_LONGEST = 4096  # bytes of a text: a cache may be an image's, made to take long
_DIGITS = re.compile(rb"([0-9]{1,18})")


@value
class Entry:
    """A library. ``processor``: of glibc-hwcaps, as ``x86-64-v3``; "" for all of them."""

    name: bytes
    path: bytes
    flags: int = X86_64
    version: int = 0
    hardware: int = 0
    processor: bytes = b""


def parse(data: bytes) -> tuple[Entry, ...]:
    """The entries in their order; none where ``data`` is no cache. Damaged entries are left out."""
    start = _start(data)
    if start < 0 or len(data) > _LARGEST or len(data) < start + _HEADER.size:
        return ()
    data = data[start:]
    _, count, _, order, extension = _HEADER.unpack_from(data)
    if order not in (0, _ORDER) or count > min(_MOST, (len(data) - _HEADER.size) // _ENTRY.size):
        return ()
    names = tuple(_processors(data, extension))
    found = []
    for number in range(count):
        at = _HEADER.size + number * _ENTRY.size
        flags, name, path, version, hardware = _ENTRY.unpack_from(data, at)
        texts = _text(data, name), _text(data, path)
        index = hardware & 0xFFFFFFFF if hardware & _NAMED else -1
        if not all(texts) or index >= len(names):
            continue
        known = names[index] if index >= 0 else b""
        found.append(Entry(*texts, flags, version, 0 if known else hardware, known))
    return tuple(found)


def write(entries: Iterable[Entry]) -> bytes:
    """A cache of ``entries``, in the order in which the loader looks for them."""
    ordered = sorted(entries, key=_place)
    names = sorted({entry.processor for entry in ordered if entry.processor})
    begin = _HEADER.size + _ENTRY.size * len(ordered)
    texts = _Texts(begin)
    rows = []
    for entry in ordered:
        hardware = entry.hardware
        if entry.processor:
            hardware = _NAMED | names.index(entry.processor)
        places = texts.add(entry.name), texts.add(entry.path)
        rows.append(_ENTRY.pack(entry.flags, *places, entry.version, hardware))
    processors = struct.pack(f"={len(names)}I", *map(texts.add, names))
    body = bytes(texts.data)
    extension = -(-(begin + len(body)) // 4) * 4
    head = _HEADER.pack(_MAGIC, len(rows), len(body), _ORDER, extension)
    padding = bytes(extension - begin - len(body))
    return head + b"".join(rows) + body + padding + _extension(extension, processors)


def merge(data: bytes, ours: Sequence[Entry]) -> bytes:
    """The cache ``data`` of an image with ``ours``, which stand for its own of the same name."""
    taken = {(entry.name, entry.flags) for entry in ours}
    kept = [entry for entry in parse(data) if (entry.name, entry.flags) not in taken]
    return write((*kept, *ours))


def _start(data: bytes) -> int:
    """Where the new format begins; -1: nowhere."""
    if data.startswith(_MAGIC):
        return 0
    if not data.startswith(_OLD_MAGIC) or len(data) < 16:
        return -1
    count = int.from_bytes(data[12:16], sys.byteorder)
    end = 16 + count * _OLD_ENTRY
    for alignment in (8, 4):  # of 64 and of 32 bits
        start = -(-end // alignment) * alignment
        if data[start : start + len(_MAGIC)] == _MAGIC:
            return start
    return -1


def _text(data: bytes, at: int) -> bytes:
    end = data.find(b"\0", at, at + _LONGEST + 1)
    return data[at:end] if end >= 0 else b""


def _processors(data: bytes, extension: int) -> Iterator[bytes]:
    """The names of the section for glibc-hwcaps. Before 2.33 anything may stand there."""
    if extension == 0 or extension + _EXTENSION.size > len(data):
        return
    magic, count = _EXTENSION.unpack_from(data, extension)
    if magic != _EXTENSION_MAGIC:
        return
    for number in range(min(count, 64)):
        at = extension + _EXTENSION.size + number * _SECTION.size
        if at + _SECTION.size > len(data):
            return
        tag, _, offset, size = _SECTION.unpack_from(data, at)
        if tag == _HWCAPS and offset + size <= len(data):
            for place in struct.unpack_from(f"={size // 4}I", data, offset):
                yield _text(data, place)


def _extension(at: int, processors: bytes) -> bytes:
    """What stands at ``at``: that udocker made it, and the names of processors."""
    maker = b"udocker"
    count = 2 if processors else 1
    names = at + _EXTENSION.size + _SECTION.size * count
    sections = [_SECTION.pack(_GENERATOR, 0, names + len(processors), len(maker))]
    if processors:
        sections.append(_SECTION.pack(_HWCAPS, 0, names, len(processors)))
    return _EXTENSION.pack(_EXTENSION_MAGIC, count) + b"".join(sections) + processors + maker


class _Texts:
    """Texts that end in a zero byte, each once."""

    def __init__(self, begin: int) -> None:
        self.data = bytearray()
        self._begin = begin
        self._places: dict[bytes, int] = {}

    def add(self, text: bytes) -> int:
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = self._begin + len(self.data)
            self.data += text + b"\0"
        return place


def _place(entry: Entry) -> tuple[object, ...]:
    """The key by which glibc sorts: names downwards, numbers in them by value and above letters.

    Of one name the larger flags come first, then what is for certain processors.
    """
    key: list[int] = []
    for number, part in enumerate(_DIGITS.split(entry.name)):
        key += (-256 - int(part),) if number % 2 else (-letter for letter in part)
    key.append(0)
    return (key, -entry.flags, not entry.processor, entry.processor)
