"""Slurm's own programs, for what has to happen on every node of a job: sbcast(1), srun(1)."""

from __future__ import annotations

import subprocess
from shutil import which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LINES = 5  # of what a program says, for an error


def nodes(environ: Mapping[str, str]) -> int:
    """How many nodes the job has; 1 where that is not said."""
    for name in ("SLURM_JOB_NUM_NODES", "SLURM_NNODES"):
        if environ.get(name, "").isdigit():
            return max(1, int(environ[name]))
    return 1


def broadcast(source: str, target: str, environ: Mapping[str, str]) -> str:
    """Have every node of the job copy a file to its own ``target``; why not, or ""."""
    program = which("sbcast", path=environ.get("PATH"))
    if program is None:
        return "there is no sbcast"
    return _call([program, "--force", source, target], environ)


def everywhere(
    words: Sequence[str], count: int, environ: Mapping[str, str], source: str = ""
) -> str:
    """Run ``words`` once on each of the job's ``count`` nodes; what failed, or "".

    ``source``: a file that all of them read as standard input.
    """
    program = which("srun", path=environ.get("PATH"))
    if program is None:
        return "there is no srun"
    number = str(count)
    how = ["--overlap", "--nodes", number, "--ntasks", number, "--ntasks-per-node=1"]
    quiet = ["--mpi=none", "--gres=none", "--quiet", "--input", source or "none"]
    # What a step of the script's own would take over from it: the number of its tasks.
    given = {name: text for name, text in environ.items() if not _is_of_tasks(name)}
    return _call([program, *how, *quiet, *words], given)


def _is_of_tasks(name: str) -> bool:
    return name.startswith(("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_TRES_PER", "SLURM_GPUS"))


def _call(words: Sequence[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        words,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode == 0:
        return ""
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return " / ".join(lines[:_LINES]) or f"it ended with status {done.returncode}"
