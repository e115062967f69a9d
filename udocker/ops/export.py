"""What a container changed, and all of its files as one archive."""

from __future__ import annotations

import contextlib
import os
import stat
import sys

from udocker.errors import StoreError
from udocker.files import store_errors
from udocker.model.container import PLAIN
from udocker.store.changes import attribute_names, changes, owner_of, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator
    from typing import BinaryIO

    from udocker.model.container import Container
    from udocker.ops.session import Session
    from udocker.store.changes import Entry
    from udocker.unpack.index import Record


def diff(session: Session, text: str) -> list[tuple[str, str]]:
    """A, C or D and the path of all that the container changed of its image.

    Raises ContainerNotFound, StoreError.
    """
    container = _found(session, text)
    is_whole = container.form == PLAIN
    with store_errors("comparing the container with its image"):
        records = _Records(container)

        def owner(path: str) -> tuple[int, int, int | None]:
            record = records.get(path)
            return (record.uid, record.gid, record.mode) if record else (0, 0, None)

        over = container.root if is_whole else _upper(container)
        return changes(over, container.tree, owner, whole=is_whole)


def export(session: Session, text: str, target: str) -> None:
    """Write the container's files as a tar archive to the file ``target``; "-" is stdout.

    A file appears when it is whole. Raises ContainerNotFound, StoreError.
    """
    container = _found(session, text)
    if target == "-":
        with _export_errors("stdout"):
            sys.stdout.flush()
            _write(container, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    if os.path.exists(target) and not os.path.isfile(target):
        # A device or a pipe is written to; of a directory the system says what is wrong.
        with _export_errors(target), open(target, "wb") as stream:
            _write(container, stream)
        return
    aside = f"{target}.{os.getpid()}.tmp"
    try:
        with _export_errors(target, aside):
            with open(aside, "xb") as stream:
                _write(container, stream)
            os.rename(aside, target)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(aside)


@contextlib.contextmanager
def _export_errors(*targets: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has had enough
    except OSError as error:
        text = f"exporting the container to {targets[0]}: {error.strerror or error}"
        if error.filename not in (None, *targets):
            raise StoreError(f"{text}: {error.filename}", hint="udocker fsck") from error
        hint = "name a file that you may write, where there is room: udocker export -o FILE …"
        raise StoreError(text, hint=hint) from error


def _found(session: Session, text: str) -> Container:
    container = session.store.containers.get(text)
    if not os.path.isdir(container.tree) and container.form != PLAIN:
        raise StoreError(
            f"the files of {container.image} are gone from the store: {container.tree}",
            hint=f"udocker pull {container.image}",
        )
    return container


class _Records:
    """What the index has of the entries of a container's tree. Raises OSError."""

    def __init__(self, container: Container) -> None:
        from udocker.unpack import index

        self._tree = container.tree
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


def _upper(container: Container) -> str:
    """The upper directory; "" of a container that never ran."""
    return container.upper if os.path.isdir(container.upper) else ""


def _write(container: Container, stream: BinaryIO) -> None:
    import tarfile

    records = _Records(container)
    if container.form == PLAIN:
        # Its own attributes say what the image's index said, but for attributes and capabilities.
        entries = walk(container.root, "")
    else:
        entries = walk(_upper(container), container.tree)
    links: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            if entry.path and not entry.is_removed:
                with _naming(entry):
                    _add(archive, entry, records.get(entry.path), links)


@contextlib.contextmanager
def _naming(entry: Entry) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        pass  # it went while we looked
    except OSError as error:
        error.filename = error.filename or entry.path
        raise


def _add(
    archive: tarfile.TarFile,
    entry: Entry,
    record: Record | None,
    links: dict[tuple[int, int], str],
) -> None:
    import tarfile

    from udocker.store.copy import readable

    path = entry.over or entry.under
    status = os.lstat(path)
    info = tarfile.TarInfo(entry.path.lstrip("/"))
    # tarfile writes a fraction in one header more: only where there is one.
    whole, rest = divmod(status.st_mtime_ns, 10**9)
    info.mtime = whole + rest / 1e9 if rest else whole
    info.mode, info.uid, info.gid = _owner(path, entry, status, record)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        info.type = tarfile.DIRTYPE
    elif kind == stat.S_IFLNK:
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif kind == stat.S_IFIFO:
        info.type = tarfile.FIFOTYPE
    elif kind != stat.S_IFREG:
        return  # a socket, which no archive has
    info.pax_headers = _attributes(path, entry, record)
    key = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and kind != stat.S_IFDIR:
        if key in links:
            info.type, info.linkname, info.pax_headers = tarfile.LNKTYPE, links[key], {}
            archive.addfile(info)
            return
        links[key] = info.name
    if kind != stat.S_IFREG:
        archive.addfile(info)
        return
    info.size = status.st_size
    with readable(path, status):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            archive.addfile(info, stream)


def _owner(
    path: str, entry: Entry, status: os.stat_result, record: Record | None
) -> tuple[int, int, int]:
    """True mode, uid and gid: of the file itself, or else of the image where it has its mode."""
    mode = stat.S_IMODE(status.st_mode)
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
    return bool(entry.under) and os.lstat(entry.under).st_mode == status.st_mode


def _attributes(path: str, entry: Entry, record: Record | None) -> dict[str, str]:
    found = {
        f"SCHILY.xattr.{name}": os.getxattr(path, name, follow_symlinks=False)
        for name in attribute_names(path)
    }
    if record is not None and not entry.over:
        found.update((f"SCHILY.xattr.{os.fsdecode(name)}", data) for name, data in record.xattrs)
    return {name: data.decode("utf-8", "surrogateescape") for name, data in found.items()}
