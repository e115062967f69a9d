"""Every command of docs/gpu.md, as a user would type it, on a host with two GPUs that are none."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from builders.nvidia_driver import driver_host
from e2e.conftest import command
from e2e.engines import SCI, need

if TYPE_CHECKING:
    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]

_PAGE = Path(__file__).parents[2] / "docs/gpu.md"
_OWN_CODES = (2, 125, 126, 127)  # of udocker; the others are nvidia-smi's


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> DriverHost:
    made = DriverHost(tmp_path_factory.mktemp("devices"))
    for number in range(2):
        made.gpu(f"0000:0{number + 1}:00.0", number, f"GPU-{number}0000000-aaaa")
    for name in ("nvidiactl", "nvidia-uvm"):
        made.node(name)
    return made


def test_commands_of_the_page(
    shared: Shared, refusals: dict[str, str], devices: DriverHost, tmp_path: Path
) -> None:
    need(refusals, "F3")
    lines = re.findall(r"^\$ (.*)$", _PAGE.read_text(), re.MULTILINE)
    assert len(lines) > 10
    script = tmp_path / "bin/udocker"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command())} "$@"\n')
    script.chmod(0o755)
    environment = {
        **shared.environment(),
        "PATH": f"{script.parent}:{os.environ['PATH']}",
        "UDOCKER_DRIVER_ROOT": str(driver_host().top),
        "UDOCKER_DEVICE_ROOT": str(devices.top),
        # Of those that can have a /dev of elsewhere, one that makes no copies.
        "UDOCKER_DEFAULT_EXECUTION_MODE": "F3",
    }
    image = shared.image(SCI)
    for line in lines:
        typed = line.replace("IMAGE", image).replace("udocker run ", "udocker run -q --rm ")
        if "run -q --rm work" in typed:  # a container that stays
            typed = typed.replace(" --rm", "")
        done = subprocess.run(
            ["sh", "-c", typed],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode not in _OWN_CODES, (line, done.stderr)
        assert "Traceback" not in done.stderr
        if "nvidia-smi" not in line:
            assert done.returncode == 0, (line, done.stderr)
    shared("rm", "-f", "work")
