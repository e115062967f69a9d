"""Start a container once more, as it was made to run; be at one that runs."""

from __future__ import annotations

from udocker.engine import attach as client
from udocker.errors import NotRunning
from udocker.model.life import PAUSED
from udocker.model.signals import DETACH_KEYS, keys
from udocker.model.value import replace
from udocker.ops import control
from udocker.ops.living import remembered
from udocker.ops.run import run_container
from udocker.store.runs import KILLED, Runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from udocker.model.container import Container
    from udocker.model.request import RunRequest
    from udocker.ops.session import Session


def start(session: Session, text: str) -> None:
    """Run the container in the background; one that runs is left alone. Raises UdockerError."""
    container = session.store.containers.get(text)
    if not control.life(container).is_running:
        run_container(session, _request(container), container)


def start_attached(session: Session, text: str, stdin: bool, leaving: str | None) -> int:
    """As ``start``, and be there from the beginning to the end: the command's exit code."""
    container = session.store.containers.get(text)
    if control.life(container).is_running:
        return attach(session, text, stdin, leaving)
    path = Runs(container.path).control
    connections: list[socket.socket] = []

    def listening() -> None:
        connections.append(client.connect(path))

    run_container(session, _request(container), container, listening=listening)
    return _follow(session, container, connections[-1], stdin, leaving)


def attach(session: Session, text: str, stdin: bool, leaving: str | None) -> int:
    """Be at a container that runs, until it ends or is left: its exit code, 0 when it was left.

    Raises NotRunning.
    """
    container, found = control.running(session, text)
    if found.is_in_front:
        raise NotRunning(
            f"container {text} runs in the foreground of somebody", hint="udocker exec goes there"
        )
    if found.status == PAUSED:
        raise NotRunning(f"container {text} is paused", hint=f"udocker unpause {text}")
    try:
        connection = client.connect(Runs(container.path).control)
    except OSError as error:
        raise NotRunning(
            f"nobody answers for container {text}: {error.strerror}",
            hint="udocker ps shows how it is",
        ) from error
    return _follow(session, container, connection, stdin, leaving)


def _request(container: Container) -> RunRequest:
    return replace(remembered(container), detach=True, pull="never")


def _follow(
    session: Session,
    container: Container,
    connection: socket.socket,
    stdin: bool,
    leaving: str | None,
) -> int:
    begun = Runs(container.path).begun()
    asked = remembered(container).detach_keys if leaving is None else leaving
    found = keys(DETACH_KEYS if asked is None else asked)
    has_input = stdin and begun is not None and begun.stdin
    wishes = client.Wishes(begun is not None and begun.tty, has_input, found)
    with connection:
        code = client.follow(connection, wishes)
    if code == client.LEFT:
        session.report.warn(f"left container {container.short_id}, which goes on")
        return 0
    if code == client.LOST:
        ended = Runs(container.path).ended(begun.token) if begun else None
        return ended.code if ended else KILLED
    return code
