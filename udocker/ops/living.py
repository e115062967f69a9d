"""Runs that go on without udocker: starting them, and what is noted of them."""

from __future__ import annotations

import contextlib
import json
import os
import time

from udocker import files, leases, makers
from udocker.engine.detached import Streams, detach
from udocker.engine.inprocess import described_by
from udocker.errors import EngineFailed, UdockerError
from udocker.files import store_errors
from udocker.model.codec import decode, encode
from udocker.model.life import Begun, Ended
from udocker.model.moment import now
from udocker.model.request import RunRequest
from udocker.model.value import replace
from udocker.ops import events
from udocker.store import users
from udocker.store.logs import Writer
from udocker.store.runs import Runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.model.container import Container
    from udocker.ops.preparing import Planned
    from udocker.ops.session import Session


_GOES = 5.0  # seconds in which a keeper ends what it keeps
_MOMENT = 0.01


class _Job:
    """See ``engine.detached``. Nothing here may end the supervisor: what cannot be noted is not."""

    def __init__(
        self,
        session: Session,
        container: Container,
        begun: Begun,
        described: str,
        remove: bool,
    ) -> None:
        self._session = session
        self._described = described
        self._container = container
        self._begun = begun
        self._remove = remove
        self._runs = Runs(container.path)
        self._writer = Writer(self._runs.log, session.config.max_log_bytes)
        self._beats = not leases.is_local(container.path)

    @property
    def control(self) -> str:
        return self._runs.control

    def begin(self) -> None:
        self._begun = replace(self._begun, mark=makers.mark(), started=now())
        with store_errors("starting the container"):
            self._session.store.containers.enter(
                self._container, users.SUPERVISES, self._begun.mode, self._described
            )
            if self._remove:
                self._session.store.containers.hold(self._container)
            self._runs.begin(self._begun)

    def started(self, keeper: int, command: int) -> None:
        self._begun = replace(self._begun, keeper=makers.mark(keeper), command=command)
        with contextlib.suppress(OSError):
            self._runs.begin(self._begun)
        events.note(self._session, "start", self._container)

    def log(self, stream: str, data: bytes) -> None:
        self._writer.write(stream, data)

    def beat(self) -> None:
        if self._beats:
            self._runs.beat()

    def over(self, code: int, error: str = "") -> None:
        self._writer.finish()
        end_beside(self._container)
        with contextlib.suppress(OSError):
            self._runs.end(Ended(self._begun.token, code, now(), error))
        events.note(self._session, "die", self._container, exitCode=str(code))

    def remove(self) -> None:
        if self._remove:
            with contextlib.suppress(UdockerError, OSError):
                self._session.store.containers.delete(self._container.id)
            events.note(self._session, "destroy", self._container)


def launch(
    session: Session,
    request: RunRequest,
    container: Container,
    planned: Planned,
    *,
    is_engine: bool,
    listening: Callable[[], None] | None = None,
) -> None:
    """Start a planned run. ``listening``: the command waits for the client that this makes.

    Raises as ``execute``, and ContainerInUse where another run is supervised.
    """
    runs = Runs(container.path)
    with store_errors("starting the container"):
        lock = runs.take()
    token = files.unique_name()
    begun = Begun(
        token,
        mark="",
        node=os.uname().nodename,
        started="",
        go_betweens=planned.launch.go_betweens,
        mode=planned.mode,
        tty=request.tty,
        stdin=request.interactive,
        request=json.dumps(encode(request)),
    )
    described = described_by(planned.launch, session.host)
    job = _Job(session, container, begun, described, request.remove)
    streams = Streams(request.tty, request.interactive, waits=listening is not None)
    try:
        detach(planned.launch, job, streams, is_engine, listening or (lambda: None))
    except EngineFailed:
        raise
    except UdockerError as error:
        with contextlib.suppress(OSError):
            runs.end(Ended(token, error.exit_code, now(), error.message))
        raise
    finally:
        os.close(lock)


def end_beside(container: Container) -> None:
    """Kill what exec has started in the container, if it still runs."""
    found = users.beside(container.path)
    if not found:
        return
    import signal

    from udocker.engine import processes

    pids = processes.tree(makers.pid(user.mark) for user in found)
    marks = [makers.mark(pid) for pid in pids]
    processes.send((makers.pid(u.mark) for u in found if u.kind == users.KEPT), signal.SIGKILL)
    processes.kill(makers.pid(user.mark) for user in found if user.kind == users.BESIDE)
    end = time.monotonic() + _GOES
    while time.monotonic() < end and any(makers.state(mark) == makers.ALIVE for mark in marks):
        time.sleep(_MOMENT)
    left = [makers.pid(mark) for mark in marks if makers.state(mark) == makers.ALIVE]
    processes.send(left, signal.SIGKILL)


def remembered(container: Container) -> RunRequest:
    """What the container was made to run. Raises StoreError where that cannot be read."""
    if not container.asked:
        return RunRequest(container.id)
    try:
        asked = decode(RunRequest, dict(container.asked))
    except ValueError as error:
        from udocker.store.record import damage

        raise damage(container.path, container.id) from error
    return replace(asked, target=container.id, name=None, cidfile=None)
