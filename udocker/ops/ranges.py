"""Ids of /etc/subuid and /etc/subgid: which a run has, and files that belong to them."""

from __future__ import annotations

import os

from udocker import away
from udocker.engine import workdirs
from udocker.errors import ContainerInUse, UsageError
from udocker.files import store_errors
from udocker.model.run import IdMap
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.engine.table import Mode
    from udocker.model.container import Container
    from udocker.model.host import Host
    from udocker.model.run import RunSpec
    from udocker.ops.session import Session

_PROGRAMS = ("newuidmap", "newgidmap")
_MORE_PATH = "/usr/local/bin:/usr/bin:/bin"  # where they are, if nowhere in PATH
_MOST_ROWS = 340  # user_namespaces(7)
_MOST = 2**32 - 1


def settle(container: Container) -> None:
    """Take home what a run with many ids left. Raises ContainerInUse, StoreError."""
    if away.ids_of(container.path) is None:
        return
    with store_errors("using the container"), workdirs.unused(container.work) as unused:
        if not unused:
            raise ContainerInUse(
                f"container {container.short_id} runs with ids of /etc/subuid (--userns=auto), to "
                "which its files belong meanwhile",
                hint="wait until that has ended, or run with --userns=auto, too",
            )
        away.come_home(container.path)


def with_ids(
    session: Session, spec: RunSpec, container: Container, mode: Mode, dry: bool
) -> RunSpec:
    """The run with all ids that the user may have; as it is, with a warning, if there are no more.

    Raises UsageError where the user is none of them, ContainerInUse, StoreError.
    """
    ids = _of_run(session, spec, mode)
    # What is to be run may have the very ids that the files have.
    if not dry and ids != away.ids_of(container.path):
        settle(container)
    return replace(spec, ids=ids, feigns=spec.feigns and ids is None)


def _of_run(session: Session, spec: RunSpec, mode: Mode) -> IdMap | None:
    found: IdMap | str
    if not mode.maps:
        found = f"mode {mode.name} has no ids of /etc/subuid"
    elif not spec.root.is_union:
        found = "the container has a directory of its own, whose files stay yours"
    else:
        found = find(session.host, f"{session.environ.get('PATH', '')}:{_MORE_PATH}")
    if isinstance(found, str):
        session.report.warn(f"{found}: going on as with --userns=single")
        return None
    who = spec.user
    for number, rows, what in ((who.uid, found.uids, "user"), (who.gid, found.gids, "group")):
        if not _has(rows, number):
            raise UsageError(
                f"{what} {number} is not among the {sum(row[2] for row in rows)} ids of this run",
                hint="--userns=single makes you any one user",
            )
    return found


def find(host: Host, path: str, etc: str = "/etc") -> IdMap | str:
    """All ids that this user may have; where that is none but its own, why.

    The programs are looked for in the directories of ``path``.
    """
    programs = [_program(name, path) for name in _PROGRAMS]
    if None in programs:
        return "newuidmap and newgidmap are not here (package uidmap or shadow-utils)"
    uids = _rows(f"{etc}/subuid", host, host.uid)
    gids = _rows(f"{etc}/subgid", host, host.gid)
    if len(uids) < 2 or len(gids) < 2:
        name = "/etc/subuid" if len(uids) < 2 else "/etc/subgid"
        return f"{name} has no ids for {host.username}"
    return IdMap(uids, gids, (programs[0] or "", programs[1] or ""))


def _program(name: str, path: str) -> str | None:
    for folder in path.split(":"):
        candidate = f"{folder}/{name}"
        if folder.startswith("/") and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None


def _rows(path: str, host: Host, own: int) -> tuple[tuple[int, int, int], ...]:
    rows = [(0, own, 1)]
    inside = 1
    for start, count in _ranges(path, host):
        taken = any(start < first + n and first < start + count for _, first, n in rows)
        if not taken and len(rows) < _MOST_ROWS:
            rows.append((inside, start, count))
            inside += count
    return tuple(rows)


def _ranges(path: str, host: Host) -> Iterator[tuple[int, int]]:
    """subuid(5), subgid(5): lines that are no ranges are passed over, as newuidmap does."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return
    for line in lines:
        name, _, rest = line.partition(":")
        start, _, count = rest.partition(":")
        if name not in (host.username, str(host.uid)):
            continue
        if all(text.isascii() and text.isdigit() and len(text) < 11 for text in (start, count)):
            first, number = int(start), int(count)
            if number > 0 and first + number <= _MOST:
                yield first, number


def _has(rows: tuple[tuple[int, int, int], ...], number: int) -> bool:
    return any(first <= number < first + count for first, _, count in rows)
