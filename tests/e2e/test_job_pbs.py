"""Jobs that were sent by PBS's commands and have its variables: Slurm's look-alike of it.

What that leaves of Slurm's own variables is taken away, so that PBS's alone tell of the job.
"""

from __future__ import annotations

import re
import shutil

import pytest

from e2e.jobs import BUSYBOX, MODES, Slurm, at_once

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.jobs"]

_SHOW = 'echo "$0 $PBS_JOBID $PBS_O_WORKDIR $PWD"; echo in > "$TMPDIR/in-$0"; exit 3'


@pytest.fixture
def pbs(slurm: Slurm) -> Slurm:
    assert shutil.which("qsub"), "no qsub: Debian's slurm-wlm-torque has it"
    return slurm


def test_a_script_of_qsub_runs_containers(pbs: Slurm) -> None:
    def sent(mode: str) -> tuple[str, str]:
        words = ("run", f"--execmode={mode}", "-w", str(pbs.place), BUSYBOX, "sh", "-c", _SHOW)
        script = pbs.place / f"pbs-{mode}"
        script.write_text(
            "#!/bin/sh\n#PBS -N pbs\n"
            "for name in $(env | sed -n 's/^\\(SLURM[A-Z_]*\\)=.*/\\1/p'); do unset $name; done\n"
            f'{pbs.line(*words, mode)}\necho "ended $?"; cat "$TMPDIR/in-{mode}"\n'
            f"{pbs.line('doctor')} | sed -n 's/^job: *//p'\n"
            f"ls $TMPDIR/udocker-*\n"
        )
        script.chmod(0o755)
        job = pbs("qsub", "-l", "ncpus=2", script).out.strip()
        assert pbs.end(job) == "COMPLETED"
        return job, (pbs.place / f"{script.name}.o{job}").read_text()

    for mode, (job, out) in zip(MODES, at_once(sent, MODES)):
        lines = out.splitlines()
        assert lines[:3] == [f"{mode} {job} {pbs.place} {pbs.place}", "ended 3", "in"], out
        assert lines[3].startswith(f"PBS job {job}"), out
        assert re.search(rf"^{job}\.script\.0\.", lines[-1]), out  # its container is in scratch
