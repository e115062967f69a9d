"""Containers that live: detached, looked at, entered, stopped, started again, killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.checks import is_told
from e2e.conftest import command
from e2e.engines import BUSYBOX, need
from e2e.living import LONG, goes_on, living, processes, started, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.engines import Shared
    from e2e.living import Living

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.faults"]

DEBIAN = "debian:12"
OTHER = str(int(LONG) + 5_000_000)  # seconds, as LONG
MODES = ("N1", "F3", "P1", "R1")


@pytest.fixture(params=MODES)
def box(
    request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]
) -> Iterator[Living]:
    need(refusals, request.param)
    with living(shared, f"box-{request.param.lower()}", request.param) as found:
        yield found


@pytest.fixture
def one(shared: Shared) -> Iterator[Living]:
    """Where the mode does not matter."""
    with living(shared, "one") as found:
        yield found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _page(port: int) -> str:
    """What the server says, once it listens."""
    end = time.monotonic() + 20
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/page")
            return connection.getresponse().read().decode()
        except ConnectionError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_the_life_of_a_server(box: Living) -> None:
    shared, port = box.shared, _free_port()
    script = (
        "mkdir -p /www; echo $GREETING >/www/page; echo serving; "
        f"exec httpd -f -vv -p 127.0.0.1:{port} -h /www"
    )
    options = (f"--execmode={box.mode}", "-e", "GREETING=hello", "-w", "/tmp")
    identity = box.run("sh", "-c", script, options=options).out.strip()
    assert len(identity) == 32
    assert _page(port) == "hello\n"
    state = box.state()
    assert (state["status"], state["running"], state["exitCode"]) == ("running", True, 0)
    assert goes_on(state["pid"])
    assert "Up " in box.shared("ps").out
    is_told(box("rm", check=False), 125, f"container {box.name} is in use")
    box("start")  # it runs: nothing to do

    # Entered: the same files, the environment and the directory of the run.
    inside = box("exec -e MORE=1", "sh", "-c", "echo $GREETING $MORE $(pwd); cat /www/page")
    assert inside.out == "hello 1 /tmp\nhello\n"
    assert box("exec", "sh", "-c", "exit 9", check=False).code == 9
    assert box("exec -u 33 -w /", "sh", "-c", "id -u; pwd").out == "33\n/\n"
    assert box("exec", "no-such", check=False).code == 127
    box("exec", "sh", "-c", "echo changed >/www/page")
    assert _page(port) == "changed\n"
    assert f"{port}" in box("top").out
    assert box("port").out == f"{port}/tcp -> 127.0.0.1:{port}\n"
    is_told(box("port", "1", check=False), 125, "listens on 1/tcp")

    # Followed, and stopped meanwhile.
    with started(shared, "logs", "-f", "-t", box.name) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline().endswith(b"Z serving\n")
        box("exec -d", "sleep", LONG)
        wait_until(lambda: bool(processes(LONG)))
        box("stop -t 20")
        assert follower.wait(20) == 0
    assert processes(LONG) == []
    state = box.state()
    assert (state["status"], state["pid"]) == ("exited", 0)
    assert state["exitCode"] in (0, 128 + signal.SIGTERM)
    assert box("wait").out == f"{state['exitCode']}\n"
    assert "Exited (" in shared("ps").out
    is_told(box("exec", "true", check=False), 125, "does not run", "udocker start")

    # Once more, as it was made; then an image of it.
    box("start")
    assert _page(port) == "hello\n"
    box("restart -t 20")
    assert _page(port) == "hello\n"
    box("kill")
    assert box("wait").out == "137\n"
    image = f"served-{box.mode.lower()}"
    box("commit", image)
    assert shared("run", "-q", "--rm", image, "cat", "/www/page").out == "hello\n"
    # And elsewhere, by an archive.
    archive = str(shared.home / f"{image}.tar")
    shared("save", "-q", "-o", archive, image)
    shared("rmi", image)
    box("rm")
    shared("load", "-q", "-i", archive)
    os.unlink(archive)
    words = ("run", "-q", "-d", f"--name={box.name}", f"--execmode={box.mode}", image)
    shared(*words, "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", "/www")
    assert _page(port) == "hello\n"
    box("rm -f")
    shared("rmi", image)


@pytest.mark.parametrize("mode", ["R2", "R3", "F1", "F2", "F4", "P2", "S1"])
def test_exec_in_the_other_modes(shared: Shared, refusals: dict[str, str], mode: str) -> None:
    """Other programs on the same files, with the run's environment, which end with it."""
    need(refusals, mode)
    image = shared.image(DEBIAN)
    with living(shared, f"exec-{mode.lower()}", mode) as box:
        words = ("run", "-q", "-d", f"--name={box.name}", f"--execmode={mode}", "-e", "A=run")
        shared(*words, "-w", "/tmp", image, "sh", "-c", f"echo made >/made; sleep {LONG}")
        wait_until(lambda: box("exec", "test", "-s", "/made", check=False).code == 0)
        script = "cat /made; echo $A $B $(pwd); echo more >/more; exit 7"
        ended = box("exec -e B=exec", "sh", "-c", script, check=False)
        assert (ended.code, ended.out) == (7, "made\nrun exec /tmp\n")
        assert box("exec", "cat", "/more").out == "more\n"
        assert box("exec -i", "cat", input="typed\n").out == "typed\n"
        assert box("exec", "no-such", check=False).code == 127
        box("exec -d", "sleep", OTHER)
        wait_until(lambda: bool(processes(OTHER)))
        box("stop -t 20")
        assert processes(LONG) == processes(OTHER) == []


@pytest.mark.parametrize("victim", ["supervisor", "keeper", "command", "all"])
def test_kill_9_of_anybody(one: Living, victim: str) -> None:
    """The container ends with whoever is killed, and ps says so."""
    one.run("sh", "-c", f"sleep {LONG} & sleep {LONG}; true")
    wait_until(lambda: len(processes(LONG)) == 2)
    everybody = (one.supervisor(), one.keeper(), one.state()["pid"])
    chosen = dict(zip(("supervisor", "keeper", "command"), everybody))
    killed = everybody if victim == "all" else (chosen[victim],)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # nobody acts before all are killed
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):  # it has ended with its parent
                os.kill(pid, number)
    wait_until(lambda: not one.state()["running"])
    state = one.state()
    assert (state["status"], state["exitCode"]) == ("exited", 137)
    if victim == "all":  # nobody was left who could end the rest, or note it
        assert state["finishedAt"] == ""
        for pid in processes(LONG):
            os.kill(pid, signal.SIGKILL)
    else:
        wait_until(lambda: not processes(LONG))
    one.shared("prune")
    one("start")
    assert one.state()["running"]


def test_a_container_of_rm_goes_with_its_supervisor(one: Living) -> None:
    one.run("sleep", LONG, options=("--rm",))
    os.kill(one.supervisor(), signal.SIGKILL)
    wait_until(lambda: one.name not in one.shared("ps").out)
    assert processes(LONG) == []


def test_the_status_of_a_container_of_rm_is_told_to_who_waits(one: Living) -> None:
    one.run("sh", "-c", "read x; exit 5", options=("--rm", "-i"))
    with started(one.shared, "wait", one.name) as waiting:
        time.sleep(0.3)
        assert one("attach", input="x\n", check=False).code == 5
        assert waiting.communicate()[0] == b"5\n"
    is_told(one("wait", check=False), 125, "no such container")


def test_output_is_kept_as_it_came(one: Living) -> None:
    script = r"printf 'a\n\377b\n'; echo c >&2; sleep 0.3; printf 'd'; exit 3"
    one.run("sh", "-c", script)
    assert one("wait").out == "3\n"
    with started(one.shared, "logs", one.name) as reading:
        assert reading.communicate() == (b"a\n\xffb\nd", b"c\n")
    assert one("logs --tail 1").out == "d"
    moment = one("logs -t --tail 1").out.split()[0]
    assert one(f"logs --since {moment}").out == "d"
    assert one(f"logs --tail 1 --until {moment}").out == "d"
    assert one("logs --until 1h").out == ""
    first, *_ = Path(one.folder(), "log").read_text(encoding="utf-8").splitlines()
    assert set(json.loads(first)) == {"log", "stream", "time"}


def test_a_log_has_a_limit(one: Living) -> None:
    image = one.shared.image(BUSYBOX)
    words = ("run", "-q", "-d", f"--name={one.name}", image, "sh", "-c", "seq 5000")
    one.shared(*words, env={"UDOCKER_MAX_LOG_BYTES": "100K"})
    one("wait")
    printed = one("logs").out.split()
    assert printed[-1] == "5000"
    assert 1000 < len(printed) < 4000
    assert os.path.getsize(f"{one.folder()}/log") <= 100 << 10


def test_signals_that_were_chosen(one: Living) -> None:
    trap = 'trap "echo usr; exit 8" USR1; trap "" TERM; echo up; while :; do sleep 0.1; done'
    one.run("sh", "-c", trap, options=("--stop-signal=USR1", "--init"))
    wait_until(lambda: one("logs").out == "up\n")
    one("kill -s TERM")
    one("stop")
    assert one("wait").out == "8\n"
    one("start")
    wait_until(lambda: one("logs").out.count("up") == 2)
    began = time.monotonic()
    one("kill -s STOP")
    one("stop -t 1")  # it heeds nothing, and is killed
    assert time.monotonic() - began < 15
    assert one("wait").out == "137\n"


def test_a_pause(one: Living) -> None:
    one.run("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/count; done")
    one("pause")
    assert one.state()["status"] == "paused"
    assert "(Paused)" in one.shared("ps").out
    for word in ("pause", "attach", "exec"):
        words = ("true",) if word == "exec" else ()
        is_told(one(word, *words, check=False), 125, "is paused")
    before = json.loads(one("stats --no-stream --json").out)[0]
    assert before["cpuPercent"] == 0.0
    one("unpause")
    wait_until(lambda: json.loads(one("stats --no-stream --json").out)[0]["cpuPercent"] > 0)
    is_told(one("unpause", check=False), 125, "is not paused")
    actions = [line.split()[2] for line in one.shared("events", "--since", "10m").out.splitlines()]
    assert actions[-4:] == ["create", "start", "pause", "unpause"]


def test_what_runs_in_the_foreground_is_seen(one: Living) -> None:
    shared, image = one.shared, one.shared.image(BUSYBOX)
    words = ["run", "-q", "--execmode=N1", f"--name={one.name}", image, "sleep", LONG]
    with started(shared, *words) as child:
        wait_until(lambda: bool(processes(LONG)))
        assert one.state()["pid"] == child.pid
        assert one("exec", "echo", "in").out == "in\n"
        is_told(one("logs", check=False), 125, "in the foreground")
        is_told(one("pause", check=False), 125, "in the foreground")
        one("exec -d", "sleep", OTHER)
        one("stop")
        assert child.wait(20) == -signal.SIGTERM
        wait_until(lambda: not processes(OTHER))
    assert one.state()["exitCode"] is None
    is_told(one("wait", check=False), 125, "nobody knows")
    one("start")  # as it was made, and now somebody is there who notes it
    assert one.state()["running"]


def test_what_was_made_is_what_starts(one: Living) -> None:
    variables = one.shared.home / "variables"
    variables.write_text("A=file\nB=file\n")
    cidfile = one.shared.home / "cid"
    image = one.shared.image(BUSYBOX)
    options = ("-q", "--name=one", "-e", "B=option", f"--env-file={variables}", "-w", "/tmp")
    words = ("create", *options, f"--cidfile={cidfile}", image, "sh", "-c", "echo $A $B; pwd")
    made = one.shared(*words).out.strip()
    assert cidfile.read_text() == made
    variables.unlink()
    assert one.state()["status"] == "created"
    is_told(one("wait", check=False), 125, "nobody knows")
    assert one("start -a").out == "file option\n/tmp\n"
    assert one("start -a").out == "file option\n/tmp\n"
    again = one.shared("create", f"--cidfile={cidfile}", image, check=False)
    is_told(again, 2, "File exists")
    cidfile.unlink()


def test_many_at_once(shared: Shared) -> None:
    names = [f"many{number}" for number in range(20)]
    image = shared.image(BUSYBOX)
    try:
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        words = ("run", "-q", "-d", image, "sleep", LONG)
        runs = [shared.start([*words[:3], f"--name={name}", *words[3:]], **quiet) for name in names]
        assert [run.wait() for run in runs] == [0] * len(names)
        states = [row["state"] for row in shared.containers() if set(row["names"]) & set(names)]
        assert states == ["running"] * len(names)
        stops = [shared.start(["stop", name], **quiet) for name in names]
        assert [stop.wait() for stop in stops] == [0] * len(names)
        assert processes(LONG) == []
    finally:
        shared("rm", "-f", *names)


def _elsewhere(one: Living, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script on another node, as it seems: its processes and its names are its own."""
    words = ["unshare", "-Urpfn", "--uts", "--mount-proc", "sh", "-c", f"hostname other; {script}"]
    return subprocess.run(
        [*words[:-1], words[-1].replace("udocker", " ".join(command()))],
        env={**one.shared.environment(), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_another_node(one: Living) -> None:
    """Other pid, uts and network namespaces, and one store: what runs elsewhere is seen."""
    one.run("sleep", LONG)
    words = ("ps", "stop one", "exec one true", "start one", "rm one")
    away = _elsewhere(one, "; ".join(f"udocker {each}" for each in words))
    assert f"on {os.uname().nodename}" in away.stdout, away
    assert away.stderr.count("runs on") == 2, away
    assert "is in use" in away.stderr
    assert one.state()["running"]


def test_another_node_of_which_nothing_is_heard_any_more(
    one: Living, faults: Path, tmp_path: Path
) -> None:
    """On a filesystem of both, where locks are of one node: what goes on is touched."""
    mounts = tmp_path / "mounts"
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    mounts.write_text(re.sub(r" - \S+ ", " - nfs4 ", table), encoding="utf-8")
    env = {"LD_PRELOAD": str(faults), "FAULT_LOCKS": "mine", "FAULT_MOUNTS": str(mounts)}
    image = one.shared.image(BUSYBOX)
    one.shared("run", "-q", "-d", "--name=one", image, "sleep", LONG, env=env)
    begun, old = f"{one.folder()}/begun", time.time() - 1000
    os.utime(begun, (old, old))
    wait_until(lambda: os.stat(begun).st_mtime > old + 500)  # by who supervises it
    away = _elsewhere(one, "udocker ps", **env)
    assert f"on {os.uname().nodename}" in away.stdout, away
    everybody = (one.supervisor(), one.keeper(), one.state()["pid"])
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in everybody:
            os.kill(pid, number)
    wait_until(lambda: not any(map(goes_on, everybody)))
    assert one.state()["status"] == "exited"  # here that is known at once
    assert f"on {os.uname().nodename}" in _elsewhere(one, "udocker ps", **env).stdout
    os.utime(begun, (old, old))
    away = _elsewhere(one, "udocker ps", **env)
    assert "Exited (137)" in away.stdout, away


@pytest.mark.parametrize(
    "word",
    [
        "start",
        "stop",
        "restart",
        "kill",
        "wait",
        "attach",
        "logs",
        "pause",
        "unpause",
        "top",
        "port",
    ],
)
def test_containers_that_are_not_there(shared: Shared, word: str) -> None:
    is_told(shared(word, "nobody", check=False), 125, "no such container: nobody")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("kill", "-s", "NOPE", "x"), "not a signal"),
        (("run", "-d", "--stop-signal=99", "x"), "not a signal"),
        (("stop", "-t", "soon", "x"), "not a number of seconds"),
        (("run", "--stop-timeout=soon", "x"), "not a number of seconds"),
        (("run", "--detach-keys=ctrl-", "x"), "not a key"),
        (("logs", "--tail", "few", "x"), "not a number of lines"),
        (("logs", "--since", "yesterday", "x"), "not a point of time"),
        (("events", "--since", "13:61"), "not a point of time"),
        (("start", "-a", "x", "y"), "only one container"),
        (("exec", "x"), "an argument is missing"),
    ],
)
def test_words_that_mean_nothing(shared: Shared, words: tuple[str, ...], what: str) -> None:
    is_told(shared(*words, check=False), 2, what)


def test_states_in_which_it_cannot_be_done(one: Living) -> None:
    image = one.shared.image(BUSYBOX)
    one.shared("create", "-q", "--name=one", image, "true")
    one("stop")  # as Docker: one that does not run is stopped
    for word in ("kill", "pause", "unpause", "attach", "top"):
        is_told(one(word, check=False), 125, "container one does not run", "udocker start one")
    assert one("logs").out == ""
    # One of several: the others are done all the same.
    result = one.shared("stop", "nobody", "one", check=False)
    is_told(result, 125, "no such container: nobody")
    assert result.out == "one\n"
    # A command that is not there: told at once, and the container is there.
    ended = one.shared("run", "-q", "-d", "--name=two", image, "no-such", check=False)
    is_told(ended, 127, "no-such", hint=False)
    one.shared("rm", "-f", "two")


def test_a_record_that_is_damaged(one: Living) -> None:
    image = one.shared.image(BUSYBOX)
    one.shared("create", "-q", "--name=one", image, "true")
    path = os.path.dirname(one.folder()) + "/container.json"
    with open(path, encoding="utf-8") as stream:
        record = json.load(stream)
    record["request"]["command"] = "no list"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(record, stream)
    is_told(one("start", check=False), 125, "is damaged", "udocker fsck")
    record["request"] = {"target": "x", "command": ["true"], "of-a-newer-udocker": {"a": 1}}
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(record, stream)
    assert one("start -a").code == 0
    one("setup --execmode=P1")
    with open(path, encoding="utf-8") as stream:
        assert json.load(stream)["request"]["of-a-newer-udocker"] == {"a": 1}


def test_a_store_that_is_only_read(one: Living) -> None:
    one.shared("create", "-q", "--name=one", one.shared.image(BUSYBOX), "true")
    folder = os.path.dirname(one.folder())
    os.chmod(folder, 0o500)
    try:
        is_told(one("start", check=False), 125, "Permission denied", "a store you may write")
        assert one.state()["status"] == "created"
    finally:
        os.chmod(folder, 0o700)
