"""What runs in a container: its processes, and what they use."""

from __future__ import annotations

import os
import time

from udocker.engine.processes import tree
from udocker.errors import UdockerError
from udocker.model.value import value
from udocker.ops.control import roots, running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.container import Container
    from udocker.ops.session import Session

_ENGINE_WORDS = 3  # of the in-process engine before the program: how, and the description
_SAMPLE = 0.5  # seconds


@value
class Process:
    """As proc_pid_stat(5) has it: ``ticks`` of processor time, ``memory`` in bytes."""

    pid: int
    parent: int
    state: str
    started: int  # ticks after the boot
    ticks: int
    memory: int
    command: str


@value
class Usage:
    """Of a container at a moment. ``cpu``: percent of one processor, over half a second."""

    container: Container
    cpu: float
    memory: int  # bytes resident, shared ones counted for each process
    limit: int  # bytes that the host has
    processes: int


def processes(session: Session, text: str) -> list[Process]:
    """All of a container that runs here, parents first. Raises ContainerNotFound, NotRunning."""
    container, found = running(session, text)
    engine = session.host.inprocess
    read = (_read(pid, engine) for pid in tree(roots(container, found)))
    return [process for process in read if process is not None]


def usage(session: Session, texts: tuple[str, ...]) -> list[Usage]:
    """What containers use just now. Raises ContainerNotFound, NotRunning."""
    before = [processes(session, text) for text in texts]
    began = time.monotonic()
    time.sleep(_SAMPLE)
    found = []
    for text, old in zip(texts, before):
        try:
            new = processes(session, text)
        except UdockerError:
            continue  # it has just ended
        spent = {process.pid: process.ticks for process in old}
        ticks = sum(p.ticks - spent.get(p.pid, p.ticks) for p in new)
        seconds = ticks / os.sysconf("SC_CLK_TCK")
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        container = session.store.containers.get(text)
        cpu = 100 * seconds / (time.monotonic() - began)
        found.append(Usage(container, cpu, sum(p.memory for p in new), limit, len(new)))
    return found


def _read(pid: int, engine: str) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            name, _, rest = stream.read().decode("utf-8", "replace").rpartition(")")
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = stream.read().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return None
    fields = rest.split()
    if engine and words[0] == engine and len(words) > _ENGINE_WORDS:
        words = words[_ENGINE_WORDS + 1 :] or words[_ENGINE_WORDS:]
    return Process(
        pid=pid,
        parent=int(fields[1]),
        state=fields[0],
        started=int(fields[19]),
        ticks=int(fields[11]) + int(fields[12]),
        memory=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        command=" ".join(words).strip() or f"[{name.partition('(')[2]}]",
    )
