"""What the tests of detached containers share: one in a mode, and how to look at it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from e2e.engines import BUSYBOX, PATIENCE

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from e2e.conftest import Result
    from e2e.engines import Shared


# Seconds that nothing else sleeps, so that processes are known by them.
LONG = str(1_000_000 + os.getpid())


class Living:
    """A container of the name ``name``, which goes at the end."""

    def __init__(self, shared: Shared, name: str, mode: str) -> None:
        self.shared = shared
        self.name = name
        self.mode = mode

    def run(self, *program: str, options: tuple[str, ...] = (), check: bool = True) -> Result:
        """Start it detached."""
        image = self.shared.image(BUSYBOX)
        words = ("run", "-q", "-d", f"--name={self.name}", *options, image, *program)
        return self.shared(*words, check=check)

    def __call__(self, command: str, *words: str, check: bool = True, input: str = "") -> Result:
        """``udocker COMMAND NAME WORDS…``; options come before, in ``command``."""
        first, *options = command.split()
        return self.shared(first, *options, self.name, *words, check=check, input=input)

    def state(self) -> dict[str, Any]:
        """What inspect says."""
        [found] = json.loads(self("inspect").out)
        state: dict[str, Any] = found["state"]
        return state

    def folder(self) -> str:
        [found] = json.loads(self("inspect").out)
        return f"{found['path']}/run"

    def begun(self) -> dict[str, Any]:
        """The record of the run."""
        with open(f"{self.folder()}/begun", encoding="utf-8") as stream:
            record: dict[str, Any] = json.load(stream)
        return record

    def supervisor(self) -> int:
        return pid_of(self.begun()["mark"])

    def keeper(self) -> int:
        return pid_of(self.begun()["keeper"])


@contextlib.contextmanager
def living(shared: Shared, name: str, mode: str = "") -> Iterator[Living]:
    try:
        yield Living(shared, name, mode)
    finally:
        shared("rm", "-f", name)


@contextlib.contextmanager
def started(shared: Shared, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that is killed at the end, if it has not ended."""
    with shared.start(words) as child:
        try:
            yield child
        finally:
            child.kill()


def pid_of(mark: str) -> int:
    return int(mark.split("-")[2])


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def goes_on(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def processes(marker: str) -> list[int]:
    """Those that have ``marker`` among their words, and are not udocker about to become them."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as stream:
            words = stream.read().split(b"\0")
            if marker.encode() in words and not {b"run", b"exec"} & set(words):
                found.append(int(name))
    return [pid for pid in found if goes_on(pid)]
