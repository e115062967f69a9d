"""Many tasks of an array begin with one image that nobody has pulled."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.conftest import where_udocker_is
from e2e.jobs import MODES, Slurm, until
from udocker import makers

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.jobs"]

_ADDRESS = "10.213.0.1"  # of the login host
_TESTS = Path(__file__).resolve().parents[1]
# One that refuses locks, as some mounts of NFS and Lustre do.
_WITHOUT_LOCKS = (sys.executable, "-m", "builders.confinement", "no-locks")


class Registry:
    """A real registry on the login host, and what it was asked for."""

    def __init__(self, slurm: Slurm, port: int, log: Path) -> None:
        self.address = f"{_ADDRESS}:{port}"
        self._log = log
        self._blobs = slurm.images / "registry/docker/registry/v2/blobs"
        self.env = {"UDOCKER_INSECURE_REGISTRIES": self.address}
        self.image = f"{self.address}/debian:12"

    def sent(self) -> Counter[str]:
        """Bytes of each blob: layers come in pieces."""
        pattern = r'"GET /v2/\S+/blobs/(sha256:[0-9a-f]+) \S+" 20[06] (\d+)'
        found: Counter[str] = Counter()
        for digest, size in re.findall(pattern, self._log.read_text()):
            found[digest] += int(size)
        return found

    def sizes(self) -> dict[str, int]:
        """Of the image's blobs."""
        folder = self._blobs / "sha256"
        return {d: (folder / d[7:9] / d[7:] / "data").stat().st_size for d in self.sent()}

    def forget(self) -> None:
        os.truncate(self._log, 0)


@pytest.fixture(scope="module")
def registry(slurm: Slurm) -> Iterator[Registry]:
    port = 20000 + os.getpid() % 10000
    log = slurm.place / "registry.log"
    config = slurm.place / "registry.yml"
    settings = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": str(slurm.images / "registry")},
            "maintenance": {
                "readonly": {"enabled": True},
                "uploadpurging": {"enabled": False},
            },
        },
        "http": {"addr": f"{_ADDRESS}:{port}"},
    }
    config.write_text(json.dumps(settings))
    # Appending, so that the log may be emptied.
    line = f"exec docker-registry serve {shlex.quote(str(config))} >> {shlex.quote(str(log))} 2>&1"
    process = slurm.start("sh", "-c", line)
    try:
        until(lambda: log.exists() and "listening on" in log.read_text())
        yield Registry(slurm, port, log)
    finally:
        process.kill()
        process.communicate()


def array(
    slurm: Slurm, registry: Registry, store: Path, tasks: int, *before: str
) -> tuple[str, list[Path]]:
    """Send an array that runs the image; its number, and the files that its tasks write."""
    program = 'echo "ran $SLURM_ARRAY_TASK_ID"'
    env = {**registry.env, "UDOCKER_DIR": str(store)}
    if before:
        env["PYTHONPATH"] = ":".join((str(_TESTS), *where_udocker_is().values()))
    words = slurm.words("run", registry.image, "sh", "-c", program, env=env)
    if before:
        place = next(i for i, word in enumerate(words[2:], 2) if "=" not in word)
        words[place:place] = before
    name = f"{store.name}-%a.out"
    script = f"exec {shlex.join(words)}"
    job = slurm.submit(script, f"--array=0-{tasks - 1}", "-o", name, "-c", "16")
    return job, [slurm.place / name.replace("%a", str(task)) for task in range(tasks)]


def ended(slurm: Slurm, job: str) -> Counter[str]:
    """How many tasks ended in which state."""
    until(lambda: not slurm("squeue", "-h", "-j", job, check=False).out)
    shown = slurm("scontrol", "--oneliner", "show", "job", job).out
    return Counter(re.findall(r"JobState=(\w+)", shown))


@pytest.mark.parametrize(("kind", "tasks"), [("locks", 64), ("links", 16)])
def test_tasks_of_an_array_pull_once(
    slurm: Slurm, registry: Registry, kind: str, tasks: int
) -> None:
    registry.forget()
    store = slurm.place / f"array-{kind}"
    before = _WITHOUT_LOCKS if kind == "links" else ()
    job, outputs = array(slurm, registry, store, tasks, *before)
    states = ended(slurm, job)
    texts = [path.read_text() for path in outputs]
    assert states == {"COMPLETED": tasks}, texts
    assert [text.splitlines()[-1] for text in texts] == [f"ran {n}" for n in range(tasks)]
    assert registry.sent() == registry.sizes()
    assert sum("unpacking" in text for text in texts) == 1
    assert any("another udocker is pulling" in text for text in texts)
    assert os.listdir(store / "tmp") == []
    assert not (store / "containers").exists()
    nodes = re.findall(r"NodeList=(node\d)", slurm("scontrol", "show", "job", job).out)
    assert len(set(nodes)) > 1


def test_the_puller_is_killed_half_way(slurm: Slurm, registry: Registry) -> None:
    registry.forget()
    store = slurm.place / "array-killed"
    spaces = {
        slurm("stat", "-Lc", "%i", "/proc/self/ns/pid", host=host).out.strip(): host
        for host in ("node1", "node2", "node3", "node4")
    }
    job, outputs = array(slurm, registry, store, 16)
    # What is being pulled has a name that tells by whom.
    marks: list[str] = []

    def is_pulling() -> bool:
        with contextlib.suppress(FileNotFoundError):
            marks[:] = filter(None, map(makers.found_in, os.listdir(store / "partial")))
        return bool(marks)

    limit = time.monotonic() + 30
    while not is_pulling():
        assert time.monotonic() < limit
        time.sleep(0.005)
    space, pid = marks[0].split("-")[1:3]
    slurm("kill", "-9", pid, host=spaces[space])
    assert not (store / "trees").exists(), "it was too late"
    states = ended(slurm, job)
    texts = [path.read_text() for path in outputs]
    assert states == {"COMPLETED": 15, "FAILED": 1}, texts
    assert sum("ran " in text for text in texts) == 15
    sizes = registry.sizes()
    assert all(
        sizes[digest] <= sent <= 2 * sizes[digest] for digest, sent in registry.sent().items()
    )


def test_a_ready_image_is_only_read(slurm: Slurm, registry: Registry) -> None:
    """Nothing is written in the store, so nothing is locked there either."""
    store = slurm.place / "ready"
    env = {**registry.env, "UDOCKER_DIR": str(store)}

    def run(mode: str, tasks: int) -> None:
        words = ("run", f"--execmode={mode}", "--mpi=none", registry.image, "true")
        slurm("srun", "-Q", "-N3", f"-n{tasks}", *slurm.words(*words, env=env))

    for mode in MODES:  # the first run of the F and P modes makes patched copies
        run(mode, 4)
    registry.forget()
    before = seen(store)
    for mode in MODES:
        run(mode, 8)
    assert seen(store) == before
    for path in (store, *(path for path in store.rglob("*") if not path.is_symlink())):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        run("N1", 8)
    finally:
        for path in (store, *(path for path in store.rglob("*") if not path.is_symlink())):
            path.chmod(path.stat().st_mode | 0o200)
    assert not registry.sent()


def seen(store: Path) -> dict[str, int]:
    """Every file of a store, and when it was changed."""
    return {str(path): path.lstat().st_mtime_ns for path in store.rglob("*")}
