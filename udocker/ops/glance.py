"""What ``ps`` shows, of a thousand containers as quickly as can be.

Whoever runs, protects or changes a container makes something in its directory. So the time at which
the directory was last changed tells that a container which was at rest still is as it was: one
question for each, where to open its three files takes seconds on a network's filesystem.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from udocker import files
from udocker.model.life import CREATED, EXITED, Ended, Life
from udocker.model.value import value
from udocker.ops.protect import is_protected
from udocker.ops.status import outline
from udocker.store import record, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from udocker.model.container import Container
    from udocker.ops.session import Session

_LEAST = 64  # containers; fewer are read as quickly
# Nanoseconds: what was changed less long ago may be changed again without another time.
_SETTLED = 2_000_000_000
_MAYBE = type(None)
_KINDS = ((int,), (str,), (str,), (str,), (bool,), (int, _MAYBE), (str, _MAYBE))  # of a note


@value
class Row:
    """A container, as lists for people show it."""

    id: str
    names: tuple[str, ...]
    image: str
    mode: str
    created: str
    is_protected: bool
    life: Life


def rows(session: Session) -> list[Row]:
    """Of all containers, the newest first; of those that are damaged a warning is given."""
    containers = session.store.containers
    ids = containers.ids()
    names = containers.names(ids)
    kept = _Kept(f"{session.store.topdir}/cache/containers.json", len(ids))
    known = record.Known()
    found = []
    for identity in ids:
        path = containers.path(identity)
        changed = kept.look(path)  # before anything is read
        row = kept.find(identity, changed, names.get(identity, ()))
        if row is None:
            own = names.get(identity, ())
            container = containers.read(identity, own, known, session.warn_of)
            if container is None:
                continue
            row = row_of(container)
            kept.note(row, changed, path)
        found.append(row)
    kept.write()
    return sorted(found, key=lambda row: row.created, reverse=True)


def row_of(container: Container) -> Row:
    """As it is now."""
    return Row(
        container.id,
        container.names,
        container.image,
        container.mode,
        container.created,
        is_protected(container),
        outline(container),
    )


class _Kept:
    """Rows of containers at rest, in a file of the store: what it lacks is only slower."""

    def __init__(self, path: str, count: int) -> None:
        self._path = path
        self._is_used = count >= _LEAST
        self._settled = time.time_ns() - _SETTLED
        self._before = _read(path) if self._is_used else {}
        self._now: dict[str, list[Any]] = {}

    def look(self, path: str) -> int:
        """When the directory was changed; 0: nobody knows, or it does not matter."""
        try:
            return os.stat(path).st_mtime_ns if self._is_used else 0
        except OSError:
            return 0

    def find(self, identity: str, changed: int, names: tuple[str, ...]) -> Row | None:
        """The row of a container that has not changed since."""
        noted = self._before.get(identity)
        if not changed or noted is None or noted[0] != changed:
            return None
        self._now[identity] = noted
        _, image, mode, created, protected, code, finished = noted
        life = Life(CREATED) if finished is None else Life(EXITED, ended=_ended(code, finished))
        return Row(identity, names, image, mode, created, protected, life)

    def note(self, row: Row, changed: int, path: str) -> None:
        """Keep it for the next time, if the container is at rest."""
        life = row.life
        if 0 < changed < self._settled and not (
            life.is_running or os.path.lexists(f"{path}/{users.USERS}")
        ):
            ended = life.ended
            finished = None if life.status == CREATED else ended.finished if ended else ""
            code = ended.code if ended else None
            self._now[row.id] = [
                *(changed, row.image, row.mode, row.created, row.is_protected, code, finished)
            ]

    def write(self) -> None:
        """Where it is not what was read. Never fails."""
        if self._is_used and self._now != self._before:
            data = json.dumps(self._now, separators=(",", ":")).encode()
            with contextlib.suppress(OSError):  # a store that is full, or only read
                files.write_atomic(self._path, data, 0o600)


def _ended(code: Optional[int], finished: str) -> Ended | None:
    return None if code is None else Ended("", code, finished)


def _read(path: str) -> dict[str, list[Any]]:
    """What is no note is left out."""
    try:
        found = json.loads(files.content(path).decode())
        return {str(key): noted for key, noted in found.items() if _is_note(noted)}
    except (OSError, ValueError, AttributeError):
        return {}


def _is_note(noted: object) -> bool:
    return (
        isinstance(noted, list)
        and len(noted) == len(_KINDS)
        and all(isinstance(each, kinds) for each, kinds in zip(noted, _KINDS))
    )
