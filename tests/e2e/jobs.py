"""What the tests of batch jobs share: a real Slurm, and a store with images that its hosts see.

``tools/slurm start DIRECTORY`` makes it; UDOCKER_TEST_SLURM names the directory. Its hosts have
each a /tmp, /run and /dev/shm of their own, and all else in common.
PYTEST_DONT_REWRITE: what the modules import from here is imported before they load it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from e2e.conftest import Result, command, where_udocker_is

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    T = TypeVar("T")
    R = TypeVar("R")

PATIENCE = 180.0  # seconds
BUSYBOX = "busybox:latest"
MODES = ("N1", "F3", "P1")
# Of the job's own environment nothing has to be there for udocker: not even PATH.
_ENV = "/usr/bin/env"


class Slurm:
    """A cluster, and a directory that all its hosts see."""

    def __init__(self, cluster: Path, place: Path, images: Path) -> None:
        self._tool = str(Path(__file__).resolve().parents[2] / "tools" / "slurm")
        self.cluster = cluster
        self.place = place
        self.images = images
        self.store = place / "store"
        self._home = place / "home"
        self._home.mkdir()

    def words(self, *words: object, env: Mapping[str, str] | None = None) -> list[str]:
        """udocker's command line, with all that it needs of the environment."""
        given = {"UDOCKER_DIR": str(self.store), **where_udocker_is(), **(env or {})}
        return [_ENV, *(f"{k}={v}" for k, v in given.items()), *command(), *map(str, words)]

    def line(self, *words: object, env: Mapping[str, str] | None = None) -> str:
        """As ``words``, for a shell."""
        return shlex.join(self.words(*words, env=env))

    def programs(self) -> Path:
        """A directory for PATH: its udocker needs nothing of the environment."""
        place = self.place / "programs"
        place.mkdir(exist_ok=True)
        udocker = place / "udocker"
        udocker.write_text(f'#!/bin/sh\nexec {self.line()} "$@"\n')
        udocker.chmod(0o755)
        return place

    def start(
        self, *words: object, host: str = "login1", stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Start a command on a host of the cluster."""
        return subprocess.Popen(
            [self._tool, "in", str(self.cluster), "-n", host, *map(str, words)],
            cwd=self.place,
            env={
                "HOME": str(self._home),
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "LANG": "C.UTF-8",
                "TERM": "dumb",
            },
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, *words: object, host: str = "login1", input: str = "", check: bool = True
    ) -> Result:
        """Run a command there until its end."""
        process = self.start(*words, host=host, stdin=subprocess.PIPE)
        out, err = process.communicate(input, timeout=PATIENCE)
        result = Result(process.returncode, out, err)
        assert not check or result.code == 0, (words, result)
        return result

    def submit(self, script: str, *options: str) -> str:
        """Send a script; the number of its job."""
        path = self.place / f"script-{time.monotonic_ns()}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        return self("sbatch", "--parsable", *options, path).out.strip()

    def state(self, job: str) -> str:
        fields = self("scontrol", "--oneliner", "show", "job", job).out.split()
        return next(field[9:] for field in fields if field.startswith("JobState="))

    def end(self, job: str) -> str:
        """The state in which the job ends."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        until(lambda: self.state(job) in over)
        return self.state(job)


def until(done: Callable[[], object]) -> None:
    """Wait for something to come true."""
    limit = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < limit, "it does not come true"
        time.sleep(0.05)


def at_once(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What ``function`` gives for each, all at the same time: most of a job is waiting."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(function, items))


@pytest.fixture(scope="session")
def cluster() -> Path:
    given = os.environ.get("UDOCKER_TEST_SLURM")
    if not given:
        pytest.skip("host: no Slurm is here: tools/check starts one where it is root")
    return Path(given)


@pytest.fixture(scope="module")
def slurm(cluster: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Slurm:
    """With a directory of the module's own: which modules share a process is not known before."""
    place = tmp_path_factory.mktemp("slurm")
    found = Slurm(cluster, place, images)
    found(*found.words("pull", "-q", f"oci:{images}/oci:{BUSYBOX}"))
    return found


@pytest.fixture
def newer(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Slurm:
    """A Slurm of a newer Debian, whose users name images; over the same store."""
    given = os.environ.get("UDOCKER_TEST_NEWER_SLURM")
    if not given:
        pytest.skip("host: no newer Slurm is here: tools/check starts one where it is root")
    found = Slurm(Path(given), tmp_path_factory.mktemp("newer"), slurm.images)
    found.store = slurm.store
    return found
