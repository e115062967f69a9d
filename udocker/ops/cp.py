"""Copy files and directories out of a container, and into one."""

from __future__ import annotations

import os

from udocker.errors import UdockerError, UsageError
from udocker.ops.cp_archive import PIPE, unpacked
from udocker.ops.cp_into import into
from udocker.ops.cp_items import Item, goal, is_copied, put, shown
from udocker.ops.cp_run import view as view_of
from udocker.store.writing import Plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.ops.session import Session
    from udocker.store.view import View


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
                into(session, f"{root}/.", outside)
        elif inside and not outside:
            _out(session, inside, os.path.join(session.cwd, target), follow)
        elif outside and not inside:
            into(session, os.path.join(session.cwd, source), outside, follow)
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
        view = view_of(container)
        items = list(_inside(view, view.resolve(path) if follow else path))
        writer = Plain("")
        put(items, writer, goal(writer, os.path.realpath(target), target, items[0], path))


def _to_pipe(session: Session, inside: tuple[str, str], follow: bool) -> None:
    from udocker.ops.cp_archive import write
    from udocker.ops.export import found, reading

    container = found(session, inside[0])
    path = inside[1]
    with reading(session, container):
        view = view_of(container)
        items = _inside(view, view.resolve(path) if follow else path)
        copied = (each for each in items if each.link is not None or _is_read(each.path))
        write(copied, os.path.basename(path.rstrip("/")) or ".", shown)


def _is_read(path: str) -> bool:
    return is_copied(os.lstat(path).st_mode)


def _inside(view: View, path: str, name: str = "") -> Iterator[Item]:
    """What is at ``path`` of a container, and below."""
    place, link = view.entry(path)
    is_dir = link is None and os.path.isdir(place)
    yield Item(name, place, link, is_dir)
    if is_dir:
        for each in view.names(path):
            yield from _inside(view, f"{path.rstrip('/')}/{each}", f"{name}/{each}")
