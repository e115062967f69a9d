"""The records of pax extended headers (POSIX pax(1), "pax Extended Header").

Only what an entry can use is kept. Values are bytes: whatever ``hdrcharset`` says, a name is the
bytes that a file will have.
"""

from __future__ import annotations

from udocker.unpack.header import clamped_time

_XATTR = b"SCHILY.xattr."
_PLAIN = (b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime")
_SPARSE = b"GNU.sparse."
# GNU.sparse 0.0 repeats these two for every piece; all other keys mean their last value.
_REPEATED = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")


def parse(data: bytes) -> dict[bytes, bytes]:
    """The records of one extended header. Raises ValueError for what is not a list of records."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        key, value, at = _record(data, at)
        if key in _REPEATED:
            records[key] = records.get(key, b"") + value + b","
        elif key in _PLAIN or key.startswith((_XATTR, _SPARSE)):
            records[key] = value
    return records


def effective(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """``records`` without those that an empty value removes. An extended attribute may be empty."""
    return {key: value for key, value in records.items() if value or key.startswith(_XATTR)}


def integer(value: bytes, what: str) -> int:
    """A decimal number, with a sign."""
    digits = value[1:] if value[:1] == b"-" else value
    if not digits.isdigit() or len(digits) > 30:
        raise ValueError(f"{what} is not a number")
    return int(value)


def time(value: bytes) -> int:
    """Seconds with a fraction, as nanoseconds; what is finer is cut off."""
    whole, _, fraction = value.partition(b".")
    if fraction and not fraction.isdigit():
        raise ValueError("mtime is not a number")
    seconds = integer(whole, "mtime")
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    if value[:1] == b"-" and nanoseconds:
        return clamped_time(seconds - 1, 1_000_000_000 - nanoseconds)
    return clamped_time(seconds, nanoseconds)


def xattrs(records: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Names and values of extended attributes, sorted."""
    found = ((k[len(_XATTR) :], v) for k, v in records.items() if k.startswith(_XATTR))
    return tuple(sorted(found))


def _record(data: bytes, at: int) -> tuple[bytes, bytes, int]:
    space = data.find(b" ", at, at + 20)
    length = data[at:space] if space > 0 else b""
    end = at + int(length) if length.isdigit() else 0
    if not at < end <= len(data) or data[end - 1] != 0x0A:
        raise ValueError("extended header is not a list of records")
    key, equals, value = data[space + 1 : end - 1].partition(b"=")
    if not equals or not key or b"\0" in key:
        raise ValueError("extended header has a record without a key")
    return key, value, end
