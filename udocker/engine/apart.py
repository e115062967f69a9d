"""Several tasks at once, each in a process of its own: what it does to itself is its own matter."""

from __future__ import annotations

import contextlib
import os
import select
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Task = Callable[[], bytes]

_AT_A_TIME = 65536


def answers(tasks: Sequence[Task], at_once: int) -> list[bytes]:
    """What each task returns, in the order given; nothing of one whose process was killed.

    A task raises nothing. Where the caller is interrupted the tasks are, too, and waited for.
    """
    waiting = list(enumerate(tasks))
    running: dict[int, _Process] = {}
    found: dict[int, bytes] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                process = _Process(*waiting.pop(0))
                running[process.descriptor] = process
            for descriptor in select.select(list(running), [], [])[0]:
                if running[descriptor].has_ended():
                    process = running.pop(descriptor)
                    found[process.number] = process.answer()
    finally:
        for process in running.values():
            process.stop()
    return [found[number] for number in range(len(tasks))]


class _Process:
    def __init__(self, number: int, task: Task) -> None:
        self.number = number
        self._received = b""
        self.descriptor, sender = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _carry_out(task, sender)
        os.close(sender)

    def has_ended(self) -> bool:
        """Take what has come; whether it was the last."""
        data = os.read(self.descriptor, _AT_A_TIME)
        self._received += data
        return not data

    def answer(self) -> bytes:
        """Once it has ended."""
        self._wait()
        return self._received

    def stop(self) -> None:
        """As Ctrl-C: it cleans up."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGINT)
        self._wait()

    def _wait(self) -> None:
        os.close(self.descriptor)
        os.waitpid(self._pid, 0)


def _carry_out(task: Task, sender: int) -> None:
    """In the process. Never returns: nothing of the caller's may run here."""
    try:
        data = task()
        while data:
            data = data[os.write(sender, data) :]
    finally:
        os._exit(0)
