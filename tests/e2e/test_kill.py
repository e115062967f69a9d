"""``kill -9`` at any moment: the store shows nothing or the whole thing, and the same works again.

The moments are random within the time that the command takes here, from a fixed seed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.registry import FakeRegistry, Fault, make_image, make_layer
from udocker.registry.pieces import PIECE

if TYPE_CHECKING:
    from typing import Any

    from fakes.registry import MadeImage

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.checks"]

_NAME = "test/killed"
_COUNT = 22
_FEWER = 8  # in each mode
_PATIENCE = 100  # tenths of a second


@pytest.fixture
def image(fake: FakeRegistry) -> MadeImage:
    layers = [checks.busybox_layer()]
    layers += [checks.file_layer(name, 60, 3000) for name in ("one", "two", "three")]
    return make_image(fake, _NAME, "latest", layers, {"Cmd": ["cat", "/etc/group"]})


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    return f"{fake.host}/{_NAME}"


def killed(caller: checks.Caller, words: list[str], delay: float) -> bool:
    """Start the command and kill it after ``delay`` seconds; false if it was over by then."""
    process = caller.start(*words)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode < 0


def delays(seconds: float, seed: str) -> list[float]:
    """Moments at which to kill a command that takes ``seconds``."""
    source = random.Random(seed)
    return [source.uniform(0, seconds) for _ in range(_COUNT)]


def duration(caller: checks.Caller, *words: str) -> float:
    begun = time.monotonic()
    caller(*words)
    return time.monotonic() - begun


def swept(caller: checks.Caller, name: str) -> None:
    """What killed commands left goes with the next one that writes."""
    caller("create", "--name=swept", name)
    caller("rm", "swept")
    assert checks.left(caller.store) == []


def test_pull(caller: checks.Caller, image: MadeImage, name: str) -> None:
    seconds = duration(caller, "pull", name)
    whole = checks.blobs(caller.store)
    caller("rmi", name)
    count = 0
    for delay in delays(seconds, "pull"):
        count += killed(caller, ["pull", name], delay)
        shown = checks.images(caller)
        assert shown in ([], [f"{name}:latest"])
        if shown:
            assert "root:x:0:" in caller("run", "--rm", "--pull=never", name).out
        caller("pull", name)
        assert "root:x:0:" in caller("run", "--rm", "--pull=never", name).out
        assert checks.blobs(caller.store) == whole
        caller("rmi", name)
        assert checks.blobs(caller.store) == []
    assert count
    caller("pull", name)
    swept(caller, name)


def test_pull_in_the_middle_of_a_layer(
    caller: checks.Caller, fake: FakeRegistry, image: MadeImage, name: str
) -> None:
    """What has come of it stays where nobody sees it, until it is swept."""
    digest = image.layers[1]["digest"]
    data: Any = fake.blobs[digest]
    opened = threading.Event()
    gated: Any = checks.Gated(data, opened)
    fake.blobs[digest] = gated
    process = caller.start("pull", name)
    while not (fake.requests(digest) and checks.left(caller.store)):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    opened.set()
    assert checks.images(caller) == []
    assert checks.trees(caller.store) == []
    assert checks.left(caller.store)
    caller("pull", name)  # which knows that its maker is gone
    swept(caller, name)


def test_pull_goes_on_where_a_killed_one_was(caller: checks.Caller, fake: FakeRegistry) -> None:
    """Most bytes are there when it is killed: the next pull asks for the rest alone."""
    noise = random.Random(3).randbytes(20_000_000)
    layers = [make_layer({"etc/passwd": b"root:x:0:0::/:/bin/sh\n", "noise": noise})]
    image = make_image(fake, "test/noise", "latest", layers)
    size, digest = image.layers[0]["size"], image.layers[0]["digest"]
    fake.fault(digest, Fault(skip=1, stall=PIECE - 1_000_000))
    name = f"{fake.host}/test/noise"
    process = caller.start("pull", name, env={"UDOCKER_JOBS": "1"})
    known = caller.store / "partial"
    while process.poll() is None and noted(known) < 14_000_000:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    there = noted(known)
    fake.clear_faults()
    fake.log.clear()
    caller("pull", name)
    asked = [logged.headers["range"].partition("=")[2] for logged in fake.requests(digest)]
    spans = [tuple(map(int, span.split("-"))) for span in asked]
    assert sum(end - start + 1 for start, end in spans) == size - there
    assert list(known.iterdir()) == []


def noted(partial: Path) -> int:
    """How many bytes a pull says it has."""
    count = 0
    for path in partial.glob("*/map"):
        for line in path.read_text().splitlines():
            start, end = map(int, line.split())
            count += end - start
    return count


def test_create(caller: checks.Caller, image: MadeImage, name: str) -> None:
    caller("pull", name)
    seconds = duration(caller, "create", "--name=x", name)
    caller("rm", "x")
    count = 0
    for delay in delays(seconds, "create"):
        count += killed(caller, ["create", "--name=x", name], delay)
        made = checks.containers(caller)
        assert len(made) <= 1
        if made:
            assert "root:x:0:" in caller("run", "x").out
            caller("rm", "x")
        caller("create", "--name=x", name)
        assert "root:x:0:" in caller("run", "x").out
        caller("rm", "x")
    assert count
    assert checks.containers(caller) == []
    swept(caller, name)


def test_run_of_an_image(caller: checks.Caller, image: MadeImage, name: str) -> None:
    """The container of a killed run stays, whole, unless it was to be removed."""
    caller("pull", name)
    seconds = duration(caller, "run", name)
    count = 0
    for delay in delays(seconds, "run"):
        for identity in checks.containers(caller):
            caller("rm", identity)
        count += killed(caller, ["run", "--name=x", name], delay)
        made = checks.containers(caller)
        assert len(made) <= 1
        if made:
            assert "root:x:0:" in caller("run", "x").out
            caller("rm", "x")
        assert "root:x:0:" in caller("run", "--name=x", name).out
    assert count
    swept(caller, name)


def test_run_of_a_container(
    caller: checks.Caller, image: MadeImage, name: str, modes: tuple[str, ...]
) -> None:
    """In every mode, the first run and later ones: those that copy the image, and those not."""
    caller("pull", name)
    count = 0
    for mode in modes:
        words = ["run", f"--execmode={mode}", "x"]
        caller("create", "--name=x", name)
        seconds = duration(caller, *words)
        for number, delay in enumerate(delays(seconds, mode)[:_FEWER]):
            if number % 2:
                caller("rm", "x")
                caller("create", "--name=x", name)
            count += killed(caller, words, delay)
            assert len(checks.containers(caller)) == 1
            assert "root:x:0:" in caller("run", "x").out  # in the host's best mode
            assert "root:x:0:" in caller(*words).out
        caller("rm", "x")
    assert count
    swept(caller, name)


@pytest.mark.parametrize("before", [[], ["run", "x", "cat", "/later"]])
def test_a_copy_that_was_finished_and_not_recorded(
    caller: checks.Caller, image: MadeImage, name: str, before: list[str]
) -> None:
    """As after a kill between the two: it is made anew, since the container may have changed."""
    identity = caller("create", "--name=x", name).out.strip()
    root = Path(caller("inspect", "-p", "x").out.strip())
    folder = caller.store / "containers" / identity
    record = json.loads((folder / "container.json").read_text())
    (folder / "container.json").write_text(json.dumps({**record, "form": "union"}))
    (folder / "upper" / "later").write_text("written since")
    (root / "bin").chmod(0o555)
    if before:
        assert caller(*before).out == "written since"
    assert caller("inspect", "-p", "x").out.strip() == str(root)
    assert (root / "later").read_text() == "written since"
    assert checks.left(caller.store) == []


def running(word: str) -> list[int]:
    """The processes that have ``word`` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def ends(word: str) -> bool:
    """Whether every process with ``word`` in its command line ends soon."""
    for _ in range(_PATIENCE):
        if not running(word):
            return True
        time.sleep(0.1)
    return False


def test_nothing_of_a_killed_run_goes_on(
    caller: checks.Caller, image: MadeImage, name: str, modes: tuple[str, ...]
) -> None:
    """In every mode, with a parent that stays and without one."""
    caller("pull", name)
    for mode in modes:
        for options in ([], ["--rm"]):
            word = f"{os.getpid()}{random.randrange(10**6):06}"  # seconds, and a mark
            script = f"echo begun; exec sleep {word}"
            words = ["run", *options, f"--execmode={mode}", name, "sh", "-c", script]
            process = caller.start(*words)
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.kill()
            process.wait()
            assert ends(word), (mode, options)
            process.communicate()
    swept(caller, name)
    left = checks.containers(caller)
    assert len(left) == len(modes)
    for identity in left:
        assert not (caller.store / "containers" / identity / "runs").exists() or not any(
            (caller.store / "containers" / identity / "runs").iterdir()
        )


def test_run_that_removes_its_container(
    caller: checks.Caller, image: MadeImage, name: str, modes: tuple[str, ...]
) -> None:
    caller("pull", name)
    count = 0
    for mode in modes:
        words = ["run", "--rm", f"--execmode={mode}", name]
        seconds = duration(caller, *words)
        for delay in delays(seconds, f"rm {mode}")[:_FEWER]:
            count += killed(caller, words, delay)
    assert count
    assert "root:x:0:" in caller("run", "--rm", name).out
    swept(caller, name)
    assert checks.containers(caller) == []
