"""Archives that a user names, or gives by a pipe: opened, and decompressed if need be."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

from udocker.archive.files import Directory, Members
from udocker.errors import ArchiveLimitError, ImageNotFound, UdockerError, UnpackError
from udocker.files import beating, store_errors
from udocker.ops.limits import unpack_limits
from udocker.unpack.compression import Source
from udocker.unpack.outer import is_plain, places, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from udocker.archive.files import Files
    from udocker.ops.session import Session

STDIN = "-"
_HINT = "an archive of images is a tar, perhaps compressed with gzip, zstd, xz or bzip2"
_READABLE = "name an archive, or the directory of an OCI layout, that you may read"


@contextlib.contextmanager
def opened(session: Session, path: str) -> Iterator[Files]:
    """The files of the archive ``path``: a directory, a tar, or "-" for standard input.

    A compressed one, or one from a pipe, is first written to the store's ``tmp``, within the limits
    of unpacking. Raises ImageNotFound, UnpackError, StoreError, UdockerError.
    """
    if path != STDIN and os.path.isdir(path):
        yield Directory(path)
        return
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(source(path))
        name = shown(path)
        plain = stream
        if not _is_usable(stream):
            directory = stack.enter_context(session.store.temporary())
            stack.enter_context(beating(directory))
            plain = stack.enter_context(open(f"{directory}/archive", "w+b"))
            with naming(name):
                _spool(session, stream, plain, name)
        with naming(name):
            head = os.pread(plain.fileno(), 512, 0)
            if not is_plain(head):
                raise UnpackError("it is not a tar archive" if head else "it is empty")
            found = places(plain.fileno())
        yield Members(name, plain.fileno(), found)


def shown(path: str) -> str:
    """What messages call an archive."""
    return "standard input" if path == STDIN else path


@contextlib.contextmanager
def source(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file or of standard input. Raises ImageNotFound, UdockerError."""
    if path == STDIN:
        if sys.stdin is None:
            raise UdockerError("standard input is closed", hint="name a file: -i FILE")
        yield sys.stdin.buffer
        return
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError as error:
        raise ImageNotFound(f"no such file: {path}", hint=_READABLE) from error
    except OSError as error:
        raise UdockerError(
            f"cannot read {path}: {error.strerror or error}", hint=_READABLE
        ) from error
    with stream:
        yield stream


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Say of which archive an UnpackError tells."""
    try:
        yield
    except UnpackError as error:
        text = f"{name}: {error.message}"
        raise type(error)(text, hint=error.hint or _HINT) from error


def _is_usable(stream: BinaryIO) -> bool:
    """Whether it can be read at any place, as it is."""
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode) or stream.tell():
        return False
    return is_plain(os.pread(stream.fileno(), 512, 0))


def _spool(session: Session, stream: BinaryIO, plain: BinaryIO, name: str) -> None:
    """Write the uncompressed bytes. What would not be unpacked is not written, either."""
    status = os.fstat(stream.fileno())
    total = status.st_size if stat.S_ISREG(status.st_mode) else None
    task = session.report.task(f"reading {name}", total)
    written = fetched = 0

    def advance(size: int) -> None:
        nonlocal fetched
        fetched += size
        task.advance(size)

    with store_errors(f"reading {name}"):
        for piece in unpacked(Source(stream, advance, name)):
            written += len(piece)
            limits = unpack_limits(session.config, fetched)
            if written > limits.max_archive_bytes:
                raise ArchiveLimitError(
                    f"it is longer than {limits.max_archive_bytes} bytes", hint=limits.hint
                )
            plain.write(piece)
        plain.flush()
    task.done()
