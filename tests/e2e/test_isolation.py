"""The F modes: nothing of the host is reached."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.engines import command
from e2e.inprocess import COMPILE, IN_NEW, MODES, PROGRAMS, Container

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines", "e2e.inprocess"]

_AUDIT = Path(__file__).resolve().parents[2] / "tools" / "audit-paths"
# What an ordinary user may not call, and what kernels of the day do not have.
_PRIVILEGED = frozenset(
    {"acct", "fspick", "mount", "mount_setattr", "open_tree", "open_tree_attr", "pivot_root"}
    | {"swapoff", "swapon", "umount2", "uselib"}
    | {"fchmodat2", "file_getattr", "getxattrat", "listxattrat", "removexattrat", "setxattrat"}
)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="host: the engine runs on x86_64")
def test_the_engine_works_where_there_are_seccomp_filters(refusals: dict[str, str]) -> None:
    """Or else all that follows would be skipped when it is broken."""
    assert Path("/proc/sys/kernel/seccomp/actions_avail").exists()
    assert {mode: refusals[mode] for mode in MODES} == dict.fromkeys(MODES, "")


def _snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted((folder, *folder.rglob("*"))):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        times = (status.st_mtime_ns, status.st_ctime_ns)
        owner = (status.st_uid, status.st_gid)
        found[str(path)] = (status.st_mode, status.st_ino, status.st_nlink, owner, times, content)
    return found


def _hostile(options: str, directory: Path) -> str:
    build = COMPILE.format(options=options, name="hostile")
    return f"{build}{IN_NEW}/tmp/hostile {directory}"


def test_no_call_reaches_a_path_of_the_host(mode: str, container: Container, outside: Path) -> None:
    sentinel = outside / "sentinel"
    sentinel.mkdir()

    # Mounted, it is reached by all of them: each could.
    volume = ("-v", f"{sentinel}:{sentinel}")
    reached = container(mode, f"{_hostile('', sentinel)} control", *volume).out.splitlines()
    before = _snapshot(sentinel)
    assert len(before) > 5
    # What is left of it in the container is the place that it was mounted at.
    dynamic = container(mode, f"rmdir {sentinel}; {_hostile('', sentinel)}").out.splitlines()
    static = container(mode, _hostile("-static", sentinel)).out.splitlines()

    assert _snapshot(sentinel) == before
    assert dynamic == static == [reached[-1]]
    assert reached[-1].startswith("done ")
    source = (PROGRAMS / "hostile.c").read_text()
    tried = set(re.findall(r"TRY(?:_OPEN)?\((\w+),", source)) - {"name"}
    names = {line.split(" ")[0] for line in reached}
    assert tried - names <= _PRIVILEGED
    assert {"execve", "execveat", "chdir", "openat", "statx", "connect", "rename_to"} <= names


def test_a_descriptor_of_a_host_directory_does_not_get_in(mode: str, container: Container) -> None:
    words = [*command(), *container.words(mode, "ls /proc/self/fd/; ls /proc/self/fd/9/ 2>&1")]
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = subprocess.run(
            ["sh", "-c", 'exec 9<"$0" && exec "$@"', "/", *words],
            env=container.shared.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(outside)
    assert "9" not in done.stdout.splitlines()
    assert "No such file" in done.stdout


_REAL_PROGRAMS = {
    "shell": "ls -la / /etc >/dev/null; for f in /etc/*; do test -r $f; done; cd /usr/../bin; pwd",
    "python": 'python3 -c \'import numpy, json, subprocess as s; s.run(["ls", "/"])\'',
    "gcc": "cd /tmp && echo 'int main(){}' >x.c && gcc -o x x.c && ./x && rm x x.c",
    "tar": "tar cf - /etc | tar tf - >/dev/null; find /usr/share/doc -maxdepth 2 >/dev/null",
    "files": "cd /tmp && mkdir -p a/b && ln -s b a/c && cp -a a d && mv d e && rm -r a e",
    # Of processes that are there for as long as the test: others may be of containers that go.
    "proc": "for p in self $$ $PPID 1; do ls -l /proc/$p/exe /proc/$p/cwd /proc/$p/root; done; "
    "ls -l /proc/self/fd; readlink -f /proc/1/root",
    "perl": "perl -e 'print scalar(glob(q(/etc/*))), qx(echo x)'; bash -c 'cat <(echo x)'",
}


# The audit is a tracer itself, and a process has one only.
_untraced = pytest.mark.parametrize("mode", ["F2", "F3"], indirect=True)


@pytest.mark.skipif(sys.platform != "linux", reason="host: no ptrace")
@_untraced
@pytest.mark.parametrize("script", _REAL_PROGRAMS.values(), ids=list(_REAL_PROGRAMS))
def test_the_kernel_sees_no_path_outside(
    mode: str, script: str, container: Container, tmp_path: Path
) -> None:
    pytest.importorskip("ptrace", reason="host: no python-ptrace")
    output = tmp_path / "findings"
    container(mode, "true")  # what is made once is made
    words = [*command(), *container.words(mode, script)]
    done = subprocess.run(
        [str(_AUDIT), f"--output={output}", "--", *words],
        env={**container.shared.environment(), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done
    assert output.read_text() == ""


@_untraced
def test_the_audit_sees_what_is_outside(mode: str, container: Container, outside: Path) -> None:
    """It looks through the eyes of the kernel: a link that the host changes meanwhile."""
    pytest.importorskip("ptrace", reason="host: no python-ptrace")
    output = outside / "findings"
    (outside / "volume").mkdir()
    (outside / "volume" / "place").mkdir()
    (outside / "secret").write_text("host")
    # That it is listed before lets the engine believe to know what directory it is.
    script = "cd /v/place && ls -l . >&2 && echo ready && read line && cat secret"
    words = [*command(), *container.words(mode, script, "-v", f"{outside}/volume:/v")]
    with subprocess.Popen(
        [str(_AUDIT), f"--output={output}", "--", *words],
        env={**container.shared.environment(), "PYTHON": sys.executable},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # The directory where the program is goes away, out of the volume.
        (outside / "volume" / "place").rename(outside / "elsewhere")
        process.communicate("go\n", timeout=60)
    assert process.returncode == 1
    assert f"{outside}/elsewhere/secret" in output.read_text()
