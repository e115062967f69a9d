"""Discovery on the real user space of NVIDIA's driver, as Debian packs it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from builders.drivers import needs_x86_64
from builders.nvidia_driver import driver_host
from udocker.devices import nvidia

if TYPE_CHECKING:
    from builders.drivers import DriverHost
    from udocker.model.devices import DeviceSet

pytestmark = [pytest.mark.e2e, needs_x86_64]
BUDGET = 0.060  # seconds that discovery may add to a start


@pytest.fixture(scope="module")
def host() -> DriverHost:
    return driver_host()


@pytest.fixture(scope="module")
def found(host: DriverHost) -> DeviceSet:
    result = nvidia.discover(host.places, {"PATH": "/usr/bin"})
    assert result is not None
    return result


def test_all_of_it_is_found(host: DriverHost, found: DeviceSet) -> None:
    there = {str(path) for path in host.top.rglob(f"*.so.{found.version}")}
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", found.version)
    assert {each.path for each in found.libraries} == there
    assert len(there) >= 8
    features = {each.soname: each.feature for each in found.libraries}
    assert features["libcuda.so.1"] == features["libnvidia-nvvm.so.4"] == "compute"
    assert features["libnvidia-ml.so.1"] == "utility"
    assert features["libnvcuvid.so.1"] == features["libnvidia-encode.so.1"] == "video"
    assert found.programs == (f"{host.top}/usr/lib/nvidia/current/nvidia-smi",)
    assert f"{host.top}/etc/OpenCL/vendors/nvidia.icd" in found.files
    assert len(found.warnings) == 1  # there is no GPU


def test_names_and_versions_are_what_objdump_says(found: DeviceSet) -> None:
    for each in found.libraries:
        words = ["objdump", "-p", each.path]
        told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        soname = re.search(r"SONAME +(\S+)", told)
        needed = told.partition("Version References:")[2]
        versions = re.findall(r"GLIBC_(\d+)\.(\d+)", needed)
        assert soname is not None
        assert each.soname == soname[1]
        assert each.glibc == max((int(a), int(b)) for a, b in versions)
        assert each.glibc <= (2, 17)  # made for old C libraries: any image takes them


def test_it_takes_little_time(host: DriverHost) -> None:
    took = []
    for _ in range(5):
        begin = time.process_time()
        nvidia.discover(host.places, {"PATH": os.environ["PATH"]})
        took.append(time.process_time() - begin)
    assert min(took) < BUDGET
