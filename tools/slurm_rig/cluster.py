"""Start and stop the hosts, the wires between them, and Slurm's daemons on them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from slurm_rig.settings import (
    ADDRESS,
    CGROUP_CONF,
    JOB_CONTAINER_CONF,
    PLUGINS,
    PRIVATE,
    hosts,
    oci_conf,
    scripts,
    slurm_conf,
)

LOGIN = "login1"
_PROGRAMS = ("slurmctld", "slurmd", "sinfo", "munged", "ip", "nsenter", "unshare")
_PATIENCE = 30.0  # seconds for the nodes to be there
# Namespaces of a host; where its processes are numbered anew, they end with the first one.
_UNSHARE = (*("unshare", "--net", "--uts", "--mount", "--ipc", "--pid"), "--fork", "--kill-child")


def start(directory: Path, nodes: int, runtime: str = "", tree: str = "") -> None:
    """Raises RuntimeError where the cluster does not come up; then nothing of it is left.

    ``runtime``: the udocker of oci.conf. ``tree``: the files of a Debian with another Slurm.
    """
    if os.getuid() != 0:
        raise RuntimeError("only root can make network namespaces that reach each other")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise RuntimeError(f"missing: {' '.join(missing)}")
    stop(directory)
    try:
        _start(directory, nodes, runtime, tree)
    except BaseException:
        _tell_logs(directory)
        stop(directory)
        raise


def _start(directory: Path, nodes: int, runtime: str, tree: str) -> None:
    for name in ("etc", "run", "log", "state"):
        (directory / name).mkdir(parents=True, mode=0o755)
    names = [f"node{number}" for number in range(1, nodes + 1)]
    (directory / "etc/hosts").write_text(hosts(LOGIN, names))
    (directory / "etc/slurm.conf").write_text(slurm_conf(directory, LOGIN, nodes))
    (directory / "etc/job_container.conf").write_text(JOB_CONTAINER_CONF)
    (directory / "etc/plugstack.conf").write_text(PLUGINS)
    settings = (directory / "etc/slurm.conf").read_text()
    (directory / f"etc/slurm.conf.{names[-1]}").write_text(f"{settings}{PRIVATE}")
    if runtime:
        (directory / "etc/oci.conf").write_text(oci_conf(runtime, images=bool(tree)))
    if tree:
        (directory / "tree").symlink_to(Path(tree).resolve())
        (directory / "etc/cgroup.conf").write_text(CGROUP_CONF)
    for number in range(2):  # twins of /dev/null that stand for GPUs
        os.mknod(directory / f"etc/fakegpu{number}", 0o020666, os.makedev(1, 3))
        os.chmod(directory / f"etc/fakegpu{number}", 0o666)
    (directory / "etc/gres.conf").write_text(
        f"AutoDetect=off\nName=gpu Type=fake File={directory}/etc/fakegpu[0-1]\n"
    )
    for name, text in scripts().items():
        (directory / "etc" / name).write_text(text)
        (directory / "etc" / name).chmod(0o755)
    key = directory / "etc/munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    pids = {}
    for name in (LOGIN, *names):
        pids[name] = _host(directory, name)
    _wire(pids, names)
    _on(pids[LOGIN], "munged", "--force", *_munge(directory))
    _on(pids[LOGIN], "slurmctld")
    for name in names:
        _on(pids[name], "slurmd", "-N", name)
    _wait(pids[LOGIN], nodes)


def _munge(directory: Path) -> list[str]:
    return [
        f"--socket={directory}/run/munge.socket",
        f"--key-file={directory}/etc/munge.key",
        f"--log-file={directory}/log/munged.log",
        f"--pid-file={directory}/run/munged.pid",
        f"--seed-file={directory}/state/munge.seed",
    ]


def _host(directory: Path, name: str) -> int:
    """Make a host; the id of its first process."""
    command = [*_UNSHARE, sys.executable, "-m", "slurm_rig.gate", str(directory), name]
    with open(directory / "log" / f"{name}.log", "wb") as log:
        holder = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert holder.stdout is not None
    (directory / "run" / f"{name}.json").write_text(json.dumps([holder.pid, _begin(holder.pid)]))
    if holder.stdout.readline() != b"up\n":
        raise RuntimeError(f"host {name} does not come up")
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text()
    return int(children.split()[0])


def _wire(pids: dict[str, int], names: list[str]) -> None:
    """One cable from each node to a bridge in the login host: no packet leaves the machine."""
    _net(pids[LOGIN], "link add br0 type bridge", f"addr add {ADDRESS}.1/24 dev br0")
    _net(pids[LOGIN], "link set br0 up")
    for number, name in enumerate(names, 1):
        _net(pids[LOGIN], f"link add v{number} type veth peer name eth0 netns {pids[name]}")
        _net(pids[LOGIN], f"link set v{number} master br0 up")
        _net(pids[name], f"addr add {ADDRESS}.{10 + number}/24 dev eth0", "link set eth0 up")


def _net(pid: int, *lines: str) -> None:
    for line in lines:
        _run("nsenter", f"--target={pid}", "--net", "ip", *line.split())


def _on(pid: int, *command: str) -> None:
    """Run a daemon on a host until it is in the background."""
    spaces = ("--net", "--uts", "--mount", "--ipc", "--pid")
    _run("nsenter", f"--target={pid}", *spaces, *command)


def _run(*command: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def _wait(login: int, nodes: int) -> None:
    end = time.monotonic() + _PATIENCE
    command = ("nsenter", f"--target={login}", "--net", "--mount", "sinfo", "-h", "-t", "idle")
    while time.monotonic() < end:
        done = subprocess.run([*command, "-o", "%D"], capture_output=True, text=True, check=False)
        if done.stdout.strip() == str(nodes):
            return
        time.sleep(0.1)
    raise RuntimeError("the nodes did not come up")


def stop(directory: Path) -> None:
    """End all of it, and remove ``directory``, if a cluster was started there."""
    if not (directory / "etc/slurm.conf").exists():
        return
    for record in sorted((directory / "run").glob("*.json")):
        pid, begin = json.loads(record.read_text())
        if _begin(pid) == begin:  # no other process has its number by now
            _end(pid)
    shutil.rmtree(directory)


def _end(pid: int) -> None:
    """The kernel ends all processes of a host with its first, which ends with its parent."""
    left = [pid]
    with contextlib.suppress(OSError):
        left += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + _PATIENCE
    while any(_begin(each) for each in left) and time.monotonic() < end:
        time.sleep(0.01)


def _begin(pid: int) -> str:
    """When a process began, in ticks since the boot; "": there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _tell_logs(directory: Path) -> None:
    for path in sorted((directory / "log").glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()[-12:]
        print("\n".join((f"--- {path.name}", *lines)), file=sys.stderr)
