"""From the start of a run to its end: signals, orphans, and many at once, in every mode."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from e2e.checks import is_told
from e2e.engines import BUSYBOX, PATIENCE
from udocker.engine import table
from udocker.model.features import UNION_ROOT

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from e2e.engines import Inside, Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

# Kept containers are another way to run: without --rm the command may take udocker's place.
KINDS = ("--rm", "kept")
kinds = pytest.mark.parametrize("kind", KINDS)
requests = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name
)


@pytest.fixture
def kept(inside: Inside, shared: Shared) -> Iterator[str]:
    """A container that is there, whose files are ready for the mode."""
    name = f"kept-{inside.mode.lower()}"
    shared("create", f"--name={name}", shared.image(BUSYBOX))
    shared("run", "-q", f"--execmode={inside.mode}", name, "true")
    yield name
    shared("rm", "-f", name)  # in some modes what a command left behind may still run


@contextlib.contextmanager
def running(
    inside: Inside, kept: str, kind: str, script: str, marker: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """A shell that has said "ready", and whose processes all go at the end."""
    words = inside.words("sh", "-c", script)
    if kind == "kept":
        words = ("run", "-q", f"--execmode={inside.mode}", kept, "sh", "-c", script)
    with inside.shared.start(words, start_new_session=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n", child.communicate()
            yield child
        finally:
            child.kill()
            for pid in processes(marker) if marker else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def processes(marker: str) -> list[int]:
    """The processes of this host that have ``marker`` in their command lines."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(name)
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                if marker.encode() in stream.read():
                    found.append(pid)
    return found


def is_gone(marker: str) -> bool:
    """Whether no process with ``marker`` is left, now or after a while."""
    end = time.monotonic() + PATIENCE
    while processes(marker) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes(marker)


def unique(inside: Inside) -> str:
    """A number of seconds that no other process of this host sleeps, by any mode's test."""
    return f"{100000 + time.monotonic_ns() % 900000}.{os.getpid()}"


def code(child: subprocess.Popen[bytes]) -> int:
    """The exit code as a shell has it."""
    returned = child.wait(PATIENCE)
    return 128 - returned if returned < 0 else returned


# Signals


@kinds
@requests
def test_a_signal_reaches_the_program(
    inside: Inside, kept: str, kind: str, number: signal.Signals
) -> None:
    name = number.name[3:]
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.02; done"
    with running(inside, kept, kind, script) as child:
        child.send_signal(number)
        out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out, err) == (9, f"got {name}\n".encode(), b"")


@kinds
@requests
def test_a_signal_ends_a_program_that_does_nothing_about_it(
    inside: Inside, kept: str, kind: str, number: signal.Signals
) -> None:
    with running(inside, kept, kind, "echo ready; exec sleep 1000") as child:
        child.send_signal(number)
        assert code(child) == 128 + number


def test_a_program_may_ignore_a_signal(inside: Inside, kept: str) -> None:
    script = "trap '' TERM; trap 'echo usr' USR1; echo ready; read line; echo $line; exit 5"
    with running(inside, kept, "--rm", script) as child:
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(b"still here\n", timeout=PATIENCE)
    assert (child.returncode, out) == (5, b"still here\n")


def test_every_signal_is_passed_on_once(inside: Inside, kept: str) -> None:
    script = """
        trap 'echo one' USR1; trap 'echo two' USR2; trap 'echo end; exit 0' TERM
        echo ready; while :; do sleep 0.02; done
    """
    with running(inside, kept, "--rm", script) as child:
        assert child.stdout is not None
        for number, line in ((signal.SIGUSR1, b"one\n"), (signal.SIGUSR2, b"two\n")) * 3:
            child.send_signal(number)
            assert child.stdout.readline() == line
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out) == (0, b"end\n")


def test_a_stopped_run_goes_on(inside: Inside, kept: str) -> None:
    with running(inside, kept, "kept", "echo ready; read line; echo $line") as child:
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        child.send_signal(signal.SIGCONT)
        out, _ = child.communicate(b"on\n", timeout=PATIENCE)
    assert (child.returncode, out) == (0, b"on\n")


# What is left


def many(marker: str, end: str) -> str:
    """A shell with children of every kind: its own, orphans, and one in a session of its own."""
    quiet = f"sleep {marker} >/dev/null 2>&1 </dev/null"
    return f"{quiet} & ({quiet} &); setsid {quiet} & echo ready; {end}"


@kinds
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_nothing_is_left_of_a_run_that_was_ended(
    inside: Inside, kept: str, shared: Shared, kind: str, number: signal.Signals
) -> None:
    marker = unique(inside)
    before = len(shared.containers())
    script = f"echo ready; sleep {marker} </dev/null >/dev/null 2>&1; true"
    with running(inside, kept, kind, script, marker) as child:
        child.send_signal(number)
        child.wait(PATIENCE)
        if is_replaced(inside, kind):
            # The command was udocker's process: what it had begun is as it would be without.
            assert not [pid for pid in processes(marker) if pid == child.pid]
        else:
            assert is_gone(marker)
    if kind == "--rm" and number == signal.SIGTERM:
        assert len(shared.containers()) <= before


@kinds
def test_what_runs_on_in_the_background_ends_with_the_command(
    inside: Inside, kept: str, kind: str
) -> None:
    marker = unique(inside)
    with running(inside, kept, kind, many(marker, "exit 3"), marker) as child:
        assert child.wait(PATIENCE) == 3
        if is_replaced(inside, kind):
            assert processes(marker)  # nobody is there who could end them: as without udocker
        else:
            assert is_gone(marker)


@kinds
def test_background_processes_do_not_keep_a_killed_run(
    inside: Inside, kept: str, kind: str
) -> None:
    marker = unique(inside)
    with running(inside, kept, kind, many(marker, "wait"), marker) as child:
        child.send_signal(signal.SIGTERM)
        assert code(child) == 128 + signal.SIGTERM
        assert is_replaced(inside, kind) or is_gone(marker)


def is_replaced(inside: Inside, kind: str) -> bool:
    """Whether the command takes udocker's place."""
    return kind == "kept" and inside.is_replaced


def test_a_background_process_that_keeps_the_output_open(inside: Inside, kept: str) -> None:
    """It is the command's end that counts, and not that of its streams."""
    marker = unique(inside)
    script = f"sleep {marker} & echo ready; exit 4"
    with running(inside, kept, "--rm", script, marker) as child:
        assert child.wait(PATIENCE) == 4
        assert is_gone(marker)


@pytest.mark.parametrize("inside", ["R1"], indirect=True)
def test_what_the_runtime_cannot_do_is_no_status_of_the_command(inside: Inside) -> None:
    """It says 1, which programs say too."""
    result = inside("true", options=["-v", "/tmp:/proc/nowhere"], check=False)
    assert result.code == 125, result
    assert "/proc/nowhere" in result.err
    assert inside("sh", "-c", "exit 125", check=False).err == ""


def test_orphans_are_reaped(inside: Inside, kept: str) -> None:
    """A command of many days may leave many: none may stay a zombie until its end."""
    script = """
        for i in 1 2 3 4 5 6 7 8 9 10; do (sh -c 'exec sleep 0.05' &); done
        echo ready; read line
    """
    with running(inside, kept, "--rm", script) as child:
        for _ in range(200):
            states = [state for name, state in below(child.pid) if name == "(sleep)"]
            if not states:
                break
            time.sleep(0.05)
        child.communicate(b"\n", timeout=PATIENCE)
    assert "Z" not in states
    assert child.returncode == 0


def below(pid: int) -> list[tuple[str, str]]:
    """Name and state of all descendants of a process: proc(5)."""
    found = []
    for child in _children(pid):
        with contextlib.suppress(OSError):
            with open(f"/proc/{child}/stat", encoding="utf-8", errors="replace") as stream:
                name, state = stream.read().split(" ", 3)[1:3]
            found += [(name, state), *below(child)]
    return found


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as stream:
            return [int(word) for word in stream.read().split()]
    except OSError:
        return []


def test_a_crash_is_no_success_because_another_program_was_one(inside: Inside) -> None:
    result = inside("sh", "-c", "/bin/busybox true; kill -SEGV $$", check=False)
    assert result.code == inside.signaled(signal.SIGSEGV)


def test_the_status_is_the_command_s_and_not_that_of_the_last_to_end(inside: Inside) -> None:
    # The other one goes on until the command has ended; where it stays a zombie, for a moment.
    wait = "n=0; while [ $n -lt 20000 ] && kill -0 $$ 2>/dev/null; do n=$((n + 1)); done"
    result = inside("sh", "-c", f"({wait}; exit 5) & exit 3", check=False)
    assert result.code == 3


def test_no_run_leaves_anything_in_the_store_or_in_tmp(
    inside: Inside, shared: Shared, kept: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    [container] = [each for each in shared.containers() if kept in each["names"]]
    directory = shared.store / "containers" / container["id"]
    before = sorted(os.listdir(directory))
    for rm in ([], ["--rm"]):
        for program in (["true"], ["false"], ["nowhere"]):
            target = shared.image(BUSYBOX) if rm else kept
            words = ("run", "-q", *rm, f"--execmode={inside.mode}", target, *program)
            shared(*words, check=False, env={"TMPDIR": str(scratch)})
    assert os.listdir(shared.store / "tmp") == []
    assert sorted(os.listdir(directory)) == before
    if (directory / "runs").is_dir():
        assert os.listdir(directory / "runs") == []
    assert os.listdir(scratch) == []


# Many at once


@pytest.mark.parametrize("rm", [True, False])
def test_eight_runs_of_one_image_at_once(inside: Inside, shared: Shared, rm: bool) -> None:
    image = shared.image(BUSYBOX)
    known = {each["id"] for each in shared.containers()}
    options = ["--rm"] if rm else []
    words = ("run", "-q", *options, f"--execmode={inside.mode}", image, "sh", "-c")
    script = "echo $0 >/etc/mine; sleep 0.2; cat /etc/mine; ls / >/dev/null; exit $0"
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(shared.start([*words, script, str(number)])) for number in range(8)
        ]
        ended = [child.communicate(timeout=PATIENCE) for child in children]
    assert ended == [(f"{number}\n".encode(), b"") for number in range(8)]
    assert [child.returncode for child in children] == list(range(8))
    new = [each["id"] for each in shared.containers() if each["id"] not in known]
    assert len(new) == (0 if rm else 8)
    if new:
        shared("rm", *new)


def test_eight_runs_of_one_container_at_once(inside: Inside, shared: Shared) -> None:
    """From the first moment: none has given the container the form that the mode needs."""
    name = f"at-once-{inside.mode.lower()}"
    shared("create", f"--name={name}", shared.image(BUSYBOX))
    words = ("run", "-q", f"--execmode={inside.mode}", name, "sh", "-c")
    script = "echo $0 >/srv-$0; sleep 0.2; cat /srv-$0; exit $0"
    try:
        with contextlib.ExitStack() as stack:
            children = [
                stack.enter_context(shared.start([*words, script, str(number)]))
                for number in range(8)
            ]
            ended = [child.communicate(timeout=PATIENCE) for child in children]
        assert ended == [(f"{number}\n".encode(), b"") for number in range(8)]
        assert [child.returncode for child in children] == list(range(8))
        assert shared(*words, "cat /srv-*").out == "0\n1\n2\n3\n4\n5\n6\n7\n"
    finally:
        shared("rm", name)


def test_a_second_run_does_not_disturb_the_first(inside: Inside, shared: Shared) -> None:
    """Copying up, removing, renaming: what needs overlayfs to have a place to work in."""
    name = f"second-{inside.mode.lower()}"
    shared("create", f"--name={name}", shared.image(BUSYBOX))
    script = """
        echo ready; read line
        echo x >>/etc/passwd && rm /bin/cal && mkdir /home/user/x && mv /etc/os-release /etc/moved
        rm -r /home && mkdir /home && ls -A /home && tail -n1 /etc/passwd; ls /etc/moved /bin/cal
    """
    run = ("run", "-q", f"--execmode={inside.mode}", name, "sh", "-c")
    try:
        with running(inside, name, "kept", script) as child:
            shared(*run, "echo y >/etc/new; mkdir /srv; rm -r /var")
            out, err = child.communicate(b"go\n", timeout=PATIENCE)
        assert (out, err) == (b"x\n/etc/moved\n", b"ls: /bin/cal: No such file or directory\n")
        look = "cd /; ls -d bin/ca? etc/new etc/moved srv var home/* 2>/dev/null; exit 0"
        assert shared(*run, look).out == "bin/cat\netc/moved\netc/new\nsrv\n"
    finally:
        shared("rm", name)


def test_two_runs_write_into_one_directory(inside: Inside, shared: Shared) -> None:
    """Each sees what the other has written, as programs of one system do."""
    name = f"two-{inside.mode.lower()}"
    shared("create", f"--name={name}", shared.image(BUSYBOX))
    script = "ls /tmp; echo ready; read line; echo 1 >/tmp/1 && cat /tmp/1 /tmp/2"
    try:
        with running(inside, name, "kept", script) as child:
            shared("run", "-q", f"--execmode={inside.mode}", name, "sh", "-c", "echo 2 >/tmp/2")
            out, err = child.communicate(b"go\n", timeout=PATIENCE)
        assert (out, err) == (b"1\n2\n", b"")
    finally:
        shared("rm", name)


def test_a_running_container_does_not_change_its_form(
    shared: Shared, works: tuple[str, ...]
) -> None:
    """What the first run would write into the union from then on would be lost."""
    unions = [mode for mode in works if UNION_ROOT in table.find(mode).engine.FEATURES]
    others = [mode for mode in works if mode not in unions]
    if not unions or not others:
        pytest.skip("host: no two modes that work here differ in the form they need")
    shared("create", "--name=form", shared.image(BUSYBOX))
    try:
        words = ("run", "-q", f"--execmode={unions[0]}", "form", "sh", "-c", "echo 1; cat >/last")
        with shared.start(words) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"1\n"
            for asked in (["run", f"--execmode={others[0]}", "form"], ["inspect", "-p", "form"]):
                is_told(shared(*asked, check=False), 125, "is running", "wait")
            child.communicate(b"kept\n", timeout=PATIENCE)
        words = ("run", "-q", f"--execmode={others[0]}", "form", "cat", "/last")
        assert shared(*words).out == "kept\n"
    finally:
        shared("rm", "form")
