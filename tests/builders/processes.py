"""Python in processes of its own: alone, in a user namespace, or several at once."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import udocker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

SOURCE = Path(udocker.__file__).parent.parent
TESTS = Path(__file__).parent.parent
PATIENCE = 60  # seconds after which a process counts as stuck
# Signals that a shell ignores for what it starts in the background, children would ignore as well.
# A handler does as little here, and is not inherited.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)
# What sets up namespaces in a child: this user is root there.
_ENTER = """
import os
from udocker._native import lib
uid, gid = os.getuid(), os.getgid()
assert lib.udocker_unshare(0x10000000 | 0x00020000) == 0
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    with open(f"/proc/self/{name}", "w") as stream:
        stream.write(text)
"""
# mount(2) of a tmpfs at sys.argv[1] that holds sys.argv[2] bytes.
SMALL_DISK = (
    _ENTER
    + """
import sys
place, size = sys.argv[1].encode(), sys.argv[2].encode()
assert lib.udocker_mount(b"tmpfs", place, b"tmpfs", 0, b"size=" + size) == 0
"""
)


def environment(**more: str) -> dict[str, str]:
    """That of the tests, with the package and the builders to be found by a child."""
    return {**os.environ, "PYTHONPATH": f"{SOURCE}:{TESTS}", **more}


def python(
    code: str, *arguments: object, env: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a Python of its own; ``check`` asserts that it ends with 0."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=env or environment(),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=PATIENCE,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


# Marks a test that makes a user namespace.
needs_namespaces = pytest.mark.skipif(
    python(_ENTER, check=False).returncode != 0,
    reason="host: this user may not make user namespaces",
)


def race(code: str, count: int, *arguments: object) -> list[subprocess.CompletedProcess[str]]:
    """Run ``code`` in ``count`` processes that begin together: it calls ``go()`` when ready."""
    prologue = "def go():\n    print('ready', flush=True)\n    input()\n"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", prologue + code, *map(str, arguments), str(number)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [_ended(process) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def state(pid: int) -> str:
    """The letter that proc(5) has for a process; empty when it is gone, or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            letter = stream.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return letter.strip("ZX")


def is_alive(pid: int) -> bool:
    return bool(state(pid))


class Reader:
    """Reads a pipe or a terminal piece by piece, and never waits for ever."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._received = b""

    def until(self, word: bytes) -> bytes:
        """What comes up to and with ``word``; all that is left when it ends without."""
        while word not in self._received:
            ready = select.select([self._descriptor], [], [], PATIENCE)[0]
            assert ready, f"waited {PATIENCE} seconds in vain for {word!r} after {self._received!r}"
            data = os.read(self._descriptor, 1024)
            if not data:
                rest, self._received = self._received, b""
                return rest
            self._received += data
        seen, _, self._received = self._received.partition(word)
        return seen + word


def wait_for(condition: Callable[[], Any]) -> Any:
    """Wait until ``condition()`` is true, and give what it gave. Fails when it never is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE} seconds in vain")
