"""A command that is told to end takes back what is under way, and ends by the signal."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from builders.commands import Udocker
from builders.processes import PATIENCE, SOURCE, wait_for
from builders.trees import File

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    made = Udocker(tmp_path)
    made.add("test", {"p": File(b"", 0o755)}, run={"Cmd": ["/p"]})
    return made


@pytest.fixture
def slow(tmp_path: Path) -> dict[str, str]:
    """With a runtime that never answers: a run waits for it, after the container has been made."""
    program = tmp_path / "runc"
    lines = (
        "#!/bin/sh",
        "case $* in *delete*) exit; esac",
        f": >{tmp_path}/begun",
        "exec sleep 300",
    )
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    return {"UDOCKER_USE_RUNC_EXECUTABLE": str(program), "UDOCKER_DEFAULT_EXECUTION_MODE": "R1"}


def begun(udocker: Udocker, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    process: subprocess.Popen[bytes] = udocker.start("run", *words, "test", **options)
    wait_for((udocker.top / "begun").exists)
    assert len(udocker.store.containers.all()) == 1
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_has_not_begun(
    udocker: Udocker, slow: dict[str, str], number: signal.Signals
) -> None:
    process = begun(udocker, "--rm", env=slow)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (-number, b"")
    assert udocker.store.containers.all() == []


_AT = """
import importlib, os, signal, sys, time
place, _, name = sys.argv.pop(1).partition(":")
holder, _, name = name.rpartition(".")
there = importlib.import_module(place)
there = getattr(there, holder) if holder else there

def told(*arguments, **more):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)

setattr(there, name, told)
from udocker.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "place",
    [
        "udocker.store.containers:Containers.enter",
        "udocker.store.containers:Containers.hold",
        "udocker.ops.preparing:make_spec",
        "udocker.engine.execute:execute",
    ],
)
def test_wherever_it_is_told(udocker: Udocker, place: str) -> None:
    """From the making of the container to the beginning of its command."""
    udocker.trust("N1")
    words = ("run", "--rm", "--execmode=N1", "test")
    done = subprocess.run(
        [sys.executable, "-c", _AT, place, *words],
        env={**udocker.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, b"")
    assert udocker.store.containers.all() == []


def test_who_ignores_the_signal_goes_on(udocker: Udocker, slow: dict[str, str]) -> None:
    """As below nohup(1)."""
    process = begun(
        udocker, env=slow, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
