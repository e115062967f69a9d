"""cp into a container: each way that there is to write to one, and which is right when."""

from __future__ import annotations

import os
import stat

from udocker import makers
from udocker.errors import NotRunning
from udocker.model.container import PLAIN
from udocker.model.launch import Join
from udocker.model.run import User
from udocker.ops.control import life
from udocker.ops.cp_items import goal, of_host, put
from udocker.ops.cp_run import seen
from udocker.ops.specify import layers
from udocker.store.view import View
from udocker.store.writing import CHUNK, Plain, Union, beside, mode_of_directory, mode_of_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from udocker.engine.porter import Description, Porter
    from udocker.model.container import Container
    from udocker.ops.session import Session

    class _Put(Protocol):
        def __call__(self, writer: Plain, path: str, base: int = -1) -> None: ...


_ROOT = User(0, 0, "root", "/root")


def into(session: Session, source: str, outside: tuple[str, str], follow: bool = False) -> None:
    """``source`` of the host to container and path ``outside``. Raises UdockerError, OSError."""
    container = session.store.containers.get(outside[0])
    folder, name = os.path.split(source.rstrip("/") or "/")
    real = os.path.join(os.path.realpath(folder), name)
    if follow or name in ("", ".", "..") or source.endswith("/"):
        real = os.path.realpath(source)
    items = list(of_host(real))

    def put_at(writer: Plain, path: str, base: int = -1) -> None:
        put(items, writer, goal(writer, path, outside[1], items[0], source), base)

    how = seen(container)
    if how is not None and how.description is not None:
        _carry(session, container, how.description, outside[1], put_at)
        return
    if how is not None:
        _join(how.process, outside[1], put_at)
        return
    running = life(container)
    path = View(layers(container)).canonical(outside[1])
    if container.form == PLAIN:
        put_at(Plain(container.root), path)
    elif not running.is_running:
        _into_union(session, container, path, put_at)
    elif running.node:
        raise NotRunning(
            f"container {outside[0]} runs on {running.node}", hint="copy it there, or stop it first"
        )
    else:
        raise NotRunning(
            f"it cannot be told how container {outside[0]} runs",
            hint="stop it first, or: tar -c FILE | udocker exec -i CONTAINER tar -x -C DIR",
        )


def _into_union(session: Session, container: Container, path: str, put_at: _Put) -> None:
    """Nobody has the union meanwhile."""
    import contextlib

    from udocker.engine import union, workdirs
    from udocker.ops.members import Records
    from udocker.ops.ranges import settle

    settle(container)
    session.store.containers.make_ready(container)
    with workdirs.unused(container.work) as unused:
        if not unused:
            raise NotRunning("processes of a run have the container's files", hint="udocker ps")
        union.forget(container.work)
        put_at(Union(container.upper, container.tree, Records(container.tree).owner), path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{container.path}/owners")  # which files have owners: made anew


def _join(process: int, path: str, put_at: _Put) -> None:
    """By a process in the namespaces of the run."""
    from udocker.engine.execute import call_joined

    base = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        step = Join(process, makers.mark(process), _ROOT)
        call_joined(step, lambda: put_at(Plain(""), View(("",)).canonical(path), base))
    finally:
        os.close(base)


def _carry(
    session: Session, container: Container, described: Description, path: str, put_at: _Put
) -> None:
    """By a program that the engine of the run executes."""
    from udocker.engine.porter import Porter, launch

    engine = os.path.realpath(session.host.inprocess)  # no part of a mount's source is a link
    program = os.path.join(os.path.dirname(engine), "porter")
    view = View(layers(container), described.mounts)
    with Porter(launch(described, engine, program), session.report.warn) as porter:
        put_at(_Carried(porter), view.canonical(path))


class _Carried(Plain):
    """The root of a container that runs in an F or P mode."""

    def __init__(self, porter: Porter) -> None:
        super().__init__("")
        self._porter = porter

    def is_directory(self, path: str) -> bool:
        return stat.S_ISDIR(self._kind(path))

    def place(self, path: str) -> str | None:
        return path if self._kind(path) else None

    def file(self, path: str, source: int, status: os.stat_result) -> None:
        with beside(self.ready(path)) as aside:
            self._porter.make_file(aside)
            while chunk := os.read(source, CHUNK):
                self._porter.write(chunk)
            self._porter.seal(mode_of_file(status), status.st_atime_ns, status.st_mtime_ns)
            self._porter.rename(aside, path)

    def link(self, path: str, target: str) -> None:
        with beside(self.ready(path)) as aside:
            self._porter.make_link(aside, target)
            self._porter.rename(aside, path)

    def change_mode(self, path: str, mode: int) -> None:
        self._porter.change_mode(path, mode_of_directory(mode))

    def _make(self, place: str, mode: int) -> None:
        self._porter.make_directory(place, mode)

    def _kind(self, path: str) -> int:
        """0: nothing is there."""
        try:
            return self._porter.kind(path or "/")
        except OSError:
            return 0
