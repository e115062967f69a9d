"""GPUs whose nodes are there for everybody by their mode, and give EPERM to who opens them.

So a control group of a batch system has it, and only root can make one. Here a seccomp filter
refuses the same calls with the same code: see ``builders.refusing``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builders import refusing
from builders.drivers import needs_x86_64
from builders.nvidia_doubles import two_gpus
from e2e.conftest import Result, command
from e2e.engines import need
from e2e.gpus import PROBE, Gpus

if TYPE_CHECKING:
    from builders.drivers import DriverHost
    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]

_VERSION = "535.261.03"
_BOTH = ("/dev/nvidia0", "/dev/nvidia1")
_REASON = "which lets everybody: a control group, or the like, does not"


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> DriverHost:
    return two_gpus(tmp_path_factory.mktemp("doubles"), _VERSION)


class Job(Gpus):
    """What opens one of ``refused`` gets EPERM."""

    refused: tuple[str, ...] = ("/dev/nvidia1",)

    def command(self, *words: str, **more: str) -> Result:
        return self.by(refusing.words(self.refused, *command(), *words), more)


@pytest.fixture
def job(shared: Shared, refusals: dict[str, str], doubles: DriverHost) -> Job:
    """P modes have filters of their own, which do not see what another is asked about."""
    need(refusals, "F3")
    return Job(shared, "F3", doubles, devices=True)


def test_the_list(job: Job) -> None:
    told = job.command("gpu", "list").out
    assert "nvidia0  crw-rw-rw- root root, open to this user\n" in told
    assert "nvidia1  crw-rw-rw- root root, closed to this user\n" in told
    (found,) = json.loads(job.command("gpu", "list", "--json").out)["devices"]
    assert [gpu["nodes"][0]["open"] for gpu in found["gpus"]] == [True, False]


def test_the_doctor(job: Job) -> None:
    told = job.command("gpu", "doctor")
    assert (told.code, told.err) == (0, "")
    assert "ok  GPUs of nvidia: 2 here, 1 open to this user\n" in told.out
    job.refused = _BOTH
    told = job.command("gpu", "doctor")
    assert told.code == 125
    assert "no  GPUs of nvidia: 2 here, 0 open to this user\n" in told.out
    assert "try: a job that asks the batch system for it: " in told.out
    assert f"dev/nvidia0 is crw-rw-rw- root, {_REASON}\n" in told.out


def test_a_run_gets_the_others(job: Job) -> None:
    assert job("python3", "-c", PROBE, options=("--gpus=all",)).out.split()[0] == "1"
    result = job("true", options=('--gpus="device=1"',), check=False)
    assert result.code == 125
    assert "/dev/nvidia1 may not be opened by this user" in result.err
    assert "\n  try: here are 0 (GPU-0" in result.err


def test_a_run_without_any(job: Job) -> None:
    job.refused = _BOTH
    result = job("true", options=("--gpus=all",), check=False)
    assert result.code == 125
    told, hint = result.err.splitlines()
    assert told.startswith("udocker: --gpus all: could not select device driver ")
    assert "/dev/nvidia1 may not be opened by this user" in told
    assert hint.startswith("  try: udocker gpu doctor ")
    result = job("python3", "-c", PROBE)
    assert result.out == "0 0\n"
    assert "udocker: warning: --nv: no GPU of NVIDIA that may be used: " in result.err
