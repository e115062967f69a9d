"""Being at a detached container: terminals, keys, sizes, signals, readers that go away."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pexpect
import pytest

from e2e.checks import is_told
from e2e.conftest import command
from e2e.engines import BUSYBOX, PATIENCE, need
from e2e.living import LONG, living, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]
_SIZE = (31, 97)


@contextlib.contextmanager
def terminal(shared: Shared, *words: str) -> Iterator[pexpect.spawn]:
    line = [*command(), *words]
    child = pexpect.spawn(
        line[0],
        line[1:],
        env=shared.environment() | {"TERM": "xterm"},
        dimensions=_SIZE,
        timeout=PATIENCE,
        encoding="utf-8",
    )
    child.ptyproc.delayafterterminate = 0.5
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.mark.parametrize("mode", ["N1", "F3", "P1", "R1"])
def test_a_terminal_of_its_own(shared: Shared, refusals: dict[str, str], mode: str) -> None:
    need(refusals, mode)
    with living(shared, f"tty-{mode.lower()}") as box:
        box.run("sh", options=("-it", f"--execmode={mode}", "-e", "PS1=ready> "))
        with terminal(shared, "attach", box.name) as child:
            child.sendline("")
            child.expect_exact("ready> ")
            child.sendline("stty size; [ -t 0 ] && [ -t 1 ] && echo is-a-tty")
            child.expect_exact("{} {}".format(*_SIZE))
            child.expect_exact("is-a-tty")
            child.setwinsize(40, 50)
            wait_until(lambda: "40 50" in _asked(child, "stty size"))
            # A key is a signal of the terminal there, and not of ours.
            child.sendline(f"echo be''gun; sleep {LONG}")
            child.expect_exact("begun")
            child.sendintr()
            child.expect_exact("ready> ")
            child.send("\x10x")  # the first key of both: the command's
            child.send("\x10\x11")
            child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        assert box.state()["running"]
        with terminal(shared, "attach", "--detach-keys=ctrl-x", box.name) as child:
            child.send("\x15\r")
            child.expect_exact("ready> ")
            child.send("\x18")
            child.expect(pexpect.EOF)
        with terminal(shared, "attach", box.name) as child:
            child.sendline("exit 6")
            child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 6
        assert box("wait").out == "6\n"


def _asked(child: pexpect.spawn, line: str) -> str:
    child.sendline(f"{line}; echo answ''ered")
    child.expect_exact("answered")
    return str(child.before)


def test_start_at_a_terminal(shared: Shared) -> None:
    with living(shared, "again") as box:
        image = shared.image(BUSYBOX)
        shared("create", "-q", "-it", "--name=again", "-e", "PS1=ready> ", image, "sh")
        with terminal(shared, "start", "-ai", "again") as child:
            child.expect_exact("ready> ")
            child.sendline("exit 3")
            child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 3
        assert box.state()["exitCode"] == 3


def test_exec_at_a_terminal(shared: Shared) -> None:
    with living(shared, "entered") as box:
        box.run("sleep", LONG)
        with terminal(shared, "exec", "-it", "-e", "PS1=ready> ", "entered", "sh") as child:
            child.expect_exact("ready> ")
            child.sendline("stty size")
            child.expect_exact("{} {}".format(*_SIZE))
            child.sendline(f"echo be''gun; sleep {LONG}")
            child.expect_exact("begun")
            child.sendintr()
            child.expect_exact("ready> ")
            child.sendline("exit 4")
            child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 4


def test_signals_are_passed_on(shared: Shared) -> None:
    with living(shared, "signals") as box:
        box.run("sh", "-c", 'trap "echo got; exit 9" TERM; echo up; while :; do sleep 0.1; done')
        with shared.start(["attach", "--no-stdin", "signals"]) as child:
            try:
                wait_until(lambda: box("logs").out == "up\n")
                wait_until(lambda: _catches(child.pid, signal.SIGTERM))
                child.send_signal(signal.SIGTERM)
                assert child.wait(20) == 9
            finally:
                child.kill()


def _catches(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status", encoding="utf-8") as stream:
        [line] = [line for line in stream if line.startswith("SigCgt:")]
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("words", [("logs", "-f"), ("attach", "--no-stdin")], ids=lambda w: w[0])
def test_a_reader_that_goes_away(shared: Shared, words: tuple[str, ...]) -> None:
    with living(shared, "chatty") as box:
        box.run("sh", "-c", "while :; do echo line; done")
        reading = " ".join([*command(), *words, "chatty"])
        done = subprocess.run(
            ["sh", "-c", f"{reading} | head -1"],
            env=shared.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("line\n", "")
        assert box.state()["running"]


def test_input_by_a_pipe_and_nobody_there(shared: Shared) -> None:
    with living(shared, "reader") as box:
        box.run("cat", options=("-i",))
        assert box("attach", input="by a pipe\n").out == "by a pipe\n"
        assert box("wait", check=False).out == "0\n"
        box("start")
        os.unlink(f"{box.folder()}/control")
        is_told(box("attach", check=False), 125, "nobody answers")
        box("stop -t 1")
