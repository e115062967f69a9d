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
import signal

from udocker.engine.passing import FROM_KERNEL, HARMLESS, WATCHED, Heard, next_signal
from udocker.engine.processes import children, end_all, send, target
from udocker.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGNALED = 128
_LOOK_AGAIN = 0.2  # seconds; nothing tells when a tracer's child has ended
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
        heard = Heard(0) if in_job else None
        return _follow(keeper, lambda: keeper, is_apart=in_job and bool(pid_file), heard=heard)
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
    heard = Heard(front) if in_job else None
    try:
        child = os.fork()
        if child == 0:
            lib.udocker_set_parent_death_signal(signal.SIGKILL)
            leave(begin)
        if pid_file:
            code = _follow_started(
                child, pid_file, front, go_betweens, started=started, heard=heard
            )
        else:
            if started is not None:
                started(child)
            code = _follow(
                child,
                lambda: target(child, go_betweens),
                front,
                bool(go_betweens),
                is_alone=started is not None,
                heard=heard,
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
    *,
    started: Callable[[int], None] | None,
    heard: Heard | None,
) -> int:
    """Wait for what ``starter`` starts. Signals that come before there is a command wait for it."""
    ended: dict[int, int] = {}
    asked: list[int] = []
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
        if not (heard and heard.is_for_all(info) and heard.is_passed_on(info)):
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
        sent = number if number not in HARMLESS else sent
        send([target(command, go_betweens)], number)
    return _follow(
        command,
        lambda: target(command, go_betweens),
        front,
        bool(go_betweens),
        is_apart=True,
        is_alone=started is not None,
        heard=heard,
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
    heard: Heard | None = None,
    sent: int = 0,
) -> int:
    """Wait for ``child``, passing signals to ``target``; end it when ``front`` is gone.

    ``is_apart``: it is in another session, and has nothing of what the terminal sends to ours.
    ``is_alone``: nobody waits for us at a terminal. ``heard``: what a batch system sends, where
    there is one. ``sent``: the signal that was passed on last.
    """
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
        info = next_signal(_LOOK_AGAIN if is_tracer else None)
        if not info or info.si_signo == signal.SIGCHLD:
            continue
        if front and os.getppid() != front:
            continue  # the signal is that of its death
        if heard and heard.is_for_all(info):
            continue  # the command has it, too
        if is_apart or info.si_code != FROM_KERNEL:
            if info.si_signo not in HARMLESS:
                sent = info.si_signo
            send([target()], info.si_signo)


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
        send(left, signal.SIGKILL)


def exit_code(status: int) -> int:
    """What a shell makes of a status of wait(2)."""
    if os.WIFSIGNALED(status):
        return _SIGNALED + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)
