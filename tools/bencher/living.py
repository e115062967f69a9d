"""Lists of many, exec beside run, and a crowd of containers that is started and stopped at once."""

from __future__ import annotations

import os
import shlex
import shutil
import uuid
from pathlib import Path

from bencher.cases import Ground, must
from bencher.measure import Contender

CONTAINERS = 1000
IMAGES = 200
CROWD = 200
MODES = ("N1", "F3", "P1")
_CROWD = "crowd"
_LONG = "100000"  # seconds
_LEFT_OUT = shutil.ignore_patterns("work", "control")  # which nobody may read, or copy


class Bench:
    """Stores of a small image on ``ground``: nothing else in it, many containers, many names."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._image = f"{ground.registry}/busybox:latest"
        self._do("pull", "-q", self._image)

    def lists(self) -> list[Contender]:
        """Beside the start of udocker."""
        self._many("made", "create", "-q")
        self._many("ended", "run", "-q", "-d", "--execmode=N1")
        self._many("front", "run", "-q", "--execmode=N1")
        for number in range(IMAGES - 1):
            self._do("tag", self._image, f"many:{number}")
        return [
            self._contender("udocker version", _CROWD, ["version"]),
            self._contender(f"ps, {CONTAINERS} that never ran", "made", ["ps"]),
            self._contender(f"ps, {CONTAINERS} that ran with -d", "ended", ["ps"]),
            self._contender(f"ps, {CONTAINERS} that ran in front", "front", ["ps"]),
            Contender("  and none of them listed before", self._ps, self._forgotten),
            self._contender(f"images, {IMAGES}", _CROWD, ["images"]),
        ]

    def _ps(self, number: int) -> list[list[str]]:
        return [[self._ground.udocker, "ps"]]

    def _forgotten(self, number: int) -> dict[str, str]:
        environment = self._env("front")
        Path(environment["UDOCKER_DIR"], "cache", "containers.json").unlink(missing_ok=True)
        return environment

    def entered(self) -> list[Contender]:
        """``true`` in a container that is there: by run, and by exec where it runs."""
        found = []
        for mode in MODES:
            how = ["-q", f"--execmode={mode}"]
            self._do("run", "-d", *how, f"--name=in-{mode}", self._image, "sleep", _LONG)
            self._do("create", "-q", f"--name=of-{mode}", self._image)
            found += [
                self._contender(f"run true, {mode}", _CROWD, ["run", *how, f"of-{mode}", "true"]),
                self._contender(f"exec true, {mode}", _CROWD, ["exec", f"in-{mode}", "true"]),
            ]
        return found

    def crowd(self) -> list[Contender]:
        """All at once, each by a process of its own."""
        run = f"run -q -d --execmode=N1 --name=crowd-$i {self._image} sleep {_LONG}"
        begin, stop, remove = (
            self._each(line) for line in (run, "stop -t 1 crowd-$i", "rm -f crowd-$i")
        )

        def gone(number: int) -> dict[str, str]:
            must(remove, self._env(_CROWD))
            return self._env(_CROWD)

        def there(number: int) -> dict[str, str]:
            must(begin, gone(number))
            return self._env(_CROWD)

        return [
            self._contender("udocker version", _CROWD, ["version"]),
            Contender(f"{CROWD} started at once", lambda number: [begin], gone),
            Contender(f"{CROWD} stopped at once", lambda number: [stop], there),
        ]

    def end(self) -> None:
        """Nothing goes on."""
        words = [self._ground.udocker, "ps", "-q"]
        found = must(words, self._env(_CROWD)).split()
        if found:
            self._do("rm", "-f", *found)

    def _each(self, line: str) -> list[str]:
        one = f"{shlex.quote(self._ground.udocker)} {line}"
        script = (
            f'pids=; for i in $(seq {CROWD}); do {one} >/dev/null & pids="$pids $!"; done; '
            "for pid in $pids; do wait $pid || exit 1; done"
        )
        return ["sh", "-c", script]

    def _many(self, store: str, *command: str) -> None:
        """So many containers: copies of one, which ``command`` makes."""
        environment = self._env(store)
        must([self._ground.udocker, "pull", "-q", self._image], environment)
        must([self._ground.udocker, *command, "--name=first", self._image, "true"], environment)
        if "-d" in command:
            must([self._ground.udocker, "wait", "first"], environment)
        top = environment["UDOCKER_DIR"]
        first = os.readlink(f"{top}/names/first")
        for number in range(CONTAINERS - 1):
            other = uuid.uuid4().hex
            source, target = (f"{top}/containers/{each}" for each in (first, other))
            shutil.copytree(source, target, symlinks=True, ignore=_LEFT_OUT)
            os.symlink(other, f"{top}/names/other-{number}")

    def _contender(self, name: str, store: str, words: list[str]) -> Contender:
        command, environment = [self._ground.udocker, *words], self._env(store)
        return Contender(name, lambda number: [command], lambda number: environment)

    def _do(self, *words: str) -> None:
        must([self._ground.udocker, *words], self._env(_CROWD))

    def _env(self, store: str) -> dict[str, str]:
        return self._ground.environment(UDOCKER_DIR=str(self._ground.scratch / store))
