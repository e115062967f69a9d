"""A container's files as members of a tar archive: POSIX pax, the same bytes for the same files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile

from udocker.store.changes import attribute_names, owner_of
from udocker.store.copy import data_ranges, readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from udocker.store.changes import Entry
    from udocker.unpack.index import Record

_WORTH = 1 << 16  # bytes of holes from which a file is written as a sparse one
_BLOCK = 512
_BUFFER = 1 << 18
_MODE = stat.S_IRUSR | stat.S_IWUSR  # of members that are no files of the container


class Records:
    """What the index has of the entries of a container's tree. Raises OSError."""

    def __init__(self, tree: str) -> None:
        from udocker.unpack import index

        self._tree = tree
        self._by_path: dict[str, Record] = {}
        # An index names one of the names that a file has.
        self._by_inode: dict[int, Record] = {}
        path = f"{os.path.dirname(self._tree)}/{index.NAME}"
        for name, record in index.read(path) if os.path.exists(path) else ():
            place = f"/{os.fsdecode(name)}" if name else ""
            self._by_path[place] = record
            with contextlib.suppress(FileNotFoundError):  # a device
                status = os.lstat(self._tree + place)
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    self._by_inode[status.st_ino] = record

    def get(self, path: str) -> Record | None:
        """Of ``path``, which begins with a slash; "" is the root."""
        record = self._by_path.get(path)
        if record is None and self._by_inode:
            with contextlib.suppress(OSError):
                record = self._by_inode.get(os.lstat(self._tree + path).st_ino)
        return record

    def owner(self, path: str) -> tuple[int, int, int | None]:
        """Who the image's entry belongs to, and its permission bits, None: those of the file."""
        record = self.get(path)
        return (record.uid, record.gid, record.mode) if record else (0, 0, None)


class Members:
    """Writes entries to ``stream``, with the owners and modes that programs inside see.

    Holes of files stay holes, in GNU's format 1.0 for pax. ``prefix`` is put before all names.
    """

    def __init__(self, stream: BinaryIO, records: Records, prefix: str = "") -> None:
        self._archive = tarfile.open(  # noqa: SIM115 - closed by __exit__
            fileobj=stream,
            mode="w|",
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=_BUFFER,
        )
        self._records = records
        self._prefix = prefix
        self._links: dict[tuple[int, int], str] = {}

    def __enter__(self) -> Members:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._archive.close()
        elif self._archive.fileobj is not None:
            # What is not whole gets no end; tarfile would write that when it is collected.
            self._archive.fileobj.closed = True  # type: ignore[attr-defined]

    def add(self, entry: Entry) -> None:
        """Write an entry that is there; a socket is left out, and what went while we looked.

        Raises OSError with its path, StoreError.
        """
        try:
            self._add(entry)
        except FileNotFoundError:
            pass
        except OSError as error:
            error.filename = error.filename or entry.path
            raise

    def whiteout(self, path: str) -> None:
        """Write that the layers below have no ``path`` any more: layer.md, "Whiteouts"."""
        above, _, name = path.rpartition("/")
        self.note(f"{above}/.wh.{name}".lstrip("/"), b"")

    def note(self, name: str, data: bytes) -> None:
        """Write a file that is not one of the container's."""
        import io

        info = tarfile.TarInfo(name)
        info.mode, info.size = _MODE, len(data)
        self._archive.addfile(info, io.BytesIO(data))

    def _add(self, entry: Entry) -> None:
        path = entry.over or entry.under
        record = self._records.get(entry.path)
        status = os.lstat(path)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket, which no archive has
        info = tarfile.TarInfo(self._prefix + entry.path.lstrip("/") or "./")
        info.type = kind
        info.mode, info.uid, info.gid = _owner(path, entry, status, record)
        info.pax_headers = {**_time(info, status), **_attributes(path, entry, record)}
        if kind == tarfile.SYMTYPE:
            info.linkname = os.readlink(path)
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and kind != tarfile.DIRTYPE:
            if key in self._links:
                info.type, info.linkname, info.pax_headers = tarfile.LNKTYPE, self._links[key], {}
                self._archive.addfile(info)
                return
            self._links[key] = info.name
        if kind != tarfile.REGTYPE:
            self._archive.addfile(info)
            return
        with readable(path, status):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                self._add_file(info, descriptor)
            finally:
                os.close(descriptor)

    def _add_file(self, info: tarfile.TarInfo, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        ranges = list(data_ranges(descriptor, size))
        head = b""
        if size - sum(length for _, length in ranges) < _WORTH:
            ranges = [(0, size)]
        else:
            head = _sparse(info, ranges, size)
        info.size = len(head) + sum(length for _, length in ranges)
        # What tarfile asks of a file is read(size), which gives all of that.
        self._archive.addfile(info, _Content(head, descriptor, ranges))  # type: ignore[arg-type]


_KINDS = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFREG: tarfile.REGTYPE,
}


class _Content:
    """``head``, and then those ranges of an open file."""

    def __init__(self, head: bytes, descriptor: int, ranges: Sequence[tuple[int, int]]) -> None:
        self._pieces = _pieces(head, descriptor, ranges)
        self._held = b""

    def read(self, size: int) -> bytes:
        while len(self._held) < size:
            self._held += next(self._pieces)
        data, self._held = self._held[:size], self._held[size:]
        return data


def _pieces(head: bytes, descriptor: int, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    if head:
        yield head
    for begin, length in ranges:
        done = 0
        while done < length:
            data = os.pread(descriptor, min(_BUFFER, length - done), begin + done)
            if not data:
                raise OSError(errno.EIO, "the file became shorter while it was read")
            done += len(data)
            yield data


def _sparse(info: tarfile.TarInfo, ranges: list[tuple[int, int]], size: int) -> bytes:
    """Make ``info`` a sparse file; the map that is written before its data.

    GNU tar manual, "Storing Sparse Files". Whoever does not know it gets the data under a name
    that says so.
    """
    if not ranges or sum(ranges[-1]) < size:
        ranges.append((size, 0))
    above, _, name = info.name.rpartition("/")
    info.pax_headers = {
        **info.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": info.name,
        "GNU.sparse.realsize": str(size),
    }
    info.name = f"{above}/GNUSparseFile.0/{name}".lstrip("/")
    lines = [len(ranges), *(number for each in ranges for number in each)]
    text = "".join(f"{number}\n" for number in lines).encode()
    return text + bytes(-len(text) % _BLOCK)


def _time(info: tarfile.TarInfo, status: os.stat_result) -> dict[str, str]:
    """The time in the header, and its fraction in one header more: only where there is one."""
    whole, rest = divmod(status.st_mtime_ns, 10**9)
    info.mtime = whole
    if not rest:
        return {}
    sign, whole, rest = ("-", -whole - 1, 10**9 - rest) if whole < 0 else ("", whole, rest)
    return {"mtime": f"{sign}{whole}.{rest:09}".rstrip("0")}


def _owner(
    path: str, entry: Entry, status: os.stat_result, record: Record | None
) -> tuple[int, int, int]:
    """True mode, uid and gid: of the file itself, or else of the image where it has its mode."""
    mode = entry.permissions(status)
    given = owner_of(path, status) if entry.over else None
    if given is not None:
        return mode if given[2] is None else given[2], given[0], given[1]
    if record is None or record.device is not None or not _is_of_image(entry, status):
        return mode, 0, 0
    return mode if record.mode is None else record.mode, record.uid, record.gid


def _is_of_image(entry: Entry, status: os.stat_result) -> bool:
    """Whether the image's owner and mode still say something: a copy in the upper may differ."""
    if not entry.over:
        return True
    under = os.lstat(entry.under).st_mode if entry.under else 0
    is_like = stat.S_IFMT(under) == stat.S_IFMT(status.st_mode)
    return is_like and stat.S_IMODE(under) == entry.permissions(status)


def _attributes(path: str, entry: Entry, record: Record | None) -> dict[str, str]:
    found = {
        f"SCHILY.xattr.{name}": os.getxattr(path, name, follow_symlinks=False)
        for name in attribute_names(path)
    }
    if record is not None and not entry.over:
        found.update((f"SCHILY.xattr.{os.fsdecode(name)}", data) for name, data in record.xattrs)
    return {name: data.decode("utf-8", "surrogateescape") for name, data in found.items()}
