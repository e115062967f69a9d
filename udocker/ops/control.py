"""Containers that run: found, sent signals, stopped, waited for, started again."""

from __future__ import annotations

import contextlib
import signal
import time

from udocker import makers
from udocker.errors import NotRunning, UdockerError
from udocker.model.life import PAUSED
from udocker.model.signals import number
from udocker.ops import events
from udocker.store import users
from udocker.store.runs import Runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from udocker.model.container import Container
    from udocker.model.life import Begun, Life
    from udocker.ops.session import Session

STOP_SECONDS = 10
_MOMENT = 0.02  # seconds between two looks, to begin with
_LONGEST = 0.25
_PATIENCE = 30.0  # seconds for what SIGKILL has ended to be noted
_BEGINS = 10.0  # seconds in which a run that has begun has its command


def life(container: Container) -> Life:
    """How the container is, as far as this host can know."""
    return Runs(container.path).life()


def running(session: Session, text: str) -> tuple[Container, Life]:
    """The container that ``text`` means, which runs here. Raises ContainerNotFound, NotRunning."""
    container = session.store.containers.get(text)
    found = life(container)
    if not found.is_running:
        raise NotRunning(f"container {text} does not run", hint=f"udocker start {text}")
    if found.node:
        raise NotRunning(
            f"container {text} runs on {found.node}, or in another pid namespace",
            hint=f"do it there: ssh {found.node} udocker …",
        )
    return container, found


def roots(container: Container, found: Life) -> list[int]:
    """The processes that all others of a running container descend from."""
    from udocker.engine.processes import children

    beside = [makers.pid(user.mark) for user in users.beside(container.path)]
    begun = _begun(found)
    if found.is_in_front:
        return [makers.pid(begun.mark), *beside]
    return [*children(makers.pid(begun.keeper)), *beside]


def command(container: Container, found: Life) -> int:
    """The process that signals to a running container are for. Raises NotRunning."""
    from udocker.engine.processes import target

    begun = _begun(found)
    if found.is_in_front:
        return makers.pid(begun.mark)
    end = time.monotonic() + _BEGINS
    while not begun.command and time.monotonic() < end:
        time.sleep(_MOMENT)
        begun = _begun(life(container))
    if not begun.command or makers.state(begun.keeper) != makers.ALIVE:
        raise _just_ended()
    return target(begun.command, begun.go_betweens)


def kill(session: Session, text: str, what: int = signal.SIGKILL) -> None:
    """Send a signal to the command. Raises ContainerNotFound, NotRunning."""
    container, found = running(session, text)
    _send(container, found, what)
    events.note(session, "kill", container, signal=str(what))


def stop(session: Session, text: str, seconds: int | None = None) -> None:
    """End the command as it was asked to be ended, and after ``seconds`` by force; -1: never.

    One that does not run is no error. Raises ContainerNotFound, NotRunning where it runs elsewhere.
    """
    container = session.store.containers.get(text)
    if not life(container).is_running:
        return
    container, found = running(session, text)
    asked = _request(container, found)
    if seconds is None:
        seconds = STOP_SECONDS if asked[1] is None else asked[1]
    with contextlib.suppress(NotRunning):
        _send(container, found, number(asked[0]))
        if found.status == PAUSED:
            unpause(session, text)
    if not _has_ended(container, found, None if seconds < 0 else seconds):
        end(session, container, found)
    events.note(session, "stop", container)


def end(session: Session, container: Container, found: Life) -> None:
    """Kill a container that runs here, and wait until that is noted. Raises NotRunning."""
    with contextlib.suppress(NotRunning):
        _send(container, found, signal.SIGKILL)
    if not _has_ended(container, found, _PATIENCE):
        raise NotRunning(
            f"container {container.short_id} does not end: the kernel keeps it",
            hint="udocker top shows what is left; a filesystem that hangs may be the cause",
        )


def wait(session: Session, text: str) -> int:
    """The exit code of the command, once it has ended. Raises ContainerNotFound, UdockerError."""
    container = session.store.containers.get(text)
    found = life(container)
    token = found.begun.token if found.begun else ""
    ended = found.ended
    if found.is_running:
        from udocker.engine.attach import LOST, exit_code

        runs = Runs(container.path)
        code = LOST if found.is_in_front else exit_code(runs.control)
        if code != LOST:
            return code
        _has_ended(container, found, None)
        ended = runs.ended(token)
    if ended is None:
        raise UdockerError(
            f"nobody knows how container {text} ended: it ran in the foreground, or never",
            hint="run -d has somebody who notes it",
        )
    return ended.code


def pause(session: Session, text: str) -> None:
    """Stop all processes. Raises ContainerNotFound, NotRunning."""
    from udocker.engine import processes

    container, found = running(session, text)
    if found.is_in_front:
        raise NotRunning(
            f"container {text} runs in the foreground", hint="Ctrl-Z stops it, or run it with -d"
        )
    if found.status == PAUSED:
        raise NotRunning(f"container {text} is paused already", hint=f"udocker unpause {text}")
    processes.stop(roots(container, found))
    Runs(container.path).stop()
    events.note(session, "pause", container)


def unpause(session: Session, text: str) -> None:
    """Raises ContainerNotFound, NotRunning."""
    from udocker.engine import processes

    container, found = running(session, text)
    if found.status != PAUSED:
        raise NotRunning(f"container {text} is not paused", hint=f"udocker pause {text}")
    Runs(container.path).go_on()
    processes.go_on(roots(container, found))
    events.note(session, "unpause", container)


def _request(container: Container, found: Life) -> tuple[str, int | None]:
    """The signal that stops it, and after how many seconds it is killed."""
    asked = _asked(container, found)
    config = container.config.stop_signal
    sign, seconds = asked.get("stop_signal"), asked.get("stop_timeout")
    return str(sign or config or "TERM"), seconds if isinstance(seconds, int) else None


def _asked(container: Container, found: Life) -> dict[str, object]:
    import json

    if found.begun is not None and found.begun.request:
        with contextlib.suppress(ValueError):
            return dict(json.loads(found.begun.request))
    return dict(container.asked)


def _send(container: Container, found: Life, what: int) -> None:
    from udocker.engine import processes

    pid = command(container, found)
    if what != signal.SIGKILL:
        processes.send([pid], what)
    elif not found.is_in_front:
        processes.kill(roots(container, found))
    else:
        # A udocker that stays in front has a keeper that ends the rest; a command has nobody.
        marks = [makers.mark(each) for each in processes.tree([pid])]
        processes.send([pid], what)
        _wait_for(lambda: not _alive(marks), 1.0)
        processes.send(_alive(marks), what)


def _alive(marks: list[str]) -> list[int]:
    return [makers.pid(mark) for mark in marks if makers.state(mark) == makers.ALIVE]


def _has_ended(container: Container, found: Life, seconds: float | None) -> bool:
    """Whether this run ended within ``seconds``; None: however long that takes."""
    mark = _begun(found).mark

    def is_over() -> bool:
        now = life(container)
        return not now.is_running or now.begun is None or now.begun.mark != mark

    return _wait_for(is_over, seconds)


def _wait_for(is_so: Callable[[], bool], seconds: float | None) -> bool:
    for pause_for in _pauses(seconds):
        if is_so():
            return True
        time.sleep(pause_for)
    return is_so()


def _pauses(seconds: float | None) -> Iterator[float]:
    end = None if seconds is None else time.monotonic() + seconds
    moment = _MOMENT
    while end is None or time.monotonic() < end:
        yield moment
        moment = min(moment * 1.3, _LONGEST)


def _begun(found: Life) -> Begun:
    if found.begun is None:
        raise _just_ended()
    return found.begun


def _just_ended() -> NotRunning:
    return NotRunning("the container has just ended", hint="udocker ps shows how")
