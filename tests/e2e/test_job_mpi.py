"""MPI between the tasks of a step: Debian's Open MPI over PMIx and MPICH over PMI, in containers of
Debian 12 and 13.

Where the two ways of looking into another task's memory are wrong, Open MPI waits for ever in its
large messages, and MPICH ends with an error: see the probe, tools/image_maker/mpi_probe.c.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from e2e.conftest import where_udocker_is
from e2e.jobs import BUSYBOX, MODES, Slurm

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.jobs"]

IMAGE = "mpi:12"
IMAGES = (IMAGE, "mpi:13")
KINDS = {"pmix": "probe-openmpi", "pmi2": "probe-mpich"}
_ALONE = "neither PMI nor PMIx"
_APART = "each task of this host has a user namespace of its own"
_TESTS = str(Path(__file__).resolve().parents[1])


@pytest.fixture(scope="module")
def mpi(slurm: Slurm) -> Slurm:
    place = slurm.images.parent / "mpi" / "oci"
    assert place.is_dir(), f"no {place}: tools/images --mpi makes it"
    for image in IMAGES:
        slurm(*slurm.words("pull", "-q", f"oci:{place}:{image}"))
    return slurm


def check(out: str, tasks: int, nodes: int = 1) -> None:
    """The tasks were one world, and messages of all sizes arrived."""
    found = re.findall(r"task (\d+) of (\d+) on (node\d), sum (\d+)", out)
    assert sorted(int(rank) for rank, *_ in found) == list(range(tasks)), out
    assert {(int(size), int(total)) for _, size, _, total in found} == {
        (tasks, tasks * (tasks - 1) // 2)
    }
    assert len({node for _, _, node, _ in found}) == nodes
    assert re.findall(r"(\d+) bytes: ", out) == ["8", "65536", "16777216"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image", IMAGES)
def test_tasks_of_one_node(mpi: Slurm, image: str, kind: str) -> None:
    for mode in MODES:
        words = mpi.words("run", f"--execmode={mode}", image, KINDS[kind], "1")
        done = mpi("srun", "-N1", "-n4", f"--mpi={kind}", *words)
        check(done.out, 4)
        assert "warning" not in done.err.lower()  # Open MPI tells where it cannot use CMA


@pytest.mark.parametrize("image", IMAGES)
def test_tasks_of_two_nodes(mpi: Slurm, image: str) -> None:
    for kind, program in KINDS.items():
        words = mpi.words("run", "--execmode=N1", image, program, "0")
        options = ("-N2", "--ntasks-per-node=4", f"--mpi={kind}")
        done = mpi("srun", *options, *words)
        check(done.out, 8, nodes=2)
        assert "warning" not in done.err.lower()  # Open MPI tells where it cannot use CMA


OPEN_MPI = ("mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-n", "2", "probe-openmpi")
HYDRA = ("mpiexec.hydra", "-n", "2", "probe-mpich")


@pytest.mark.parametrize("image", IMAGES)
def test_mpirun_inside_of_one_container(mpi: Slurm, image: str) -> None:
    for mode in MODES:
        for program in (OPEN_MPI, HYDRA):
            words = mpi.words("run", f"--execmode={mode}", image, *program, "1")
            check(mpi("srun", "-n1", *words).out, 2)


@pytest.fixture
def host_mpi(mpi: Slurm) -> Slurm:
    for program in ("mpirun.openmpi", "mpiexec.hydra"):
        assert shutil.which(program), f"no {program}: Debian's openmpi-bin and mpich have them"
    return mpi


def test_an_mpirun_of_the_host_starts_containers(host_mpi: Slurm) -> None:
    """In no job; and in one it goes to other nodes."""
    launchers = {
        "pmix": ("mpirun.openmpi", "--oversubscribe", "-n", "4"),
        "pmi2": ("mpiexec.hydra", "-n", "4"),
    }
    for mode in MODES:
        for kind, launcher in launchers.items():
            for image in IMAGES if mode == "N1" else (IMAGE,):
                words = host_mpi.words("run", f"--execmode={mode}", image, KINDS[kind], "1")
                done = host_mpi(*launcher, *words)
                check(re.sub(r"on login1\b", "on node0", done.out), 4)
                assert _APART not in done.err
    for kind, launcher in launchers.items():
        words = host_mpi.words("run", "--execmode=N1", IMAGE, KINDS[kind], "0")
        job = ("salloc", "-Q", "-N2", "-n4", "--ntasks-per-node=2")
        check(host_mpi(*job, *launcher, *words).out, 4, nodes=2)


_LOADED = ("-e", "LD_TRACE_LOADED_OBJECTS=1")
_PLACE = "/run/udocker/devices/mpi/"


@pytest.mark.parametrize("kind", KINDS)
def test_the_mpi_of_the_host(host_mpi: Slurm, kind: str) -> None:
    """In an image with the same release, and in one with a newer MPI where that is wanted."""
    for mode in MODES:
        for option, image in (("--mpi-host", IMAGE), ("--mpi-host=major", "mpi:13")):
            options = ("run", f"--execmode={mode}", option)
            words = host_mpi.words(*options, image, KINDS[kind], "1")
            done = host_mpi("srun", "-n3", f"--mpi={kind}", *words)
            check(done.out, 3)
            assert done.err.count("MPI of the host, /") == 1, done.err
            assert done.err.count("MPICH of the host, /") == 1, done.err
            if mode == "N1":
                words = host_mpi.words(*options, *_LOADED, image, KINDS[kind])
                loaded = host_mpi(*words).out
                assert re.search(rf"libmpi\S* => {_PLACE}libmpi", loaded), loaded


def test_an_mpi_of_the_host_that_does_not_fit(host_mpi: Slurm) -> None:
    def refused(*options: str) -> str:
        done = host_mpi(*host_mpi.words("run", *options), check=False)
        assert done.code == 125, done
        return done.err

    told = refused("--mpi-host", "mpi:13", "true")
    assert re.search(r"image's Open MPI is libmpi.so.40 \(40\.\d+\.\d+\), the host's /", told), told
    assert "try: --mpi-host=major" in told
    assert "not strict ABI compatible" in refused("--mpi-host=strict", "mpi:13", "true")
    assert "the image has no MPI that is known" in refused("--mpi-host", BUSYBOX, "true")
    done = host_mpi(*host_mpi.words("run", "--mpi-host=none", IMAGE, "true"), check=False)
    assert done.code == 2


def test_tasks_of_a_node_are_in_one_user_namespace(slurm: Slurm) -> None:
    """And each has mounts of its own; not those of another step, and not in other modes."""
    # Each waits until all have come: who is gone lets nobody in.
    program = """
        mkdir -p "$SLURM_SUBMIT_DIR/$1" && touch "$SLURM_SUBMIT_DIR/$1/$SLURM_PROCID"
        until [ $(ls "$SLURM_SUBMIT_DIR/$1" | wc -l) = "$SLURM_NTASKS" ]; do sleep 0.05; done
        echo "$SLURM_NODEID $(readlink /proc/self/ns/user) $(readlink /proc/self/ns/mnt)"
        sleep 0.3
    """
    words = slurm.words("run", "--execmode=N1", "--mpi=auto", BUSYBOX, "sh", "-c", program, "sh")
    done = slurm("srun", "-N2", "-n6", "--mpi=pmi2", *words, "together")
    rows = [line.split() for line in done.out.splitlines()]
    assert len(rows) == 6
    assert len({(node, user) for node, user, _ in rows}) == 2
    assert len({mnt for *_, mnt in rows}) == 6
    apart = slurm.words("run", "--execmode=N1", "--mpi=none", BUSYBOX, "sh", "-c", program, "sh")
    done = slurm("srun", "-n3", *apart, "apart")
    assert len({line.split()[1] for line in done.out.splitlines()}) == 3


def test_where_tasks_cannot_come_together_mpi_is_told(mpi: Slurm) -> None:
    show = "echo $OMPI_MCA_btl_vader_single_copy_mechanism $UCX_POSIX_USE_PROC_LINK $UCX_TLS"

    def run(kind: str, *words: str, confined: bool = False) -> str:
        line = mpi.words("run", *words)
        if confined:
            path = ":".join((_TESTS, *where_udocker_is().values()))
            line = mpi.words("run", *words, env={"PYTHONPATH": path})
            place = next(i for i, word in enumerate(line[1:], 1) if "=" not in word)
            line[place:place] = [sys.executable, "-m", "builders.confinement", "no-setns"]
        done = mpi("srun", "-N1", "-n3", f"--mpi={kind}", *line)
        assert done.err.count(_APART) == 1, done
        return done.out

    program = ("--execmode=N1", BUSYBOX, "sh", "-c", show)
    assert run("pmi2", *program, confined=True) == "none n ^cma\n" * 3
    check(run("pmix", "--execmode=N1", IMAGE, "probe-openmpi", "1", confined=True), 3)
    program = ("--execmode=R1", "-e", "UCX_TLS=tcp,self", BUSYBOX, "sh", "-c", show)
    assert run("pmi2", *program) == "none n tcp,self\n" * 3


def test_tasks_of_a_newer_slurm(mpi: Slurm, newer: Slurm) -> None:
    """Whose server of PMIx has what the tasks of an older one have not."""
    for image in IMAGES:
        container = f"--container=docker.io/library/{image}"
        store = ("env", f"UDOCKER_DIR={mpi.store}")
        step = ("srun", "-Q", "-N2", "--ntasks-per-node=2", "--mpi=pmix", container)
        check(newer(*store, *step, "/usr/bin/probe-openmpi", "0").out, 4, nodes=2)


def test_tasks_that_cannot_find_each_other_are_told_once(slurm: Slurm) -> None:
    def told(*options: str, code: int = 0) -> str:
        words = slurm.words("run", *options, BUSYBOX, "true")
        done = slurm("srun", "-Q", "-n3", "--mpi=none", *words, check=False)
        assert done.code == code, done
        return done.err

    assert told().count(_ALONE) == 1
    assert told("--mpi=none") == ""
    assert "--mpi=pmix: the job offers neither" in told("--mpi=pmix", code=2)
    outside = slurm(*slurm.words("run", "--mpi=pmi2", BUSYBOX, "true"), check=False)
    assert outside.code == 2
    assert "this is no batch job" in outside.err
