"""What of a job's environment a container is given, and which of its directories; pure."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from udocker.batch.job import Task

AUTO, PMIX, PMI2, NONE = "auto", "pmix", "pmi2", "none"
KINDS = (AUTO, PMIX, PMI2, NONE)

_OF_PMIX = ("PMIX_", "SLURM_PMIX")
_OF_PMI = ("PMI_", "PMI2_")
_OF_JOBS = ("SLURM_", "SLURMD_", "PBS_", "SGE_", "PALS_")
_OF_MPI = ("OMPI_", "PRTE_MCA_", "MPICH_", "I_MPI_", "MV2_", "MPI_LOCAL", "HYDI_")
_OF_FABRICS = ("UCX_", "NCCL_", "FI_", "PSM2_", "RCCL_")
_OF_THREADS = ("OMP_", "KMP_", "GOMP_")
_PREFIXES = (*_OF_PMIX, *_OF_PMI, *_OF_JOBS, *_OF_MPI, *_OF_FABRICS, *_OF_THREADS, "NVIDIA_")
_NAMES = frozenset(
    (
        *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
        *("ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL"),
        *("JOB_ID", "JOB_NAME", "NSLOTS", "NHOSTS", "PE", "RESTARTED"),
    )
)
# Where files of the host's MPI are, of which the image has others; and a login.
_NEVER = frozenset(
    (
        "SLURM_JWT",
        *("OMPI_MCA_mca_base_component_path", "PMIX_MCA_mca_base_component_path"),
        *("PMIX_INSTALL_PREFIX", "OMPI_MCA_orte_launch_agent"),
    )
)
_SCRATCH = ("SLURM_TMPDIR", "TMPDIR")
# With a user namespace for each task, one may not read another's memory. Open MPI 4 then waits
# for ever in large messages, and UCX gives up: open-mpi/ompi#6997, openucx/ucx#4224.
_APART = (
    ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ("UCX_POSIX_USE_PROC_LINK", "n"),
    ("UCX_TLS", "^cma"),
)
# An mpirun in a container starts its tasks by srun where it sees a job of Slurm's: Open MPI 4, 5
# (PRRTE wants a program for other hosts to be there), MPICH and what comes of it.
_WITHOUT_SRUN = (
    ("HYDRA_BOOTSTRAP", "fork"),
    ("I_MPI_HYDRA_BOOTSTRAP", "fork"),
    ("OMPI_MCA_plm", "isolated"),
    # Its shared memory looks for the stack in /proc/self/maps, where the F modes have none.
    ("PMIX_MCA_gds", "hash"),
    ("PRTE_MCA_plm", "ssh"),
    ("PRTE_MCA_plm_ssh_agent", "/bin/false"),
)
# What servers of PMIx 5 offer first is a file in the host's /tmp, at an address that they choose.
_SHARED = "shmem2"
_UNSHARED = ("PMIX_MCA_gds", "hash")


def environment(environ: Mapping[str, str], mpi: str) -> tuple[tuple[str, str], ...]:
    """The variables that are passed on, by name. ``mpi`` says which of PMI's are.

    A directory for temporary files is passed if it is there. PATH, and what names files of the
    host's programs, never are.
    """
    hidden = {PMIX: _OF_PMI, PMI2: _OF_PMIX, NONE: (*_OF_PMI, *_OF_PMIX)}.get(mpi, ())
    found = {
        name: text
        for name, text in environ.items()
        if (name in _NAMES or name.startswith(_PREFIXES)) and name not in _NEVER
    }
    for name in list(found):
        if hidden and name.startswith(hidden):
            del found[name]
    for name in _SCRATCH:
        if os.path.isdir(environ.get(name, "")):
            found[name] = environ[name]
        else:
            found.pop(name, None)
    if _SHARED in environ.get("PMIX_GDS_MODULE", "") and "PMIX_RANK" in found:
        found.setdefault(*_UNSHARED)
    return tuple(sorted(found.items()))


def directories(task: Task, home: str, cwd: str) -> Iterator[str]:
    """Paths of the host that a job's programs count on, where they are there."""
    scratch = [path for path in task.scratch[:-1] if os.path.isdir(path)]
    # Without a directory of the job's own it is /tmp that its processes share.
    yield from scratch or task.scratch[-1:]
    for path in (home, task.submit, cwd, task.spool):
        if path and os.path.isdir(path):
            yield path


def server(environ: Mapping[str, str]) -> str:
    """How the tasks of this step find each other: PMIX, PMI2 (which is PMI 1, too), or NONE."""
    if "PMIX_RANK" in environ:
        return PMIX
    return PMI2 if "PMI_FD" in environ or "PMI_PORT" in environ else NONE


def without_srun(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Variables with which an mpirun starts its tasks in its own container.

    What ``environ`` says itself stays.
    """
    return tuple((name, text) for name, text in _WITHOUT_SRUN if name not in environ)


def apart(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Variables with which MPI works between tasks that are not in one user namespace.

    What ``env`` says itself stays.
    """
    return tuple((name, text) for name, text in _APART if name not in env)
