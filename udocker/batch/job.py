"""Which batch job, step and task this process belongs to, by its environment; pure.

Slurm: srun(1) and sbatch(1), OUTPUT ENVIRONMENT VARIABLES; PBS: qsub(1), of OpenPBS and Torque;
GridEngine: qsub(1). Who was started by an mpirun(1) is a task of that, in a job or in none.
"""

from __future__ import annotations

import re

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SLURM, PBS, GRID_ENGINE, MPIRUN = "Slurm", "PBS", "GridEngine", "mpirun"
# One of these is set in whatever ``recognise`` knows.
SIGNS = ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")

_PIECE = re.compile(r"([0-9]{1,7})(?:\(x([0-9]{1,7})\))?", re.ASCII)
_MOST = 1 << 22  # tasks of a node
_LONGEST = 64  # characters of a part of a key
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)


@value
class Task:
    """Where in a job this process is."""

    system: str
    job: str
    step: str = ""  # "": the job's script
    restart: str = "0"  # how many times the job has been begun again
    rank: int = 0  # in the step
    tasks: int = 1  # of the step
    local_rank: int = 0  # on this host
    local_tasks: int = 1
    submit: str = ""  # the directory that the job was sent from
    scratch: tuple[str, ...] = ()  # directories for its files, the best first
    spool: str = ""  # of the server of PMIx

    @property
    def job_key(self) -> str:
        """What each ``step_key`` of the job begins with."""
        return f"{_safe(self.job)}."

    @property
    def step_key(self) -> str:
        """The same for all tasks of a step, and for no other step: a file's name."""
        return self.job_key + ".".join(map(_safe, (self.step or "script", self.restart)))

    @property
    def key(self) -> str:
        """This task's alone, as far as its environment tells: a file's name."""
        return f"{self.step_key}.{self.rank}"

    @property
    def text(self) -> str:
        """For people."""
        parts = [f"{self.system} job {self.job}"] if self.job else [self.system]
        parts += [f"step {self.step}"] if self.step else []
        parts += [f"task {self.rank} of {self.tasks}"] if self.tasks > 1 else []
        return ", ".join(parts)


def recognise(environ: Mapping[str, str]) -> Task | None:
    """The task that this process is; None: it is in no job. What makes no sense is passed over."""
    found = _slurm(environ) or _pbs(environ) or _grid_engine(environ)
    return _of_mpirun(environ, found)


def of_bundle(
    environ: Mapping[str, str], process: Iterable[tuple[str, str | None]]
) -> dict[str, str]:
    """The environment of a task that Slurm starts from a bundle, whose ``process`` has variables.

    Slurm 22.05 gives the runtime slurmd's environment, and tells of the job in the bundle only;
    which of its tasks it is, it does not tell.
    """
    job = {name: text for name, text in process if name.startswith("SLURM_") and text is not None}
    return {**job, **environ}


def _slurm(environ: Mapping[str, str]) -> Task | None:
    job = environ.get("SLURM_JOB_ID", "")
    if not _is_number(job):
        return None
    step = environ.get("SLURM_STEP_ID", "")
    tasks = _number(environ, "SLURM_STEP_NUM_TASKS", 1) if step else 1
    return Task(
        system=SLURM,
        job=job,
        step=step,
        restart=environ.get("SLURM_RESTART_COUNT") or "0",
        rank=_number(environ, "SLURM_PROCID", 0),
        tasks=tasks,
        local_rank=_number(environ, "SLURM_LOCALID", 0),
        local_tasks=_local_tasks(environ) if tasks > 1 else 1,
        submit=_path(environ, "SLURM_SUBMIT_DIR"),
        scratch=_scratch(environ, "SLURM_TMPDIR", "TMPDIR"),
        spool=_path(environ, "PMIX_SERVER_TMPDIR"),
    )


def _local_tasks(environ: Mapping[str, str]) -> int:
    """Of ``2(x3),1`` that of this node."""
    node = _number(environ, "SLURM_NODEID", 0)
    for piece in environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        found = _PIECE.fullmatch(piece)
        if found is None:
            return 1
        times = int(found[2] or 1)
        if node < times:
            return min(int(found[1]), _MOST)
        node -= times
    return 1


def _pbs(environ: Mapping[str, str]) -> Task | None:
    job = environ.get("PBS_JOBID", "")
    if not job:
        return None
    return Task(
        system=PBS,
        job=job,
        rank=_number(environ, "PBS_TASKNUM", 0),
        submit=_path(environ, "PBS_O_WORKDIR"),
        scratch=_scratch(environ, "TMPDIR", "PBS_JOBDIR"),  # the latter may be in the home
        spool=_path(environ, "PMIX_SERVER_TMPDIR"),
    )


def _grid_engine(environ: Mapping[str, str]) -> Task | None:
    job = environ.get("JOB_ID", "")
    # JOB_ID alone is a name that many use.
    if not _is_number(job) or not {"SGE_TASK_ID", "SGE_O_WORKDIR", "SGE_ROOT"} & set(environ):
        return None
    array = environ.get("SGE_TASK_ID", "undefined")
    return Task(
        system=GRID_ENGINE,
        job=job if array == "undefined" else f"{job}_{array}",
        restart=environ.get("RESTARTED") or "0",
        submit=_path(environ, "SGE_O_WORKDIR"),
        scratch=_scratch(environ, "TMPDIR"),
    )


def _of_mpirun(environ: Mapping[str, str], outer: Task | None) -> Task | None:
    """Open MPI's mpirun, and Hydra: what they say is nearer than what the job says."""
    open_mpi = "OMPI_COMM_WORLD_SIZE" in environ
    names = (
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE") if open_mpi else ("PMI_RANK", "PMI_SIZE")
    )
    locals_ = (
        ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")
        if open_mpi
        else ("MPI_LOCALRANKID", "MPI_LOCALNRANKS")
    )
    if not _is_number(environ.get(locals_[1], "")):  # srun sets PMI_SIZE, and not these
        return outer
    inner = environ.get("PMIX_NAMESPACE", "") if open_mpi else environ.get("PMI_JOBID", "")
    base = outer or Task(system=MPIRUN, job="", scratch=_scratch(environ, "TMPDIR"))
    return Task(
        system=base.system,
        job=base.job,
        step=f"{base.step or 'script'}-mpirun-{inner}",
        restart=base.restart,
        rank=_number(environ, names[0], 0),
        tasks=_number(environ, names[1], 1),
        local_rank=_number(environ, locals_[0], 0),
        local_tasks=_number(environ, locals_[1], 1),
        submit=base.submit,
        scratch=base.scratch,
        spool=_path(environ, "PMIX_SERVER_TMPDIR"),
    )


def _scratch(environ: Mapping[str, str], *names: str) -> tuple[str, ...]:
    found = (_path(environ, name) for name in names)
    return tuple(dict.fromkeys((*filter(None, found), "/tmp")))


def _path(environ: Mapping[str, str], name: str) -> str:
    given = environ.get(name, "")
    return given if given.startswith("/") and "\0" not in given else ""


def _number(environ: Mapping[str, str], name: str, otherwise: int) -> int:
    given = environ.get(name, "")
    return min(int(given), _MOST) if _is_number(given) else otherwise


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text)[:_LONGEST] or "_"
