"""Signals that are passed on to a command: which, and whether it has them already."""

from __future__ import annotations

import os
import signal
import time

# All that ask a program for something; the rest are faults of the process itself, or for it.
_PASSED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGWINCH,
    signal.SIGCONT,
    signal.SIGTSTP,
)
HARMLESS = (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP)  # end nobody
WATCHED = {*_PASSED_ON, signal.SIGCHLD}
FROM_KERNEL = 0x80  # SI_KERNEL, sigaction(2): the terminal sent it to the whole group
_LATE = 0.1  # seconds; until then all have what was sent to all
_STALE = 2.0  # seconds


def next_signal(seconds: float | None) -> signal.struct_siginfo | None:
    """The next of WATCHED, which are blocked; None: none came in time."""
    if seconds is None:
        return signal.sigwaitinfo(WATCHED)
    return signal.sigtimedwait(WATCHED, seconds)


class Heard:
    """What a batch system has sent that was for every process, so also for the command.

    Slurm sends to each process of a step, and to a job's script alone: then only the front has it.
    It passes on what is not this user's own a moment later, when the keeper has what is for all.
    """

    def __init__(self, front: int) -> None:
        """``front``: the process that passes on to this one, the keeper; 0: this is the front."""
        self._front = front
        self._to_all: dict[int, float] = {}  # what came here from another user, and when

    def is_for_all(self, info: signal.struct_siginfo) -> bool:
        """Whether a signal that came here is one that the command has, too."""
        if self.is_passed_on(info):
            return time.monotonic() - self._to_all.pop(info.si_signo, -_STALE) < _STALE
        if info.si_uid == os.getuid() or info.si_code == FROM_KERNEL:
            return False
        if self._front:
            self._to_all[info.si_signo] = time.monotonic()
            return True
        time.sleep(_LATE)
        return False

    def is_passed_on(self, info: signal.struct_siginfo) -> bool:
        """Whether the front has passed it on."""
        return bool(self._front) and info.si_pid == self._front
