"""Runs inside a batch job: what they are given of it, where their files are, and their MPI."""

from __future__ import annotations

import contextlib
import os
import re
import stat

from udocker import files, makers
from udocker.batch import passing
from udocker.batch.job import SLURM
from udocker.errors import UsageError
from udocker.model.request import KEEP_ID, SINGLE
from udocker.model.run import Mount
from udocker.model.value import replace
from udocker.ops.session import Session
from udocker.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.batch.job import Task
    from udocker.engine.table import Mode
    from udocker.model.request import RunRequest
    from udocker.model.run import RunSpec
    from udocker.store.view import View

NODE_PLACES = ("/dev/shm", "/tmp")
_ENDING = re.compile(r"(.+)-([0-9a-f]{12}-[0-9]+-[0-9]+-[0-9]+)")
_SRUN = "srun"
_PROGRAMS = ("/usr/bin", "/usr/local/bin")
_ASKS = {passing.PMIX: "pmix", passing.PMI2: "pmi2"}


def in_scratch(session: Session, task: Task, staged: str = "") -> Session:
    """A session whose containers are in this task's own directory, in the job's scratch space.

    ``staged``: a store whose images count more than those of ``session``.
    Images are those of ``session``, which is not written to. Where there is no scratch space it
    is ``session`` itself.
    """
    for scratch in task.scratch:
        top = own_directory(scratch)
        if not top:
            continue
        _sweep(top, task)
        path = f"{top}/{task.key}-{makers.mark()}"
        with contextlib.suppress(OSError):
            os.mkdir(path, 0o700)
            session.report.debug(f"{task.text}: its container is in {path}")
            found = session_on(session, path, top, staged)
            found.scratch = path
            return found
    session.report.debug(f"no scratch space in {', '.join(task.scratch)}: using the store")
    return session


def session_on(session: Session, path: str, top: str, staged: str = "") -> Session:
    """A session on the store ``path`` of a run, which is in ``top``; see ``in_scratch``."""
    node = node_directory() or top
    main = session.store.topdir
    others = (*filter(None, [staged]), main, *session.config.repos)
    found = session.over(Store(path, others))
    found.cache = f"{node}/cache"
    found.kept = main if os.access(main, os.W_OK) else node
    return found


def node_directory() -> str:
    """This user's directory on this host, for as long as that is up; "": none can be had."""
    return next(filter(None, map(own_directory, NODE_PLACES)), "")


def own_directory(parent: str) -> str:
    """A directory below ``parent`` that nobody else can write to; "": it cannot be had.

    Others may write to the parent, and may have been there before.
    """
    path = f"{parent}/udocker-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    except OSError:
        return ""
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    is_private = not stat.S_IMODE(found.st_mode) & 0o022
    return path if is_own and is_private and os.access(path, os.W_OK | os.X_OK) else ""


def stores_of(top: str, task: Task) -> list[str]:
    """The stores that runs of this job have made in the directory ``top``. Raises OSError."""
    names = (name for name in sorted(os.listdir(top)) if name.startswith(task.job_key))
    return [f"{top}/{name}" for name in names if _ENDING.fullmatch(name)]


def _sweep(top: str, task: Task) -> None:
    """Remove what tasks of other jobs left here. Never fails."""
    with contextlib.suppress(OSError):
        for name in os.listdir(top):
            found = _ENDING.fullmatch(name)
            if found is None or name.startswith(task.job_key):
                continue
            if makers.state(found[2]) == makers.ENDED:
                with contextlib.suppress(OSError):
                    files.remove_tree(f"{top}/{name}")


def environment(session: Session, request: RunRequest, view: View) -> tuple[tuple[str, str], ...]:
    """The variables of the job for the command; nothing outside a job."""
    task = session.task
    if task is None:
        return ()
    found = passing.environment(session.environ, request.mpi)
    if task.system != SLURM or task.tasks > 1 or _has_srun(request, view):
        return found
    return (*passing.without_srun(session.environ), *found)


def _has_srun(request: RunRequest, view: View) -> bool:
    if any(os.path.basename(volume.target) == _SRUN for volume in request.volumes):
        return True
    return any(view.read(f"{folder}/{_SRUN}") is not None for folder in _PROGRAMS)


def mounts(session: Session, view: View) -> tuple[Mount, ...]:
    """The job's directories, at their own paths. Nothing of the image is hidden by them."""
    task = session.task
    if task is None:
        return ()
    found: dict[str, Mount] = {}
    for path in passing.directories(task, session.host.home, session.cwd):
        target = os.path.normpath(path)
        if target == "/" or target in found or not os.access(path, os.X_OK):
            continue
        if view.names(target) or not _may_be_directory(view, target):
            session.report.debug(f"{target} of the job is not bound: the image has one")
        else:
            found[target] = Mount(os.path.realpath(path), target, required=False)
    return tuple(found.values())


def _may_be_directory(view: View, path: str) -> bool:
    """Whether the image has a directory there, or nothing that is in the way of one."""
    while path != "/":
        try:
            return os.path.isdir(view.locate(path))
        except FileNotFoundError:
            path = os.path.dirname(path)
        except OSError:
            return False
    return True


def check_mpi(session: Session, request: RunRequest) -> None:
    """One line where the tasks of a step cannot find each other.

    Raises UsageError where ``--mpi`` asks for what the job has not.
    """
    task = session.task
    asked = _ASKS.get(request.mpi)
    if task is None:
        if asked:
            raise UsageError(
                f"--mpi={request.mpi}: this is no batch job", hint=f"srun --mpi={asked} udocker run"
            )
        return
    here = passing.server(session.environ)
    if asked and here != request.mpi:
        raise UsageError(
            f"--mpi={request.mpi}: the job offers {'neither' if here == passing.NONE else here}",
            hint=f"srun --mpi={asked} udocker run",
        )
    is_alone = here == passing.NONE and task.tasks > 1 and request.mpi != passing.NONE
    if is_alone and task.rank == 0:
        session.report.warn(
            f"{task.tasks} tasks begin with neither PMI nor PMIx: to MPI each is alone, rank 0 of "
            "1 (srun --mpi=pmix or --mpi=pmi2; without MPI, --mpi=none says nothing)"
        )


def with_own_id(session: Session, request: RunRequest) -> RunRequest:
    """Tasks that a server of PMIx waits for have your own numbers inside, unless others are asked.

    It takes a task's word for who that is (psec/native of openpmix), and lets no root come to it.
    """
    asks = request.user is not None or request.userns != SINGLE or request.mpi == passing.NONE
    if session.task is None or asks or passing.server(session.environ) != passing.PMIX:
        return request
    session.report.debug("PMIx: the command has your own user and group ids, as --userns=keep-id")
    return replace(request, userns=KEEP_ID)


def with_ranks(session: Session, request: RunRequest, spec: RunSpec, mode: Mode) -> RunSpec:
    """Tasks of a step that share a host get one user namespace, or do without."""
    task = session.task
    if task is None or task.local_tasks < 2 or request.mpi == passing.NONE:
        return spec
    if not mode.has_namespace:
        return spec
    variables = passing.apart(dict(spec.env))
    node = node_directory()
    if mode.gathers and spec.ids is None and node:
        # Who is in another job, or is somebody else inside, is not asked.
        inside = f"{spec.user.uid}-{spec.user.gid}"
        parent = "" if task.job else f"-{os.getppid()}"  # all that an mpirun outside a job has
        group = f"{node}/step-{task.step_key}{parent}-{inside}"
        return replace(spec, group=group, apart=variables, tells=task.local_rank == 0)
    if task.local_rank == 0:
        session.report.warn(
            f"each task of this host has a user namespace of its own (mode {mode.name}): MPI is "
            "told not to read the memory of others"
        )
    return replace(spec, env=tuple(sorted((*spec.env, *variables))))
