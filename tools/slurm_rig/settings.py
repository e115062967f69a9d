"""Slurm's settings: what most sites have, without what would need the real machine."""

from __future__ import annotations

from pathlib import Path

ADDRESS = "10.213.0"
_PAGES = Path(__file__).parents[2] / "docs/slurm"  # what they give to admins
CPUS = 64  # that each node claims

_SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={login}({address}.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={top}/run/munge.socket,cred_expire=5
StateSaveLocation={top}/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile={top}/run/slurmctld.pid
SlurmdPidFile={top}/run/slurmd.%n.pid
SlurmctldLogFile={top}/log/slurmctld.log
SlurmdLogFile={top}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PrologFlags=Alloc,Contain
MailProg=/bin/true
ReturnToService=2
KillWait=3
MinJobAge=3600
MaxArraySize=1001
DebugFlags=NO_CONF_HASH
LaunchParameters=disable_send_gids
SchedulerParameters=batch_sched_delay=0,sched_min_interval=10000,sched_interval=1,bf_interval=1
Prolog={top}/etc/prolog
Epilog={top}/etc/epilog
TaskProlog={top}/etc/taskprolog
GresTypes=gpu
NodeName=node[1-{nodes}] CPUs={cpus} RealMemory=4000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=main Nodes=node[1-{others}] Default=YES MaxTime=60 State=UP OverSubscribe=YES
PartitionName=private Nodes=node{nodes} MaxTime=60 State=UP
"""
# A scratch directory for each job, which root makes before it and removes after it.
_SCRATCH = "/tmp/job.$SLURM_JOB_ID"
# The last node, with its own partition, gives each job a /tmp and /dev/shm: job_container/tmpfs.
# No test uses it: Slurm 22.05 now and then fails there ("ns base mount failed"), and holds the job.
PRIVATE = "JobContainerType=job_container/tmpfs\n"
JOB_CONTAINER_CONF = "AutoBasePath=true\nBasePath=/run/jobs\n"
# The variables of PBS for jobs, where Debian's slurm-wlm-torque is installed.
PLUGINS = "optional spank_pbs.so\n"
CGROUP_CONF = "CgroupPlugin=disabled\n"  # of Slurm 23.11 and newer, which else wants its own
_SCRIPTS = {
    "prolog": f'mkdir -p -m 700 "{_SCRATCH}" && chown "$SLURM_JOB_UID" "{_SCRATCH}"',
    "epilog": f'rm -rf --one-file-system "{_SCRATCH}"',
    "taskprolog": f'echo "export TMPDIR={_SCRATCH}"\necho "export SLURM_TMPDIR={_SCRATCH}"',
}


def slurm_conf(top: Path, login: str, nodes: int) -> str:
    return _SLURM_CONF.format(
        top=top, login=login, nodes=nodes, others=nodes - 1, cpus=CPUS, address=ADDRESS
    )


def oci_conf(runtime: str, *, images: bool = False) -> str:
    """``images``: users name these, and no bundles."""
    lines = (
        (_PAGES / f"oci-{'image' if images else 'bundle'}.conf")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    settings = (line.replace("udocker oci", f"{runtime} oci") for line in lines if line[:1] != "#")
    return "\n".join((*settings, ""))


def hosts(login: str, names: list[str]) -> str:
    rows = [f"{ADDRESS}.{10 + number} {name}" for number, name in enumerate(names, 1)]
    return "\n".join(("127.0.0.1 localhost", f"{ADDRESS}.1 {login}", *rows, ""))


def scripts() -> dict[str, str]:
    return {name: f"#!/bin/sh\n{text}\n" for name, text in _SCRIPTS.items()}
