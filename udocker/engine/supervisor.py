"""The parent of a command: signals to it, its status back, and stopping with it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

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
_FROM_KERNEL = 0x80  # SI_KERNEL, sigaction(2): the terminal sent it to the whole group
_OUTPUT_LIMIT = 1 << 16


class Supervisor:
    """Holds back the signals from before the fork until the command has ended.

    With ``to_grandchild`` the child is a go-between that heeds no signals itself (a tracer):
    they go to its first child, the command.
    """

    def __init__(self, to_grandchild: bool) -> None:
        self._to_grandchild = to_grandchild
        self._watched = {*_PASSED_ON, signal.SIGCHLD}
        self._child = 0
        self._old: set[int] = set()

    def __enter__(self) -> Supervisor:
        self._old = {int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._old)

    def enter_child(self) -> None:
        """In the child: the mask as it was; death with the parent."""
        from udocker._native import lib

        parent = os.getppid()
        lib.udocker_set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._old)

    def watch(self, child: int) -> None:
        self._child = child

    def wait(self) -> int:
        """The exit code of the command, once it has ended."""
        from udocker.engine.execute import exit_code

        while True:
            pid, status = os.waitpid(self._child, os.WNOHANG | os.WUNTRACED)
            if pid and not os.WIFSTOPPED(status):
                return exit_code(status)
            if pid:
                # The command was stopped (Ctrl-Z): the shell must see its own child stop.
                os.kill(os.getpid(), signal.SIGSTOP)
            info = signal.sigwaitinfo(self._watched)
            if info.si_signo != signal.SIGCHLD and info.si_code != _FROM_KERNEL:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(self._target(), info.si_signo)

    def _target(self) -> int:
        if self._to_grandchild:
            for pid in _children(self._child):
                return pid
        return self._child


def _children(parent: int) -> list[int]:
    try:
        with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as stream:
            return [int(word) for word in stream.read().split()]
    except OSError:
        return _children_by_search(parent)


def _children_by_search(parent: int) -> list[int]:
    """For kernels without CONFIG_PROC_CHILDREN."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{int(name)}/stat", encoding="ascii", errors="replace") as stream:
                # proc(5): the parent is the second field after the name in parentheses.
                fields = stream.read().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(name))
    return sorted(found)


def read_until(descriptor: int, seconds: float) -> tuple[str, bool]:
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
