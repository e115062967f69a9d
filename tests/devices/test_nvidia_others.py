"""NVIDIA on WSL and on Jetson, where names have no versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from udocker.devices import nvidia
from udocker.model.value import replace

if TYPE_CHECKING:
    from pathlib import Path

    from udocker.model.devices import DeviceSet

pytestmark = needs_x86_64
LISTS = "etc/nvidia-container-runtime/host-files-for-container.d"
TEGRA = "usr/lib/aarch64-linux-gnu/tegra"


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    return DriverHost(tmp_path / "host")


def test_wsl(host: DriverHost) -> None:
    store = "usr/lib/wsl/drivers/nv_dispi.inf_amd64_1"
    host.node("dxg")
    for name in ("libdxcore.so", "libcuda.so.1.1", "libnvidia-ml.so.1"):
        host.library(f"usr/lib/wsl/lib/{name}")
    host.link("usr/lib/wsl/lib/libcuda.so.1", "libcuda.so.1.1")
    host.library(f"{store}/libcuda_loader.so")
    host.text(f"{store}/nvcubins.bin", "x")
    host.program("usr/lib/wsl/lib/nvidia-smi")
    found = nvidia.discover(host.places, {})
    assert found is not None
    assert [node.path for node in found.gpus[0].nodes] == [f"{host.top}/dev/dxg"]
    assert [each.soname for each in found.libraries] == [
        *("libdxcore.so.1", "libcuda.so.1", "libcuda_loader.so.1", "libnvidia-ml.so.1"),
    ]
    assert found.programs == (f"{host.top}/usr/lib/wsl/lib/nvidia-smi",)
    assert found.files == (f"{host.top}/{store}/nvcubins.bin",)
    assert (found.version, found.links) == ("", (("libcuda.so", "libcuda.so.1"),))


def test_wsl_with_another_s_gpu(host: DriverHost) -> None:
    host.node("dxg")
    host.library("usr/lib/wsl/lib/libdxcore.so")
    assert nvidia.discover(host.places, {}) is None


def jetson(host: DriverHost) -> DeviceSet | None:
    return nvidia.discover(replace(host.places, architecture="aarch64"), {})


def test_jetson(host: DriverHost) -> None:
    host.text(
        f"{LISTS}/drivers.csv",
        f"lib, /{TEGRA}/libcuda.so.1.1\nlib, /{TEGRA}/libnvidia-nvvm.so.*\n"
        f"sym, /{TEGRA}/libcuda.so.1\nsym, /{TEGRA}/libgone.so\n"
        "dev, /dev/nvmap\ndev, /dev/nvhost-*\ndev, /dev/gone\ndev, /dev/dri\n"
        "dir, /usr/share/nvidia\n\n# a remark\nodd, /etc/passwd\nlib\nlib, relative\n"
        "lib, /none/*\n",
    )
    host.text(f"{LISTS}/readme.txt", "lib, /etc/passwd")
    host.text("etc/nv_tegra_release", "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: x\n")
    host.library(f"{TEGRA}/libcuda.so.1.1", kind="aarch64")
    host.library(f"{TEGRA}/libnvidia-nvvm.so.4", kind="aarch64")
    host.link(f"{TEGRA}/libcuda.so.1", "libcuda.so.1.1")
    host.path("usr/share/nvidia").mkdir(parents=True)
    for name in ("nvmap", "nvhost-gpu", "nvhost-ctrl", "dri/renderD128", "tty"):
        host.node(name)
    found = jetson(host)
    assert found is not None
    assert found.version == "35.4.1"
    assert [each.soname for each in found.libraries] == ["libcuda.so.1", "libnvidia-nvvm.so.1"]
    assert found.links == (("libcuda.so.1", "libcuda.so.1.1"),)
    assert found.files == (f"{host.top}/usr/share/nvidia",)
    [gpu] = found.gpus
    assert [node.path.removeprefix(f"{host.top}/dev/") for node in gpu.nodes] == [
        *("nvmap", "nvhost-ctrl", "nvhost-gpu", "dri/renderD128"),
    ]


def test_lists_that_are_damaged_or_of_nothing(host: DriverHost) -> None:
    host.path(f"{LISTS}/a.csv").write_bytes(b"lib, /usr/lib/\0x\nlib, /gone\n\xff\xfe")
    assert jetson(host) is None
    host.path(f"{LISTS}/b.csv").write_bytes(b"\n")
    host.driver("usr/lib/aarch64-linux-gnu", "535.1", kind="aarch64")
    found = jetson(host)
    assert found is not None
    assert found.version == "535.1"
