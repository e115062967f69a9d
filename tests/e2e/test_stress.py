"""Everything at once on one store, and some of it killed: in the end nothing is lost or damaged.

UDOCKER_STRESS_SECONDS makes it longer.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from e2e.conftest import Result
from fakes.registry import FakeRegistry, make_image
from udocker.ops import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

_SECONDS = float(os.environ.get("UDOCKER_STRESS_SECONDS", "10"))
_WORKERS = 6
_TAGS = ("one", "two", "three")
_KILLED = -9
_NEVER = ("internal error", "Traceback", "are gone from the store", "damaged")
_NO_LOCKS = """
#include <errno.h>
int flock(int descriptor, int operation) { errno = ENOSYS; return -1; }
"""


@pytest.fixture
def images() -> Iterator[list[str]]:
    """Three that have a layer in common."""
    with FakeRegistry() as registry:
        base = checks.busybox_layer()
        for tag in _TAGS:
            make_image(registry, "test/stress", tag, [base, checks.file_layer(tag, 30)], {})
        yield [f"{registry.host}/test/stress:{tag}" for tag in _TAGS]


@pytest.fixture(params=["locks", "no locks"])
def caller(request: pytest.FixtureRequest, tmp_path: Path, store_path: Path) -> checks.Caller:
    """Commands for which flock(2) works, or is missing as on some mounts of NFS and Lustre."""
    if request.param == "locks":
        return checks.Caller(store_path, tmp_path / "home")
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed to build udocker"
    (tmp_path / "locks.c").write_text(_NO_LOCKS)
    library = tmp_path / "locks.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "locks.c"], check=True)
    # By env(1), or the preload would be that of the container's programs too.
    prefix = ["env", f"LD_PRELOAD={library}"]
    return checks.Caller(store_path, tmp_path / "home", prefix)


class Stress:
    """Workers that do what comes into their minds, and what came of it."""

    def __init__(self, caller: checks.Caller, images: list[str], seed: int) -> None:
        self._caller = caller
        self._images = images
        self._seed = seed
        self._end = time.monotonic() + _SECONDS
        self._lock = threading.Lock()
        self.made: set[str] = set()
        self.removing: set[str] = set()
        self.removed: set[str] = set()
        self.wrong: list[tuple[list[str], Result]] = []
        self.done: dict[str, int] = {}
        self.killed = 0

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, args=(n,)) for n in range(_WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, number: int) -> None:
        dice = random.Random(f"{self._seed} {number}")
        while time.monotonic() < self._end:
            words = self._choose(dice)
            delay = dice.uniform(0, 0.5) if dice.random() < 0.35 else None
            self._judge(words, self._do(words, delay))

    def _choose(self, dice: random.Random) -> list[str]:
        image = dice.choice(self._images)
        with self._lock:
            container = dice.choice(sorted(self.made) or ["none"])
        choices = [
            ["pull", "-q", image],
            ["create", "-q", image],
            ["create", "-q", image],
            ["run", "-q", "--rm", image, "cat", "/etc/group"],
            ["run", "-q", container, "sh", "-c", "echo x >>/x; cat /etc/group"],
            ["clone", "-q", container],
            ["rm", container],
            ["rmi", image],
            ["rmi", image],
            ["prune"],
            dice.choice([["images"], ["ps"], ["df"]]),
        ]
        words = dice.choice(choices)
        if words[0] == "rm":
            with self._lock:
                self.removing.add(container)
        return words

    def _do(self, words: list[str], delay: float | None) -> Result:
        process = self._caller.start(*words)
        if delay is not None:
            time.sleep(delay)
            process.kill()
        return checks.ended([process])[0]

    def _judge(self, words: list[str], result: Result) -> None:
        with self._lock:
            if result.code == _KILLED:
                self.killed += 1
                return
            self.done[words[0]] = self.done.get(words[0], 0) + (result.code == 0)
            is_clean = result.code == 0 or (
                result.code == 125
                and not any(word in result.err for word in _NEVER)
                and len(result.err.strip().splitlines()) <= 2
            )
            if words[0] == "run" and result.code == 0:
                is_clean = "root:x:0:" in result.out
            if not is_clean:
                self.wrong.append((words, result))
            elif result.code == 0 and words[0] in ("create", "clone"):
                self.made.add(result.out.strip())
            elif result.code == 0 and words[0] == "rm":
                self.removed.add(words[-1])


def test_nothing_is_lost_or_damaged(caller: checks.Caller, images: list[str]) -> None:
    caller("run", "--rm", images[0], "true")  # the modes have been tried
    first = [caller("create", "-q", image).out.strip() for image in images]
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # shown where it fails
    stress = Stress(caller, images, seed)
    stress.made.update(first)
    stress.run()
    assert stress.wrong == []
    assert stress.killed
    assert sum(stress.done.values()) >= _WORKERS  # on the slowest machine
    left = set(checks.containers(caller))
    assert stress.made - stress.removing <= left
    assert not stress.removed & left
    checked = caller("fsck", check=False)
    assert checked.code == 0, checked
    time.sleep(2.1)  # what is younger than a command that looks is not garbage
    caller("prune")
    assert caller("fsck").out.endswith(": nothing is wrong\n")
    assert caller("prune", "--dry-run").out == "Would free: 0.0 MB (0 bytes)\n"
    assert checks.left(caller.store) == []
    for identity in left:
        assert "root:x:0:" in caller("run", identity, "cat", "/etc/group").out
    caller("rm", "-f", "none", *left)
    caller("rmi", "-f", "none", *checks.images(caller))
    time.sleep(2.1)
    caller("prune")
    own = embedded.chain_id()  # of the image with which modes are tried
    assert checks.trees(caller.store) == ([own.hex] if own else [])
    assert checks.blobs(caller.store) == []
