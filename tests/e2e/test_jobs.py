"""Runs inside jobs of a real Slurm, in the modes that differ in how the command is started."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from e2e.jobs import BUSYBOX, MODES, Slurm, at_once, until

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.jobs"]


def run(mode: str, *words: str) -> tuple[str, ...]:
    return ("run", f"--execmode={mode}", *words)


def test_the_exit_code_is_the_commands_own(slurm: Slurm) -> None:
    ends = {"exit 3": 3, "kill -9 $$": 137, "kill -15 $$": 143, "exec /none": 127}

    def ended(case: tuple[str, str]) -> int:
        mode, how = case
        words = slurm.words(*run(mode, BUSYBOX, "sh", "-c", how))
        return slurm("srun", "-Q", *words, check=False).code

    cases = [(mode, how) for mode in MODES for how in ends]
    assert dict(zip(cases, at_once(ended, cases))) == {case: ends[case[1]] for case in cases}


# Saves what it has when it is asked to end, which takes a moment, and ends in its own way.
CHECKPOINT = """
trap 'sleep 1; echo saved >> "$SLURM_SUBMIT_DIR/$0"; exit 42' TERM
echo "$SLURM_JOB_ID" > "$SLURM_SUBMIT_DIR/$0-up"
while :; do sleep 0.1; done
"""
STAYS = """
trap '' TERM
echo "$SLURM_JOB_ID" > "$SLURM_SUBMIT_DIR/$0-up"
while :; do sleep 0.1; done
"""


def test_a_command_that_is_to_end_can_save_what_it_has(slurm: Slurm) -> None:
    """Helpers get SIGTERM, too: each process of a step does."""

    def cancelled(case: tuple[str, str, str]) -> tuple[int, float]:
        mode, option, program = case
        name = f"{'saves' if program is CHECKPOINT else 'stays'}-{mode}{option}"
        options = [option] if option else []
        words = slurm.words(*run(mode, *options, BUSYBOX, "sh", "-c", program, name))
        step = slurm.start("srun", "-Q", *words)
        up = slurm.place / f"{name}-up"
        until(lambda: up.exists() and up.read_text())
        begin = time.monotonic()
        slurm("scancel", up.read_text().strip())
        step.communicate(timeout=60)
        return step.returncode, time.monotonic() - begin

    saving = [(mode, option, CHECKPOINT) for mode in MODES for option in ("", "--rm")]
    found = dict(
        zip((*saving, ("N1", "", STAYS)), at_once(cancelled, [*saving, ("N1", "", STAYS)]))
    )
    for mode, option, _ in saving:
        assert (slurm.place / f"saves-{mode}{option}").read_text() == "saved\n", (mode, option)
        assert found[mode, option, CHECKPOINT][0] == 42, (mode, option)
    assert found["N1", "", STAYS][1] > 2.9  # KillWait


def test_a_signal_for_the_batch_shell_alone_and_a_requeue(slurm: Slurm) -> None:
    """As --signal=B: has it: the script has become udocker, and that the command."""
    program = """
        cd "$SLURM_SUBMIT_DIR"
        trap 'echo usr1 >> "$0"; exit 7' USR1
        echo "run ${SLURM_RESTART_COUNT:-0} $TMPDIR" >> "$0"
        while :; do sleep 0.1; done
    """

    def signalled(mode: str) -> list[str]:
        name = f"batch-{mode}"
        file = slurm.place / name
        line = slurm.line(*run(mode, BUSYBOX, "sh", "-c", program, name))
        job = slurm.submit(f"exec {line}", "--requeue", "--open-mode=append", "-o", f"{name}.out")
        until(lambda: file.exists() and "run 0" in file.read_text())
        slurm("scontrol", "requeue", job)
        # It begins again when the credentials of its first run are void: cred_expire.
        until(lambda: "run 1" in file.read_text())
        slurm("scancel", "-b", "-s", "USR1", job)
        assert slurm.end(job) == "FAILED"
        lines = file.read_text().splitlines()
        assert "ExitCode=7:0" in slurm("scontrol", "show", "job", job).out
        return [line.partition(" /")[0] for line in lines]

    assert at_once(signalled, MODES) == [["run 0", "run 1", "usr1"]] * len(MODES)


COUNTS = """
cd "$SLURM_SUBMIT_DIR"
trap 'echo term >> "$0"' TERM
trap 'echo usr1 >> "$0"' USR1
echo "$SLURM_JOB_ID" > "$0-up"
until [ -s "$0" ]; do sleep 0.1; done
sleep 1
"""


def where_apptainer_is() -> dict[str, str]:
    """For a host of the cluster, whose PATH has no place of the tests."""
    place = shutil.which("apptainer")
    return {"UDOCKER_USE_SINGULARITY_EXECUTABLE": place} if place else {}


def test_a_signal_comes_once(slurm: Slurm, refusals: dict[str, str]) -> None:
    """Of those for all processes of a step, and for a job's script alone, helpers pass on these.

    In S1 Apptainer does so with all: there a step's comes twice, unless the first waits still.
    """
    others = [mode for mode in ("R1", "R2", "R3", "S1") if not refusals[mode]]

    def told(case: tuple[str, str, str]) -> str:
        mode, option, how = case
        name = f"counts-{mode}{option}-{how}"
        up = slurm.place / f"{name}-up"
        options = [option] if option else []
        words = run(mode, *options, BUSYBOX, "sh", "-c", COUNTS, name)
        line = slurm.line(*words, env=where_apptainer_is())
        job = slurm.submit(f"{'exec' if how == 'script' else 'srun -Q'} {line}")
        until(lambda: up.exists() and up.read_text())
        slurm("scancel", *{"script": ("-b", "-s", "USR1"), "step": ("-s", "TERM")}[how], job)
        slurm.end(job)
        return (slurm.place / name).read_text()

    cases = [
        (mode, option, how)
        for mode in (*MODES, *others)
        for option in ("", "--rm")
        for how in ("script", "step")
        if (mode, how) != ("S1", "step")
    ]
    found = dict(zip(cases, at_once(told, cases)))
    assert found == {case: "usr1\n" if case[2] == "script" else "term\n" for case in cases}


LIMITED = """
cd "$SLURM_SUBMIT_DIR"
trap 'echo usr1 >> "$0"' USR1
trap 'echo term >> "$0"; exit 0' TERM
while :; do sleep 0.2; done
"""


def test_a_warning_before_the_time_is_over_and_then_the_end(slurm: Slurm) -> None:
    """The least limit that Slurm knows is a minute, of which it is not exact."""

    def limited(case: tuple[str, str]) -> tuple[str, str]:
        mode, option = case
        name = f"limited-{mode}{option}"
        options = [option] if option else []
        line = slurm.line(*run(mode, *options, BUSYBOX, "sh", "-c", LIMITED, name))
        job = slurm.submit(f"exec {line}", "--time=1", "--signal=B:USR1@50")
        return slurm.end(job), (slurm.place / name).read_text()

    cases = [(mode, option) for mode in MODES for option in ("", "--rm")]
    for case, found in zip(cases, at_once(limited, cases)):
        assert found == ("TIMEOUT", "usr1\nterm\n"), case


def test_streams_and_descriptors_are_the_steps_own(slurm: Slurm) -> None:
    # The first words of PMI's protocol, over the socket that srun has opened.
    talk = (
        'echo "cmd=init pmi_version=1 pmi_subversion=1" >&$PMI_FD; read -r l <&$PMI_FD; echo "$l"'
    )

    def told(case: tuple[str, str]) -> str:
        mode, what = case
        if what == "talk":
            words = slurm.words(*run(mode, BUSYBOX, "sh", "-c", talk))
            done = slurm("srun", "--mpi=pmi2", "-n2", *words)
        else:
            words = slurm.words(*run(mode, "--mpi=none", BUSYBOX, "cat"))
            done = slurm("srun", "-n2", *words, input="fed\n")
        assert done.err == ""
        return done.out

    cases = [(mode, what) for mode in MODES for what in ("talk", "cat")]
    for case, out in zip(cases, at_once(told, cases)):
        wanted = "fed\n" if case[1] == "cat" else "cmd=response_to_init "
        lines = out.splitlines(keepends=True)
        assert len(lines) == 2, case
        assert all(line.startswith(wanted) for line in lines), (case, out)


LOOK = """
echo "tmp $TMPDIR $SLURM_TMPDIR"
echo scratch > "$TMPDIR/in-$0" && echo home > "$1/in-$0" && echo work > "$SLURM_SUBMIT_DIR/in-$0"
echo "job $SLURM_JOB_ID $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS $SLURM_GPUS_ON_NODE"
echo "path $PATH ${LD_LIBRARY_PATH-none} ${SECRET-none}"
test -w /dev/shm && ls /sys/class/net/eth0/address
"""


def test_what_a_run_is_given_of_its_job(slurm: Slurm) -> None:
    home = slurm.place / "home"

    def shown(node: str) -> tuple[list[str], str]:
        lines = ["export OMP_NUM_THREADS=3 LD_LIBRARY_PATH=/opt/lib SECRET=s"]
        for mode in MODES:
            name = f"{mode}-{node}"
            line = slurm.line(*run(mode, BUSYBOX, "sh", "-c", LOOK, name, str(home)))
            lines.append(f'srun -Q {line}; cat "$TMPDIR/in-{name}"')
        out = f"look-{node}.out"
        options = ("-w", node, "--gres=gpu:1", "-o", out)
        job = slurm.submit("\n".join(lines), *options)
        assert slurm.end(job) == "COMPLETED", (slurm.place / out).read_text()
        for mode in MODES:
            for place in (home, slurm.place):
                assert (place / f"in-{mode}-{node}").exists()
        return (slurm.place / out).read_text().splitlines(), job

    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    for lines, job in at_once(shown, ("node1", "node2")):
        told = [line for line in lines if not line.startswith("patching")]
        gpu = told[1].split()[2]
        assert gpu in ("0", "1")
        assert told == 3 * [
            f"tmp /tmp/job.{job} /tmp/job.{job}",
            f"job {job} {gpu} 3 1",
            f"path {path} none none",
            "/sys/class/net/eth0/address",
            "scratch",
        ]


def test_without_home_user_and_path_and_with_an_unknown_uid(slurm: Slurm) -> None:
    """As with --export=NONE; and where no file knows who runs."""
    show = 'echo "$0 $(id -u) ${HOME-none} $SLURM_JOB_ID"; ls -d $TMPDIR >/dev/null'

    def shown(case: tuple[str, bool]) -> list[str]:
        mode, unknown = case
        words = slurm.words(*run(mode, BUSYBOX, "sh", "-c", show, mode))
        who = ["/usr/bin/unshare", "--map-user=54321", "--map-group=54321"] if unknown else []
        return slurm("srun", "--export=NONE", *who, *words).out.split()

    cases = [(mode, unknown) for mode in MODES for unknown in (False, True)]
    for case, found in zip(cases, at_once(shown, cases)):
        assert found[:3] == [case[0], "0", "/root"], (case, found)


def test_turned_off_a_run_is_as_outside(slurm: Slurm) -> None:
    before = _listed(slurm)
    words = slurm.words("run", "--no-job", BUSYBOX, "env")
    assert "SLURM_" not in slurm("srun", *words).out
    outside = slurm(*slurm.words("run", BUSYBOX, "env", env={"OMP_NUM_THREADS": "3"})).out
    assert "OMP_" not in outside
    assert len(_listed(slurm) - before) == 2


def _listed(slurm: Slurm) -> set[str]:
    """The containers that are known outside of all jobs."""
    return set(slurm(*slurm.words("ps", "-q")).out.split())


def test_doctor_tells_of_the_job(slurm: Slurm) -> None:
    words = slurm.words("doctor")
    lines = [
        line.partition(" ")[2].strip()
        for line in slurm("srun", "--mpi=pmix", *words).out.splitlines()
        if line.startswith("job:")
    ]
    assert lines[0].startswith("Slurm job ")
    assert "(slurm-wlm " in lines[0]
    assert lines[1:3] == [
        "MPI's tasks are told of each other by PMIx",
        "one user namespace for several tasks: yes",
    ]
    assert lines[3].startswith("/dev/shm: ")
    assert lines[4].startswith("scratch /tmp/job.")
    assert "tmpfs" in lines[4]
    assert lines[5].startswith("locks in the store: ")


def test_doctor_tells_what_mpi_finds(slurm: Slurm) -> None:
    words = slurm.words("doctor", "--mpi", "--json")
    found = json.loads(slurm("srun", "--mpi=pmix", *words).out)
    facts = {fact["what"]: fact for fact in found["facts"]}
    assert facts["server"]["text"].startswith("PMIx")
    assert facts["shared memory"]["ok"]
    assert facts["one user namespace for several tasks"]["ok"]
    assert found["falls_back_to_tcp"] == (not facts["between hosts"]["ok"])
    alone = slurm("srun", "--mpi=none", *slurm.words("doctor", "--mpi")).out
    assert "server: " in alone
    assert "neither PMI nor PMIx" in alone


_COMES_BACK = """
"$@" run --cidfile=id-$mode --execmode=$mode busybox:latest sh -c 'echo out > /written; exit 4'
echo "ended $?"
id=$(cat id-$mode)
"$@" ps -q | grep -c "^$(echo $id | cut -c1-12)"
"$@" diff $id | grep written
"$@" cp $id:/written copied-$mode && cat copied-$mode
"$@" run $id sh -c 'cat /written; echo more >> /written; sleep 30' > second-$mode &
until [ -s second-$mode ]; do sleep 0.2; done
"$@" exec $id cat /written
"$@" rm -f $id > /dev/null
wait
"$@" ps -q | grep -c "^$(echo $id | cut -c1-12)"
"""


def test_containers_of_a_job_are_found_in_it(slurm: Slurm) -> None:
    before = _listed(slurm)

    def told(mode: str) -> list[str]:
        out = slurm.place / f"found-{mode}.out"
        lines = f"set -- {slurm.line()}\nmode={mode}\n{_COMES_BACK}"
        job = slurm.submit(lines, "-o", str(out))
        slurm.end(job)
        return [line for line in out.read_text().splitlines() if not line.startswith("patching")]

    for mode, lines in zip(MODES, at_once(told, MODES)):
        wanted = ["ended 4", "1", "A /written", "out", "out", "more", "0"]
        assert lines == wanted, mode
    assert _listed(slurm) == before, "outside they are not"


def test_a_detached_container_of_a_job_ends_with_it(slurm: Slurm) -> None:
    program = 'trap "echo saved; exit 3" TERM; echo up; while :; do sleep 0.1; done'
    lines = f"""
        set -- {slurm.line()}
        "$@" run -d --name=left busybox:latest sh -c '{program}' > /dev/null
        until [ "$("$@" logs left)" = up ]; do sleep 0.2; done
        "$@" ps | grep -c left
        "$@" stop left
        "$@" logs left
        "$@" wait left
        "$@" rm left
    """
    out = slurm.place / "detached.out"
    job = slurm.submit(lines, "-o", str(out))
    slurm.end(job)
    assert out.read_text().splitlines() == ["1", "left", "up", "saved", "3", "left"]
