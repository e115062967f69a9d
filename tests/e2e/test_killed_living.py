"""Containers that come, live and go, while anything of them is killed: what is left can be used.

Workers each have a container of their own, and do with it what comes into their mind; meanwhile
processes of all of it (commands of udocker, supervisors, keepers, tracers, commands of containers)
are killed at random, and somebody looks. UDOCKER_STRESS_SECONDS makes it longer (of each mode),
UDOCKER_STRESS_WORKERS makes it wider, and UDOCKER_STRESS_SEED chooses the same once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from e2e.engines import BUSYBOX, Shared, need
from e2e.living import LONG, goes_on
from udocker.engine.processes import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.conftest import Result

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_SECONDS = float(os.environ.get("UDOCKER_STRESS_SECONDS", "8"))
_WORKERS = int(os.environ.get("UDOCKER_STRESS_WORKERS", "4"))
_PAUSES = (0.05, 2.0)  # between two that are killed, as a part of what a run takes here
_SETTLES = 60.0  # seconds in which all ends of itself
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
_NEVER = ("internal error", "Traceback", "damaged", "gone from the store")
# It leaves something that ends by nobody but who ends the container.
_SERVER = f"sleep {LONG} & echo $1 >/mine; echo up; while :; do sleep 0.05; done"
_STATES = {"created", "running", "paused", "exited"}


class Crowd:
    """Workers, who kills, and who looks; ``mark`` is in the environment of all that they start."""

    def __init__(self, shared: Shared, mode: str, seed: str) -> None:
        self.shared = shared
        self.mode = mode
        self.mark = f"killed-{mode}-{os.getpid()}"
        self.image = shared.image(BUSYBOX)
        self.dice = random.Random(seed)
        self.faults: list[str] = []
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        self.bereaved: Counter[int] = Counter()  # how many above a process have been killed
        self.looks = 0
        self.over = threading.Event()
        began = time.monotonic()
        self.do("run", "-q", f"--execmode={mode}", "--rm", self.image, "true")
        self.pace = time.monotonic() - began

    def do(self, *words: str) -> Result:
        """One command, judged."""
        ended = self.shared(*words, check=False, env={"MARK": self.mark})
        word = next(word for word in words if not word.startswith("-"))
        (self.failed if ended.code else self.done)[word] += 1
        told = any(line.startswith("udocker: ") for line in ended.err.splitlines())
        may_fail = ended.code in _KILLED or (ended.code == 125 and told)
        if any(text in ended.err for text in _NEVER) or (ended.code and not may_fail):
            self.fault(f"{' '.join(words)}: {ended}")
        return ended

    def fault(self, text: str) -> None:
        self.faults.append(text)
        self.over.set()

    def work(self, number: int) -> None:
        dice, name = random.Random(f"{self.dice.random()} {number}"), f"live-{number}"
        image, token = f"kept-{number}", 0
        server = ("sh", "-c", _SERVER, "sh")
        run = ("run", "-q", f"--execmode={self.mode}", "-e", f"MARK={self.mark}")
        while not self.over.is_set():
            token += 1
            self.do(*run, "-d", f"--name={name}", self.image, *server, f"{number}-{token}")
            for _ in range(dice.randrange(1, 8)):
                choices: list[Callable[[], object]] = [
                    lambda: self.do("start", name),
                    lambda: self.do("stop", "-t", "1", name),
                    lambda: self.do("kill", name),
                    lambda: self.do("restart", "-t", "0", name),
                    lambda: self.own(name, number, self.do("exec", name, "cat", "/mine")),
                    lambda: self.do("exec", "-d", name, "sleep", "2"),
                    lambda: self.do("logs", name),
                    lambda: self.do("pause", name),
                    lambda: self.do("unpause", name),
                    lambda: self.do("commit", name, image),
                    lambda: self.do(*run, "-d", "--rm", self.image, "sleep", "0.3"),
                    lambda: self.do(*run, "--rm", self.image, "true"),
                ]
                if not self.over.is_set():
                    dice.choice(choices)()
            self.do("rm", "-f", name)
            self.do("rmi", image)

    def own(self, name: str, number: int, ended: Result) -> None:
        """What a container has is its own: nobody else's, and no half of it."""
        if ended.code == 0 and not ended.out.startswith(f"{number}-"):
            self.fault(f"/mine of {name}: {ended}")

    def look(self) -> None:
        while not self.over.wait(0.2):
            states = [row["state"] for row in json.loads(self.do("ps", "--json").out or "[]")]
            if set(states) - _STATES:
                self.fault(f"states: {states}")
            self.looks += 1
            if self.looks % 5 == 0:
                self.do("prune")
            if self.looks % 7 == 0:
                self.do("system", "df")

    def kill(self) -> None:
        dice = random.Random(self.dice.random())
        while not self.over.wait(self.pace * dice.uniform(*_PAUSES)):
            found = list(self.processes())
            if found:
                pid, what = dice.choice(found)
                below = tree([pid])[1:]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed[what] += 1
                    self.bereaved.update(below)

    def orphans(self) -> list[int]:
        """What is left where nobody was left who could end it: more than one was killed."""
        return [pid for pid, _ in self.processes() if self.bereaved[pid] > 1]

    def processes(self) -> Iterator[tuple[int, str]]:
        """All that was started here, and what it is: not those that only look."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/environ", "rb") as stream:
                    if f"MARK={self.mark}".encode() not in stream.read().split(b"\0"):
                        continue
                with open(f"/proc/{name}/cmdline", "rb") as stream:
                    line = stream.read().split(b"\0")
                words = [word.decode("utf-8", "replace") for word in line]
                if not {"ps", "prune", "df"} & set(words) and goes_on(int(name)):
                    yield int(name), next((w for w in words if w in _WORDS), "other")


_WORDS = ("run", "start", "stop", "exec", "commit", "rm", "restart", "kill", "logs", "sleep", "sh")


def _together(crowd: Crowd) -> None:
    tasks: list[tuple[Callable[..., None], tuple[int, ...]]] = [(crowd.look, ()), (crowd.kill, ())]
    tasks += [(crowd.work, (number,)) for number in range(_WORKERS)]
    threads = [threading.Thread(target=_caught, args=(crowd, *task)) for task in tasks]
    for thread in threads:
        thread.start()
    crowd.over.wait(_SECONDS)
    crowd.over.set()
    for thread in threads:
        thread.join()


def _caught(crowd: Crowd, function: Callable[..., None], arguments: tuple[int, ...]) -> None:
    try:
        function(*arguments)
    except BaseException as error:  # noqa: BLE001 - of a thread nobody else would hear
        crowd.fault(repr(error))


@pytest.mark.parametrize("mode", ["N1", "F3", "P1"])
def test_anything_of_containers_is_killed(
    registry: str, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    need(refusals, mode)
    shared = Shared(registry, tmp_path)
    seed = os.environ.get("UDOCKER_STRESS_SEED") or str(random.randrange(1 << 30))
    print(f"seed {seed}")  # shown where it fails
    crowd = Crowd(shared, mode, seed)
    _together(crowd)
    print(f"done {dict(crowd.done)}\nfailed {dict(crowd.failed)}\nkilled {dict(crowd.killed)}")
    assert not crowd.faults, "\n".join(crowd.faults)
    assert crowd.looks
    assert crowd.killed
    _check_what_is_left(crowd)


def _check_what_is_left(crowd: Crowd) -> None:
    """Right afterwards: ps tells the truth, and all of it can be removed."""
    shared = crowd.shared
    for row in shared.containers():
        assert row["state"] in _STATES
        if row["state"] in ("running", "paused"):
            shown = shared("inspect", row["id"], check=False)  # of --rm: it may have gone
            pid = json.loads(shown.out)[0]["state"]["pid"] if shown.code == 0 else 0
            assert (pid and goes_on(pid)) or not _still_runs(shared, row["id"]), shown
    for pid in crowd.orphans():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    found = [each["kind"] for each in _problems(shared)]
    assert [kind for kind in found if kind not in ("name", "left")] == [], _problems(shared)
    listed = [row["id"] for row in shared.containers()]
    for identity in listed:
        shared("rm", "-f", identity)
    end = time.monotonic() + _SETTLES
    while left := list(crowd.processes()):
        assert time.monotonic() < end, left
        time.sleep(0.1)
    time.sleep(2.1)  # what is younger than a command that looks is not garbage
    shared("prune")
    assert shared("fsck").out.endswith(": nothing is wrong\n")
    assert checks.left(shared.store) == []
    assert shared.containers() == []
    assert shared("run", "-q", "--rm", crowd.image, "echo", "well").out == "well\n"


def _still_runs(shared: Shared, identity: str) -> bool:
    states = {row["id"]: row["state"] for row in shared.containers()}
    return states.get(identity) in ("running", "paused")


def _problems(shared: Shared) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(shared("fsck", "--json", check=False).out)["problems"]
    return found
