"""Several runs of one container are programs of one system, whoever comes first or goes first."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from e2e.engines import BUSYBOX, PATIENCE
from udocker.model.features import HOSTNAME, READ_ONLY_MOUNTS, UNION_ROOT, USER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.engines import Inside, Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_MANY = 20
_STEP_BY_STEP = 'while read line; do eval "$line"; echo "= $?"; done'


class Shell:
    """A run that does what it is told, line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.kill = process.kill

    def __call__(self, line: str) -> str:
        """What ``line`` prints, and "= STATUS" if that is not 0."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        printed = ""
        while True:
            read = self._process.stdout.readline().decode()
            assert read, self._process.communicate()
            if read == "= 0\n":
                return printed
            printed += read
            if read.startswith("= "):
                return printed

    def end(self) -> str:
        """Let it go; what it said on stderr."""
        _, err = self._process.communicate(timeout=PATIENCE)
        return err.decode()


class Together:
    """One container, and its runs that have begun."""

    def __init__(self, inside: Inside, name: str) -> None:
        self.inside = inside
        self.name = name
        self.runs = contextlib.ExitStack()

    def words(self, *words: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
        return ("run", f"--execmode={self.inside.mode}", *options, self.name, *words)

    def start(self, *options: str) -> Shell:
        """One more run, which is there when this returns."""
        words = self.words("sh", "-c", _STEP_BY_STEP, options=options)
        process = self.runs.enter_context(self.inside.shared.start(words, start_new_session=True))
        self.runs.callback(process.kill)
        shell = Shell(process)
        assert shell("true") == ""
        return shell

    def once(self, script: str) -> str:
        return self.inside.shared(*self.words("sh", "-c", script)).out


@pytest.fixture
def together(inside: Inside, shared: Shared) -> Iterator[Together]:
    name = f"together-{inside.mode.lower()}"
    shared("create", f"--name={name}", shared.image(BUSYBOX))
    shared("run", "-q", f"--execmode={inside.mode}", name, "mkdir", "/all")
    both = Together(inside, name)
    with both.runs:
        yield both
    shared("rm", name)


def test_the_one_that_began_may_end_first(together: Together) -> None:
    """Each that is left hands on to the next what the first of all began with."""
    shells = [together.start()]
    for number in range(4):
        assert (
            shells[-1](f"ls /all /etc >/dev/null; rm -rf /home; echo {number} >/all/{number}") == ""
        )
        shells.append(together.start())
        assert shells[0].end() == ""
        del shells[0]
        assert shells[0](f"cat /all/{number}; test -d /home") == f"{number}\n= 1\n"
        assert shells[0](f"mv /all/{number} /all/moved-{number}; echo x >>/etc/passwd") == ""
    assert shells[0].end() == ""
    assert together.once("ls /all; tail -n4 /etc/passwd") == (
        "moved-0\nmoved-1\nmoved-2\nmoved-3\nx\nx\nx\nx\n"
    )


def test_one_that_is_killed_takes_nothing_along(together: Together) -> None:
    first, second = together.start(), together.start()
    assert first("echo 1 >/all/1; rm /etc/os-release") == ""
    first.kill()
    assert second("cat /all/1; ls /etc/os-release")[:2] == "1\n"
    third = together.start()
    second.kill()
    assert third("echo 3 >/all/3; echo again >/etc/os-release; mkdir /etc/new") == ""
    assert (
        together.once("cat /all/1 /all/3 /etc/os-release; ls -d /etc/new")
        == "1\n3\nagain\n/etc/new\n"
    )


def test_three_at_once(together: Together) -> None:
    shells = [together.start() for _ in range(3)]
    for number, shell in enumerate(shells):
        assert shell("ls /all /etc >/dev/null") == ""
        assert shell(f"echo {number} >/all/{number}; echo {number} >>/all/log") == ""
    for shell in shells:
        assert shell("cat /all/0 /all/1 /all/2 /all/log") == "0\n1\n2\n0\n1\n2\n"
    for number, shell in enumerate(shells):
        assert shell(f"rm /all/{number}") == ""
    for shell in shells:
        assert shell("ls /all") == "log\n"
        assert shell.end() == ""


def test_each_has_volumes_of_its_own(together: Together, tmp_path: Path) -> None:
    shells = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(f"{name}\n")
        shells.append(together.start(f"-v={tmp_path}/{name}:/data", f"-v={tmp_path}:/of-{name}"))
    shells.append(together.start())
    for name, shell in zip(("one", "two"), shells):
        assert shell(f"cat /data/name; ls /of-{name}; echo {name} >/data/new") == (
            f"{name}\none\ntwo\n"
        )
        assert (tmp_path / name / "new").read_text() == f"{name}\n"
    assert shells[2]("ls -A /data /of-one /of-two") == "/data:\n\n/of-one:\n\n/of-two:\n"
    assert shells[0]("echo seen >/all/file") == ""
    assert [shell("cat /all/file") for shell in shells] == ["seen\n"] * 3


def test_what_is_read_only_for_one_is_not_for_the_other(together: Together, tmp_path: Path) -> None:
    option = ":ro" if together.inside.has(READ_ONLY_MOUNTS) else ""
    first = together.start(f"-v={tmp_path}:/data{option}")
    second = together.start(f"-v={tmp_path}:/data")
    assert first("echo x 2>/dev/null >/data/file") == ("= 1\n" if option else "")
    assert second("echo x >/data/file; echo y >/all/file") == ""
    assert first("cat /data/file /all/file") == "x\ny\n"


def test_each_is_somebody_of_its_own(together: Together) -> None:
    ids = [("0", "0"), ("1234", "77"), ("4321", "88")]
    if together.inside.has(USER):
        shells = [together.start(f"--user={uid}:{gid}") for uid, gid in ids]
        assert [shell("id -u; id -g") for shell in shells] == [
            f"{uid}\n{gid}\n" for uid, gid in ids
        ]
    else:
        shells = [together.start() for _ in ids]
    for number, shell in enumerate(shells):
        assert shell(f"echo {number} >/all/{number}; chmod 600 /all/{number}") == ""
        assert shell(f'chown "$(id -u):$(id -g)" /all/{number}') == ""
        assert shell("mkdir /all/d; echo x >>/etc/os-release; mv /all/d /all/e; rmdir /all/e") == ""
    for shell in shells:
        assert shell("cat /all/0 /all/1 /all/2; tail -n3 /etc/os-release") == "0\n1\n2\nx\nx\nx\n"
    assert shells[0].end() == ""
    assert shells[2]("ls /all; rm /all/0") == "0\n1\n2\n"
    assert together.once("ls /all") == "1\n2\n"


def test_each_has_a_host_name_of_its_own(together: Together) -> None:
    shells = [together.start(f"--hostname={name}") for name in ("one", "two")]
    names = (
        ["one\n", "two\n"] if together.inside.has(HOSTNAME) else [f"{os.uname().nodename}\n"] * 2
    )
    assert [shell("hostname") for shell in shells] == names


def test_many_begin_at_once(together: Together) -> None:
    """All see what all have written, and it is all there afterwards."""
    words = together.words(
        "sh", "-c", "echo $0 >/all/$0; echo ready; read line; ls /all | wc -l; cat /all/*"
    )
    started = [
        together.runs.enter_context(together.inside.shared.start([*words, str(100 + number)]))
        for number in range(_MANY)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", process.communicate()
    every = "".join(f"{100 + number}\n" for number in range(_MANY))
    expected = (f"{_MANY}\n{every}".encode(), b"")
    assert [process.communicate(b"\n", timeout=PATIENCE) for process in started] == (
        [expected] * _MANY
    )
    assert together.once("cat /all/*") == every


def test_coming_and_going(together: Together) -> None:
    """Never is one mount gone before the next has it, nor are there two."""
    script = """
        cat /all/$1; echo $0 >/all/$0 && mv /all/$0 /all/m$0 && cat /all/m$0
        echo x >>/etc/os-release
    """
    words = together.words("sh", "-c", script)
    count = 3 * _MANY if together.inside.has(UNION_ROOT) else _MANY
    names = [str(100 + number) for number in range(count)]
    waiting = names[::-1]
    active: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
    ended = "m99"
    together.once(f"echo 99 >/all/{ended}")
    end = time.monotonic() + 4 * PATIENCE
    while waiting or active:
        while waiting and len(active) < 3:
            name = waiting.pop()
            started = together.inside.shared.start([*words, name, ended])
            active[name] = together.runs.enter_context(started), ended
        for name, (process, before) in list(active.items()):
            if process.poll() is not None:
                expected = f"{before[1:]}\n{name}\n".encode(), b""
                assert (process.communicate(), process.returncode) == (expected, 0)
                del active[name]
                ended = f"m{name}"
        assert time.monotonic() < end
        time.sleep(0.005)
    assert together.once("cat /all/*").split() == [*names, "99"]
    assert together.once("grep -c '^x$' /etc/os-release") == f"{len(names)}\n"


def test_a_mount_that_cannot_be_shared_is_told(together: Together) -> None:
    """The only process went into namespaces of its own, under which the mount is locked."""
    # In namespaces, and not in the engine.
    if not (together.inside.has(UNION_ROOT) and together.inside.has(HOSTNAME)):
        return
    words = together.words("unshare", "-Um", "sh", "-c", _STEP_BY_STEP)
    process = together.runs.enter_context(
        together.inside.shared.start(words, start_new_session=True)
    )
    together.runs.callback(process.kill)
    first = Shell(process)
    assert first("true") == ""
    result = together.inside.shared(*together.words("sh", "-c", "echo 2 >/all/2; cat /all/2"))
    assert result.out == "2\n"
    [line] = result.err.splitlines()
    assert line.startswith("udocker: warning: the container is running, and its mount cannot be ")
    assert first("mkdir /etc/new && rm /etc/group && mv /etc/passwd /etc/moved") == ""
    assert first.end() == ""
    assert together.once("ls -d /etc/new /etc/moved /all/2") == "/all/2\n/etc/moved\n/etc/new\n"


def test_a_stopped_run_is_a_run(together: Together) -> None:
    """Its processes need not do anything for a later one."""
    first = together.start()
    assert first("echo 1 >/all/1") == ""
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        assert together.once("cat /all/1; echo 2 >/all/2") == "1\n"
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert first("cat /all/2") == "2\n"
