"""What an unprivileged user's tree cannot hold of an image: index.jsonl.

One JSON object a line. The first is ``{"version": 1}``; each of the others is about one entry,
in the order of a walk over the tree with the names of each directory sorted by bytes. Keys other
than ``path`` are left out where they have nothing to say:

path    relative to the root, "" for the root itself; bytes that are not UTF-8 as surrogates
        (PEP 383, os.fsencode gives them back)
uid gid true owner, when not 0
mode    true permission bits, 0 to 4095, when the entry in the tree has others, or there is none
type    "char" or "block": a device node, of which the tree has nothing; major, minor: its number
xattrs  names and values (base64) of extended attributes that the entry in the tree does not have

Entries that are not here belong to 0:0 and are in the tree as they are in the image.
"""

from __future__ import annotations

import base64
import json
import os
from types import MappingProxyType

from udocker.errors import ArchiveLimitError, UnpackError
from udocker.model.value import value
from udocker.unpack.names import join, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Optional

NAME = "index.jsonl"
_VERSION = 1
_NODE_BYTES = 300  # about the most that a node, its name and its place in a dict take, or a record
_MOST_KINDS = 4096
_NOTHING: Mapping[bytes, Node] = MappingProxyType({})


@value
class Record:
    """What the index has of one entry."""

    uid: int = 0
    gid: int = 0
    mode: Optional[int] = None  # None: as in the tree
    device: Optional[tuple[str, int, int]] = None  # type, major, minor
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


class Node:
    """A directory that a layer names, an entry with a record, or what lies on the way to one."""

    __slots__ = ("children", "mtime", "record")

    def __init__(self) -> None:
        self.children = _NOTHING  # as most stay: an empty dict is as large as all the rest
        self.record: Record | None = None
        self.mtime: int | None = None  # of a directory that the layer names; nanoseconds

    def add(self, name: bytes, child: Node) -> None:
        if not isinstance(self.children, dict):
            self.children = {}
        self.children[name] = child

    def take(self, name: bytes) -> Node:
        """Remove the child of that name, which there is, and return it."""
        assert isinstance(self.children, dict)
        child: Node = self.children.pop(name)
        return child


class Index:
    """Records by path while an image is unpacked. Memory grows with their number.

    What would pass ``max_bytes``, by estimate, raises ArchiveLimitError.
    """

    def __init__(self, max_bytes: int) -> None:
        self.top = Node()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last: tuple[bytes, Node] = (b"", self.top)  # archives go directory by directory
        self._kinds: dict[Record, Record] = {}  # of those that many entries have alike

    def find(self, path: bytes) -> Node | None:
        """The node of ``path``, if there is one."""
        if path == self._last[0]:
            return self._last[1]
        node = self.top
        for name in path.split(b"/") if path else ():
            child = node.children.get(name)
            if child is None:
                return None
            node = child
        self._last = (path, node)
        return node

    def record(self, path: bytes) -> Record | None:
        """The record of ``path``; None when the tree says all."""
        node = self.find(path)
        return node.record if node else None

    def directory(self, path: bytes, record: Record | None, mtime: int | None = None) -> None:
        """Set what is known of a directory, not of what is in it."""
        if record is None and mtime is None:
            node = self.find(path)
            if node is not None:
                self._set(node, None)
            return
        node = self._make(path)
        node.mtime = mtime
        self._set(node, record)

    def entry(self, path: bytes, record: Record | None) -> None:
        """Put something other than a directory at ``path``; what was known there is forgotten."""
        self.drop(path)
        if record is not None:
            self._set(self._make(path), record)

    def drop(self, path: bytes) -> None:
        """Forget ``path`` and all below."""
        if not path:
            self.clear(path)
            self._set(self.top, None)
            return
        parent, name = split(path)
        above = self.find(parent)  # after which no node that goes is remembered
        if above is not None and name in above.children:
            self._bytes -= _weight(above.take(name))

    def clear(self, path: bytes) -> None:
        """Forget all below ``path``."""
        node = self.find(path)
        for name in list(node.children) if node else ():
            self.drop(join(path, name))

    def graft(self, path: bytes, branch: Node | None) -> None:
        """Replace ``path`` and all below by the records of ``branch``, which is used up."""
        self.drop(path)
        if branch is None or not _prune(branch):
            return
        node = self._make(path)
        self._grow(_weight(branch) - _weight(node))
        node.children, node.record = branch.children, branch.record

    def walk(self) -> Iterator[tuple[bytes, Node]]:
        """All nodes: a directory before what is in it, names sorted."""
        pending = [(b"", self.top)]
        while pending:
            path, node = pending.pop()
            yield path, node
            names = sorted(node.children, reverse=True)
            pending += [(join(path, name), node.children[name]) for name in names]

    def write(self, path: str) -> None:
        """Write the records to a new file ``path``. Raises OSError."""
        with open(path, "x", encoding="ascii") as stream:
            os.chmod(path, 0o644)  # who may read the tree may read this
            stream.write(json.dumps({"version": _VERSION}) + "\n")
            for name, node in self.walk():
                if node.record is not None:
                    stream.write(json.dumps(_encode(name, node.record)) + "\n")

    def _make(self, path: bytes) -> Node:
        node = self.find(path)
        if node is None:
            parent, name = split(path)
            self._grow(_NODE_BYTES)
            node = Node()
            self._make(parent).add(name, node)
            self._last = (path, node)
        return node

    def _set(self, node: Node, record: Record | None) -> None:
        self._grow(_record_weight(record) - _record_weight(node.record))
        node.record = None if record is None else self._shared(record)

    def _shared(self, record: Record) -> Record:
        found = self._kinds.get(record, record)
        if found is record and not record.xattrs and len(self._kinds) < _MOST_KINDS:
            self._kinds[record] = record
        return found

    def _grow(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._max_bytes:
            raise ArchiveLimitError(
                "the image has too many entries with owners, modes or attributes to keep apart"
            )


def read(path: str) -> Iterator[tuple[bytes, Record]]:
    """The records of the index file ``path``, in its order. Raises OSError, UnpackError."""
    with open(path, encoding="ascii") as stream:
        try:
            if json.loads(stream.readline())["version"] != _VERSION:
                raise ValueError("version")
            for line in stream:
                yield _decode(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnpackError(
                f"not an index of an image: {path}",
                hint=f"remove {os.path.dirname(path)}, and pull the image again",
            ) from error


def _weight(node: Node) -> int:
    below = sum(map(_weight, node.children.values()))
    return _NODE_BYTES + _record_weight(node.record) + below


def _record_weight(record: Record | None) -> int:
    if record is None:
        return 0
    return _NODE_BYTES + sum(len(name) + len(data) for name, data in record.xattrs)


def _prune(node: Node) -> bool:
    """Take out what has no record; whether ``node`` itself is worth keeping."""
    left = {name: child for name, child in node.children.items() if _prune(child)}
    node.children = left or _NOTHING
    return bool(node.children) or node.record is not None


def _encode(path: bytes, record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {"path": _text(path)}
    if record.uid:
        found["uid"] = record.uid
    if record.gid:
        found["gid"] = record.gid
    if record.mode is not None:
        found["mode"] = record.mode
    if record.device is not None:
        found["type"], found["major"], found["minor"] = record.device
    if record.xattrs:
        found["xattrs"] = {
            _text(name): base64.b64encode(data).decode() for name, data in record.xattrs
        }
    return found


def _decode(found: dict[str, Any]) -> tuple[bytes, Record]:
    xattrs = found.get("xattrs", {}).items()
    device = (found["type"], found["major"], found["minor"]) if "type" in found else None
    return _bytes(found["path"]), Record(
        uid=found.get("uid", 0),
        gid=found.get("gid", 0),
        mode=found.get("mode"),
        device=device,
        xattrs=tuple((_bytes(name), base64.b64decode(data)) for name, data in xattrs),
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
