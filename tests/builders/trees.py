"""Directories written down as a table: path -> what is there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Union


@dataclass(frozen=True)
class File:
    content: bytes = b""
    mode: int = 0o644


@dataclass(frozen=True)
class Directory:
    """``opaque``: nothing of the layers below shows through."""

    mode: int = 0o755
    opaque: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Same:
    """A hard link to another path of the same table, which stands before it."""

    path: str


class Whiteout:
    """What the upper directory of an overlay has where something below was removed."""


if TYPE_CHECKING:
    Node = Union[bytes, File, Directory, Link, Same, Whiteout]


def program(text: str = "#!/bin/sh\n") -> File:
    """An executable file."""
    return File(text.encode(), 0o755)


def grow(top: Path, table: Mapping[str, Node]) -> Path:
    """Make ``top`` and in it what ``table`` says; missing parents are made. Bytes are a file."""
    top.mkdir(parents=True, exist_ok=True)
    for name, node in table.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(top, path, File(node) if isinstance(node, bytes) else node)
    # Last, and the deepest first: a directory may forbid what is done in it.
    for name, node in sorted(table.items(), key=lambda item: -item[0].count("/")):
        if isinstance(node, (File, Directory)):
            (top / name).chmod(node.mode)
    return top


def _make(top: Path, path: Path, node: Node) -> None:
    if isinstance(node, Directory):
        path.mkdir(exist_ok=True)
        if node.opaque:
            os.setxattr(path, "user.overlay.opaque", b"y")
    elif isinstance(node, Link):
        path.symlink_to(node.target)
    elif isinstance(node, Same):
        os.link(top / node.path, path, follow_symlinks=False)
    elif isinstance(node, Whiteout):
        os.mknod(path, stat.S_IFCHR, 0)
    elif isinstance(node, File):
        path.write_bytes(node.content)


def contents(top: Path) -> dict[str, tuple[object, ...]]:
    """All below ``top``: what is needed to compare two trees, times aside."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, names in os.walk(top):
        for name in sorted((*folders, *names)):
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = describe(path)
    return found


def describe(path: str | os.PathLike[str]) -> tuple[object, ...]:
    """Kind, permission bits, and content or target."""
    status = os.lstat(path)
    mode = oct(stat.S_IMODE(status.st_mode))
    if stat.S_ISLNK(status.st_mode):
        return "link", os.readlink(path)
    if stat.S_ISDIR(status.st_mode):
        return "directory", mode
    if stat.S_ISREG(status.st_mode):
        return "file", mode, _read(path, status.st_mode)
    return stat.filemode(status.st_mode)[0], mode


def _read(path: str | os.PathLike[str], mode: int) -> bytes:
    os.chmod(path, 0o600)
    try:
        with open(path, "rb") as stream:
            return stream.read()
    finally:
        os.chmod(path, stat.S_IMODE(mode))
