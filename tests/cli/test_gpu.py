"""udocker gpu, as people and scripts see it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from builders.commands import Udocker, needs_busybox
from builders.drivers import DriverHost, needs_x86_64

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_x86_64
V = "535.261.03"


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    return Udocker(tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    host = DriverHost(tmp_path / "host")
    host.text("proc/none")
    host.text("sys/none")
    return host


def roots(host: DriverHost) -> tuple[str, str]:
    return f"--driver-root={host.top}", f"--device-root={host.top}"


def full(host: DriverHost) -> None:
    host.driver("usr/lib64", V)
    host.gpu("0000:07:00.0", 0, "GPU-6c1b34f0")
    host.node("nvidiactl")
    host.node("nvidia-uvm")
    host.program("usr/bin/nvidia-smi")
    host.text("etc/OpenCL/vendors/nvidia.icd")


def test_list(udocker: Udocker, host: DriverHost) -> None:
    full(host)
    ended = udocker("gpu", "list", *roots(host))
    assert (ended.code, ended.err) == (0, "")
    top = host.top
    assert ended.out.splitlines() == [
        f"nvidia {V}",
        "  GPU 0      NVIDIA A100-SXM4-40GB, 0000:07:00.0, GPU-6c1b34f0",
        f"             {top}/dev/nvidia0  crw-rw-rw- root root, open to this user",
        f"  nodes      {top}/dev/nvidiactl  crw-rw-rw- root root, open to this user",
        f"             {top}/dev/nvidia-uvm  crw-rw-rw- root root, open to this user",
        "  compute    libcuda.so.1",
        "  utility    libnvidia-ml.so.1",
        f"  programs   {top}/usr/bin/nvidia-smi",
        f"  files      {top}/etc/OpenCL/vendors/nvidia.icd",
        "",
    ]


def test_warnings_and_parts(udocker: Udocker, host: DriverHost) -> None:
    host.gpu("0000:07:00.0", 0)
    host.text("proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0/access")
    host.text("proc/driver/nvidia/version", "broken\x1b[31m")
    host.text("etc/ld.so.cache", "garbage")
    told = udocker("gpu", "list", *roots(host)).out.splitlines()
    assert "  MIG 0:0   gi1/ci0" in told
    assert f"  warning: {host.top}/etc/ld.so.cache is no cache of libraries: not used" in told
    assert any("nvidia-uvm is missing" in line for line in told)


def test_directories_of_a_site(udocker: Udocker, host: DriverHost) -> None:
    host.driver("opt/site/lib", V)
    assert "libcuda" not in udocker("gpu", "list", *roots(host)).out
    settings = {"UDOCKER_DRIVER_LIBRARIES": "/none:/opt/site/lib"}
    assert "libcuda.so.1" in udocker("gpu", "list", *roots(host), env=settings).out


def test_nothing(udocker: Udocker, host: DriverHost) -> None:
    ended = udocker("gpu", "list", *roots(host))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "no GPU, no accelerator and no fabric is found here\n"
    ended = udocker("gpu", "doctor", *roots(host))
    assert ended.code == 125
    assert ended.out.endswith("verdict: this user cannot use it: no device is here\n")
    told = json.loads(udocker("gpu", "list", "--json", *roots(host)).out)
    assert (told["devices"], told["ok"]) == ([], False)


def test_doctor(udocker: Udocker, host: DriverHost) -> None:
    full(host)
    ended = udocker("gpu", "doctor", *roots(host))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-3:] == [
        "ok  GPUs of nvidia: 1 here, 1 open to this user",
        f"ok  driver of nvidia: 2 libraries of {V}",
        "verdict: this user can use what is here",
    ]
    udocker.add("empty")
    ended = udocker("gpu", "doctor", *roots(host), "empty")
    assert (ended.code, ended.err) == (125, "")
    assert ended.out.splitlines()[-3:] == [
        "no  no C library: static programs load no driver",
        "        try: an image with glibc (Debian, Ubuntu, Rocky Linux)",
        "verdict: empty cannot use it: no C library",
    ]
    told = json.loads(udocker("gpu", "doctor", "--json", *roots(host), "empty").out)
    assert told["ok"] is False
    assert told["needs"][-1]["what"] == "no C library"
    assert told["devices"][0]["version"] == V


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "an argument is missing"),
        (("show",), "unknown word 'show'"),
        (("list", "x"), "unexpected argument 'x'"),
        (("doctor", "x", "y"), "unexpected argument 'y'"),
        (("list", "--driver-root=/none"), "--driver-root '/none' is no directory"),
        (("list", "--device-root="), "--device-root '' is no directory"),
        (("list", "--driver-root=/etc/passwd"), "is no directory"),
        (("list", "--odd"), "unknown option --odd"),
    ],
)
def test_bad_words(udocker: Udocker, words: tuple[str, ...], told: str) -> None:
    ended = udocker("gpu", *words)
    assert (ended.code, ended.out) == (2, "")
    message, hint = ended.err.splitlines()
    assert told in message
    assert hint.startswith("  try: ")


def test_no_such_image(udocker: Udocker, host: DriverHost) -> None:
    full(host)
    ended = udocker("gpu", "doctor", "none", *roots(host))
    assert (ended.code, ended.out) == (125, "")
    assert ended.err.startswith("udocker: no such image: none")


def test_nothing_is_made(udocker: Udocker, host: DriverHost) -> None:
    udocker("gpu", "list", *roots(host))
    assert not udocker.store_path.exists()


@needs_busybox
def test_a_run_without_gpus_loads_nothing_of_them(udocker: Udocker) -> None:
    udocker.add_busybox()
    udocker.trust("F3")
    words = ("run", "--dry-run", "--execmode=F3", "box", "true")
    ended = udocker(*words, env={"PYTHONPROFILEIMPORTTIME": "1"})
    loaded = {line.rpartition("|")[2].strip() for line in ended.err.splitlines()}
    assert ended.code == 0, ended
    assert "udocker.ops.run" in loaded
    assert [
        name for name in loaded if re.match(r"udocker\.(devices|ops\.inject|.*gpu)", name)
    ] == []
    ended = udocker(*words[:2], "--nv", *words[2:], env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert "udocker.devices.nvidia" in ended.err
