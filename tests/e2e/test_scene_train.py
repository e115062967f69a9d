"""The scripts of the page on training, sent as they stand; they write what a run outside does."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from builders.nvidia_driver import driver_host
from e2e.jobs import MODES, Slurm, at_once, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.jobs"]

_PAGE = Path(__file__).parents[2] / "docs/scenes/train.md"
_IMAGE = "digits:1"


class Scripts:
    """The scripts of the page, by the names of their jobs, and a directory to send them from."""

    def __init__(self, slurm: Slurm) -> None:
        text = _PAGE.read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n#!/bin/sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.texts = {re.findall(r"--job-name=(\w+)", block)[0]: block for block in blocks}
        [self.outside] = re.findall(r"^\$ udocker run (.*)$", text, re.MULTILINE)
        self.slurm = slurm
        self._own = slurm.place / "programs"
        self._own.mkdir(exist_ok=True)

    def send(self, name: str, mode: str, env: dict[str, str] | None = None) -> tuple[str, Path]:
        """The number of the job, and the file with its output."""
        given = {"UDOCKER_DEFAULT_EXECUTION_MODE": mode, **(env or {})}
        programs = self._own / f"{name}-{mode}"
        programs.mkdir()
        udocker = programs / "udocker"
        udocker.write_text(f'#!/bin/sh\nexec {self.slurm.line(env=given)} "$@"\n')
        udocker.chmod(0o755)
        text = self.texts[name]
        found = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
        options = [word for line in found for word in line.split()]
        place = self.place(mode)
        place.mkdir(exist_ok=True)
        script = place / f"{name}.sh"
        script.write_text(f"#!/bin/sh\nexport PATH={shlex.quote(str(programs))}:$PATH\n{text}")
        output = place / f"{name}.out"
        line = ("sbatch", "--parsable", f"--output={output}", *options, script)
        return self.slurm("env", "-C", place, *line).out.strip(), output

    def place(self, mode: str) -> Path:
        return self.slurm.place / f"results-{mode}"


@pytest.fixture(scope="module")
def scripts(slurm: Slurm) -> Iterator[Scripts]:
    layout = slurm.images.parent / "scene" / "oci"
    if not layout.is_dir():
        pytest.skip("there is no image of a module: tools/images --scene makes it")
    slurm(*slurm.words("pull", "-q", f"oci:{layout}:{_IMAGE}"))
    yield Scripts(slurm)
    slurm(*slurm.words("rm", "-f", *_containers(slurm)), check=False)
    slurm(*slurm.words("rmi", _IMAGE), check=False)


def _containers(slurm: Slurm) -> list[str]:
    rows = json.loads(slurm(*slurm.words("ps", "--json")).out)
    return [row["id"] for row in rows if _IMAGE in row.get("image", "")]


def results(place: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((place / "results.json").read_text())
    return found


def outside(scripts: Scripts, *program: str, mode: str = "N1") -> dict[str, object]:
    """What the program writes where there is no job."""
    place = scripts.slurm.place / f"outside-{mode}-{len(program)}{program[-1].strip('-')}"
    place.mkdir()
    volume = ("-q", "--rm", f"--execmode={mode}", "-v", f"{place}:/out")
    words = scripts.slurm.words("run", *volume, _IMAGE, *program, "--out=/out")
    scripts.slurm(*words)
    return results(place)


@needs_x86_64
def test_the_page(scripts: Scripts, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All of its jobs at once, in every mode; then the same outside of the cluster."""
    assert set(scripts.texts) == {"one", "rates", "two", "gpu", "long"}
    gpus = _gpus(tmp_path_factory.mktemp("gpus"))

    def done(case: tuple[str, str]) -> None:
        name, mode = case
        job, output = scripts.send(name, mode, gpus if name == "gpu" else None)
        if name == "long":
            until(lambda: output.exists() and "epoch 3:" in output.read_text())
            # As Slurm does before the time is over: to the steps, not to the script.
            scripts.slurm("scancel", "--signal=TERM", job)
        state = scripts.slurm.end(job)
        assert state == "COMPLETED", (case, state, output.read_text() if output.exists() else "")

    cases = [(name, mode) for name in scripts.texts for mode in MODES]
    at_once(done, [case for case in cases if case[0] != "gpu"] + [("gpu", "F3")])

    alone = outside(scripts, "digits-train")
    rates = {rate: outside(scripts, "digits-train", f"--rate={rate}") for rate in ("0.02", "0.5")}
    long = outside(scripts, "digits-train", "--epochs=100")
    line = scripts.outside.replace("$PWD", str(scripts.slurm.place))
    scripts.slurm(*scripts.slurm.words("run", "-q", *line.split()))
    two = results(scripts.slurm.place / "two")
    assert (alone["processes"], two["processes"]) == (1, 2)
    for mode in MODES:
        place = scripts.place(mode)
        assert results(place / "one") == alone
        found = {rate: results(place / f"rate-{rate}") for rate in (*rates, "0.1")}
        assert found == {**rates, "0.1": alone}
        assert results(place / "two") == two
        assert results(place / "long") == long
        told = (place / "long.out").read_text()
        stopped = re.findall(r"^stopped after epoch (\d+)$", told, re.MULTILINE)
        assert stopped == re.findall(r"^going on after epoch (\d+)$", told, re.MULTILINE)
        assert len(stopped) == 1
        assert not (place / "long" / "checkpoint.joblib").exists()
    assert results(scripts.place("F3") / "gpu") == alone
    gpu = (scripts.place("F3") / "gpu.out").read_text()
    assert re.search(r"^GPUs of this job: [01];", gpu, re.MULTILINE), gpu


def _gpus(place: Path) -> dict[str, str]:
    """A host with a driver and two GPUs that are none; F3 can have its /dev elsewhere."""
    devices = DriverHost(place / "devices")
    for number in range(2):
        devices.gpu(f"0000:0{number + 1}:00.0", number, f"GPU-{number}0000000-aaaa")
    for name in ("nvidiactl", "nvidia-uvm"):
        devices.node(name)
    drivers = place / "driver"
    shutil.copytree(driver_host().top, drivers, symlinks=True)
    return {"UDOCKER_DRIVER_ROOT": str(drivers), "UDOCKER_DEVICE_ROOT": str(devices.top)}
