"""What a command may use: by a control group where one can be made, else by its own limits."""

from __future__ import annotations

import contextlib
import math
import os
import resource

from udocker.errors import UdockerError, UsageError
from udocker.model.launch import SetLimits
from udocker.model.request import Limits
from udocker.spec.limits import NUMBERS, UNLIMITED, parse_cpuset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.ops.session import Session

_TOP = "/sys/fs/cgroup"
_OWN = "/proc/self/cgroup"
_PERIOD = 100_000  # microseconds, of cpu.max
_GROUP = "udocker-"
_SHARED_MEMORY = "/dev/shm"


def limited(session: Session, limits: Limits, dry: bool = False) -> SetLimits:
    """The step that limits the command; this process is put into a control group now.

    Warns of what cannot be limited as asked. Raises UsageError, UdockerError.
    """
    warn = session.report.warn
    cpus = _cpuset(limits.cpuset)
    rlimits = {name: (soft, hard) for name, soft, hard in limits.rlimits}
    wanted = _files(limits)
    refusal = "" if not wanted else ("dry run" if dry else join(wanted))
    if refusal and not dry:
        if limits.cpus:
            cpus = _some(cpus, limits.cpus)
            told = f"it has {len(cpus)} of the CPUs to itself and others" if cpus else "no limit"
            warn(f"--cpus {limits.cpus:g}: {refusal}: {told}")
        if limits.memory:
            rlimits.setdefault("data", (limits.memory, limits.memory))
            warn(f"--memory: {refusal}: each process by itself may have as much")
        if limits.pids:
            warn(f"--pids-limit has no effect: {refusal}")
    return SetLimits(
        rlimits=tuple(_rlimit(name, *ends, warn) for name, ends in rlimits.items()),
        cpus=cpus,
        oom_score=_oom_score(limits.oom_score, warn),
        no_new_privileges=limits.no_new_privileges,
    )


def join(wanted: dict[str, str], top: str = _TOP, own: str = _OWN) -> str:
    """Put this process into a new control group with the settings ``wanted``.

    The group is made beside or below that of this process, where the user may (delegation:
    https://docs.kernel.org/admin-guide/cgroup-v2.html). What earlier runs left is removed. The
    answer is "", or why it cannot be done.
    """
    place = _place(top, own)
    if not place:
        return "this host has no control groups of version 2"
    for parent in (os.path.dirname(place), place):
        if not parent.startswith(top) or not os.access(f"{parent}/cgroup.procs", os.W_OK):
            continue
        missing = {name.partition(".")[0] for name in wanted} - _controllers(parent)
        if missing or not os.access(parent, os.W_OK):
            continue
        _sweep(parent)
        group = f"{parent}/{_GROUP}{os.getpid()}"
        try:
            os.mkdir(group)
            for name, text in wanted.items():
                _write(f"{group}/{name}", text)
            _write(f"{group}/cgroup.procs", str(os.getpid()))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.rmdir(group)
            return f"the control group {group} cannot be used ({error.strerror})"
        return ""
    return "no control group is delegated to you here"


def check_shared_memory(session: Session, size: int) -> None:
    """Warn where the host's /dev/shm is smaller than ``size``."""
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError:
        session.report.warn(f"--shm-size has no effect: there is no {_SHARED_MEMORY} here")
        return
    total = found.f_blocks * found.f_frsize
    if total < size:
        session.report.warn(
            f"--shm-size has no effect: {_SHARED_MEMORY} is the host's, of {total >> 20} MiB"
        )


def _files(limits: Limits) -> dict[str, str]:
    """The files of a control group, and what is written to them."""
    found = {}
    if limits.cpus:
        found["cpu.max"] = f"{max(int(limits.cpus * _PERIOD), 1000)} {_PERIOD}"
    if limits.memory:
        found["memory.max"] = str(limits.memory)
    if limits.pids:
        found["pids.max"] = str(limits.pids)
    return found


def _place(top: str, own: str) -> str:
    if not os.path.exists(f"{top}/cgroup.controllers"):
        return ""
    try:
        with open(own, encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return ""
    path = next((line[3:] for line in lines if line.startswith("0::/")), "")
    return os.path.normpath(top + path) if path and ".." not in path else ""


def _controllers(parent: str) -> set[str]:
    try:
        with open(f"{parent}/cgroup.subtree_control", encoding="ascii") as stream:
            return set(stream.read().split())
    except OSError:
        return set()


def _sweep(parent: str) -> None:
    """A group in which something runs is not removed by rmdir(2)."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(_GROUP):
                with contextlib.suppress(OSError):
                    os.rmdir(f"{parent}/{name}")


def _cpuset(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    wanted, here = set(parse_cpuset(text)), os.sched_getaffinity(0)
    if not wanted <= here:
        few = ",".join(map(str, sorted(here)[:16]))
        raise UdockerError(
            f"--cpuset-cpus {text}: not all of these CPUs may be used here",
            hint=f"these are: {few}{'…' if len(here) > 16 else ''}",
        )
    return tuple(sorted(wanted))


def _some(cpus: tuple[int, ...], count: float) -> tuple[int, ...]:
    """So many of the CPUs, another choice for each process; none: as it is."""
    here = cpus or tuple(sorted(os.sched_getaffinity(0)))
    number = math.ceil(count)
    if number >= len(here):
        return cpus
    start = os.getpid() % len(here)
    return tuple(sorted((*here[start:], *here[:start])[:number]))


def _rlimit(name: str, soft: int, hard: int, warn: Callable[[str], None]) -> tuple[int, int, int]:
    """Nobody but root may have more than the hard limit."""
    number = NUMBERS[name]
    try:
        most = resource.getrlimit(number)[1]
    except ValueError as error:
        raise UsageError(f"--ulimit {name}: this kernel has no such limit") from error
    if most == UNLIMITED or os.geteuid() == 0 or (hard != UNLIMITED and hard <= most):
        return number, soft, hard
    if soft == UNLIMITED or soft > most:
        warn(f"--ulimit {name}: you may have {most} here, and no more")
        soft = most
    return number, soft, most


def _oom_score(score: int | None, warn: Callable[[str], None]) -> int | None:
    """Only root may make it less likely to be ended."""
    if score is None or os.geteuid() == 0:
        return score
    try:
        with open("/proc/self/oom_score_adj", encoding="ascii") as stream:
            now = int(stream.read())
    except (OSError, ValueError):
        return None
    if score < now:
        warn(f"--oom-score-adj {score}: it stays {now}, since only root may have less")
        return None
    return score


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)
