"""What of a job comes into its containers."""

from __future__ import annotations

from udocker.batch import passing
from udocker.batch.job import recognise

JOB = {"SLURM_JOB_ID": "1", "SLURM_SUBMIT_DIR": "/"}


def test_what_is_passed():
    text = """
        SLURM_PROCID SLURMD_NODENAME PMI_FD PMI_RANK PMIX_RANK PMIX_SERVER_URI41 OMPI_MCA_btl
        PRTE_MCA_ras_base_verbose
        PALS_RANKID CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES NVIDIA_DISABLE
        ZE_AFFINITY_MASK GPU_DEVICE_ORDINAL UCX_TLS NCCL_DEBUG FI_PROVIDER OMP_NUM_THREADS
        KMP_AFFINITY PBS_JOBID SGE_TASK_ID JOB_ID NSLOTS
    """
    wanted = text.split()
    text = """
        PATH LD_LIBRARY_PATH LD_PRELOAD HOME USER SHELL PYTHONPATH MODULEPATH TERM FINAL
        OMPI_MCA_mca_base_component_path PMIX_INSTALL_PREFIX SLURM_JWT AWS_SECRET_ACCESS_KEY
    """
    environ = dict.fromkeys((*wanted, *text.split()), "x")
    found = dict(passing.environment(environ, passing.AUTO))
    assert sorted(found) == sorted(wanted)


def test_a_directory_for_temporary_files_is_passed_if_it_is_there(tmp_path):
    environ = {"TMPDIR": str(tmp_path), "SLURM_TMPDIR": f"{tmp_path}/gone"}
    assert dict(passing.environment(environ, passing.AUTO)) == {"TMPDIR": str(tmp_path)}


def test_only_the_servers_of_the_kind_that_was_asked_for():
    environ = {
        "PMI_FD": "11",
        "PMIX_RANK": "0",
        "SLURM_PMIX_MAPPING_SERV": "x",
        "SLURM_NTASKS": "2",
    }
    left = {
        kind: [name for name, _ in passing.environment(environ, kind)] for kind in passing.KINDS
    }
    assert left[passing.AUTO] == ["PMIX_RANK", "PMI_FD", "SLURM_NTASKS", "SLURM_PMIX_MAPPING_SERV"]
    assert left[passing.PMIX] == ["PMIX_RANK", "SLURM_NTASKS", "SLURM_PMIX_MAPPING_SERV"]
    assert left[passing.PMI2] == ["PMI_FD", "SLURM_NTASKS"]
    assert left[passing.NONE] == ["SLURM_NTASKS"]


def test_the_server_of_a_step():
    assert passing.server({"PMIX_RANK": "0"}) == passing.PMIX
    assert passing.server({"PMI_FD": "11"}) == passing.PMI2
    assert passing.server({"SLURM_PROCID": "0"}) == passing.NONE


def test_directories(tmp_path):
    for name in ("scratch", "home", "submit", "spool"):
        (tmp_path / name).mkdir()
    environ = {
        **JOB,
        "TMPDIR": f"{tmp_path}/scratch",
        "SLURM_SUBMIT_DIR": f"{tmp_path}/submit",
        "PMIX_SERVER_TMPDIR": f"{tmp_path}/spool",
    }
    found = list(passing.directories(recognise(environ), f"{tmp_path}/home", f"{tmp_path}/gone"))
    assert found == [f"{tmp_path}/{name}" for name in ("scratch", "home", "submit", "spool")]
    without = list(passing.directories(recognise(JOB), "", "/"))
    assert without == ["/tmp", "/", "/"]


def test_what_the_user_has_set_stays():
    assert dict(passing.apart({"UCX_TLS": "tcp,self"})) == {
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
        "UCX_POSIX_USE_PROC_LINK": "n",
    }


def test_an_mpirun_without_srun_is_told_to_do_without():
    found = dict(passing.without_srun({"OMPI_MCA_plm": "slurm"}))
    assert found["HYDRA_BOOTSTRAP"] == "fork"
    assert found["PRTE_MCA_plm"] == "ssh"
    assert "OMPI_MCA_plm" not in found


def test_no_task_looks_for_the_shared_memory_of_pmix_5():
    environ = {"PMIX_RANK": "0", "PMIX_GDS_MODULE": "shmem2,hash"}
    assert dict(passing.environment(environ, passing.AUTO))["PMIX_MCA_gds"] == "hash"
    assert "PMIX_MCA_gds" not in dict(passing.environment(environ, passing.NONE))
    asked = {**environ, "PMIX_MCA_gds": "shmem2"}
    assert dict(passing.environment(asked, passing.AUTO))["PMIX_MCA_gds"] == "shmem2"
    older = {**environ, "PMIX_GDS_MODULE": "hash,ds21"}
    assert "PMIX_MCA_gds" not in dict(passing.environment(older, passing.AUTO))
