"""stage: images on all nodes of a job of a real Slurm, sent as one file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from e2e.jobs import BUSYBOX

if TYPE_CHECKING:
    from e2e.jobs import Slurm

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.jobs"]

_NODES = 3


def test_every_node_has_it(slurm: Slurm) -> None:
    """Also where there is no sbcast: its own program is not in PATH then."""
    own = {"UDOCKER_DIR": str(slurm.place / "staging")}
    image = f"oci:{slurm.images}/oci:{BUSYBOX}"
    few = slurm.place / "programs"
    few.mkdir()
    for name in ("srun", "sh"):
        (few / name).symlink_to(str(shutil.which(name)))
    stage = slurm.line("-D", "stage", image, env=own)
    again = slurm.line("-D", "stage", BUSYBOX, env={**own, "PATH": str(few)})
    rmi = slurm.line("rmi", BUSYBOX, env=own)
    run = slurm.line("run", "--mpi=none", "--pull=never", BUSYBOX, "hostname", env=own)
    remove = slurm.line("stage", "--remove", env=own)
    look = "find /tmp /dev/shm -maxdepth 3 -path '*udocker-*' -name '*.oci' -o -name 'staged-*'"
    each = f"srun -N{_NODES} -n{_NODES}"
    # What jobs leave on a host whose epilog removes the images goes with the next.
    left = "d=/dev/shm/udocker-$(id -u); mkdir -p -m 700 $d && ln -sf /none $d/staged-0.link"
    slurm("srun", f"-N{_NODES}", f"-n{_NODES}", "sh", "-c", left)
    script = slurm.place / "script"
    script.write_text(
        "#!/bin/sh -e\n"
        f"{stage} && echo staged && {again} && echo again && {rmi} >&2\n"
        f'{each} {run} && {remove} && {each} sh -c "{look}" && echo end\n'
    )
    ended = slurm("salloc", "-Q", f"-N{_NODES}", "sh", script)
    *hosts, last = ended.out.split()[2:]
    assert ended.out.split()[:2] == ["staged", "again"]
    assert sorted(hosts) == [f"node{number}" for number in range(1, _NODES + 1)]
    assert last == "end"
    assert f"1 image on {_NODES} nodes" in ended.err
    assert "there is no sbcast" in ended.err


def test_a_damaged_file_is_seen(slurm: Slurm) -> None:
    part = slurm.place / "part.oci"
    part.write_bytes(b"half of it")
    words = ["stage", "--receive", part, "--digest", f"sha256:{'0' * 64}"]
    ended = slurm("srun", "-n1", "-w", "node1", *slurm.words(*words), check=False)
    assert ended.code == 125
    assert f"node1: {part} arrived damaged (10 bytes)" in ended.err
    assert not part.exists()
    left = slurm("srun", "-n1", "-w", "node1", "find", "/dev/shm", "-name", "staged-*")
    assert left.out == ""


def test_wrong_words(slurm: Slurm) -> None:
    ended = slurm(*slurm.words("stage", BUSYBOX), check=False)
    assert (ended.code, "this is no batch job" in ended.err) == (2, True)
    in_job = ("srun", "-n1", *slurm.words("stage"))
    for words, told in (
        ((), "no image is named"),
        (("--to", "here", BUSYBOX), "an absolute path"),
        (("--to", "/nowhere", BUSYBOX), "no directory"),
    ):
        ended = slurm(*in_job, *words, check=False)
        assert (ended.code != 0, told in ended.err) == (True, True), ended
