"""Processes, as /proc of this host shows them: those of a container, and our own descendants."""

from __future__ import annotations

import contextlib
import os
import signal

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


def children(parent: int) -> list[int]:
    """The process ids of the children of ``parent``, the oldest of each thread first."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as stream:
                found += [int(word) for word in stream.read().split()]
    except OSError:
        return children_by_search(parent)
    return found


def children_by_search(parent: int) -> list[int]:
    """As ``children``, sorted: for kernels without CONFIG_PROC_CHILDREN."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{int(name)}/stat", encoding="ascii", errors="replace") as stream:
                # proc(5): the parent is the second field after the name in parentheses.
                fields = stream.read().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(name))
    return sorted(found)


def target(child: int, go_betweens: int) -> int:
    """The process that signals are for, below so many that heed none."""
    for _ in range(go_betweens):
        # While threads of a go-between come and go, what /proc says of each may miss a child,
        # and a signal for the command would end the go-between.
        found = children(child) or children_by_search(child)
        child = found[0] if found else child
    return child


def end_all() -> None:
    """Kill every descendant: those of a killed child become ours, until none is left."""
    while True:
        left = children(os.getpid())
        if not left:
            return
        send(left, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
