"""What cp reads from a pipe, and what it writes to one: a tar archive."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

from udocker.errors import UsageError
from udocker.files import beating

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    from udocker.ops.session import Session

    class Item(Protocol):
        """As of ``cp``."""

        @property
        def name(self) -> str: ...

        @property
        def path(self) -> str: ...

        @property
        def link(self) -> str | None: ...


PIPE = "-"
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@contextlib.contextmanager
def unpacked(session: Session) -> Iterator[str]:
    """A directory with what the archive on stdin has, while the block runs. Raises UdockerError."""
    from udocker.ops.importing import naming, spooled
    from udocker.ops.limits import unpack_limits
    from udocker.unpack.tree import Builder

    with spooled(session, PIPE) as layer, session.store.temporary() as directory:
        limits = unpack_limits(session.config, layer.layer.size)
        with (
            naming(PIPE),
            beating(directory),
            Builder([layer], directory, limits, lambda count: None) as builder,
        ):
            builder.finish()
        yield f"{directory}/root"


def write(items: Iterable[Item], base: str, mode: Callable[[str, os.stat_result], int]) -> None:
    """To stdout, below the name ``base``; all is root's. Raises OSError, UsageError."""
    import tarfile

    if sys.stdout.isatty():
        raise UsageError(
            "an archive is nothing for a terminal", hint="udocker cp CONTAINER:PATH - | tar -t"
        )
    sys.stdout.flush()
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            member = tarfile.TarInfo(base + item.name)
            member.uname = member.gname = "root"
            if item.link is not None:
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, item.link, 0o777
                archive.addfile(member)
                continue
            descriptor = os.open(item.path, _READ)
            try:
                status = os.fstat(descriptor)
                member.mode = mode(item.path, status) & 0o7777
                member.mtime = int(status.st_mtime)
                if stat.S_ISDIR(status.st_mode):
                    member.type = tarfile.DIRTYPE
                    archive.addfile(member)
                else:
                    member.size = status.st_size
                    with open(descriptor, "rb", closefd=False) as stream:
                        archive.addfile(member, stream)
            finally:
                os.close(descriptor)
    sys.stdout.buffer.flush()
