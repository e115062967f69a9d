"""Names of archive entries, as bytes.

A path is relative to the root of a tree, without ``.``, ``..``, or empty components; the root
itself is ``b""``.
"""

from __future__ import annotations

from udocker.errors import HostileArchiveError, UnpackError

_PATH_MAX = 4096  # with the NUL at its end: limits.h


def components(name: bytes) -> list[bytes]:
    """The parts of a name in an archive. Raises HostileArchiveError for one with ``..``."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise HostileArchiveError(f"the entry {show(name)} leads out of the image")
    return parts


def checked_path(parts: list[bytes], max_depth: int) -> bytes:
    """Raise UnpackError for a path that the system, or a walk over the tree, could not take."""
    path = b"/".join(parts)
    if len(path) >= _PATH_MAX:
        raise UnpackError(f"the name is too long: {show(path)}")
    if len(parts) > max_depth:
        raise UnpackError(f"directories are nested more than {max_depth} deep: {show(path)}")
    return path


def split(path: bytes) -> tuple[bytes, bytes]:
    """Parent and name of a path."""
    parent, _, name = path.rpartition(b"/")
    return parent, name


def join(parent: bytes, name: bytes) -> bytes:
    """The path of ``name`` in ``parent``."""
    return parent + b"/" + name if parent else name


def show(name: bytes) -> str:
    """A name for a message: quoted, control characters escaped, not too long."""
    text = repr(name.decode("utf-8", "surrogateescape"))
    return text if len(text) <= 200 else f"{text[:100]}…{text[-98:]}"
