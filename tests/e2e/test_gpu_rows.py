"""How far NVIDIA's user space comes without a GPU: by mode, and by the image's C library.

It tells itself, by codes. cuInit's 100 is "no device"; NVML's 9 is "driver not loaded", and 17
"access to the GPU is blocked": then its library has seen the node. Images of Debian 11, 12 and 13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.drivers import needs_x86_64
from builders.nvidia_driver import driver_host
from builders.processes import needs_namespaces
from builders.pythons import PYTHONS, nvidia_packages
from e2e.engines import need
from e2e.gpus import NODES, PROBE, GpuHost, Gpus, named_with_python

if TYPE_CHECKING:
    from pathlib import Path

    from builders.drivers import DriverHost
    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]

# NVIDIA's own packages of PyPI say the same.
_PACKAGES = """
import os, pynvml
from cuda.bindings import driver
try:
    pynvml.nvmlInit()
except pynvml.NVMLError as error:
    print(type(error).__name__, error.value)
try:
    print(driver.cuInit(0)[0].name, driver.cuDriverGetVersion()[1])
except RuntimeError:
    print("not found")
print(*sorted(name for name in os.listdir("/dev") if name.startswith("nvidia")))
"""
_SCRIPT = 'nvidia-smi >/dev/null 2>&1; echo $?; exec python3 -c "$1"'


@pytest.fixture(scope="module")
def host() -> DriverHost:
    return driver_host()


@pytest.fixture(params=["N1", "F3", "P1", "R1", "S1"])
def mode(request: pytest.FixtureRequest, refusals: dict[str, str]) -> str:
    name: str = request.param
    need(refusals, name)
    return name


@pytest.fixture(params=sorted(PYTHONS))
def release(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def lines(gpus: Gpus, release: str, *options: str) -> list[str]:
    """What nvidia-smi ends with, and what Python finds out."""
    packages = nvidia_packages(release)
    image = named_with_python(gpus.shared, release)
    options = (*options, f"--volume={packages}:/packages:ro", "-e", "PYTHONPATH=/packages")
    program = ("dash", "-c", _SCRIPT, "dash", PROBE + _PACKAGES)
    return gpus(*program, image=image, options=options).out.splitlines()


def test_nothing_is_asked_for(shared: Shared, host: DriverHost, mode: str, release: str) -> None:
    assert lines(Gpus(shared, mode, host), release) == [
        "127",
        "missing missing",
        "NVMLError_LibraryNotFound 12",
        "not found",
        "",
    ]


def test_nvidia_smi_without_its_library(
    shared: Shared, host: DriverHost, mode: str, release: str
) -> None:
    smi = host.top / "usr/lib/nvidia/current/nvidia-smi"
    found = lines(Gpus(shared, mode, host), release, f"--volume={smi}:/usr/bin/nvidia-smi:ro")
    assert found[:2] == ["12", "missing missing"]


def test_libraries_without_nodes(shared: Shared, host: DriverHost, mode: str, release: str) -> None:
    assert lines(Gpus(shared, mode, host), release, "--nv") == [
        "9",
        "100 9",
        "NVMLError_DriverNotLoaded 9",
        "CUDA_ERROR_NO_DEVICE 12020",
        "",
    ]


@needs_namespaces
def test_libraries_and_nodes(
    shared: Shared, host: DriverHost, mode: str, release: str, tmp_path: Path
) -> None:
    """The library has seen the node, and the node is there still: the driver removes none."""
    assert lines(GpuHost(shared, mode, host, tmp_path), release, "--nv") == [
        "17",
        "100 17",
        "NVMLError_OperatingSystem 17",
        "CUDA_ERROR_NO_DEVICE 12020",
        " ".join(sorted(NODES)),
    ]
