"""Intel's GPUs, and Gaudi."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from udocker.devices import intel

if TYPE_CHECKING:
    from pathlib import Path

    from udocker.model.devices import DeviceSet

INTEL = "0x8086"


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    return DriverHost(tmp_path / "host")


def found(host: DriverHost) -> DeviceSet:
    result = intel.discover(host.places, {})
    assert result is not None
    return result


def test_none(host: DriverHost) -> None:
    host.card("card0", "0000:03:00.0", "0x1002")
    assert intel.discover(host.places, {}) is None


@needs_x86_64
def test_gpus(host: DriverHost) -> None:
    host.card("card0", "0000:00:02.0", INTEL)
    host.card("renderD128", "0000:00:02.0", INTEL)
    host.library("usr/lib64/libze_intel_gpu.so.1")
    host.library("usr/lib64/dri/iHD_drv_video.so", soname="")
    host.library("opt/intel/libigdrcl.so", soname="")
    host.library("usr/lib64/libother.so")
    host.text("etc/OpenCL/vendors/intel.icd", "/opt/intel/libigdrcl.so\n")
    host.text("etc/OpenCL/vendors/intel-other.icd", "libother.so")
    host.text("etc/OpenCL/vendors/intel-bad.icd", "/opt/\0\n")
    host.text("etc/OpenCL/vendors/intel-empty.icd")
    result = found(host)
    assert [os.path.basename(node.path) for node in result.gpus[0].nodes] == ["renderD128", "card0"]
    assert [(each.soname, each.feature) for each in result.libraries] == [
        ("libze_intel_gpu.so.1", "compute"),
        ("iHD_drv_video.so", "video"),
        ("libother.so.1", "compute"),
        ("libigdrcl.so", "compute"),
    ]
    assert len(result.files) == 4
    assert result.warnings == ()


def test_gpus_without_nodes(host: DriverHost) -> None:
    host.card("card0", "0000:00:02.0", INTEL)
    os.unlink(host.top / "dev/dri/card0")
    assert found(host).warnings == (f"GPU 0 (0000:00:02.0) has no node in {host.top}/dev/dri",)


def test_gaudi(host: DriverHost) -> None:
    for number, bus in ((10, "0000:19:00.0"), (2, "0000:b3:00.0")):
        device = f"sys/devices/pci0000:00/{bus}"
        host.text(f"{device}/vendor", "0x1da3\n")
        host.link(f"sys/class/accel/accel{number}/device", f"../../../devices/pci0000:00/{bus}")
        host.node(f"accel/accel{number}")
    host.node("accel/accel_controlD2")
    for name, kind in (("uverbs0", "hbl_0"), ("uverbs1", "mlx5_0")):
        host.text(f"sys/class/infiniband_verbs/{name}/ibdev", f"{kind}\n")
        host.node(f"infiniband/{name}")
    result = found(host)
    assert [(gpu.index, gpu.minor, gpu.bus) for gpu in result.gpus] == [
        (0, 10, "0000:19:00.0"),
        (1, 2, "0000:b3:00.0"),
    ]
    assert [os.path.basename(node.path) for node in result.gpus[1].nodes] == [
        "accel2",
        "accel_controlD2",
    ]
    assert [node.path for node in result.nodes] == [f"{host.top}/dev/infiniband/uverbs0"]
