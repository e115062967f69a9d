"""What containers cost: making and removing one, a thousand of them, and a crowd that wants one."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from bencher import layered
from bencher.cases import Ground, must, remove
from bencher.measure import Contender

MANY = 1000
CROWD = 20
_CHANGED = 10  # files in the container that is cloned


class Bench:
    """Containers of a small image and of the seven layers, in a store on ``ground``."""

    def __init__(self, ground: Ground, layers: str) -> None:
        self._ground = ground
        self._small = f"{ground.registry}/debian:12"
        self._large = f"{layers}/{layered.SEVEN}"
        self._store = ground.scratch / "containers"
        self._environment = ground.environment(UDOCKER_DIR=str(self._store))
        for image in (self._small, self._large):
            must([ground.udocker, "pull", "-q", image], self._environment)

    def one(self) -> list[Contender]:
        """create + rm, and clone + rm, beside the start of the same program."""
        udocker = self._ground.udocker
        changes = f"for i in $(seq {_CHANGED}); do echo $i > /tmp/$i; done"
        must([udocker, "create", "-q", "--name=changed", self._large], self._environment)
        run = [udocker, "run", "-q", "--execmode=N1", "changed", "sh", "-c", changes]
        must(run, self._environment)
        gone = [udocker, "rm", "box"]
        return [
            self._of("udocker version, twice", [udocker, "version"], [udocker, "version"]),
            self._of("create + rm, 7 layers", self._create(self._large), gone),
            self._of("create + rm, small image", self._create(self._small), gone),
            self._of("clone + rm", [udocker, "clone", "--name=box", "changed"], gone),
        ]

    def disk(self) -> str:
        """What a thousand containers take, made one after another."""
        before = _disk(self._store)
        line = shlex.join([self._ground.udocker, "create", "-q", self._large])
        must(["sh", "-ec", f"for i in $(seq {MANY}); do {line}; done"], self._environment)
        size = _disk(self._store) - before
        return f"{MANY} containers of one image: {size / (1 << 20):.2f} MiB of disk"

    def crowd(self) -> list[Contender]:
        """One process that pulls into an empty store, and twenty at once."""
        one = shlex.join([self._ground.udocker, "pull", "-q", self._large])
        all_ = "; ".join(
            [
                "set -e",
                "started=",
                f'for i in $(seq {CROWD}); do {one} & started="$started $!"; done',
                "for pid in $started; do wait $pid; done",
            ]
        )
        return [
            self._cold("one pull", one),
            self._cold(f"{CROWD} pulls of it at once", all_),
        ]

    def _create(self, image: str) -> list[str]:
        return [self._ground.udocker, "create", "-q", "--name=box", image]

    def _of(self, name: str, *commands: list[str]) -> Contender:
        return Contender(name, lambda number: list(commands), lambda number: self._environment)

    def _cold(self, name: str, line: str) -> Contender:
        store = self._ground.scratch / "cold"

        def before(number: int) -> dict[str, str]:
            remove(store)
            return self._ground.environment(UDOCKER_DIR=str(store))

        return Contender(name, lambda number: [["sh", "-c", line]], before)


def _disk(path: Path) -> int:
    # What overlayfs makes for itself nobody may read: du says so, and goes on.
    words = ["du", "-s", "--block-size=1", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0])
