"""A process that is there, and goes on when somebody opens a pipe that has a name; and one that
begins anew, with another environment."""

from __future__ import annotations

import os
import signal

from udocker.engine.supervisor import leave
from udocker.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn


def begin_later(pipe: str, prepare: Callable[[], None], go_on: Callable[[], int]) -> int:
    """Begin a process in a session of its own; its id, once it has called ``prepare``.

    It calls ``go_on`` when a writer has opened ``pipe``. Raises EngineError where it cannot
    prepare.
    """
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        leave(_wait, pipe, (told, telling), prepare, go_on)
    os.close(telling)
    with open(told, "rb") as stream:
        if stream.read() != b"ready":
            os.waitpid(child, 0)
            raise EngineError("the container's process ended before it was ready")
    return child


def _wait(
    pipe: str, told: tuple[int, int], prepare: Callable[[], None], go_on: Callable[[], int]
) -> int:
    os.close(told[0])
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    prepare()
    os.write(told[1], b"ready")
    os.close(told[1])
    os.close(os.open(pipe, os.O_RDONLY))  # waits
    return go_on()


def begin_anew(words: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """execve(2): another program takes this one's place. Raises OSError."""
    os.execve(words[0], list(words), dict(environ))
