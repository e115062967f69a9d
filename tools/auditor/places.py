"""Where the processes of a container may go on the host."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_COPY = re.compile("[0-9a-f]{64}|nothing")


@dataclass(frozen=True)
class Places:
    """What belongs to a container of the in-process engine, as its description says."""

    trees: tuple[str, ...]  # directories and files, with all that is below
    lower: tuple[str, ...]  # the same, but only to be read
    files: frozenset[str]  # the engine's own
    copies: str = ""  # the directory with links to patched copies, which are beside it

    @classmethod
    def of(cls, engine: str, description: str) -> Places:
        """Read the description; see engines/core/guest.h."""
        with open(description, "rb") as stream:
            words = [os.fsdecode(word) for word in stream.read().split(b"\0")]
        trees, lower, files, copies = [], [], {engine, description}, ""
        pending = iter(words)
        for word in pending:
            if word in ("root", "work"):
                trees.append(next(pending))
            elif word == "lower":
                lower.append(next(pending))
            elif word in ("rw", "ro"):
                next(pending)
                trees.append(next(pending))
            elif word == "copies":
                copies = next(pending)
            elif word in ("owners", "image-owners"):
                files.add(next(pending))
            elif word:
                next(pending)
        return cls(_without_slash(trees), _without_slash(lower), frozenset(files), copies)

    def have(self, path: str, writes: bool = False) -> bool:
        """Whether an absolute path without links is one of them, and may be written to."""
        if path in self.files or (not writes and self._is_copy(path)):
            return True
        trees = self.trees if writes else self.trees + self.lower
        return any(path == tree or path.startswith(f"{tree}/") for tree in trees)

    def _is_copy(self, path: str) -> bool:
        """What the engine opens in place of a file: a link's name, or what that leads to."""
        folder, _, name = path.rpartition("/")
        if not self.copies:
            return False
        if folder == self.copies:
            return re.fullmatch(r"\d+-\d+-\d+-\d+", name) is not None
        return folder == os.path.dirname(self.copies) and bool(_COPY.fullmatch(name))


def _without_slash(trees: list[str]) -> tuple[str, ...]:
    return tuple(tree.rstrip("/") for tree in trees)


def led_to(pid: int, base: str, path: str, *, links: bool, last: bool) -> str:
    """Where the kernel ends up for process ``pid``; what is missing is taken as it is spelled.

    ``links``: symbolic links are followed at all; ``last``: one at the end is.
    """
    whole = _of_process(pid, path if path.startswith("/") else f"{base}/{path}")
    if not links:
        return os.path.normpath(whole)
    if last or whole.endswith(("/", "/.", "/..")):
        return os.path.realpath(whole)
    folder, _, name = whole.rpartition("/")
    return os.path.normpath(os.path.join(os.path.realpath(folder or "/"), name))


def _of_process(pid: int, path: str) -> str:
    """``self`` in /proc is somebody else to who looks from outside."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    tail = "/." if path.endswith(("/", "/.")) and parts else ""
    if parts[:2] == ["proc", "self"]:
        parts[1] = str(pid)
    elif parts[:2] == ["proc", "thread-self"]:
        parts[1] = f"{pid}/task/{pid}"
    return "/" + "/".join(parts) + tail
