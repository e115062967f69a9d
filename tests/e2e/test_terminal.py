"""``udocker run`` at a terminal: shells, signals of keys, job control, sizes, in every mode."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pexpect
import pytest

from e2e.conftest import command
from e2e.engines import BUSYBOX, PATIENCE
from udocker.engine import singularity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.engines import Inside, Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

N1 = pytest.mark.parametrize("inside", ["N1"], indirect=True)
_PROMPT = "ready> "
_SIZE = (31, 97)
# Once it has printed, it is this program that has the terminal, and not the shell.
_WAITING = "sh -c 'echo begin; exec sleep 1000'"


@contextlib.contextmanager
def terminal(
    inside: Inside, *words: str, image: str = BUSYBOX, rm: bool = True
) -> Iterator[pexpect.spawn]:
    """A program at a terminal of its own."""
    line = [*command(), *inside.words(*words, image=image, options=["-it", "-e", f"PS1={_PROMPT}"])]
    if not rm:
        line.remove("--rm")
    child = pexpect.spawn(
        line[0],
        line[1:],
        env=inside.shared.environment() | {"TERM": "xterm"},
        dimensions=_SIZE,
        timeout=PATIENCE,
        encoding="utf-8",
    )
    child.ptyproc.delayafterterminate = 0.5  # a busy machine takes its time to end a process
    try:
        yield child
    finally:
        child.close(force=True)


@contextlib.contextmanager
def shell(inside: Inside, *words: str, rm: bool = True) -> Iterator[pexpect.spawn]:
    with terminal(inside, *(words or ("sh",)), rm=rm) as child:
        child.expect_exact(_PROMPT)
        yield child


def told(child: pexpect.spawn, line: str) -> str:
    """What the shell prints for a line that is typed."""
    child.sendline(line)
    child.expect_exact(f"{line}\r\n")
    child.expect_exact(_PROMPT)
    shown: str = child.before
    return shown.replace("\r\n", "\n")


def code(child: pexpect.spawn) -> int:
    """The exit code, 128+N for signals, as a shell has it."""
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus


@pytest.mark.parametrize("rm", [True, False])
def test_a_shell_takes_lines_and_its_exit_code_comes_back(inside: Inside, rm: bool) -> None:
    with shell(inside, rm=rm) as child:
        assert told(child, "echo $((6 * 7))") == "42\n"
        assert told(child, "cat /etc/os-release | head -n1") == "ID=busybox\n"
        child.sendline("exit 3")
        assert code(child) == 3


def test_standard_streams_are_terminals(inside: Inside) -> None:
    with shell(inside) as child:
        assert told(child, "test -t 0 && test -t 1 && test -t 2 && echo all three") == "all three\n"
        assert told(child, "tty | cut -c 1-5") == "/dev/\n"


def test_the_size_of_the_window_is_known(inside: Inside) -> None:
    with shell(inside) as child:
        assert told(child, "stty size") == "31 97\n"


def test_a_new_size_arrives(inside: Inside) -> None:
    with shell(inside) as child:
        child.setwinsize(20, 60)
        shown = ""
        for _ in range(100):  # it may take a moment where somebody passes it on
            shown = told(child, "stty size; usleep 20000")
            if shown == "20 60\n":
                break
        assert shown == "20 60\n"


def test_control_c_ends_the_program_and_not_the_shell(inside: Inside) -> None:
    with shell(inside) as child:
        child.sendline(f"{_WAITING}; echo af''ter")
        child.expect_exact("begin\r\n")
        child.sendintr()
        child.expect_exact(_PROMPT)
        assert "after" not in child.before
        assert told(child, "echo alive") == "alive\n"
        child.sendline("exit 4")
        assert code(child) == 4


def test_control_c_ends_a_command_that_is_no_shell(inside: Inside) -> None:
    with terminal(inside, "sh", "-c", "echo begin; exec sleep 1000") as child:
        child.expect_exact("begin\r\n")
        child.sendintr()
        assert code(child) in {128 + signal.SIGINT, inside.signaled(signal.SIGINT)}


def test_control_c_is_the_program_s_to_handle(inside: Inside) -> None:
    script = "trap 'echo caught; exit 9' INT; echo begin; while :; do sleep 0.02; done"
    with terminal(inside, "sh", "-c", script) as child:
        child.expect_exact("begin\r\n")
        child.sendintr()
        child.expect_exact("caught\r\n")
        assert "caught" not in child.read()
        assert code(child) == 9


def test_control_d_ends_the_shell(inside: Inside) -> None:
    with shell(inside) as child:
        told(child, "(exit 5)")
        child.sendeof()
        assert code(child) == 5


def test_control_backslash_quits(inside: Inside) -> None:
    with terminal(inside, "sh", "-c", "ulimit -c 0; exec tail -f /etc/os-release") as child:
        child.expect_exact("ID=busybox\r\n")  # so the shell is gone: it ignores the signal
        child.sendcontrol("\\")
        # Apptainer takes it for itself, and ends as programs in Go do.
        by_go = {2} if inside.engine is singularity else set()
        assert code(child) in {128 + signal.SIGQUIT, inside.signaled(signal.SIGQUIT), *by_go}


@N1
@pytest.mark.parametrize("rm", [True, False])
def test_job_control(inside: Inside, rm: bool) -> None:
    with shell(inside, rm=rm) as child:
        assert "job control" not in child.before
        child.sendline(_WAITING)
        child.expect_exact("begin\r\n")
        child.sendcontrol("z")
        child.expect_exact("Stopped")
        child.expect_exact(_PROMPT)
        assert "sleep 1000" in told(child, "jobs")
        told(child, "kill %1; wait %1 2>/dev/null")
        assert told(child, "echo alive") == "alive\n"


@N1
def test_bash_has_job_control_without_a_warning(inside: Inside) -> None:
    line = ("bash", "--norc", "--noediting", "-i")
    with terminal(inside, *line, image="debian:12") as child:
        child.expect_exact(_PROMPT)
        assert "job control" not in child.before
        assert "cannot set terminal" not in child.before
        assert told(child, "set -o | grep monitor").split() == ["monitor", "on"]
        child.sendline("exit 6")
        assert code(child) == 6


def test_bytes_pass_as_they_are(inside: Inside) -> None:
    with shell(inside) as child:
        assert told(child, "printf 'ä€\\t|\\n'") in ("ä€\t|\n", "ä€      |\n")


def test_a_terminal_that_goes_ends_the_command(inside: Inside, shared: Shared) -> None:
    marker = f"{1000000 + os.getpid() % 1000}.{inside.mode.encode().hex()[:4]}7"
    with terminal(inside, "sh", "-c", f"echo begin; sleep {marker}; true") as child:
        child.expect_exact("begin\r\n")
        child.close(force=False)
    for _ in range(600):
        listed = subprocess.run(
            ["pgrep", "-f", f"sleep {marker}"], capture_output=True, check=False
        )
        if not listed.stdout:
            break
        time.sleep(0.1)
    assert not listed.stdout


def test_the_terminal_is_as_it_was(inside: Inside) -> None:
    """A program that leaves the terminal raw is its own affair; udocker does not."""
    line = [*command(), *inside.words("true", options=["-it"])]
    quoted = " ".join(f"'{word}'" for word in line)
    script = f'before=$(stty -g); {quoted}; test "$before" = "$(stty -g)" && echo same'
    child = pexpect.spawn(
        "/bin/sh",
        ["-c", script],
        env=inside.shared.environment(),
        timeout=PATIENCE,
        encoding="utf-8",
    )
    assert "same" in child.read()
    child.close()


def test_t_without_a_terminal_is_said_and_no_error(inside: Inside, shared: Shared) -> None:
    words = [word for word in inside.words("tty", options=["-it"]) if word != "-q"]
    result = shared(*words, check=False)
    assert (result.code, result.out) == (1, "not a tty\n")
    assert "not a terminal" in result.err
