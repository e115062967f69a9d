"""Verdicts on this user and on images: ``udocker gpu doctor``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, library, needs_x86_64
from builders.hosts import host as make_host
from builders.sessions import session as make_session
from builders.stores import add_image
from test_elf import program as elf
from udocker.errors import ImageNotFound
from udocker.ops import gpu_doctor, gpus
from udocker.ops.gpu_json import as_json

if TYPE_CHECKING:
    from pathlib import Path

    from builders.sessions import TestSession
    from builders.trees import Node
    from udocker.ops.gpus import Devices
    from udocker.ops.needs import Need

pytestmark = needs_x86_64
V = "535.261.03"
GLIBC = "lib/x86_64-linux-gnu/libc.so.6"


def glibc(version: str) -> bytes:
    return elf() + f"\0GNU C Library (X) stable release version {version}.\n\0".encode()


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, make_host())


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    """With one GPU and its driver; one of its libraries needs glibc 2.34."""
    host = DriverHost(tmp_path / "host")
    host.driver("usr/lib64", V)
    source = "#include <pthread.h>\nvoid *f(void) { return (void *)pthread_create; }"
    young = library("libnvidia-egl-gbm.so.1", "glibc", source)
    host.path("usr/lib64/libnvidia-egl-gbm.so.1.1.0").write_bytes(young)
    host.gpu("0000:07:00.0", 0)
    host.node("nvidia-uvm")
    host.text("sys/none")
    return host


def examined(session: TestSession, host: DriverHost, image: str = "") -> Devices:
    return gpu_doctor.examine(session, image, str(host.top), str(host.top))


def needs(session: TestSession, host: DriverHost, **image: object) -> dict[str, Need]:
    add_image(session.store, "one:1", **image)  # type: ignore[arg-type]
    return {need.what: need for need in examined(session, host, "one:1").needs}


def test_this_user(session: TestSession, host: DriverHost) -> None:
    found = examined(session, host)
    assert found.ok
    assert [(need.what, need.found) for need in found.needs] == [
        ("GPUs of nvidia", "1 here, 1 open to this user"),
        ("driver of nvidia", f"3 libraries of {V}"),
    ]


@pytest.mark.skipif(os.getuid() == 0, reason="host: root may open everything")
def test_what_is_closed(session: TestSession, host: DriverHost) -> None:
    host.gpu("0000:08:00.0", 1, node=False)
    host.closed("nvidia1")
    assert examined(session, host).ok  # as in a job that has one of two
    (host.top / "dev/nvidia0").unlink()
    host.text("dev/nvidia0").chmod(0o060)
    (host.top / "dev/nvidia-uvm").unlink()
    host.closed("nvidia-uvm")
    found = examined(session, host)
    assert not found.ok
    group = gpus.permission(f"{host.top}/dev/nvidia0").group
    first, second, _ = found.needs
    assert first.hint == f"the group {group}: {host.top}/dev/nvidia0 is ----rw----"
    assert (second.what, second.ok) == (f"{host.top}/dev/nvidia-uvm", False)
    assert second.hint.startswith("a job that asks the batch system for it")


def test_a_host_without_any(session: TestSession, tmp_path: Path) -> None:
    bare = DriverHost(tmp_path / "bare")
    bare.text("proc/none")
    bare.text("sys/none")
    found = examined(session, bare)
    assert (found.sets, found.needs, found.ok) == ((), (), False)


def test_a_login_node(session: TestSession, host: DriverHost) -> None:
    (host.top / "dev/nvidia0").unlink()
    (host.top / "proc/driver/nvidia/gpus/0000:07:00.0/information").unlink()
    os.rmdir(host.top / "proc/driver/nvidia/gpus/0000:07:00.0")
    found = examined(session, host)
    [need] = found.needs[:1]
    assert (need.ok, need.found) == (False, "0 here, 0 open to this user")
    assert need.hint.startswith("a machine with one")


def test_an_image_that_fits(session: TestSession, host: DriverHost) -> None:
    shown = needs(session, host, table={GLIBC: glibc("2.36"), "etc/ld.so.cache": b"x"})
    assert list(shown)[2:] == [
        "platform linux/amd64",
        "C library glibc 2.36",
        "libraries of nvidia",
    ]
    assert all(need.ok for need in shown.values())
    assert shown["libraries of nvidia"].found == "3 of 3 can be loaded by glibc 2.36"


@pytest.mark.parametrize(
    ("env", "ok", "told"),
    [
        ("NVIDIA_REQUIRE_CUDA=cuda>=12.2", True, f"this host has driver {V}, cuda 12.2"),
        ("NVIDIA_REQUIRE_CUDA=brand=tesla", True, "not known whether this host has "),
        ("NVIDIA_REQUIRE_CUDA=cuda>=12.4", False, "requirement error: unsatisfied condition: "),
    ],
)
def test_what_the_image_requires(
    session: TestSession, host: DriverHost, env: str, ok: bool, told: str
) -> None:
    table: dict[str, Node] = {GLIBC: glibc("2.36")}
    shown = needs(session, host, table=table, run={"Env": [env]})
    need = shown["what the image requires"]
    assert need.ok is ok
    assert need.found.startswith(told)
    assert ("NVIDIA_DISABLE_REQUIRE" in need.hint) is not ok
    table["usr/local/cuda/compat/libcuda.so.570.1.2"] = b"x"
    newer = needs(session, host, table=table, run={"Env": [env]}, layer=b"two")
    assert newer["what the image requires"].ok


def test_an_older_c_library(session: TestSession, host: DriverHost) -> None:
    shown = needs(session, host, table={GLIBC: glibc("2.31")})
    need = shown["libraries of nvidia"]
    assert need.ok  # for graphics only, which is not asked for by default
    assert need.found == ("2 of 3 can be loaded by glibc 2.31; not libnvidia-egl-gbm.so.1")
    assert need.hint == "an image with glibc 2.34 or newer"
    assert shown["/etc/ld.so.cache"].ok
    young = host.path("usr/lib64/libnvidia-egl-gbm.so.1.1.0").read_bytes()
    host.path(f"usr/lib64/libcuda.so.{V}").write_bytes(young)
    assert not needs(session, host, table={GLIBC: glibc("2.31")})["libraries of nvidia"].ok


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"lib/ld-musl-x86_64.so.1": elf() + b"\0001.2.5\0"}, "C library musl 1.2.5"),
        ({}, "no C library"),
    ],
)
def test_other_c_libraries(
    session: TestSession, host: DriverHost, table: dict[str, Node], what: str
) -> None:
    shown = needs(session, host, table=table)
    assert list(shown)[-1] == what
    assert not shown[what].ok
    assert "glibc" in shown[what].hint


def test_another_machine_s_image(session: TestSession, host: DriverHost) -> None:
    shown = needs(session, host, architecture="arm64")
    assert list(shown)[-1] == "platform linux/arm64"
    assert not shown["platform linux/arm64"].ok


def test_32_bits_and_a_driver_of_its_own(session: TestSession, host: DriverHost) -> None:
    host.driver("usr/lib/i386-linux-gnu", V, kind="i386")
    table: dict[str, Node] = {GLIBC: glibc("2.36"), "usr/lib64/libcuda.so.1": b"x"}
    shown = needs(session, host, table=table)
    assert shown["2 libraries of 32 bits"].found.startswith("in this image they are of no use")
    assert shown["/usr/lib64/libcuda.so.1 of its own"].ok
    with_loader = needs(session, host, table={**table, "lib/ld-linux.so.2": b"x"}, layer=b"two")
    assert with_loader["2 libraries of 32 bits"].found == "in this image they can be loaded"


def test_no_such_image(session: TestSession, host: DriverHost) -> None:
    with pytest.raises(ImageNotFound):
        examined(session, host, "none")


def test_as_json(session: TestSession, host: DriverHost) -> None:
    host.text("proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0/access")
    told = as_json(examined(session, host))
    [one] = told["devices"]  # type: ignore[misc]
    assert told["ok"] is True
    [gpu] = one["gpus"]
    assert {**gpu, "nodes": 0} == {
        **{"index": 0, "minor": 0, "uuid": "GPU-00000000", "bus": "0000:07:00.0"},
        **{"name": "NVIDIA A100-SXM4-40GB", "nodes": 0},
        "parts": [{"name": "gi1/ci0", "nodes": []}],
    }
    assert gpu["nodes"] == [
        {
            **{"path": f"{host.top}/dev/nvidia0", "open": True, "mode": "crw-rw-rw-"},
            **{"owner": "root", "group": "root"},
        }
    ]
    assert {each["glibc"] for each in one["libraries"]} == {"", "2.34"}


def test_who_owns_a_node(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        gpus.permission(str(tmp_path / "none"))
    assert gpus.permission("/dev/null") == gpus.Permission("crw-rw-rw-", "root", "root")
