"""oci and bundle: udocker as an OCI runtime, by hand and under a real Slurm."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e.engines import BUSYBOX, Shared
from e2e.jobs import Slurm, until

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.jobs"]

# It is started by the test, and told to end.
_CHECKPOINT = "trap 'echo saved; exit 42' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def bundle(shared: Shared, tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    shared("bundle", shared.image(BUSYBOX), str(made), "sh", "-c", "echo $A; pwd; id -u; exit 5")
    return made


def configured(bundle: Path, **process: Any) -> Path:
    """The bundle, with other words about its process."""
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"].update(process)
    path.write_text(json.dumps(config))
    return bundle


def state(shared: Shared, identity: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shared("oci", "state", identity).out)
    return found


@pytest.mark.parametrize("mode", ["N1", "F3", "P1", "R1"])
def test_a_bundle_is_run(shared: Shared, bundle: Path, mode: str) -> None:
    before = shared.containers()
    (bundle / "data").mkdir()
    (bundle / "data/file").write_text("data\n")
    config = json.loads((bundle / "config.json").read_text())
    config["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": "data", "options": ["rbind", "ro"]}
    )
    (bundle / "config.json").write_text(json.dumps(config))
    script = "cat /mnt/file; echo $A; pwd; id -u; touch /mnt/x 2>/dev/null || echo refused; exit 5"
    configured(bundle, args=["sh", "-c", script], env=["A=of the bundle", "PATH=/bin"], cwd="/tmp")
    env = {"UDOCKER_DEFAULT_EXECUTION_MODE": mode}
    ended = shared("oci", "run", "-b", str(bundle), f"id-{mode}", check=False, env=env)
    assert ended.code == 5, ended
    assert ended.out == "data\nof the bundle\n/tmp\n0\nrefused\n"
    assert state(shared, f"id-{mode}")["status"] == "stopped"
    shared("oci", "delete", f"id-{mode}")
    assert shared.containers() == before


def test_runc_runs_it_too(bundle: Path, tmp_path: Path) -> None:
    words = ["runc", "--root", str(tmp_path / "state"), "run", "-b", str(bundle), "x"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (5, "\n/\n0\n")


def test_create_and_start(shared: Shared, bundle: Path, tmp_path: Path) -> None:
    out, pid_file = tmp_path / "out", tmp_path / "pid"
    configured(bundle, args=["sh", "-c", _CHECKPOINT])
    with out.open("wb") as stream:
        create = ["oci", "create", "-b", str(bundle), "--pid-file", str(pid_file), "one"]
        streams = {"stdin": subprocess.DEVNULL, "stdout": stream, "stderr": stream}
        assert shared.start(create, **streams).wait(20) == 0
    found = state(shared, "one")
    assert (found["status"], found["bundle"]) == ("created", str(bundle))
    assert found["pid"] == int(pid_file.read_text())
    assert out.read_text() == ""
    shared("oci", "start", "one")
    until(lambda: out.read_text() == "ready\n")
    assert state(shared, "one")["status"] == "running"
    for words, told in (
        (("start", "one"), "is running"),
        (("run", "-b", str(bundle), "one"), "is there already, and running"),
        (("delete", "one"), "is running"),
    ):
        ended = shared("oci", *words, check=False)
        assert (ended.code != 0, told in ended.err) == (True, True), ended
    shared("oci", "kill", "one", "TERM")
    until(lambda: out.read_text() == "ready\nsaved\n")
    until(lambda: state(shared, "one")["status"] == "stopped")
    shared("oci", "delete", "one")
    assert shared("oci", "delete", "one", check=False).code == 125
    shared("oci", "delete", "--force", "one")


def test_one_that_runs_is_ended_by_force(shared: Shared, bundle: Path) -> None:
    configured(bundle, args=["sleep", "1000"])
    process = shared.start(["oci", "run", "-b", str(bundle), "two"])
    until(lambda: state(shared, "two")["status"] == "running")
    shared("oci", "delete", "--force", "two")
    process.communicate(timeout=20)
    assert process.returncode in (-9, 137)
    assert "pid" not in state(shared, "two")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"args": []}, "process.args is no list of words"),
        ({"args": "sh"}, "process.args is no list of words"),
        ({"cwd": "relative"}, "'relative' is not an absolute path"),
        ({"user": {"uid": "x"}}, "invalid literal"),
        ({"rlimits": [{"type": "RLIMIT_NOFILE"}]}, "'soft'"),
    ],
)
def test_a_wrong_configuration_is_told(
    shared: Shared, bundle: Path, change: dict[str, Any], told: str
) -> None:
    configured(bundle, **change)
    ended = shared("oci", "run", "-b", str(bundle), "bad", check=False)
    assert ended.code == 2
    assert told in ended.err
    assert "udocker bundle" in ended.err


def test_an_image_with_an_environment_in_a_file(shared: Shared, tmp_path: Path) -> None:
    """As Slurm calls it for names of images. What the caller has is not there."""
    variables = tmp_path / "variables"
    given = {**shared.environment(), "SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "A": "x=\ny"}
    variables.write_bytes("".join(f"{name}={text}\0" for name, text in given.items()).encode())
    image = shared.image(BUSYBOX)
    words = [
        "oci",
        "image",
        str(variables),
        image,
        "--",
        "sh",
        "-c",
        "echo $SLURM_PROCID $B; exit 4",
    ]
    ended = shared(*words, check=False, env={"B": "the caller's", "HOME": "/nowhere"})
    assert (ended.code, ended.out) == (4, "3\n")
    script = tmp_path / "slurm_script"  # of sbatch, which only the host has
    script.write_text("#!/bin/sh\necho batch $1 $SLURM_JOB_ID\n")
    script.chmod(0o755)
    ended = shared("oci", "image", str(variables), image, "--", str(script), "word")
    assert ended.out == "batch word 7\n"
    for words, told in (
        (["oci", "image", str(tmp_path / "none"), image], "none: No such file"),
        (["oci", "image", str(variables)], "a word is missing"),
    ):
        ended = shared(*words, check=False)
        assert (ended.code, told in ended.err) == (2, True), ended


def test_wrong_words(shared: Shared, bundle: Path, tmp_path: Path) -> None:
    for words, code, told in (
        (("run", "-b", str(tmp_path), "x"), 2, "config.json: No such file"),
        (("run", "-b", str(bundle), "../x"), 2, "is not the id of a container"),
        (("kill", "nobody"), 125, "no such container: nobody"),
        (("kill", "nobody", "FOO"), 2, "FOO"),
        (("pause", "nobody"), 2, "there is no 'pause'"),
        (("state", "a", "b"), 2, "one word too many"),
    ):
        ended = shared("oci", *words, check=False)
        assert (ended.code, told in ended.err) == (code, True), ended
    ended = shared("bundle", shared.image(BUSYBOX), str(bundle), check=False)
    assert ended.code == 125
    assert "it is there already" in ended.err


def test_slurm_runs_it(slurm: Slurm) -> None:
    """Slurm calls ``state`` and ``delete`` as root, at the end."""
    bundle = slurm.place / "bundle"
    slurm(*slurm.words("bundle", BUSYBOX, bundle, "sh"))
    srun = ["srun", "-N2", "-n2", f"--container={bundle}"]
    inside = "$(test -e /etc/debian_version || echo inside)"
    script = f"echo $(hostname) $(id -u) $SLURM_JOB_ID $SLURM_STEP_ID {inside}"
    said = slurm(*srun, "sh", "-c", script).out.splitlines()
    assert sorted(re.sub(r" \d+ 0 ", " JOB ", line) for line in said) == [
        "node1 0 JOB inside",
        "node2 0 JOB inside",
    ]
    one = ["srun", "-n1", "-w", "node1", f"--container={bundle}"]
    assert slurm(*one, "sh", "-c", "exit 7", check=False).code == 7
    process = slurm.start(*one, "--job-name=oci", "sh", "-c", _CHECKPOINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    slurm("scancel", "--signal=TERM", "--name=oci")
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (42, "saved\n")
    left = slurm("srun", "-n1", "-w", "node1", "find", "/dev/shm", "-path", "*/oci/*").out
    assert left == ""


def test_a_newer_slurm_is_given_names_of_images(newer: Slurm) -> None:
    version = newer("srun", "--version").out.split()[-1]
    assert int(version.split(".")[0]) >= 23, version
    store = ["env", f"UDOCKER_DIR={newer.store}"]
    image = f"--container=docker.io/library/{BUSYBOX}"
    inside = "$(test -e /etc/debian_version || echo inside)"
    script = f'echo $SLURM_PROCID $(hostname) $SLURM_JOB_ID {inside} "$1"; exit 6'
    ended = newer(
        *(*store, "srun", "-Q", "-N2", "-n4", image, "/bin/sh", "-c", script, "sh", "a  b"),
        check=False,
    )
    assert ended.code == 6, ended
    rows = sorted(line.split(" ", 4) for line in ended.out.splitlines())
    assert [row[0] for row in rows] == ["0", "1", "2", "3"], ended
    assert {row[1] for row in rows} == {"node1", "node2"}
    assert {(row[3], row[4]) for row in rows} == {("inside", "a  b")}
    path = newer.place / "script"
    path.write_text(f"#!/bin/sh\necho batch $SLURM_JOB_ID {inside}\n")
    out = newer.place / "out"
    job = newer(*store, "sbatch", "--parsable", "--wait", image, "-o", out, path).out.split()[0]
    assert out.read_text() == f"batch {job} inside\n"
    up = newer.place / "up"
    # A word with a single quote is more than Slurm can hand over.
    program = f'trap "echo saved; exit 42" TERM; echo ready > {up}; while :; do sleep 0.05; done'
    words = ["/bin/sh", "-c", program]
    process = newer.start(*store, "srun", "-Q", "--job-name=new", image, *words)
    until(lambda: up.exists() and up.read_text())
    newer("scancel", "--signal=TERM", "--name=new")
    told, _ = process.communicate(timeout=60)
    assert (process.returncode, told) == (42, "saved\n")
