"""AMD's GPUs by nodes and by what the kernel tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from udocker.devices import amd

if TYPE_CHECKING:
    from pathlib import Path

    from udocker.model.devices import DeviceSet

AMD, OTHER = "0x1002", "0x8086"


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    return DriverHost(tmp_path / "host")


def found(host: DriverHost, **environ: str) -> DeviceSet:
    result = amd.discover(host.places, environ)
    assert result is not None
    return result


def test_none(host: DriverHost) -> None:
    assert amd.discover(host.places, {}) is None
    host.card("renderD128", "0000:03:00.0", OTHER)
    assert amd.discover(host.places, {}) is None


def test_gpus(host: DriverHost) -> None:
    host.node("kfd")
    for name, bus in (("renderD129", "43"), ("card2", "43"), ("renderD128", "83")):
        host.card(name, f"0000:{bus}:00.0", AMD)
    host.card("renderD130", "0000:03:00.0", OTHER)
    host.path("sys/class/drm/card2-HDMI-A-1").mkdir()
    host.text("sys/devices/pci0000:00/0000:43:00.0/product_name", "Instinct MI210\n")
    host.text(
        "sys/class/kfd/kfd/topology/nodes/1/properties",
        "unique_id 1311768467463790320\ndrm_render_minor 129\nbroken\nx y\n",
    )
    host.text("sys/class/kfd/kfd/topology/nodes/0/properties", "unique_id 0\n")
    host.text("sys/module/amdgpu/version", "6.7.0\n")
    result = found(host)
    assert (result.vendor, result.version, result.warnings) == ("amd", "6.7.0", ())
    first, second = result.gpus
    assert [os.path.basename(node.path) for node in first.nodes] == ["renderD129", "card2"]
    assert (first.index, first.minor, first.uuid) == (0, 129, "GPU-123456789abcdef0")
    assert (first.bus, first.name) == ("0000:43:00.0", "Instinct MI210")
    assert (second.index, second.minor, second.uuid) == (1, 128, "")
    assert [node.path for node in result.nodes] == [f"{host.top}/dev/kfd"]


def test_what_is_missing(host: DriverHost) -> None:
    host.card("renderD128", "0000:83:00.0", AMD)
    os.unlink(host.top / "dev/dri/renderD128")
    assert found(host).warnings == (
        f"{host.top}/dev/kfd is missing: no computing by ROCm, but graphics",
        f"GPU 0 (0000:83:00.0) has no node in {host.top}/dev/dri",
    )


def test_only_kfd(host: DriverHost) -> None:
    host.node("kfd")
    assert "no card of AMD's" in found(host).warnings[0]


@needs_x86_64
def test_the_host_s_rocm(host: DriverHost) -> None:
    host.node("kfd")
    for version in ("5.7.1", "6.10.0", "6.2.0"):
        host.library(f"opt/rocm-{version}/lib/libhsa-runtime64.so.1")
    host.library("opt/own/libhsa-runtime64.so.1")
    host.library("usr/lib64/librocm_smi64.so")
    host.program("opt/rocm-6.2.0/bin/rocminfo")
    host.text("etc/OpenCL/vendors/amdocl64_60200_1.icd", "libamdocl64.so")
    result = found(host)
    assert [(each.soname, each.feature) for each in result.libraries] == [
        ("libhsa-runtime64.so.1", "compute"),
        ("librocm_smi64.so.1", "utility"),
    ]
    assert result.libraries[0].path == f"{host.top}/opt/rocm-6.10.0/lib/libhsa-runtime64.so.1"
    assert result.programs == (f"{host.top}/opt/rocm-6.2.0/bin/rocminfo",)
    assert len(result.files) == 1
    chosen = found(host, LD_LIBRARY_PATH="/opt/own").libraries[0]
    assert chosen.path == f"{host.top}/opt/own/libhsa-runtime64.so.1"
