"""Programs of another machine: by qemu-user in F and P modes, by binfmt_misc elsewhere.

The image is of real programs: static busybox, and dash with its loader and C library.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from e2e.checks import is_told
from e2e.conftest import command
from e2e.engines import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

IMAGE = "foreign:latest"
HERE = platform.machine()
OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}[HERE]
NUMBER = {"x86_64": b"\x3e", "aarch64": b"\xb7"}[OTHER]  # of elf(5)
GO = {"x86_64": "amd64", "aarch64": "arm64"}
OWN = ("F2", "F3", "P1", "P2")  # modes of our engine


@pytest.fixture(params=OWN)
def mode(request: pytest.FixtureRequest, refusals: dict[str, str]) -> str:
    name: str = request.param
    need(refusals, name)
    return name


@pytest.fixture
def container(shared: Shared) -> Iterator[str]:
    shared("create", "-q", "--name=other", shared.image(IMAGE))
    yield "other"
    shared("rm", "-f", "other")


def lines(shared: Shared, mode: str, *script: str, check: bool = True) -> list[str]:
    """What the shell of the image prints."""
    words = ("run", "-q", "--rm", f"--execmode={mode}", shared.image(IMAGE), "sh", "-c")
    return shared(*words, "\n".join(script), check=check).out.splitlines()


def test_its_programs_run(shared: Shared, mode: str) -> None:
    assert lines(
        shared,
        mode,
        "uname -m",
        "echo a b c | tr ' ' '\\n' | sort -r",
        "dash -c 'echo $0 \"$@\"; uname -m | cat' zero one 'two three'",
        "env -i /bin/busybox sh -c 'readlink /proc/self/exe'",
        "readlink /proc/self/exe; dash -c 'readlink /proc/$$/exe >/dev/null && echo there'",
    ) == [OTHER, "c", "b", "a", "zero one two three", OTHER, "/bin/busybox", "/bin/sh", "there"]


def test_its_scripts_run(shared: Shared, mode: str) -> None:
    assert lines(
        shared,
        mode,
        "cd /tmp && printf '#!/bin/dash -e\\necho $0 $1\\n' >script && chmod +x script",
        "/tmp/script 1; ./script 2; env PATH=/tmp script 3",
        "printf '#!/tmp/script\\n' >second && chmod +x second && ./second 4",
    ) == ["/tmp/script 1", "./script 2", "/tmp/script 3", "/tmp/script ./second"]


def test_the_name_that_a_program_is_given(shared: Shared, mode: str) -> None:
    image = shared.image(IMAGE)
    run = ("run", "-q", "--rm", f"--execmode={mode}")
    assert shared(*run, image, "/bin/busybox", "basename", "/a/b").out == "b\n"
    assert shared(*run, image, "basename", "/a/b").out == "b\n"
    assert shared(*run, image, "dash", "-c", "echo $0").out == "dash\n"


def test_a_program_that_is_open(shared: Shared, mode: str) -> None:
    """qemu wants a path. Where there is none, shells take the program for a script: 2."""
    assert lines(
        shared,
        mode,
        "cp /bin/dash /tmp/one; exec 5</tmp/one",
        "/proc/self/fd/5 -c 'echo it runs'",
        "rm /tmp/one; /proc/self/fd/5 -c true; echo $?",
        "cp /bin/dash /tmp/one; /proc/self/fd/5 -c true; echo $?",
    ) == ["it runs", "2", "2"]


def test_roots_of_its_own(shared: Shared, mode: str) -> None:
    assert lines(
        shared,
        mode,
        "mkdir -p /srv/bin && cp /bin/busybox /srv/bin",
        "chroot /srv /bin/busybox uname -m",
        "chroot /srv /bin/busybox ls /",
    ) == [OTHER, "bin"]


def test_signals(shared: Shared, mode: str) -> None:
    """qemu's handlers block every signal when they have ended: SIGSYS must not be one of them."""
    assert lines(
        shared,
        mode,
        "trap 'n=$((n + 1))' USR1; n=0",
        "while [ $n -lt 50 ]; do kill -USR1 $$; true | cat; done; echo $n",
        "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01; ls / >/dev/null) & done; wait; echo all",
    ) == ["50", "all"]
    words = ("run", "-q", "--rm", f"--execmode={mode}", shared.image(IMAGE), "sh", "-c")
    for name, number in (("TERM", 15), ("KILL", 9), ("SEGV", 11)):
        assert shared(*words, f"ulimit -c 0; kill -{name} $$", check=False).code == 128 + number


def test_what_it_writes_is_kept(shared: Shared, container: str, refusals: dict[str, str]) -> None:
    need(refusals, "F2", "F3")
    write = "echo new >/etc/made; mv /etc/os-release /etc/was; ls -a / | grep qemu; id -u"
    said = shared("run", "-q", "--execmode=F2", container, "sh", "-c", write).out
    assert said == "0\n"
    read = "cat /etc/made; ls /etc/os-release /etc/was"
    said = shared("run", "-q", "--execmode=F3", container, "sh", "-c", read, check=False).out
    assert said == "new\n/etc/was\n"
    changed = {line.split()[-1] for line in shared("diff", container).out.splitlines()}
    assert {"/etc/made", "/etc/was", "/etc/os-release"} <= changed
    assert not [path for path in changed if "qemu" in path]


def test_auto_takes_what_runs_it(shared: Shared, refusals: dict[str, str]) -> None:
    need(refusals, "F3")
    words = ("run", "-q", "--rm", f"--platform=linux/{GO[OTHER]}", shared.image(IMAGE))
    assert shared(*words, "uname", "-m").out == f"{OTHER}\n"


def test_without_an_emulator(shared: Shared) -> None:
    parts = (f"/bin/true: it is made for {OTHER}", f"no static qemu-{OTHER}", "qemu-user-static")
    for name in ("auto", "N1", "F3"):
        words = ("run", "-q", "--rm", f"--execmode={name}", shared.image(IMAGE), "true")
        is_told(shared(*words, env={"PATH": "/nowhere"}, check=False), 126, *parts)


def test_an_emulator_that_is_not_static(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / f"qemu-{OTHER}").symlink_to(shutil.which("ls") or "")
    words = ("run", "-q", "--rm", shared.image(IMAGE), "true")
    result = shared(*words, env={"PATH": str(tmp_path)}, check=False)
    is_told(result, 126, f"{tmp_path}/qemu-{OTHER} is here, and not static")


def test_modes_that_leave_it_to_the_kernel(shared: Shared, refusals: dict[str, str]) -> None:
    need(refusals, "N1")
    words = ("run", "-q", "--rm", "--execmode=N1", shared.image(IMAGE), "true")
    is_told(shared(*words, check=False), 125, "mode N1 lacks an emulator", "--execmode=F3")


def test_doctor_says_who_runs_it(shared: Shared) -> None:
    image = shared.image(IMAGE)
    [platform, program] = json.loads(shared("doctor", "--json", image).out)["needs"]
    assert platform["ok"]
    assert f"qemu-{OTHER}" in platform["found"]
    assert program["found"] == "it is /bin/sh"
    result = shared("doctor", image, env={"PATH": "/nowhere"}, check=False)
    assert result.code == 125
    assert "install the package qemu-user-static" in result.out


# A user namespace may have a binfmt_misc of its own since Linux 6.7.
_REGISTER = r"""
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 99
printf '%s' "$1" >/proc/sys/fs/binfmt_misc/register || exit 98
shift; exec "$@"
"""


@pytest.mark.parametrize("mode", ["N1", "R1", "S1", "auto"])
def test_a_kernel_that_starts_them(shared: Shared, refusals: dict[str, str], mode: str) -> None:
    need(refusals, "N1" if mode == "auto" else mode)
    magic = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0" + NUMBER + b"\0"
    mask = b"\xff" * 7 + b"\0" + b"\xff" * 8 + b"\xfe\xff\xff\xff"
    texts = ("".join(f"\\x{byte:02x}" for byte in part) for part in (magic, mask))
    emulator = shutil.which(f"qemu-{OTHER}-static")
    entry = ":".join(["", "udocker-test", "M", "", *texts, str(emulator), "PF"])
    words = ["run", "-q", "--rm", f"--execmode={mode}", shared.image(IMAGE)]
    line = ["unshare", "-Urm", "sh", "-c", _REGISTER, "sh", entry, *command(), *words]
    script = "uname -m; echo a | cat; dash -c 'echo dash'"
    line += ["sh", "-c", script]
    done = subprocess.run(
        line, env=shared.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode == 99:
        pytest.skip("host: a user namespace has no binfmt_misc of its own before Linux 6.7")
    assert (done.returncode, done.stdout) == (0, f"{OTHER}\na\ndash\n"), done.stderr
