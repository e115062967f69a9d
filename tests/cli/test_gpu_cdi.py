"""udocker gpu cdi, as people and scripts see it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builders.commands import Udocker
from builders.drivers import DriverHost, needs_x86_64
from udocker.devices.cdi import read, read_file, resolve
from udocker.devices.cdi_edits import host_files, inject
from udocker.errors import DeviceError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = needs_x86_64
V = "535.261.03"
LIB = "/usr/lib64"


@pytest.fixture
def udocker(tmp_path: Path) -> Udocker:
    return Udocker(tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    host = DriverHost(tmp_path / "host")
    host.driver("usr/lib64", V)
    host.module(V)
    host.gpu("0000:07:00.0", 0, "GPU-6c1b34f0")
    host.gpu("0000:08:00.0", 1, "GPU-77777777")
    host.node("nvidiactl")
    host.program("usr/bin/nvidia-smi")
    host.text("sys/none")
    return host


def written(udocker: Udocker, host: DriverHost, *words: str) -> Any:
    ended = udocker("gpu", "cdi", f"--driver-root={host.top}", f"--device-root={host.top}", *words)
    assert ended.code == 0, ended
    return json.loads(ended.out)


def test_with_hooks(udocker: Udocker, host: DriverHost) -> None:
    made = written(udocker, host)
    names = [device["name"] for device in made["devices"]]
    assert names == ["0", "GPU-6c1b34f0", "1", "GPU-77777777", "all"]
    hooks = [hook["args"][1] for hook in made["containerEdits"]["hooks"]]
    assert hooks == [
        "create-symlinks",
        "enable-cuda-compat",
        "update-ldcache",
        "disable-device-node-modification",
    ]
    node = made["devices"][0]["containerEdits"]["deviceNodes"][0]
    assert node == {"path": "/dev/nvidia0", "hostPath": f"{host.top}/dev/nvidia0"}
    assert f"libcuda.so.{V}::{LIB}/libcuda.so.1" in made["containerEdits"]["hooks"][0]["args"]


def test_hook_free(udocker: Udocker, host: DriverHost) -> None:
    made = written(udocker, host, "nvidia", "--hook-free")
    assert "hooks" not in made["containerEdits"]
    mounts = {m["containerPath"]: m["hostPath"] for m in made["containerEdits"]["mounts"]}
    assert mounts["/usr/local/nvidia/lib64/libcuda.so.1"] == f"{host.top}{LIB}/libcuda.so.{V}"
    assert "LD_LIBRARY_PATH=/usr/local/nvidia/lib64" in made["containerEdits"]["env"]


@pytest.mark.parametrize("form", [(), ("--hook-free",)])
def test_a_file_that_is_a_spec(
    udocker: Udocker, host: DriverHost, tmp_path: Path, form: tuple[str, ...]
) -> None:
    """By our own rules, which are those of CDI; and it does what it says."""
    target = tmp_path / "cdi" / "nvidia.json"
    target.parent.mkdir()
    roots = (f"--driver-root={host.top}", f"--device-root={host.top}")
    ended = udocker("gpu", "cdi", *roots, *form, "-o", str(target))
    assert (ended.code, ended.out) == (0, "")
    assert "nvidia-uvm is missing" in ended.err
    assert read_file(str(target)).kind == "nvidia.com/gpu"
    registry = read([str(target.parent)])
    edits = inject(resolve(registry, ["nvidia.com/gpu=1"]), host_files()).edits
    assert (f"{host.top}/dev/nvidia1", "/dev/nvidia1") in edits.nodes
    assert "/dev/nvidia0" not in {path for _, path in edits.nodes}
    names = {soname: path for soname, path, _ in edits.libraries}
    if not form:
        assert names["libcuda.so.1"] == f"{LIB}/libcuda.so.1"
        assert dict(edits.links)[f"{LIB}/libcuda.so.1"] == f"libcuda.so.{V}"
    assert all(mount.readonly and not mount.is_dir for mount in edits.mounts)
    host.path(f"{LIB}/libcuda.so.{V}").unlink()
    with pytest.raises(DeviceError, match=r"libcuda\.so\.[0-9.]+ is not there"):
        inject(resolve(registry, ["nvidia.com/gpu=1"]), host_files())


def test_the_first_vendor_that_has_a_device(udocker: Udocker, tmp_path: Path) -> None:
    host = DriverHost(tmp_path / "two")
    host.driver("usr/lib64", V)  # and no GPU of NVIDIA's
    host.module(V)
    host.node("kfd")
    host.card("renderD128", "0000:03:00.0", "0x1002")
    made = written(udocker, host)
    assert made["kind"] == "amd.com/gpu"
    assert [device["name"] for device in made["devices"]] == ["0", "all"]
    roots = (f"--driver-root={host.top}", f"--device-root={host.top}")
    ended = udocker("gpu", "cdi", *roots, "nvidia")
    assert (ended.code, ended.out) == (125, "")
    assert ended.err.startswith("udocker: there is no device of nvidia to describe")


def test_nothing_is_here(udocker: Udocker, tmp_path: Path) -> None:
    host = DriverHost(tmp_path / "none")
    host.text("proc/none")
    host.text("sys/none")
    roots = (f"--driver-root={host.top}", f"--device-root={host.top}")
    ended = udocker("gpu", "cdi", *roots)
    assert (ended.code, ended.out) == (125, "")
    assert ended.err == "udocker: no device is here\n  try: udocker gpu list shows what is\n"
    ended = udocker("gpu", "cdi", *roots, "amd")
    assert ended.err.startswith("udocker: no device of amd is here\n")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("cdi", "voodoo"), 2, "gpu cdi: unknown vendor 'voodoo'"),
        (("cdi", "nvidia", "x"), 2, "unexpected argument 'x'"),
        (("cdi", "--output"), 2, "--output needs a value"),
    ],
)
def test_bad_words(udocker: Udocker, words: tuple[str, ...], code: int, told: str) -> None:
    ended = udocker("gpu", *words)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.err


def test_a_file_that_cannot_be_written(udocker: Udocker, host: DriverHost) -> None:
    roots = (f"--driver-root={host.top}", f"--device-root={host.top}")
    ended = udocker("gpu", "cdi", *roots, "--output=/none/x.json")
    assert (ended.code, ended.out) == (125, "")
    assert "writing the CDI spec /none/x.json: No such file or directory" in ended.err
    assert not udocker.store_path.exists()
