"""The processes of a container, as /proc of this host shows them."""

from __future__ import annotations

import contextlib
import os
import signal

from udocker.engine.supervisor import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ROUNDS = 20  # of looking for processes that came while others were stopped


def tree(roots: Iterable[int]) -> list[int]:
    """``roots`` and all that descend from them, parents first."""
    found: list[int] = []
    pending = list(roots)
    while pending:
        pid = pending.pop(0)
        if pid not in found:
            found.append(pid)
            pending += children(pid)
    return found


def send(pids: Iterable[int], number: int) -> None:
    """A signal to each that is still there and may have it."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def stop(roots: Iterable[int]) -> None:
    """Stop all, also those that are made meanwhile; who traces others goes on and serves them."""
    roots = list(roots)
    stopped: set[int] = set()
    for _ in range(_ROUNDS):
        pids = tree(roots)
        tracers = {tracer(pid) for pid in pids}
        new = [pid for pid in pids if pid not in stopped and pid not in tracers]
        if not new:
            return
        send(new, signal.SIGSTOP)
        stopped.update(new)


def go_on(roots: Iterable[int]) -> None:
    """After ``stop``."""
    send(tree(roots), signal.SIGCONT)


def kill(roots: Iterable[int]) -> None:
    """Kill all, also those that are made meanwhile."""
    roots = list(roots)
    stop(roots)
    send(tree(roots)[::-1], signal.SIGKILL)


def tracer(pid: int) -> int:
    """The process that traces ``pid``; 0: none."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
            found = [line for line in stream if line.startswith("TracerPid:")]
        return int(found[0].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
