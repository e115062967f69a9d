"""Commands of ``exec``: left to themselves with ``-d``, and ended with what they are beside of."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import time

from udocker import makers
from udocker.engine import processes
from udocker.engine.execute import begin_in_child, failure_from, undo
from udocker.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.model.launch import Launch

_STARTED = b"\1"
_LOOK_AGAIN = 0.5  # seconds


def is_kept(launch: Launch) -> bool:
    """Whether its process has a keeper, which ends the rest when that process is killed."""
    return bool(launch.undo or launch.go_betweens)


def let_go(
    launch: Launch,
    entering: Callable[[], None],
    warn: Callable[[str], None] = lambda text: None,
    is_engine: bool = False,
) -> None:
    """Start ``launch`` in a session of its own, without input and output, and leave it.

    ``entering`` is called in its process first. Raises as ``execute``.
    """
    receiver, sender = os.pipe()
    if os.fork() == 0:
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            entering()
        except BaseException:  # noqa: BLE001 - nothing of the parent may run in the child
            os._exit(EngineError.exit_code)
        begin = functools.partial(begin_in_child, launch, sender, warn, is_engine)
        if not is_kept(launch):
            begin()
        os.close(receiver)
        _stay(launch, begin, sender)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        data = stream.read()
    failure = failure_from(data.replace(_STARTED, b""))
    if failure is None and not data and is_kept(launch):
        failure = EngineError("the engine failed before the command began")
    if failure is not None:
        raise failure


def end_with(mark: str, is_kept: bool) -> None:
    """Have this process, or the program that it becomes, end when the one of ``mark`` does.

    By a process that waits for both: nobody else does where a command has taken udocker's place.
    ``is_kept``: a keeper ends what belongs to this one.
    """
    from udocker.engine.supervisor import leave

    mine = makers.mark()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    elif os.fork():  # the one between: or what waits would be among the container's processes
        os._exit(0)
    else:
        leave(_watch, mark, mine, is_kept)


def _watch(mark: str, mine: str, is_kept: bool) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.close(int(name))
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = makers.pid(mine)
    while makers.state(mark) == makers.ALIVE == makers.state(mine):
        _wait_for_one(makers.pid(mark), pid)
    if makers.state(mine) != makers.ALIVE:
        return
    if is_kept:
        processes.send([pid], signal.SIGKILL)
    else:
        processes.kill([pid])


def _wait_for_one(*pids: int) -> None:
    """Until one ends, as pidfd_open(2) tells; for a while where the kernel has no such thing."""
    opened: list[int] = []
    try:
        opened = [os.pidfd_open(pid) for pid in pids]
        select.select(opened, [], [])
    except (OSError, AttributeError):
        time.sleep(_LOOK_AGAIN)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _stay(launch: Launch, begin: Callable[[], None], sender: int) -> None:
    """Be the front of the command, as in ``supervisor``. Never returns."""
    from udocker.engine.passing import WATCHED
    from udocker.engine.supervisor import keep, leave

    old = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    front = os.getpid()

    def unblocked() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        begin()

    def started(_: int) -> None:
        os.write(sender, _STARTED)
        os.close(sender)

    def keeping() -> int:
        clean = functools.partial(undo, launch)
        mine = launch.go_betweens
        return keep(front, unblocked, clean, mine, launch.pid_file, started=started)

    keeper = os.fork()
    if keeper == 0:
        leave(keeping)
    os.close(sender)
    leave(lambda: os.waitpid(keeper, 0) and 0)
