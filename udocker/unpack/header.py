"""One 512-byte tar header: v7, ustar, pax and GNU.

Names are bytes. Functions raise ValueError saying what is wrong; who knows the place in the
archive adds it. Formats: POSIX pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar
Format".
"""

from __future__ import annotations

from zlib import adler32

from udocker.model.value import value
from udocker.unpack.names import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

BLOCK = 512
ZEROS = bytes(BLOCK)

# Kinds of members.
FILE = "file"
DIRECTORY = "directory"
SYMLINK = "symlink"
HARDLINK = "hardlink"
CHAR = "char"
BLOCK_DEVICE = "block"
FIFO = "fifo"

_KINDS = {
    b"\0": FILE,
    b"0": FILE,
    b"1": HARDLINK,
    b"2": SYMLINK,
    b"3": CHAR,
    b"4": BLOCK_DEVICE,
    b"5": DIRECTORY,
    b"6": FIFO,
    b"7": FILE,  # contiguous file: POSIX says to treat it as a regular one
    b"S": FILE,  # old GNU sparse
}
_GNU = b"ustar  \0"
_USTAR = b"ustar\0"
_MAX_ID = (1 << 32) - 2  # (uid_t) -1 means "no id": chown(2)
# Times that every filesystem in use can hold or clamp (ext4: until 2446).
_MIN_TIME, _MAX_TIME = -(1 << 31), (1 << 34) - (1 << 31) - 1


@value
class Member:
    """One entry of an archive, all its headers taken together."""

    offset: int  # of its header in the uncompressed archive
    kind: str
    name: bytes
    link: bytes  # target of a symbolic or hard link
    mode: int  # permission bits, 0o7777
    uid: int
    gid: int
    mtime: int  # nanoseconds since 1970
    size: int  # of the file, holes included
    stored: int  # bytes in the archive
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    sparse: Optional[tuple[tuple[int, int], ...]] = None  # data: offset and length


def is_header(block: bytes) -> bool:
    """Whether ``block`` has the length and the checksum of a header."""
    if len(block) != BLOCK:
        return False
    try:
        stored = number(block[148:156], "checksum")
    except ValueError:
        return False
    return stored == _checksum(block) or stored == _signed_checksum(block)


def number(field: bytes, what: str) -> int:
    """A numeric field: octal digits, or GNU's base-256 when the first bit is set."""
    text = field.strip(b" \0")
    if text.isdigit():
        try:
            return int(text, 8)
        except ValueError:
            raise ValueError(f"{what} is not a number") from None
    if not text:
        return 0
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    if field[0] == 0xFF:
        return int.from_bytes(field, "big", signed=True)
    text = text.partition(b"\0")[0].rstrip(b" ")
    if not text.isdigit() or text.strip(b"01234567"):
        raise ValueError(f"{what} is not a number")
    return int(text, 8)


def string(field: bytes) -> bytes:
    """A text field: up to the first NUL."""
    return field.partition(b"\0")[0]


def kind_of(block: bytes) -> str:
    """The kind of member of a header. Raises ValueError for one that is not known."""
    flag = block[156:157]
    kind = _KINDS.get(flag)
    if kind is None:
        raise ValueError(f"entry of unknown type {show(flag)}")
    return kind


def name_of(block: bytes) -> bytes:
    """The name in a header; only ustar has a prefix, GNU keeps other things there."""
    name = string(block[:100])
    if block[257:263] == _USTAR and block[345] and not is_old_sparse(block):
        return string(block[345:500]) + b"/" + name
    return name


def is_old_sparse(block: bytes) -> bool:
    return block[156:157] == b"S"


def device_of(block: bytes) -> tuple[int, int]:
    """Major and minor number; zero in a v7 header, which has no fields for them."""
    if block[257:263] != _USTAR and block[257:265] != _GNU:
        return 0, 0
    return number(block[329:337], "major number"), number(block[337:345], "minor number")


def checked_id(found: int, what: str) -> int:
    if not 0 <= found <= _MAX_ID:
        raise ValueError(f"{what} {found} is out of range")
    return found


def checked_size(found: int) -> int:
    if not 0 <= found < 1 << 63:
        raise ValueError(f"size {found} is out of range")
    return found


def clamped_time(seconds: int, nanoseconds: int = 0) -> int:
    """A time in nanoseconds; one beyond what filesystems hold becomes the nearest."""
    if seconds < _MIN_TIME:
        return _MIN_TIME * 1_000_000_000
    if seconds > _MAX_TIME:
        return _MAX_TIME * 1_000_000_000
    return seconds * 1_000_000_000 + nanoseconds


def _checksum(block: bytes) -> int:
    """The sum of all bytes, those of the checksum itself taken as spaces.

    The low half of Adler-32 is one plus the sum modulo 65521 (RFC 1950), hence exact for half a
    block, and ten times as fast as sum().
    """
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    return total - sum(block[148:156]) + 8 * 0x20


def _signed_checksum(block: bytes) -> int:
    """What old Sun tars wrote: the bytes summed as signed characters."""
    high = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[148:156])
    return _checksum(block) - 256 * high
