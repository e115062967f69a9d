"""Jobs by their environment: what srun, sbatch, qsub and mpirun were seen to set, and nonsense."""

from __future__ import annotations

import pytest

from udocker.batch.job import recognise
from udocker.ops import session

STEP = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "3",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
    "SLURM_NODEID": "2",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_RESTART_COUNT": "1",
    "SLURM_SUBMIT_DIR": "/home/me/jobs",
    "TMPDIR": "/tmp/job.17",
}


def test_a_task_of_a_step_of_slurm():
    task = recognise(STEP)
    assert (task.system, task.key, task.step_key) == ("Slurm", "17.3.1.5", "17.3.1")
    assert (task.rank, task.tasks, task.local_rank, task.local_tasks) == (5, 7, 1, 2)
    assert (task.submit, task.scratch) == ("/home/me/jobs", ("/tmp/job.17", "/tmp"))
    assert task.text == "Slurm job 17, step 3, task 5 of 7"


def test_a_batch_script_is_one_task_whatever_the_job_has():
    task = recognise({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"})
    assert (task.key, task.tasks, task.local_tasks) == ("17.script.0.0", 1, 1)


def test_scratch_of_the_job_comes_before_the_usual_one():
    task = recognise({**STEP, "SLURM_TMPDIR": "/fast"})
    assert task.scratch == ("/fast", "/tmp/job.17", "/tmp")
    assert recognise({**STEP, "TMPDIR": "relative"}).scratch == ("/tmp",)


@pytest.mark.parametrize(
    ("per_node", "node", "tasks"),
    [("4", "0", 4), ("2(x3),1", "3", 1), ("2(x3),1", "9", 1), ("x", "0", 1), ("2,", "1", 1)],
)
def test_tasks_of_a_node(per_node, node, tasks):
    task = recognise({**STEP, "SLURM_STEP_TASKS_PER_NODE": per_node, "SLURM_NODEID": node})
    assert task.local_tasks == tasks


def test_pbs():
    task = recognise({"PBS_JOBID": "12[4].head", "PBS_O_WORKDIR": "/w", "TMPDIR": "/t"})
    assert (task.system, task.key, task.submit) == ("PBS", "12_4_head.script.0.0", "/w")
    assert task.key.startswith(task.job_key)
    assert task.scratch == ("/t", "/tmp")
    task = recognise({"PBS_JOBID": "12.head", "PBS_JOBDIR": "/home/me", "TMPDIR": "/t"})
    assert task.scratch == ("/t", "/home/me", "/tmp")
    with_slurm = recognise({**STEP, "PBS_JOBID": "17"})  # slurm-wlm-torque sets both
    assert with_slurm.system == "Slurm"


def test_grid_engine():
    given = {"JOB_ID": "9", "SGE_TASK_ID": "3", "SGE_O_WORKDIR": "/w", "TMPDIR": "/tmp/9.3.q"}
    task = recognise(given)
    assert (task.system, task.key) == ("GridEngine", "9_3.script.0.0")
    assert task.scratch == ("/tmp/9.3.q", "/tmp")
    assert recognise({**given, "SGE_TASK_ID": "undefined", "RESTARTED": "1"}).key == "9.script.1.0"
    assert recognise({"JOB_ID": "9"}) is None  # a name that anybody may use


def test_mpirun_is_nearer_than_the_job():
    ranks = {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_NAMESPACE": "1234"}
    local = {"OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    task = recognise({**STEP, **ranks, **local})
    assert (task.rank, task.tasks, task.local_tasks) == (2, 4, 4)
    assert task.step_key == "17.3-mpirun-1234.1"
    alone = recognise({**ranks, **local})
    assert (alone.system, alone.job, alone.key) == ("mpirun", "", "_.script-mpirun-1234.0.2")
    hydra = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    assert recognise(hydra).local_tasks == 2


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLURM_JOB_ID": ""},
        {"SLURM_JOB_ID": "../../etc"},
        {"SLURM_JOB_ID": "1" * 99},
        {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0"},
        {"PMI_SIZE": "2", "PMI_RANK": "0"},
    ],
)
def test_no_job(environ):
    assert recognise(environ) is None


def test_a_key_is_a_file_name_whatever_it_is_made_of():
    task = recognise(
        {**STEP, "SLURM_RESTART_COUNT": "../\n", "SLURM_PROCID": "-1", "SLURM_STEP_ID": "/" * 999}
    )
    assert task.key == "17._._.0"
    assert "/" not in recognise({"PBS_JOBID": "../" * 50}).key


def test_what_is_asked_first_is_in_every_job():
    from udocker.batch.job import SIGNS

    assert set(SIGNS) == session._SIGNS
