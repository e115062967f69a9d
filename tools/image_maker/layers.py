"""What changed between two snapshots of a tree, as a layer: layer.md of the OCI image spec."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any, Optional

OPAQUE = ".wh..wh..opq"
WHITEOUT = ".wh."


class Tree:
    """The members of a tar of a whole tree, in its order, by their paths without ``./``."""

    def __init__(self, tar: Optional[Path] = None) -> None:
        self.members: dict[str, tarfile.TarInfo] = {}
        self._tar = tar
        self._states: dict[str, tuple[Any, ...]] = {}
        if tar is not None:
            with tarfile.open(tar) as archive:
                for member in archive:
                    self._add(archive, member)

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = os.path.normpath(member.name)
        if name == ".":
            return
        stream = archive.extractfile(member) if member.isreg() else None
        content = hashlib.sha256(stream.read()).hexdigest() if stream else ""
        if member.islnk():
            member.linkname = os.path.normpath(member.linkname)
        xattrs = {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
        member.name, member.mtime, member.pax_headers = name, int(member.mtime), xattrs
        self.members[name] = member
        owner = (member.uid, member.gid, member.mode, member.mtime)
        self._states[name] = (member.type, owner, member.linkname, content, sorted(xattrs.items()))

    def is_directory(self, name: str) -> bool:
        return name in self.members and self.members[name].isdir()

    def same(self, other: Tree, name: str) -> bool:
        """Whether ``name`` is there in both trees, and no different."""
        return name in self._states and self._states[name] == other._states.get(name)

    def listing(self) -> dict[str, tuple[str, int, str]]:
        """What a correct unpacking gives: path -> kind, permissions, SHA-256 or link target."""
        found = {}
        for name, member in self.members.items():
            kind = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link"}.get(member.type, "file")
            of_file = member.linkname if member.islnk() else name
            detail = member.linkname if member.issym() else self._states[of_file][3]
            found[name] = (kind, member.mode, detail)
        return found

    def copy_members(self, names: set[str], extra: dict[str, list[str]], tar: Path) -> None:
        """Write the members in ``names``, and empty files ``extra`` after their directories."""
        source = tarfile.open(self._tar) if self._tar else None  # noqa: SIM115
        with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as archive:
            _write_empty(archive, extra.get("", []))
            for name, member in self.members.items():
                if name in names:
                    stream = source.extractfile(member) if source and member.isreg() else None
                    archive.addfile(copy.copy(member), stream)
                    _write_empty(archive, extra.get(name, []))
        if source:
            source.close()


def _write_empty(archive: tarfile.TarFile, names: list[str]) -> None:
    for name in names:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def write_difference(old: Tree, new: Tree, tar: Path) -> None:
    """Write the layer that makes ``new`` out of ``old``.

    A directory of which nothing is left becomes opaque; anything else that went has a whiteout.
    A hard link brings all its names along, so that the layer can be unpacked by itself.
    """
    changed = {name for name in new.members if not new.same(old, name)}
    changed |= _linked(new, changed)
    removed = set(old.members) - set(new.members)
    kept = set(new.members).intersection(old.members) - changed
    opaque = {
        directory
        for directory in _above(removed) - _above(kept)
        if old.is_directory(directory) and new.is_directory(directory)
    }
    opaque -= {name for name in opaque if opaque.intersection(_above({name}))}
    gone = {
        name
        for name in removed
        if new.is_directory(os.path.dirname(name)) or not os.path.dirname(name)
    }
    gone -= {name for name in gone if opaque.intersection(_above({name}))}
    extra: dict[str, list[str]] = {}
    for name in sorted(opaque):
        extra.setdefault(name, []).append(f"{name}/{OPAQUE}")
    for name in sorted(gone):
        directory, base = os.path.split(name)
        extra.setdefault(directory, []).append(os.path.join(directory, WHITEOUT + base))
    written = changed | opaque | {os.path.dirname(name) for name in gone}
    new.copy_members(written | _above(written), extra, tar)


def _linked(tree: Tree, names: set[str]) -> set[str]:
    """The other names of the files among ``names``."""
    first = {name: m.linkname for name, m in tree.members.items() if m.islnk()}
    files = {first.get(name, name) for name in names}
    return {name for name in tree.members if first.get(name, name) in files}


def _above(names: set[str]) -> set[str]:
    """Every directory above one of ``names``."""
    found = set()
    for name in names:
        directory = os.path.dirname(name)
        while directory and directory not in found:
            found.add(directory)
            directory = os.path.dirname(directory)
    return found
