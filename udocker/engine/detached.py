"""A command that goes on when udocker has ended: its supervisor, which is a process of its own.

The supervisor is the front of ``supervisor`` and lives in a session of its own. It takes what the
command prints, gives it what attached clients type, and notes how it ended. Its child, the keeper,
is the command's parent. Who kills the supervisor has the keeper end the command, and note that; who
kills the keeper, the supervisor.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket

from udocker.engine.execute import begin_in_child, failure_from, told, undo
from udocker.engine.passing import WATCHED
from udocker.engine.processes import end_all
from udocker.engine.supervisor import exit_code, keep, leave
from udocker.engine.switchboard import Switchboard
from udocker.errors import EngineError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    from udocker.errors import UdockerError
    from udocker.model.launch import Launch

    class Job(Protocol):
        """What is to be noted of a run. All but ``control`` are called in other processes."""

        @property
        def control(self) -> str:
            """Where the socket for clients is made: an absolute path."""
            ...

        def begin(self) -> None:
            """The supervisor is there. Raises UdockerError."""
            ...

        def started(self, keeper: int, command: int) -> None:
            """The command is there, or the first go-between."""
            ...

        def log(self, stream: str, data: bytes) -> None:
            """It printed something."""
            ...

        def beat(self) -> None:
            """It goes on."""
            ...

        def over(self, code: int, error: str = "") -> None:
            """It has ended, and nothing is left of it. Called once."""
            ...

        def remove(self) -> None:
            """All who had to know know; called after ``over``."""
            ...


_LISTENS = b"L"
_STARTED = b"\1"
_WELCOME = 10.0  # seconds in which the first client has to come


@value
class Streams:
    """What the command reads and writes: a terminal, or pipes; ``stdin``: input may come.

    ``waits``: the command does not begin before a client is there.
    """

    tty: bool = False
    stdin: bool = False
    waits: bool = False


@value
class _Ends:
    """The descriptors: those of the command, and ours."""

    command: tuple[int, int, int]
    outputs: tuple[tuple[int, str], ...]
    input: int
    terminal: int


@value
class _How:
    """What the keeper has to know: the supervisor, where failures go, the signals to block."""

    is_engine: bool
    front: int
    sender: int
    mask: set[int | signal.Signals]


def detach(
    launch: Launch,
    job: Job,
    streams: Streams,
    is_engine: bool,
    listening: Callable[[], None] = lambda: None,
) -> None:
    """Start ``launch``, which goes on without us. Returns when the command has begun.

    ``listening`` is called when clients may come. Raises as ``execute``; then nothing is left but
    what ``job`` has noted.
    """
    receiver, sender = os.pipe()
    if os.fork() == 0:
        os.close(receiver)
        leave(_supervise, launch, job, streams, is_engine, sender)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        first = stream.read(1)
        if first == _LISTENS:
            listening()
        data = stream.read()
    if not first:
        raise EngineError("the supervisor of the run was killed")
    failure = failure_from(data if first == _LISTENS else first + data)
    if failure is not None:
        raise failure


def _supervise(launch: Launch, job: Job, streams: Streams, is_engine: bool, report: int) -> None:
    from udocker._native import lib

    os.setsid()
    try:
        job.begin()
        listener = _listen(job.control)
        ends = _open_ends(streams)
    except Exception as error:  # noqa: BLE001 - it is told where somebody sees it
        failure = error if isinstance(error, EngineError) else EngineError(f"{error}")
        os.write(report, told(failure))
        return
    _silence()
    os.write(report, _LISTENS)
    lib.udocker_become_subreaper()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the keeper ends the rest
    keeper = 0
    board = Switchboard(
        listener,
        dict(ends.outputs),
        input=ends.input,
        terminal=ends.terminal,
        log=job.log,
        signal=lambda number: _send(keeper, number),
        beat=job.beat,
    )
    if streams.waits:
        board.welcome(_WELCOME)
    over, living = os.pipe()
    receiver, sender = os.pipe()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    front = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        # Where somebody else could still write, the command's input would never end.
        ours = {number for number, _ in ends.outputs} | ({ends.input} - {-1})
        for descriptor in (report, over, receiver, listener.fileno(), *ours):
            os.close(descriptor)
        how = _How(is_engine, front, sender, old)
        leave(_keep, launch, job, ends, how)
    signal.pthread_sigmask(signal.SIG_SETMASK, old)
    for descriptor in (living, sender, *(set(ends.command) if not streams.tty else ())):
        os.close(descriptor)
    failure_or_none = _begun(receiver)
    if failure_or_none is not None:
        os.waitpid(keeper, 0)
        os.write(report, told(failure_or_none))
        return
    os.close(report)
    board.run(over)
    status = os.waitpid(keeper, 0)[1]
    reason = ""
    if os.WIFSIGNALED(status):
        reason = "its keeper was killed"
        end_all()
        undo(launch)
    code = exit_code(status)
    job.over(code, reason)
    board.say_goodbye(code)
    job.remove()


def _keep(
    launch: Launch,
    job: Job,
    ends: _Ends,
    how: _How,
) -> int:
    def begin() -> NoReturn:
        os.setsid()
        if ends.terminal >= 0:
            import fcntl
            import termios

            fcntl.ioctl(ends.command[0], termios.TIOCSCTTY, 0)
        for number, descriptor in enumerate(ends.command):
            os.dup2(descriptor, number)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, how.mask)
        begin_in_child(launch, how.sender, is_engine=how.is_engine)

    def started(command: int) -> None:
        job.started(os.getpid(), command)
        os.write(how.sender, _STARTED)
        os.close(how.sender)

    mine = launch.go_betweens
    clean = functools.partial(undo, launch)
    code = keep(how.front, begin, clean, mine, launch.pid_file, started=started)
    if os.getppid() != how.front:
        job.over(code, "its supervisor was killed")
        job.remove()
    return code


def _begun(receiver: int) -> UdockerError | None:
    """Why the command has not begun; None: it has."""
    with os.fdopen(receiver, "rb") as stream:
        data = stream.read()
    message = data.replace(_STARTED, b"")
    if message:
        return failure_from(message)
    if not data:
        return EngineError(
            "the engine failed before the command began", hint="udocker logs shows what it said"
        )
    return None


def _listen(path: str) -> socket.socket:
    """A socket at ``path``, which may be longer than an address of unix(7). Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder, _, name = path.rpartition("/")
    os.chdir(folder)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        listener.bind(name)
    finally:
        os.chdir("/")
    listener.listen()
    return listener


def _open_ends(streams: Streams) -> _Ends:
    if streams.tty:
        ours, theirs = os.openpty()
        given = (theirs, theirs, theirs)
        return _Ends(given, ((ours, "stdout"),), ours if streams.stdin else -1, ours)
    out, out_in = os.pipe()
    err, err_in = os.pipe()
    if streams.stdin:
        source, given_in = os.pipe()
    else:
        source, given_in = os.open(os.devnull, os.O_RDONLY), -1
    return _Ends((source, out_in, err_in), ((out, "stdout"), (err, "stderr")), given_in, -1)


def _silence() -> None:
    """Whoever waits for the end of our output is not to wait for the command's."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)


def _send(pid: int, number: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(pid, number)
