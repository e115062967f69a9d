"""Carries out a Launch to see how it goes: an engine is tried by it."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import time

from udocker.engine.execute import begin_in_child, failure_of, undo
from udocker.engine.supervisor import exit_code, supervise
from udocker.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.launch import Launch

_OUTPUT_LIMIT = 1 << 16


def capture(launch: Launch, seconds: float) -> tuple[int, str]:
    """Run ``launch`` with no input; its exit code and what it printed, at most 64 KiB.

    Used to try an engine: after ``seconds`` it is killed and the code is 124, as timeout(1).
    Raises as ``execute``.
    """
    output, output_in = os.pipe()
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output_in, 1)
            os.dup2(output_in, 2)
        except OSError:
            os._exit(EngineError.exit_code)
        if launch.pid_file:
            begin = functools.partial(begin_in_child, launch, sender)
            os._exit(supervise(begin, lambda: None, 0, launch.pid_file))
        begin_in_child(launch, sender)
    with contextlib.suppress(OSError):
        os.setpgid(child, child)  # both sides: whoever is first
    os.close(output_in)
    os.close(sender)
    in_time = False
    try:
        try:
            text, in_time = _read_until(output, seconds)
        finally:
            if not in_time and launch.pid_file:
                os.kill(child, 9)  # the keeper ends the rest, which is in another session
            elif not in_time:
                os.killpg(child, 9)
        failure = failure_of(receiver)
        code = exit_code(os.waitpid(child, 0)[1])
    finally:
        os.close(output)
        undo(launch, seconds)
    if failure is not None:
        raise failure
    return (code if in_time else 124), text


def _read_until(descriptor: int, seconds: float) -> tuple[str, bool]:
    """What is written to a pipe until it closes; False when ``seconds`` were over first."""
    deadline = time.monotonic() + seconds
    received = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return received.decode("utf-8", "replace"), False
        data = os.read(descriptor, 4096)
        if not data:
            return received.decode("utf-8", "replace"), True
        if len(received) < _OUTPUT_LIMIT:
            received += data
