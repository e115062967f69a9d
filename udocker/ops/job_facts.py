"""What ``doctor`` says of the batch job that it runs in."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile

from udocker import host, leases
from udocker.batch import passing
from udocker.engine import apart, group
from udocker.ops.batch import node_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from udocker.batch.job import Task
    from udocker.ops.session import Session

_SERVERS = {passing.PMIX: "PMIx", passing.PMI2: "PMI", passing.NONE: "neither PMI nor PMIx"}
# Where the version of a system can be asked for, and with which of its programs.
_VERSIONS = {"Slurm": "sinfo", "PBS": "qstat"}


def facts(session: Session, kind_of: Callable[[str], str]) -> tuple[str, ...]:
    """Lines for people; none outside a job. ``kind_of`` names the filesystem of a path."""
    task = session.task
    return () if task is None else tuple(_facts(session, task, kind_of))


def _facts(session: Session, task: Task, kind_of: Callable[[str], str]) -> Iterator[str]:
    said = _version(session, task.system)
    yield f"{task.text}{f' ({said})' if said else ''}"
    yield f"MPI's tasks are told of each other by {_SERVERS[passing.server(session.environ)]}"
    yield f"one user namespace for several tasks: {refusal() or 'yes'}"
    yield f"/dev/shm: {space('/dev/shm')}"
    for path in task.scratch:
        if os.path.isdir(path):
            locks = _locks(path)
            yield f"scratch {path}: {kind_of(path)}, {space(path)}, locks: {locks}"
            break
    else:
        yield f"scratch: none of {', '.join(task.scratch)} is here"
    yield f"locks in the store: {_locks(session.store.topdir)}"


def _version(session: Session, system: str) -> str:
    name = _VERSIONS.get(system)
    program = host.which(name, session.environ.get("PATH", os.defpath)) if name else None
    said = host.version_of(program) if program else ""
    return said.strip().partition("\n")[0]


def space(path: str) -> str:
    try:
        found = os.statvfs(path)
    except OSError as error:
        return error.strerror or str(error)
    free, size = (n * found.f_frsize / 1e9 for n in (found.f_bavail, found.f_blocks))
    return f"{free:.1f} of {size:.1f} GB free"


def _locks(folder: str) -> str:
    """Which kind a lease has there."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            has_locks = leases.can_lock(stream.fileno())
    except OSError as error:
        return f"cannot be tried ({error.strerror})"
    if not has_locks:
        return "none, links stand in"
    return "of this host alone" if leases.is_local(folder) else "yes, and links for other hosts"


def refusal() -> str:
    """Why two processes cannot come into one user namespace; "": they can."""
    node = node_directory()
    if not node:
        return "no: there is no directory on this host for it"
    path = f"{node}/trial-{os.getpid()}"
    begun, to_begin = os.pipe()
    done, to_end = os.pipe()
    first = functools.partial(group.begin, path, to_begin, done)
    second = functools.partial(group.come, path, begun, to_end)
    try:
        answers = apart.answers([first, second], 2)
    finally:
        for descriptor in (begun, to_begin, done, to_end):
            os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    said = b"".join(answers[:1] if answers[0] else answers).decode(errors="replace")
    return f"no: {said}" if said else ""
