"""The parents of a command: signals to it, no orphans, and somebody left to clean up."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from builders.processes import (
    PATIENCE,
    Reader,
    environment,
    is_alive,
    state,
    wait_for,
)
from udocker.engine.processes import children
from udocker.model.launch import Launch, RemoveTree, WriteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

PATH = "/usr/bin:/bin"
# Says which signals it gets, one a line, until SIGUSR1; then it ends with status 33.
LISTENER = """
import os, signal, sys
def say(text):
    os.write(1, text.encode() + b"\\n")  # print may not be called in the middle of a print
def note(number, frame):
    say(signal.Signals(number).name)
names = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGCONT"]
for name in names:
    signal.signal(getattr(signal, name), note)
signal.signal(signal.SIGUSR1, lambda number, frame: sys.exit(33))
say(f"ready {os.getpid()}")
while True:
    signal.pause()
"""
# A tracer, as far as signals go: it heeds none, and gives the status of its only child.
GO_BETWEEN = """
import signal, subprocess, sys
for number in (1, 2, 3, 10, 12, 14, 15, 28):
    signal.signal(number, lambda number, frame: None)
code = subprocess.call(sys.argv[1:])
sys.exit(255 if code < 0 else code)
"""
# As runc: the command is an orphan in a session of its own, perhaps before the starter has ended.
STARTER = """
import os, sys, time
pid_file, before, after = sys.argv[1:4]
reader, writer = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        os.write(writer, b"%d" % os.getpid())
        time.sleep(float(before))
        os.execvp(sys.argv[4], sys.argv[4:])
    os._exit(0)
with open(pid_file, "wb") as stream:
    stream.write(os.read(reader, 20))
time.sleep(float(after))
"""
WAYS = ("clean", "tracer", "detached")


class Running:
    """A launch that goes on in a process of its own, the front."""

    def __init__(self, launch: Launch, how: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "builders.launcher", how, repr(launch)],
            env=environment(),
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )
        assert self.process.stdout is not None
        self._reader = Reader(self.process.stdout.fileno())

    def line(self) -> str:
        return self._reader.until(b"\n").decode().rstrip("\n")

    def pid(self) -> int:
        """The process id at the end of a line."""
        return int(self.line().split()[-1])

    def send(self, *numbers: int) -> None:
        for number in numbers:
            self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for it: the exit code, and what it still said."""
        rest = self._reader.until(b"no such word").decode()
        return self.process.wait(PATIENCE), rest


class Start:
    """Starts launches; what is left of them at the end of the test is killed."""

    def __init__(self, tmp_path: Path) -> None:
        self.cleaned = tmp_path / "cleaned"
        self.made = tmp_path / "made"
        self.running: list[Running] = []

    def __call__(
        self,
        *argv: str,
        way: str = "clean",
        times: tuple[str, str] = ("0", "0"),
        go_betweens: int = 1,
        how: str = "clean",
        **options: Any,
    ) -> Running:
        tracer = way == "tracer"
        pid_file = f"{self.made}/pid" if way == "detached" else ""
        if pid_file:
            argv = (sys.executable, "-c", STARTER, pid_file, *times, *argv)
        if tracer:
            argv = (*(sys.executable, "-c", GO_BETWEEN) * go_betweens, *argv)
        launch = Launch(
            argv=argv,
            env=(("PATH", PATH),),
            cwd="/",
            steps=(WriteFile(f"{self.made}/file", b""),),
            undo=(RemoveTree(str(self.made)),),
            go_betweens=go_betweens if tracer else 0,
            pid_file=pid_file,
        )
        started = Running(launch, f"{how}={self.cleaned}", **options)
        self.running.append(started)
        return started

    def is_clean(self) -> bool:
        # The file is there a moment before what is written to it.
        is_written = self.cleaned.exists() and self.cleaned.stat().st_size > 0
        return is_written and not self.made.exists()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    starter = Start(tmp_path)
    yield starter
    for running in starter.running:
        running.process.kill()
        running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()


# Signals


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGCONT"]
)
def test_signals_to_the_front_reach_the_command_once(start: Start, way: str, name: str) -> None:
    running = start(sys.executable, "-c", LISTENER, way=way)
    assert running.line().startswith("ready")
    running.send(getattr(signal, name))
    assert running.line() == name
    running.send(signal.SIGUSR1)
    assert running.end() == (33, "")
    assert start.is_clean()


@pytest.mark.parametrize("whom", ["all", "all, late", "the group", "the front"])
@pytest.mark.parametrize("way", WAYS)
def test_a_signal_of_a_batch_system_comes_once(start: Start, way: str, whom: str) -> None:
    """Whether it is for every process, for those of the first one's group, or for the first."""
    running = start(sys.executable, "-c", LISTENER, way=way, how="job", start_new_session=True)
    command = running.pid()
    front = running.process.pid
    for _ in range(2):
        if whom == "the group":
            os.killpg(front, signal.SIGTERM)
        elif whom == "the front":
            os.kill(front, signal.SIGTERM)
        else:
            [keeper] = children(front)
            others = [pid for pid in children(keeper) if pid != command]  # perhaps a tracer
            everybody = [front, keeper, *others, command]
            for pid in everybody if whom == "all" else everybody[::-1]:
                os.kill(pid, signal.SIGTERM)
        assert running.line() == "SIGTERM"
        time.sleep(0.3)  # until then any that is passed on has come
    os.kill(command, signal.SIGUSR1)
    assert running.end() == (33, "")
    assert start.is_clean()


@pytest.mark.parametrize("whom", ["all", "the front"])
def test_a_signal_of_a_batch_system_while_the_command_is_started(start: Start, whom: str) -> None:
    """It waits for the command; what comes to the front late is the same one."""
    words = (sys.executable, "-c", LISTENER)
    options: dict[str, Any] = {"how": "job", "start_new_session": True}
    running = start(*words, way="detached", times=("0", "1"), **options)
    command = running.pid()
    front = running.process.pid
    [keeper] = children(front)
    os.kill(keeper if whom == "all" else front, signal.SIGTERM)
    assert running.line() == "SIGTERM"
    if whom == "all":
        os.kill(front, signal.SIGTERM)
        time.sleep(0.3)  # until then it has come, if it is passed on
    os.kill(command, signal.SIGUSR1)
    assert running.end() == (33, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("way", WAYS)
def test_a_signal_that_the_command_does_not_handle(
    start: Start, way: str, number: int, code: int
) -> None:
    running = start("sh", "-c", "echo $$; exec sleep 1000", way=way)
    pid = running.pid()
    wait_for(lambda: command_line(pid).startswith(b"sleep"))
    running.send(number)
    assert running.end() == (code, "")
    assert start.is_clean()


def command_line(pid: int) -> bytes:
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/cmdline", "rb") as stream:
        return stream.read()
    return b""


@pytest.mark.parametrize("way", WAYS)
def test_a_command_may_survive_a_signal(start: Start, way: str) -> None:
    text = "trap 'echo caught' TERM; echo ready; while ! test -e $0; do sleep 0.02; done; exit 5"
    stop = start.cleaned.parent / "stop"
    running = start("sh", "-c", text, str(stop), way=way)
    assert running.line() == "ready"
    running.send(signal.SIGTERM)
    assert running.line() == "caught"
    stop.write_bytes(b"")
    assert running.end() == (5, "")


def test_a_status_of_255_is_no_signal(start: Start) -> None:
    """PRoot says 255 for a command that a signal ended, and a command may say it too."""
    assert start("sh", "-c", "exit 255", way="tracer").end() == (255, "")
    running = start(
        sys.executable, "-c", LISTENER.replace("sys.exit(33)", "os._exit(255)"), way="tracer"
    )
    assert running.line().startswith("ready")
    running.send(signal.SIGWINCH)
    assert running.line() == "SIGWINCH"
    running.send(signal.SIGCONT)
    assert running.line() == "SIGCONT"
    os.kill(children(children_of_front(running)[0])[0], signal.SIGUSR1)
    assert running.end()[0] == 255


def test_signals_go_down_past_all_go_betweens(start: Start) -> None:
    running = start(sys.executable, "-c", LISTENER, way="tracer", go_betweens=2)
    assert running.line().startswith("ready")
    running.send(signal.SIGUSR2)
    assert running.line() == "SIGUSR2"
    running.send(signal.SIGUSR1)
    assert running.end() == (33, "")


def children_of_front(running: Running) -> list[int]:
    """The command, or the go-between: the children of the keeper."""
    [keeper] = children(running.process.pid)
    return children(keeper)


# A command that another program starts


@pytest.mark.parametrize("times", [("0", "0"), ("0.3", "0"), ("0", "0.3")])
def test_the_status_is_that_of_what_was_started(start: Start, times: tuple[str, str]) -> None:
    for text, code in (("exit 6", 6), ("kill -9 $$", 137), ("exit 0", 0)):
        assert start("sh", "-c", text, way="detached", times=times).end() == (code, "")


@pytest.mark.parametrize("times", [("1", "0"), ("0", "1")])
def test_a_signal_that_comes_too_early_is_not_lost(start: Start, times: tuple[str, str]) -> None:
    running = start("sh", "-c", "exec sleep 1000", way="detached", times=times)
    wait_for((start.made / "pid").exists)
    running.send(signal.SIGTERM)
    assert running.end() == (143, "")
    assert start.is_clean()


@pytest.mark.parametrize("status", [1, 255])
def test_a_starter_that_fails_is_no_command_that_fails(start: Start, status: int) -> None:
    script = f"import sys; sys.exit({status})"
    launch = Launch((sys.executable, "-c", script), (), "/", pid_file="/nowhere/pid")
    running = Running(launch, f"clean={start.cleaned}")
    start.running.append(running)
    assert running.end() == (125, "")
    assert start.is_clean()


# Orphans


@pytest.mark.parametrize("trap", ["", "trap '' TERM HUP INT;"])
@pytest.mark.parametrize("way", WAYS)
def test_sigkill_of_the_front_leaves_nothing(start: Start, way: str, trap: str) -> None:
    text = "sleep 1000 & echo $!; (setsid sleep 1000 & echo $!); echo $$; sleep 1000; true"
    running = start("sh", "-c", trap + text, way=way)
    pids = [running.pid() for _ in range(3)]
    assert all(is_alive(pid) for pid in pids)
    running.process.kill()
    assert running.process.wait() == -9
    wait_for(lambda: not any(map(is_alive, pids)))
    wait_for(start.is_clean)
    assert start.cleaned.read_text() == "cleaned\n"


@pytest.mark.parametrize("way", ["clean", "tracer"])
def test_sigkill_of_the_keeper_ends_the_command(start: Start, way: str) -> None:
    running = start("sh", "-c", "echo $$; exec sleep 1000", way=way)
    pid = running.pid()
    [keeper] = children(running.process.pid)
    [child] = children(keeper)
    os.kill(keeper, signal.SIGKILL)
    assert running.process.wait(PATIENCE) == 137
    wait_for(lambda: not is_alive(child))
    if way == "clean":
        assert pid == child
    else:
        with contextlib.suppress(ProcessLookupError):  # PRoot would take it along
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "text",
    [
        "sleep 1000 & echo $!",
        "(sleep 1000 & echo $!) &  wait",
        "setsid sh -c 'sleep 1000 & echo $!'",
        "nohup sleep 1000 2>&1 & echo $!",
        "(trap '' TERM HUP INT; echo $(sh -c 'echo $PPID'); exec sleep 1000) & sleep 0.1",
    ],
)
def test_what_a_command_leaves_behind_is_ended(start: Start, text: str) -> None:
    running = start("sh", "-c", f"{text}; exit 4")
    assert running.process.wait(PATIENCE) == 4
    assert not is_alive(running.pid())
    assert start.is_clean()


def test_orphans_that_end_are_not_left_as_zombies(start: Start) -> None:
    text = "for i in 1 2 3 4 5; do (sh -c 'true' &); done; echo done; read x < $0"
    fifo = start.cleaned.parent / "fifo"
    os.mkfifo(fifo)
    running = start("sh", "-c", text, str(fifo))
    assert running.line() == "done"
    [keeper] = children(running.process.pid)
    wait_for(lambda: len(children(keeper)) == 1)
    fifo.write_text("go\n")
    assert running.end()[0] == 0


# Stop and continue


def test_a_stopped_command_stops_the_front_which_continues_it(start: Start) -> None:
    running = start(sys.executable, "-c", LISTENER)
    pid = running.pid()
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: state(running.process.pid) == "T")
    assert state(pid) == "T"
    running.send(signal.SIGCONT)
    assert running.line() == "SIGCONT"
    running.send(signal.SIGUSR1)
    assert running.end() == (33, "")


# A shell with job control: runs its arguments in the foreground, and says how they change.
SHELL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
job = os.fork()
if job == 0:
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpid())
    print("stopped", flush=True)
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
print("status", os.WTERMSIG(status) + 128 if os.WIFSIGNALED(status) else status >> 8, flush=True)
"""


class Terminal:
    """A terminal with that shell in it."""

    def __init__(self, *argv: str, tmp_path: Path, in_job: bool = False) -> None:
        self.master, self._slave = pty.openpty()
        pid_file = f"{tmp_path}/pid" if in_job else ""
        if in_job:
            argv = (sys.executable, "-c", STARTER, pid_file, "0", "0", *argv)
        launch = Launch(argv=argv, env=(("PATH", PATH),), cwd="/", pid_file=pid_file)
        how = "job" if in_job else "clean"
        front = [sys.executable, "-m", "builders.launcher", f"{how}={tmp_path}/cleaned"]
        self.shell = subprocess.Popen(
            [sys.executable, "-c", SHELL, *front, repr(launch)],
            env=environment(),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
        )
        self.until = Reader(self.master).until

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> None:
        self.shell.kill()
        self.shell.wait()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens a terminal with a program in it."""
    opened: list[Terminal] = []

    def start(program: str, in_job: bool = False) -> Terminal:
        argv = (sys.executable, "-c", program)
        opened.append(Terminal(*argv, tmp_path=tmp_path, in_job=in_job))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


@pytest.fixture
def terminal(open_terminal: Callable[[str], Terminal]) -> Terminal:
    return open_terminal(LISTENER)


def listener(terminal: Terminal) -> int:
    """Wait until the command listens; its process id."""
    terminal.until(b"ready ")
    return int(terminal.until(b"\n"))


def test_keys_reach_the_command(terminal: Terminal) -> None:
    pid = listener(terminal)
    terminal.press(b"\x03")
    terminal.until(b"SIGINT")
    terminal.press(b"\x1c")
    terminal.until(b"SIGQUIT")
    os.kill(parent(parent(pid)), signal.SIGUSR1)
    terminal.until(b"status 33")


def test_keys_are_not_passed_on(open_terminal: Callable[[str], Terminal]) -> None:
    """The terminal sends to the whole group. This command is in another: it must hear nothing."""
    terminal = open_terminal(LISTENER.replace("say(f", "os.setpgid(0, 0)\nsay(f"))
    pid = listener(terminal)
    for key, echo in ((b"\x03", b"^C"), (b"\x1c", b"^\\")):
        terminal.press(key)
        terminal.until(echo)  # the signal was sent before
    os.kill(parent(parent(pid)), signal.SIGUSR1)
    assert b"SIG" not in terminal.until(b"status 33")


def test_a_job_can_be_stopped_and_continued(terminal: Terminal) -> None:
    pid = listener(terminal)
    terminal.press(b"\x1a")
    terminal.until(b"stopped")
    terminal.until(b"SIGCONT")
    wait_for(lambda: state(pid) == "S")
    terminal.press(b"\x03")
    terminal.until(b"SIGINT")
    os.kill(parent(parent(pid)), signal.SIGUSR1)
    terminal.until(b"status 33")


def test_keys_reach_a_command_in_another_session_in_a_batch_job(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal = open_terminal(LISTENER, in_job=True)
    pid = listener(terminal)
    terminal.press(b"\x03")
    terminal.until(b"SIGINT")
    terminal.press(b"\x1c")
    terminal.until(b"SIGQUIT")
    os.kill(pid, signal.SIGUSR1)
    terminal.until(b"status 33")


def parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
        return int(stream.read().rpartition(")")[2].split()[1])
