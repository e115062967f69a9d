"""The parents of a command that udocker outlives: signals to it, its status back, no orphans.

There are two. The keeper is the command's parent and adopts what the command leaves behind
(PR_SET_CHILD_SUBREAPER, prctl(2)). The front is the process that the user started: it stands
before the keeper, so that even when it is killed with SIGKILL somebody is left to end the
command and to clean up.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import time

from udocker.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
_HARMLESS = (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP)  # end nobody
WATCHED = {*_PASSED_ON, signal.SIGCHLD}
_FROM_KERNEL = 0x80  # SI_KERNEL, sigaction(2): the terminal sent it to the whole group
_OUTPUT_LIMIT = 1 << 16
_SIGNALED = 128
_LOOK_AGAIN = 0.2  # seconds; nothing tells when a tracer's child has ended
_LATE = 0.1  # seconds; until then all have what was sent to all
_STALE = 2.0  # seconds
_TRACER_SAYS_SIGNALED = 255  # PRoot's status for a command that a signal ended


def supervise(
    begin: Callable[[], None],
    clean: Callable[[], None],
    go_betweens: int,
    pid_file: str = "",
    in_job: bool = False,
) -> int:
    """Call ``begin``, which does not return, in a child, and ``clean`` after its end.

    Returns the command's exit code. ``go_betweens``: so many processes, each the first child of
    the other, heed no signals (a tracer): these go to the command below. With ``pid_file`` the
    child starts the command, or the first go-between, writes its process id there and ends; 125
    if it fails. ``in_job``: a batch system may send a signal to every process of ours.
    """
    front = os.getpid()  # asked before the fork: it may be killed at any moment
    old = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)

    def unblocked() -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):  # it raises, and this one is to end
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        begin()

    try:
        keeper = os.fork()
        if keeper == 0:
            kept = functools.partial(keep, in_job=in_job)
            leave(kept, front, unblocked, clean, go_betweens, pid_file)
        return _follow(keeper, lambda: keeper, is_apart=in_job and bool(pid_file), in_job=in_job)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def leave(function: Callable[..., int | None], *arguments: object) -> None:
    """Nothing of the caller's may run in the forked process: not its handlers, not its exits."""
    code = 125
    try:
        code = function(*arguments) or 0
    finally:
        os._exit(code)


def keep(
    front: int,
    begin: Callable[[], None],
    clean: Callable[[], None],
    go_betweens: int,
    pid_file: str,
    *,
    in_job: bool = False,
    started: Callable[[int], None] | None = None,
) -> int:
    """Be the keeper of the process ``front``; WATCHED are blocked. The command's exit code.

    ``started`` is called with the process id of the command, or of the first go-between, when
    nobody is in front at a terminal: then a command that is stopped stops nobody else.
    """
    from udocker._native import lib

    lib.udocker_become_subreaper()
    lib.udocker_set_parent_death_signal(signal.SIGTERM)
    if in_job and pid_file:
        os.setsid()  # as the command has: what is for all comes to both of us, or to neither
    try:
        child = os.fork()
        if child == 0:
            lib.udocker_set_parent_death_signal(signal.SIGKILL)
            leave(begin)
        if pid_file:
            code = _follow_started(child, pid_file, front, go_betweens, started, in_job=in_job)
        else:
            if started is not None:
                started(child)
            code = _follow(
                child,
                lambda: target(child, go_betweens),
                front,
                bool(go_betweens),
                is_alone=started is not None,
                in_job=in_job,
            )
        end_all()
        return code
    finally:
        clean()


def _follow_started(
    starter: int,
    pid_file: str,
    front: int,
    go_betweens: int,
    started: Callable[[int], None] | None,
    *,
    in_job: bool,
) -> int:
    """Wait for what ``starter`` starts. Signals that come before there is a command wait for it."""
    ended: dict[int, int] = {}
    asked: list[int] = []
    to_all: dict[int, float] = {}
    while True:
        ended.update(each for each in _changed() if not os.WIFSTOPPED(each[1]))
        if os.getppid() != front:
            end_all()
            return _SIGNALED + signal.SIGKILL
        if starter in ended:
            break
        info = signal.sigwaitinfo(WATCHED)
        if info.si_signo == signal.SIGCHLD:
            continue
        # There may have been no command that has it, too; but it comes here twice.
        is_again = in_job and _is_for_all(info, front, to_all) and info.si_pid == front
        if not is_again:
            asked.append(info.si_signo)
    if ended[starter] != 0:
        return EngineError.exit_code
    with open(pid_file, encoding="ascii") as stream:
        command = int(stream.read())
    if started is not None:
        started(command)
    if command in ended:
        return exit_code(ended[command])
    sent = 0
    for number in asked:
        sent = number if number not in _HARMLESS else sent
        _send(target(command, go_betweens), number)
    return _follow(
        command,
        lambda: target(command, go_betweens),
        front,
        bool(go_betweens),
        is_apart=True,
        is_alone=started is not None,
        in_job=in_job,
        to_all=to_all,
        sent=sent,
    )


def _follow(
    child: int,
    target: Callable[[], int],
    front: int = 0,
    is_tracer: bool = False,
    *,
    is_apart: bool = False,
    is_alone: bool = False,
    in_job: bool = False,
    to_all: dict[int, float] | None = None,
    sent: int = 0,
) -> int:
    """Wait for ``child``, passing signals to ``target``; end it when ``front`` is gone.

    ``is_apart``: it is in another session, and has nothing of what the terminal sends to ours.
    ``is_alone``: nobody waits for us at a terminal. ``in_job``: see ``supervise``; ``to_all``: the
    signals that have come here from a batch system, and when. ``sent``: the signal that was passed
    on last.
    """
    to_all = {} if to_all is None else to_all
    while True:
        for pid, status in _changed():
            if pid == child and not os.WIFSTOPPED(status):
                code = exit_code(status)
                is_ours = is_tracer and sent and code == _TRACER_SAYS_SIGNALED
                return _SIGNALED + sent if is_ours else code
            if pid == child and not is_alone:
                # The command was stopped (Ctrl-Z): the shell must see its own child stop.
                os.kill(os.getpid(), signal.SIGSTOP)
        if front and os.getppid() != front:
            end_all()
            return _SIGNALED + signal.SIGKILL
        if is_tracer:
            _end_left_behind(child)
        info = _next_signal(_LOOK_AGAIN if is_tracer else None)
        if not info or info.si_signo == signal.SIGCHLD:
            continue
        if front and os.getppid() != front:
            continue  # the signal is that of its death
        if in_job and _is_for_all(info, front, to_all):
            continue  # the command has it, too
        if is_apart or info.si_code != _FROM_KERNEL:
            if info.si_signo not in _HARMLESS:
                sent = info.si_signo
            _send(target(), info.si_signo)


def _is_for_all(info: signal.struct_siginfo, front: int, to_all: dict[int, float]) -> bool:
    """Whether a signal that came to the keeper was sent to every process, so also to the command.

    Slurm sends to each process of a step, and to a job's script alone: then only the front has it.
    It passes on what is not this user's own a moment later, when the keeper has what is for all.
    """
    if front and info.si_pid == front:
        return time.monotonic() - to_all.pop(info.si_signo, -_STALE) < _STALE
    if info.si_uid == os.getuid() or info.si_code == _FROM_KERNEL:
        return False
    if front:
        to_all[info.si_signo] = time.monotonic()
        return True
    time.sleep(_LATE)
    return False


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _next_signal(seconds: float | None) -> signal.struct_siginfo | None:
    if seconds is None:
        return signal.sigwaitinfo(WATCHED)
    return signal.sigtimedwait(WATCHED, seconds)


def _changed() -> Iterator[tuple[int, int]]:
    """The children that ended or stopped; nobody else would wait for those that were adopted."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if not pid:
                return
            yield pid, status


def _end_left_behind(tracer: int) -> None:
    """End what a command left running, as every other mode does: PRoot would wait for it.

    The command is the tracer's only child. What it leaves is adopted, and so a child of ours.
    """
    left = [pid for pid in children(os.getpid()) if pid != tracer]
    if left and not children(tracer):
        _kill(left)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def target(child: int, go_betweens: int) -> int:
    """The process that signals are for, below so many that heed none."""
    for _ in range(go_betweens):
        # While threads of a go-between come and go, what /proc says of each may miss a child,
        # and a signal for the command would end the go-between.
        found = children(child) or _children_by_search(child)
        child = found[0] if found else child
    return child


def end_all() -> None:
    """Kill every descendant: those of a killed child become ours, until none is left."""
    while True:
        left = children(os.getpid())
        if not left:
            return
        _kill(left)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def exit_code(status: int) -> int:
    """What a shell makes of a status of wait(2)."""
    if os.WIFSIGNALED(status):
        return _SIGNALED + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def children(parent: int) -> list[int]:
    """The process ids of the children of ``parent``, the oldest of each thread first."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as stream:
                found += [int(word) for word in stream.read().split()]
    except OSError:
        return _children_by_search(parent)
    return found


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
