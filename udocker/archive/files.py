"""The files of an archive of images: of a directory, or members of a tar. Nothing else is read."""

from __future__ import annotations

import contextlib
import io
import os
import stat

from udocker.errors import BadReplyError, HostileArchiveError, UdockerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO, Protocol

    class Files(Protocol):
        """Files by their paths in the archive, whose name is for messages."""

        name: str

        def open(self, path: str) -> tuple[BinaryIO, int]:
            """The bytes of a file, and how many they are.

            Raises BadReplyError for one that is not there, HostileArchiveError for what is not a
            file, or is not in the archive, and UdockerError.
            """
            ...

        def has(self, path: str) -> bool:
            """Whether there is something of that name. Raises HostileArchiveError."""
            ...

    class Place(Protocol):
        """Where a member's bytes are in a tar, or the path that it is a link to."""

        @property
        def offset(self) -> int: ...

        @property
        def size(self) -> int: ...

        @property
        def link(self) -> str | None: ...

        @property
        def is_file(self) -> bool: ...

        @property
        def is_unique(self) -> bool: ...

    class _Base(io.RawIOBase, BinaryIO):
        """What a caller may take for a BinaryIO."""
else:
    _Base = io.RawIOBase

INCOMPLETE = "the copy of the image is incomplete: make it again"
_NO_FOLLOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20
_SHOWN = 200  # characters
_MOST_LINKS = 40  # in a row, as Linux has it


def document(files: Files, path: str, limit: int) -> bytes:
    """A small file, whole. Raises BadReplyError for one of more than ``limit`` bytes."""
    where = f"{files.name}/{path}"
    stream, size = files.open(path)
    with stream, reading(where):
        raw = stream.read(limit + 1) if size <= limit else b""
    if size > limit or len(raw) > limit:
        raise BadReplyError(f"{where} is too large for a document: {max(size, len(raw))} bytes")
    return raw


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Say of an OSError what could not be read."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadReplyError(f"{where} is missing", hint=INCOMPLETE) from error
    except OSError as error:
        raise UdockerError(f"cannot read {where}: {error.strerror or error}") from error


def _shown(path: str) -> str:
    """A path for a message: whoever made the archive may have made it very long."""
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}…"


def _parts(path: str, where: str) -> list[str]:
    """The parts of a path that a document of the archive names."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path or not parts:
        raise HostileArchiveError(f"{where} leads out of the archive")
    return parts


class Directory:
    """The files below the directory ``name``; links are not followed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, path: str) -> tuple[BinaryIO, int]:
        where = f"{self.name}/{_shown(path)}"
        *directories, last = _parts(path, where)
        with reading(where), contextlib.ExitStack() as stack:
            parent = os.open(self.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, parent)
            for part in directories:
                parent = _open_below(parent, part, stat.S_ISDIR, where)
                stack.callback(os.close, parent)
            # Whoever asked for it closes it.
            stream = open(_open_below(parent, last, stat.S_ISREG, where), "rb")  # noqa: SIM115
            return stream, os.fstat(stream.fileno()).st_size

    def has(self, path: str) -> bool:
        where = f"{self.name}/{_shown(path)}"
        return os.path.lexists("/".join([self.name, *_parts(path, where)]))


def _open_below(parent: int, part: str, wanted: Callable[[int], bool], where: str) -> int:
    mode = os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode
    if not wanted(mode):
        link = stat.S_ISLNK(mode)
        raise HostileArchiveError(
            f"{where}: {part} is {'a symbolic link' if link else 'of the wrong file type'}",
            hint="cp -rL makes a copy of the layout without links" if link else None,
        )
    return os.open(part, _NO_FOLLOW, dir_fd=parent)


class Members:
    """The members of an uncompressed tar in an open file, found at ``places`` by their paths.

    Links lead to members of the same tar: old archives of Docker have layers that are links.
    """

    def __init__(self, name: str, descriptor: int, places: Mapping[str, Place]) -> None:
        self.name = name
        self._descriptor = descriptor
        self._places = places

    def open(self, path: str) -> tuple[BinaryIO, int]:
        where = f"{self.name}/{_shown(path)}"
        key = "/".join(_parts(path, where))
        for _ in range(_MOST_LINKS):
            place = self._places.get(key)
            if place is None:
                raise BadReplyError(f"{where} is missing", hint=INCOMPLETE)
            if not place.is_unique:
                # Programs differ in which one they take.
                raise HostileArchiveError(f"{where} is there more than once")
            if not place.is_file:
                raise HostileArchiveError(f"{where} is of the wrong file type")
            if place.link is None:
                return _Section(self._descriptor, place.offset, place.size), place.size
            key = place.link
        raise HostileArchiveError(f"{where}: its links lead in a circle")

    def has(self, path: str) -> bool:
        return "/".join(_parts(path, f"{self.name}/{_shown(path)}")) in self._places


class _Section(_Base):
    """``size`` bytes of a file from ``offset`` on. Several can be read at the same time."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._at = offset
        self._end = offset + size

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes, all that are left when it is negative; nothing at the end."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        data = os.pread(self._descriptor, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data
