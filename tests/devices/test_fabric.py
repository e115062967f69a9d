"""InfiniBand, Slingshot, and what finds them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from udocker.devices import fabric

if TYPE_CHECKING:
    from pathlib import Path

    from udocker.model.devices import DeviceSet

LIMITS = "Max locked memory         {}              {}              bytes     \n"


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    return DriverHost(tmp_path / "host")


def found(host: DriverHost, **environ: str) -> DeviceSet:
    result = fabric.discover(host.places, environ)
    assert result is not None
    return result


@needs_x86_64
def test_none(host: DriverHost) -> None:
    host.library("usr/lib64/libnl-3.so.200", soname="libnl-3.so.200")
    assert fabric.discover(host.places, {}) is None


def test_nodes(host: DriverHost) -> None:
    wanted = ("infiniband/uverbs0", "infiniband/rdma_cm", "infiniband/umad0", "cxi0", "xpmem")
    for name in (*wanted, "infiniband/other", "tty"):
        host.node(name)
    host.text("proc/self/limits", LIMITS.format("unlimited", "unlimited"))
    result = found(host)
    assert [node.path.removeprefix(f"{host.top}/dev/") for node in result.nodes] == list(wanted)
    assert (result.gpus, result.warnings) == ((), ())


def test_little_memory_may_be_locked(host: DriverHost) -> None:
    host.node("infiniband/uverbs0")
    host.text("proc/self/limits", LIMITS.format(65536, 65536))
    assert found(host).warnings == (
        "only 64 KiB of memory may be locked: ulimit -l; verbs need more",
    )


@needs_x86_64
def test_libraries_and_their_parts(host: DriverHost) -> None:
    folder = "usr/lib/x86_64-linux-gnu"
    host.node("infiniband/uverbs0")
    for name in ("libibverbs.so.1", "libuct.so.0", "libucp.so.0", "libfabric.so.1.19.0"):
        host.library(f"{folder}/{name}", soname=name.replace(".19.0", ""))
    host.link(f"{folder}/libfabric.so.1", "libfabric.so.1.19.0")
    host.library(f"{folder}/libibverbs/libmlx5-rdmav34.so", soname="libmlx5.so.1")
    host.library(f"{folder}/ucx/libuct_ib.so.0", soname="libuct_ib.so.0")
    host.library(f"{folder}/libfabric/librxm-fi.so", soname="")
    host.text(f"{folder}/libfabric/libtext-fi.so", "text")
    host.text("etc/libibverbs.d/mlx5.driver", "driver mlx5\n")
    host.program("usr/bin/fi_info")
    result = found(host)
    assert [each.soname for each in result.libraries] == [
        *("libibverbs.so.1", "libmlx5.so.1", "libucp.so.0", "libuct.so.0", "libuct_ib.so.0"),
        *("libfabric.so.1", "librxm-fi.so"),
    ]
    assert [os.path.basename(path) for path in result.files] == ["mlx5.driver"]
    assert result.programs == (f"{host.top}/usr/bin/fi_info",)
    [told] = result.warnings
    assert told.endswith("libtext-fi.so is no library: passed over")


@needs_x86_64
def test_a_provider_that_is_a_library_as_well(host: DriverHost) -> None:
    host.node("infiniband/uverbs0")
    host.library("usr/lib64/libibverbs.so.1")
    host.library("usr/lib64/libmlx5.so.1.24", soname="libmlx5.so.1")
    host.link("usr/lib64/libmlx5.so.1", "libmlx5.so.1.24")
    host.link("usr/lib64/libibverbs/libmlx5-rdmav34.so", "../libmlx5.so.1.24")
    sonames = [each.soname for each in found(host).libraries]
    assert sonames == ["libibverbs.so.1", "libmlx5.so.1"]


@needs_x86_64
def test_providers_of_two_sides(host: DriverHost) -> None:
    host.node("infiniband/uverbs0")
    host.library("usr/lib64/libibverbs.so.1")
    for number in (34, 57):
        host.library(f"usr/lib64/libibverbs/libmlx5-rdmav{number}.so")
    assert found(host).warnings == ("providers of verbs have several private interfaces: 34, 57",)


@needs_x86_64
def test_without_a_node(host: DriverHost) -> None:
    """UCX of a module, and Slingshot's libfabric in its own place: the user's choice is first."""
    host.library("opt/cray/libfabric/1.15.2.0/lib64/libfabric.so.1")
    host.library("sw/ucx/lib/libucp.so.0", soname="libucp.so.0")
    result = found(host, LD_LIBRARY_PATH="/sw/ucx/lib")
    assert [each.soname for each in result.libraries] == ["libucp.so.0", "libfabric.so.1"]
    assert result.warnings == (
        "libraries of fabrics are here, and no node: they use shared memory and TCP",
    )
