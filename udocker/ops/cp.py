"""Copy files and directories out of a container, and into one."""

from __future__ import annotations

import os
import stat

from udocker import makers
from udocker.errors import NotRunning, UdockerError, UsageError
from udocker.model.container import PLAIN
from udocker.model.launch import Join
from udocker.model.run import User
from udocker.model.value import value
from udocker.ops.control import life
from udocker.ops.cp_archive import PIPE, unpacked
from udocker.ops.specify import layers
from udocker.store.changes import owner_of
from udocker.store.view import View
from udocker.store.writing import Plain, Union

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.model.container import Container
    from udocker.ops.session import Session

_ROOT = User(0, 0, "root", "/root")
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@value
class _Item:
    """What is to be copied: ``name`` below the top ("" is it), and a link's target, if it is one.

    ``path``: where on the host it is read; absolute, no part a link.
    """

    name: str
    path: str
    link: str | None = None


def cp(session: Session, source: str, target: str, follow: bool = False) -> None:
    """Docker's cp: of ``CONTAINER:PATH`` there is one, of paths of the host the other.

    "-" is an archive on stdin, or to stdout. Raises UdockerError.
    """
    inside, outside = split(source), split(target)
    try:
        if inside and target == PIPE:
            _to_pipe(session, inside, follow)
        elif outside and source == PIPE:
            with unpacked(session) as root:
                _into(session, f"{root}/.", outside)
        elif inside and not outside:
            _out(session, inside, os.path.join(session.cwd, target), follow)
        elif outside and not inside:
            _into(session, os.path.join(session.cwd, source), outside, follow)
        else:
            raise UsageError(
                "one of both is in a container, and the other is not",
                hint="udocker cp CONTAINER:PATH PATH, or udocker cp PATH CONTAINER:PATH",
            )
    except BrokenPipeError:
        raise  # whoever reads has had enough
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise UdockerError(
            f"cannot copy {source} to {target}: {error.strerror or error}{where}",
            hint="udocker exec CONTAINER ls shows what is in it",
        ) from error


def split(text: str) -> tuple[str, str] | None:
    """Container and path. A path of the host that has a colon begins with / or a dot."""
    name, colon, path = text.partition(":")
    if not colon or not name or name.startswith((".", "/")):
        return None
    return name, "/" + path.lstrip("/")


def _out(session: Session, inside: tuple[str, str], target: str, follow: bool) -> None:
    from udocker.ops.export import found, reading

    container = found(session, inside[0])
    path = inside[1]
    with reading(session, container):
        view = View(layers(container))
        items = list(_inside(view, view.resolve(path) if follow else path))
        writer = Plain("")
        goal = _goal(writer, os.path.realpath(target), target, items, path)
        _put(items, writer, goal)


def _to_pipe(session: Session, inside: tuple[str, str], follow: bool) -> None:
    from udocker.ops.cp_archive import write
    from udocker.ops.export import found, reading

    container = found(session, inside[0])
    path = inside[1]
    with reading(session, container):
        view = View(layers(container))
        items = _inside(view, view.resolve(path) if follow else path)
        copied = (each for each in items if each.link is not None or _is_read(each.path))
        write(copied, os.path.basename(path.rstrip("/")) or ".", _mode)


def _is_read(path: str) -> bool:
    return _is_copied(os.lstat(path).st_mode)


def _into(session: Session, source: str, outside: tuple[str, str], follow: bool = False) -> None:
    container = session.store.containers.get(outside[0])
    folder, name = os.path.split(source.rstrip("/") or "/")
    real = os.path.join(os.path.realpath(folder), name)
    if follow or name in ("", ".", "..") or source.endswith("/"):
        real = os.path.realpath(source)
    items = list(_outside(real))
    view = View(layers(container))
    path = view.canonical(outside[1])

    def put(writer: Plain, base: int = -1) -> None:
        _put(items, writer, _goal(writer, path, outside[1], items, source), base)

    running = life(container)
    if container.form == PLAIN:
        put(Plain(container.root))
    elif not running.is_running:
        _into_union(session, container, put)
    elif running.node:
        raise NotRunning(
            f"container {outside[0]} runs on {running.node}", hint="copy it there, or stop it first"
        )
    else:
        _into_running(container, put)


def _into_union(session: Session, container: Container, put: _Put) -> None:
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
        put(Union(container.upper, container.tree, Records(container.tree).owner))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{container.path}/owners")  # which files have owners: made anew


def _into_running(container: Container, put: _Put) -> None:
    """By a process in the namespaces of the run, where it has some."""
    from udocker.engine.execute import call_joined
    from udocker.ops.exec import apart

    process = apart(container, life(container))
    if not process:
        raise NotRunning(
            "this mode keeps what it knows of the container's files while it runs",
            hint="stop it first, or: tar -c FILE | udocker exec -i CONTAINER tar -x -C DIR",
        )
    base = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        step = Join(process, makers.mark(process), _ROOT)
        call_joined(step, lambda: put(Plain(""), base))
    finally:
        os.close(base)


def _inside(view: View, path: str, name: str = "") -> Iterator[_Item]:
    """What is at ``path`` of a container, and below."""
    place, link = view.entry(path)
    yield _Item(name, place, link)
    if link is None and os.path.isdir(place):
        for each in view.names(path):
            yield from _inside(view, f"{path.rstrip('/')}/{each}", f"{name}/{each}")


def _outside(path: str, name: str = "") -> Iterator[_Item]:
    mode = os.lstat(path).st_mode
    yield _Item(name, path, os.readlink(path) if stat.S_ISLNK(mode) else None)
    if stat.S_ISDIR(mode):
        for each in sorted(os.listdir(path)):
            yield from _outside(f"{path}/{each}", f"{name}/{each}")


def _goal(writer: Plain, path: str, said: str, items: list[_Item], source: str) -> str:
    """Where the top comes to, as Docker has it. Raises OSError."""
    path = path.rstrip("/")
    is_dir = items[0].link is None and os.path.isdir(items[0].path)
    base = os.path.basename(source.rstrip("/"))
    if writer.is_directory(path or "/"):
        only_content = base in ("", ".") and is_dir
        return path if only_content else f"{path}/{base}"
    if writer.place(path) is not None and is_dir:
        raise NotADirectoryError(20, os.strerror(20), said)
    if (said.endswith("/") and not is_dir) or not writer.is_directory(os.path.dirname(path) or "/"):
        raise FileNotFoundError(2, os.strerror(2), said)
    return path


def _put(items: list[_Item], writer: Plain, goal: str, base: int = -1) -> None:
    """``base``: a descriptor of the host's root, where that is not ours any more."""
    modes: list[tuple[str, int]] = []
    where = {"dir_fd": base} if base >= 0 else {}
    for item in items:
        place = goal + item.name
        if item.link is not None:
            writer.link(place, item.link)
            continue
        path = item.path.lstrip("/") or "." if base >= 0 else item.path
        if not _is_copied(os.lstat(path, **where).st_mode):
            continue  # sockets and the like are nothing without who made them
        source = os.open(path, _READ, **where)
        try:
            status = os.fstat(source)
            if not stat.S_ISDIR(status.st_mode):
                writer.file(place, source, status)
            elif not writer.is_directory(place or "/"):
                writer.directory(place, 0o700)
                modes.append((place, _mode(item.path, status) if base < 0 else status.st_mode))
        finally:
            os.close(source)
    for place, mode in reversed(modes):
        writer.change_mode(place, mode)


def _mode(path: str, status: os.stat_result) -> int:
    """The permission bits that programs in the container see."""
    owner = owner_of(path, status)
    return status.st_mode if owner is None or owner[2] is None else owner[2]


def _is_copied(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


if TYPE_CHECKING:
    from typing import Protocol

    class _Put(Protocol):
        def __call__(self, writer: Plain, base: int = -1) -> None: ...
