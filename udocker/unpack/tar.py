"""The members of a tar archive, read once from front to end.

Stricter than tar(1) where leniency would let two readers see two archives: every header must
have a right checksum, numbers must be numbers, and after a block of zeros there is another, or
nothing.
"""

from __future__ import annotations

from udocker.errors import ArchiveLimitError, UnpackError
from udocker.unpack import header, pax, sparse
from udocker.unpack.header import BLOCK, FILE, HARDLINK, SYMLINK, ZEROS, Member
from udocker.unpack.names import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Optional

    from udocker.unpack.compression import LayerStream

# More headers before one member have no use, and would never end.
_MAX_EXTENSIONS = 32
_DEVICES = (header.CHAR, header.BLOCK_DEVICE)


class _Extensions:
    """What the headers before a member say about it."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.name: Optional[bytes] = None
        self.link: Optional[bytes] = None

    @property
    def wait_for_member(self) -> bool:
        """Whether an archive may not end after them."""
        return bool(self.records) or self.name is not None or self.link is not None

    def path(self, block: bytes) -> bytes:
        records = self.records
        name = records.get(b"GNU.sparse.name") or records.get(b"path") or self.name
        return header.name_of(block) if name is None else _checked(name, "name")

    def linkpath(self, block: bytes) -> bytes:
        link = self.records.get(b"linkpath") or self.link
        return header.string(block[157:257]) if link is None else _checked(link, "link target")

    def number(self, key: bytes, field: bytes) -> int:
        text = key.decode()
        value = self.records.get(key)
        return header.number(field, text) if value is None else pax.integer(value, text)

    def mtime(self, field: bytes) -> int:
        value = self.records.get(b"mtime")
        if value is not None:
            return pax.time(value)
        return header.clamped_time(header.number(field, "mtime"))


class Archive:
    """``next`` gives the members; ``content`` reads the data of the one that came last.

    Every UnpackError says at which offset of the uncompressed archive it is wrong.
    """

    def __init__(self, stream: LayerStream, max_header_bytes: int) -> None:
        self._stream = stream
        self._max_header = max_header_bytes
        self._left = 0  # data of the current member that was not read
        self._padding = 0
        self._where = 0  # offset of the current header
        self._name: Optional[bytes] = None  # of the current member, once it is known

    def __iter__(self) -> Iterator[Member]:
        return iter(self.next, None)

    def next(self) -> Member | None:
        """The next member; None at the end."""
        self._finish()
        member = self._next()
        if member is not None:
            self._name = member.name
        return member

    def leave_to(self, writer: Callable[[LayerStream], bytes | None]) -> None:
        """Let ``writer`` have the members before those that it leaves to ``next``.

        It gives the name of one that the archive ends in, if it does.
        """
        self._finish()
        self._name = writer(self._stream)
        if self._name is not None:
            raise self._truncated()

    def content(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes of the member's data."""
        for piece in self._stream.pieces(size):
            size -= len(piece)
            self._left -= len(piece)
            yield piece
        if size:
            raise self._truncated()

    def _next(self) -> Member | None:
        extensions = _Extensions()
        for _ in range(_MAX_EXTENSIONS):
            block = self._header()
            if block is None:
                if extensions.wait_for_member:
                    raise self._truncated()
                return None
            try:
                if not self._extend(block, extensions):
                    return self._member(block, extensions)
            except ValueError as error:
                raise self._bad(str(error)) from error
        raise self._bad("too many extension headers in a row")

    def _header(self) -> bytes | None:
        self._where, self._name = self._stream.offset, None
        block = self._stream.read(BLOCK)
        if not block:
            return None
        if block == ZEROS:
            second = self._stream.read(BLOCK)
            if second.strip(b"\0"):
                raise self._bad("data after a block of zeros")
            return None
        if len(block) < BLOCK:
            raise self._truncated()
        if not header.is_header(block):
            raise self._bad("wrong checksum")
        return block

    def _extend(self, block: bytes, extensions: _Extensions) -> bool:
        """Take in an extension header; False when ``block`` is a member's own."""
        kind = block[156:157]
        if kind not in (b"x", b"g", b"L", b"K"):
            return False
        data = self._small(header.checked_size(header.number(block[124:136], "size")))
        if kind == b"x":
            extensions.records.update(pax.parse(data))
        elif kind == b"g":
            pax.parse(data)  # and ignored, as Docker ignores it: the tree must be the same
        elif kind == b"L":
            extensions.name = header.string(data)
        else:
            extensions.link = header.string(data)
        return True

    def _member(self, block: bytes, extensions: _Extensions) -> Member:
        if extensions.records:
            extensions.records = pax.effective(extensions.records)
        kind = header.kind_of(block)
        name = extensions.path(block)
        if block[156] == 0 and name.endswith(b"/"):
            kind = header.DIRECTORY  # as v7 archives mark them
        stored = 0
        if kind == FILE:  # the size field of other kinds means nothing
            stored = header.checked_size(extensions.number(b"size", block[124:136]))
        self._left, self._padding = stored, -stored % BLOCK
        pieces, size = None, stored
        if kind == FILE:
            pieces, size, stored = self._sparse(block, extensions.records, stored)
        major, minor = header.device_of(block) if kind in _DEVICES else (0, 0)
        return Member(
            offset=self._where,
            kind=kind,
            name=name,
            link=extensions.linkpath(block) if kind in (SYMLINK, HARDLINK) else b"",
            mode=header.number(block[100:108], "mode") & 0o7777,
            uid=header.checked_id(extensions.number(b"uid", block[108:116]), "uid"),
            gid=header.checked_id(extensions.number(b"gid", block[116:124]), "gid"),
            mtime=extensions.mtime(block[136:148]),
            size=size,
            stored=stored,
            major=major,
            minor=minor,
            xattrs=pax.xattrs(extensions.records) if extensions.records else (),
            sparse=pieces,
        )

    def _sparse(
        self, block: bytes, records: dict[bytes, bytes], stored: int
    ) -> tuple[sparse.Map | None, int, int]:
        """The map of a sparse file, its real size, and the size of its data."""
        pieces: sparse.Map | None
        if header.is_old_sparse(block):
            size = header.number(block[483:495], "real size")
            pieces = sparse.old_gnu(block, self._extra_block, self._max_header)
        elif records.get(b"GNU.sparse.major", b"0") != b"0":
            size = pax.integer(records.get(b"GNU.sparse.realsize", b""), "real size")
            pieces, read = sparse.pax_1(self._map_block, self._max_header)
            stored -= read
        else:
            pieces = sparse.pax_0(records)
            if pieces is None:
                return None, stored, stored
            size = pax.integer(records.get(b"GNU.sparse.size", b""), "real size")
        return sparse.checked(pieces, header.checked_size(size), stored), size, stored

    def _extra_block(self) -> bytes:
        block = self._stream.read(BLOCK)
        if len(block) < BLOCK:
            raise self._truncated()
        return block

    def _map_block(self) -> bytes:
        if self._left < BLOCK:
            raise ValueError("map of a sparse file is cut short")
        self._left -= BLOCK
        return self._extra_block()

    def _small(self, size: int) -> bytes:
        if size > self._max_header:
            raise self._too_long()
        data = self._stream.read(size)
        self._left, self._padding = size - len(data), -size % BLOCK
        self._finish()
        return data

    def _finish(self) -> None:
        """Pass over what is left of the current data."""
        left = self._left + self._padding
        self._left = self._padding = 0
        if left and self._stream.pass_over(left):
            raise self._truncated()

    def _truncated(self) -> UnpackError:
        what = f"the header at offset {self._where}" if self._name is None else show(self._name)
        return UnpackError(
            f"the archive ends in the middle of {what}",
            hint="fetch the image again; if it stays, the image is broken",
        )

    def _bad(self, what: str) -> UnpackError:
        return UnpackError(f"bad tar header at offset {self._where}: {what}")

    def _too_long(self) -> ArchiveLimitError:
        return ArchiveLimitError(
            f"the extension header at offset {self._where} is longer than {self._max_header} bytes"
        )


def _checked(name: bytes, what: str) -> bytes:
    if b"\0" in name:
        raise ValueError(f"{what} with a NUL byte")
    return name
