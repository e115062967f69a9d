"""What layers give by the rules, in plain dictionaries: a second opinion on the unpacker."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Optional

from udocker.model.value import replace, value

Path = tuple[str, ...]

_OPAQUE = ".wh..wh..opq"


@value
class Said:
    """One member of an archive."""

    kind: str  # file, directory, symlink, hardlink, fifo, device
    path: Path
    target: str = ""
    number: int = 0  # its content and its time
    mode: int = 0o644
    uid: int = 0


@value
class Thing:
    """What is at one path."""

    kind: str
    identity: int  # hard links to one thing have one
    content: str = ""
    mode: int = 0o755
    uid: int = 0
    mtime: Optional[int] = None
    named: bool = True  # False: a directory that is only on the way to something


Layer = dict[Path, Thing]


class Refused(Exception):
    """No tree is made of this."""


class Model:
    """A tree that grows by layers."""

    def __init__(self) -> None:
        self.tree: Layer = {(): Thing("directory", 0, named=False)}
        self._layer: Layer = {}
        self._hidden: list[tuple[Path, bool]] = []
        self._identities = itertools.count(1)
        self.begin()

    def begin(self) -> None:
        """A new layer, with nothing in it."""
        self._layer = {(): Thing("directory", next(self._identities), named=False)}
        self._hidden = []

    def say(self, said: Said) -> None:
        """Do what a member asks for. Raises Refused, and then nothing has changed."""
        if said.path and said.path[-1] == _OPAQUE:
            self._hidden.append((said.path[:-1], True))
        elif said.path and said.path[-1].startswith(".wh."):
            self._hidden.append(((*said.path[:-1], said.path[-1][4:]), False))
        else:
            before = dict(self._layer)
            try:
                self._make(said)
            except Refused:
                self._layer = before
                raise

    def end(self) -> None:
        """Merge the layer into the tree."""
        for path, children_only in self._hidden:
            _remove(self.tree, path, children_only)
        for path in sorted(self._layer):
            self._merge(path, self._layer[path])

    def _make(self, said: Said) -> None:
        path = self._place(said.path)
        self._add_parents(path)
        thing = self._thing(said, path)
        if thing is not None:
            self._put(path, thing)

    def _place(self, path: Path) -> Path:
        if not path:
            return path
        parent = resolve(self._layer, path[:-1])
        for length in range(len(parent) + 1):
            there = self._layer.get(parent[:length])
            if there is not None and there.kind != "directory":
                raise Refused
        return (*parent, path[-1])

    def _add_parents(self, path: Path) -> None:
        for length in range(len(path)):
            missing = Thing("directory", next(self._identities), named=False)
            self._layer.setdefault(path[:length], missing)

    def _thing(self, said: Said, path: Path) -> Thing | None:
        if said.kind == "hardlink":
            return self._linked(said, path)
        if not path and said.kind != "directory":
            raise Refused
        content = {"file": str(said.number), "symlink": said.target}.get(said.kind, "")
        mode = 0o777 if said.kind == "symlink" else said.mode
        identity = next(self._identities)
        return Thing(said.kind, identity, content, mode, said.uid, said.number)

    def _linked(self, said: Said, path: Path) -> Thing | None:
        target = tuple(part for part in said.target.split("/") if part not in ("", "."))
        for layer in (self._layer, self.tree):
            target = (*resolve(layer, target[:-1]), *target[-1:])
            found = layer.get(target)
            if found is not None:
                break
        else:
            raise Refused
        if layer is self._layer and target == path and found.kind != "directory":
            return None
        inside = layer is self._layer and target[: len(path)] == path
        if found.kind == "directory" or inside or not path:
            raise Refused
        return found

    def _put(self, path: Path, thing: Thing) -> None:
        there = self._layer.get(path)
        if there is not None and not (there.kind == thing.kind == "directory"):
            _remove(self._layer, path)
        self._layer[path] = thing

    def _merge(self, path: Path, thing: Thing) -> None:
        there = self.tree.get(path)
        if there is not None and there.kind == thing.kind == "directory":
            if thing.named:
                self.tree[path] = replace(thing, identity=there.identity)
            return
        if there is not None:
            _remove(self.tree, path)
        self.tree[path] = thing


def resolve(layer: Layer, path: Sequence[str]) -> Path:
    """``path`` with links followed inside the layer. Raises Refused for a circle."""
    done: list[str] = []
    pending = list(path)
    for _ in range(2000):
        if not pending:
            return tuple(done)
        name = pending.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            done = done[:-1]
            continue
        there = layer.get((*done, name))
        if there is None or there.kind != "symlink":
            done.append(name)
            continue
        if there.content.startswith("/"):
            done = []
        pending = there.content.split("/") + pending
    raise Refused


def _remove(layer: Layer, path: Path, children_only: bool = False) -> None:
    for other in [p for p in layer if p[: len(path)] == path]:
        if other != path or not children_only:
            del layer[other]
