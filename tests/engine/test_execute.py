"""A launch carried out with programs of this host: arguments, status, errors, what follows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.processes import PATIENCE, environment, is_alive, python, wait_for
from udocker.engine.supervisor import exit_code
from udocker.model.launch import Launch, MakeDirectory, RemoveTree, WriteFile

if TYPE_CHECKING:
    from typing import Any

PATH = "/usr/bin:/bin"
# By execve, by a parent for something that follows, by a parent for a go-between.
WAYS = ("execute", "undo", "tracer", "clean")


def command(*argv: str, **changes: Any) -> Launch:
    return Launch(**{"argv": argv, "env": (("PATH", PATH),), "cwd": "/", **changes})


def shell(text: str, **changes: Any) -> Launch:
    return command("sh", "-c", text, **changes)


class Runner:
    """Runs launches one way or another, each in a process of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.undone = tmp_path / "undone"
        self.cleaned = tmp_path / "cleaned"

    def __call__(self, launch: Launch, way: str = "execute") -> subprocess.CompletedProcess[str]:
        how = way
        if way == "undo":
            self.undone.mkdir(exist_ok=True)
            launch = Launch(**{**vars(launch), "undo": (RemoveTree(str(self.undone)),)})
            how = "execute"
        elif way == "tracer":
            launch = Launch(**{**vars(launch), "go_betweens": 1})
            how = "execute"
        elif way == "clean":
            self.cleaned.write_bytes(b"")
            how = f"clean={self.cleaned}"
        return subprocess.run(
            [sys.executable, "-m", "builders.launcher", how, repr(launch)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=PATIENCE,
            check=False,
        )

    def followed(self, way: str) -> bool:
        """Whether what had to follow has followed, once."""
        if way == "undo":
            return not self.undone.exists()
        if way == "clean":
            return self.cleaned.read_text() == "cleaned\n"
        return True


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", [0, 1, 7, 125, 255])
def test_the_status_is_the_commands_own(run: Runner, way: str, code: int) -> None:
    done = run(shell(f"echo out; echo err >&2; exit {code}"), way)
    assert (done.returncode, done.stdout, done.stderr) == (code, "out\n", "err\n")
    assert run.followed(way)


def test_a_signal_that_ends_the_command(run: Runner) -> None:
    assert run(shell("kill -9 $$")).returncode == -9
    for way in WAYS[1:]:
        assert run(shell("kill -9 $$"), way).returncode == 137
        assert run(shell("kill -TERM $$"), way).returncode == 143
        assert run.followed(way)


@pytest.mark.parametrize("way", WAYS)
def test_arguments_arrive_as_they_are(run: Runner, way: str) -> None:
    words = ["", " a  b ", "'", '"', "\\", "$HOME", "*", "--", "-c", "\n", "ü", "\udcff"]
    program = "import sys, os; print([os.fsencode(word) for word in sys.argv[1:]])"
    done = run(command(sys.executable, "-c", program, *words), way)
    assert done.stdout == f"{[os.fsencode(word) for word in words]}\n"


@pytest.mark.parametrize("way", WAYS)
def test_the_environment_is_what_was_planned(run: Runner, way: str) -> None:
    env = (("A", "1"), ("EMPTY", ""), ("PATH", PATH), ("ODD NAME", "x\ny"), ("B", "\udcff"))
    done = run(command("env", "-0", env=env), way)
    assert sorted(done.stdout.rstrip("\0").split("\0")) == sorted("=".join(e) for e in env)


@pytest.mark.parametrize("way", WAYS)
def test_the_working_directory(run: Runner, tmp_path: Path, way: str) -> None:
    place = os.path.realpath(tmp_path)
    assert run(shell("pwd -P", cwd=place), way).stdout == f"{place}\n"


@pytest.mark.parametrize("way", WAYS)
def test_signals_and_descriptors_are_as_usual(run: Runner, way: str) -> None:
    """Python ignores SIGPIPE (13) and SIGXFSZ (25), and a parent blocks what it passes on."""
    text = "grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | wc -l"
    done = run(shell(text), way)
    blocked, ignored, count = done.stdout.split("\n")[:3]
    assert int(blocked.split()[1], 16) == 0
    assert int(ignored.split()[1], 16) & (1 << 12 | 1 << 24) == 0
    assert int(count) == 4  # with the one that ls reads


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_pipe_ends_the_writer(run: Runner, way: str) -> None:
    done = run(shell("yes | head -1"), way)
    assert (done.returncode, done.stdout, done.stderr) == (0, "y\n", "")


# The program


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    (folder / "dir").mkdir(parents=True)
    for name, text, mode in (
        ("plain", "#!/bin/sh\necho plain\n", 0o644),
        ("text", "echo no first line\n", 0o755),
        ("lost", "#!/not/there\n", 0o755),
        ("good", "#!/bin/sh\necho good\n", 0o755),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
    return folder


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("{}/none", 127, "CommandNotFound: cannot execute {}/none: it, or the interpreter it"),
        ("none", 127, "CommandNotFound: cannot execute none: it, or the interpreter it"),
        ("{}/lost", 127, "CommandNotFound: cannot execute {}/lost: it, or the interpreter it"),
        ("{}/good/x", 127, "CommandNotFound: cannot execute {}/good/x: it, or the"),
        ("{}/plain", 126, "NotExecutable: cannot execute {}/plain: Permission denied"),
        ("plain", 126, "NotExecutable: cannot execute plain: Permission denied"),
        ("{}/dir", 126, "NotExecutable: cannot execute {}/dir: Permission denied"),
        ("text", 126, "NotExecutable: cannot execute text: not a program of this machine"),
    ],
)
def test_what_cannot_be_executed(
    run: Runner, programs: Path, way: str, name: str, code: int, message: str
) -> None:
    env = (("PATH", f"/not/there:{programs}"),)
    done = run(command(name.format(programs), env=env), way)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(message.format(programs)), done.stderr
    assert "Traceback" not in done.stderr
    assert run.followed(way)


def test_an_argument_list_that_is_too_long(run: Runner) -> None:
    launch = command("true", env=(("PATH", PATH), ("LONG", "x" * 200_000)))
    code = (
        "import sys; from udocker.engine.execute import execute; from udocker.model import launch\n"
        "from udocker.errors import EngineError\n"
        "asked = eval(sys.stdin.read(), vars(launch))\n"
        "try:\n    execute(asked)\nexcept EngineError as error:\n    print(error.message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=repr(launch),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "cannot execute true: Argument list too long\n", done.stderr


def test_the_path_is_searched_to_its_end(run: Runner, programs: Path, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first/good").write_text("")  # no x bit
    env = (("PATH", f"/dev/null:{tmp_path}/first::{programs}"),)
    assert run(command("good", env=env)).stdout == "good\n"
    assert run(command("good", env=(("PATH", ""),), cwd=str(programs))).stdout == "good\n"


def test_without_a_path_the_usual_one_is_searched(run: Runner) -> None:
    assert run(command("echo", "found", env=())).stdout == "found\n"


# Steps that fail


@pytest.mark.parametrize("way", [*WAYS, "capture=9"])
@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            MakeDirectory("/x/y", root="/proc/self/fdinfo"),
            "cannot make the directory /proc/self/fdinfo/x/y: ",
        ),
        (MakeDirectory("/x", root="/not/there"), "cannot make the directory /not/there/x: No such"),
        (
            WriteFile("/dev/null/x/y", b"abc"),
            "cannot write /dev/null/x/y (3 bytes): Not a directory",
        ),
    ],
)
def test_a_step_that_fails(run: Runner, way: str, step: Any, message: str) -> None:
    done = run(shell("echo never", steps=(step,)), way)
    assert done.returncode == 125
    assert done.stdout == ""
    assert done.stderr.startswith(f"EngineError: {message}"), done.stderr
    assert "Traceback" not in done.stderr
    assert run.followed(way)


@pytest.mark.parametrize("way", [*WAYS, "capture=9"])
def test_a_working_directory_that_is_not_there(run: Runner, way: str) -> None:
    done = run(shell("echo never", cwd="/not/there"), way)
    assert done.returncode == 125
    assert done.stderr == (
        "EngineError: cannot enter the working directory /not/there: No such file or directory\n"
        "hint: choose another one: --workdir=/\n"
    )
    assert run.followed(way)


@pytest.mark.parametrize("way", [*WAYS[1:], "capture=9"])
def test_an_error_nobody_thought_of(run: Runner, way: str) -> None:
    """In a forked child it must not go on as a second udocker."""
    done = run(shell("echo never", steps=("no step",)), way)
    assert done.returncode == 125
    assert done.stdout == ""
    assert done.stderr.startswith("EngineError: KeyError: "), done.stderr
    assert done.stderr.count("EngineError") == 1
    assert run.followed(way)


def test_messages_of_any_bytes_come_through(run: Runner) -> None:
    for way in WAYS[1:]:
        done = run(command("/\udcff\0", cwd="/"), way)
        assert done.returncode == 125
        done = run(command("/\udcff"), way)
        assert done.stderr.startswith("CommandNotFound: cannot execute /")


# What follows


def test_undo_removes_what_was_made(run: Runner, tmp_path: Path) -> None:
    place = tmp_path / "undone"
    steps = (WriteFile(f"{place}/in/config", b"x"),)
    text = f"cat {place}/in/config; mkdir {place}/locked; chmod 0 {place}/locked"
    assert run(shell(text, steps=steps), "undo").stdout == "x"
    assert not place.exists()


def test_what_is_missing_can_be_undone(run: Runner, tmp_path: Path) -> None:
    assert run(shell(f"rmdir {tmp_path}/undone"), "undo").returncode == 0


def test_cleaning_comes_after_the_command_has_ended(run: Runner) -> None:
    done = run(shell(f"cat {run.cleaned}; echo end"), "clean")
    assert done.stdout == "end\n"
    assert run.followed("clean")


def test_a_file_that_is_there_is_not_written_again(run: Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    launch = shell(f"cat {path}", steps=(WriteFile(str(path), b"1", 0o640),))
    assert run(launch).stdout == "1"
    assert path.stat().st_mode & 0o777 == 0o640
    before = path.stat()
    assert run(launch).stdout == "1"
    assert path.stat() == before
    path.write_bytes(b"other")
    assert run(launch).stdout == "1"


# Capture


def test_capture_gives_status_and_all_output(run: Runner) -> None:
    done = run(shell("echo out; echo err >&2; read x || echo no input; exit 5"), "capture=60")
    assert done.returncode == 5
    assert sorted(eval(done.stdout).splitlines()) == ["err", "no input", "out"]


def test_capture_knows_signals_and_bytes(run: Runner) -> None:
    assert run(shell("kill -SEGV $$"), "capture=60").returncode == 139
    assert run(shell(r"printf '\377'"), "capture=60").stdout == "'\ufffd'\n"


def test_capture_takes_no_more_than_it_needs(run: Runner) -> None:
    done = run(shell("head -c 1000000 /dev/zero | tr '\\0' x"), "capture=60")
    assert done.returncode == 0
    assert 65536 <= len(eval(done.stdout)) < 100_000


@pytest.mark.parametrize(
    "text",
    ["echo $$; exec sleep 1000", "sleep 1000 & echo $!; wait", "sleep 1000 & echo $!; exit 0"],
)
def test_capture_ends_what_takes_too_long(run: Runner, text: str) -> None:
    done = run(shell(text), "capture=0.3")
    assert done.returncode == 124
    pid = int(eval(done.stdout))
    wait_for(lambda: not is_alive(pid))


def test_capture_undoes(run: Runner, tmp_path: Path) -> None:
    place = tmp_path / "made"
    launch = shell(
        f"ls {place}",
        steps=(WriteFile(f"{place}/x", b""),),
        undo=(RemoveTree(str(place)),),
    )
    assert run(launch, "capture=60").stdout == "'x\\n'\n"
    assert not place.exists()


def test_capture_does_not_care_for_the_terminal(run: Runner) -> None:
    done = run(shell("test -t 0 && echo terminal; ps -o pgid= -p $$ || true; echo $$"), "capture=9")
    pgid, pid = eval(done.stdout).split()
    assert pgid == pid


@pytest.mark.parametrize("number", [0, 1, 255])
def test_exit_codes(number: int) -> None:
    assert exit_code(number << 8) == number
    assert exit_code(9) == 137
    assert exit_code(11 | 0x80) == 139  # with a core dump


def test_nothing_is_left_of_a_parent(run: Runner) -> None:
    """No zombie, no descriptor: a thousand runs in one process would work."""
    code = """
import os
from udocker.engine.capture import capture
from udocker.engine.execute import execute
from udocker.model.launch import Launch
launch = Launch(("true",), (("PATH", os.environ["PATH"]),), "/")
before = len(os.listdir("/proc/self/fd"))
for _ in range(5):
    assert execute(launch, clean=lambda: None) == 0
    assert capture(launch, 60) == (0, "")
print(len(os.listdir("/proc/self/fd")) - before)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child")
"""
    assert re.fullmatch(r"0\nno child\n", python(code).stdout)
