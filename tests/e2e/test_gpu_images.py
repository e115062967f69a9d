"""NVIDIA's user space: programs of 32 bits, images that can only be read, files for nodes.

The codes are those of ``test_gpu_rows``.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from builders.nvidia_driver import driver_host, host_of_both
from builders.processes import needs_namespaces
from builders.pythons import python_of_32_bits
from e2e.engines import SCI, need
from e2e.gpus import NODES, PROBE, GpuHost, Gpus

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]


@pytest.fixture(scope="module")
def host() -> DriverHost:
    return driver_host()


@pytest.mark.parametrize("mode", ["N1", "R1", "S1"])
def test_programs_of_32_bits(mode: str, shared: Shared, refusals: dict[str, str]) -> None:
    """They get their own libraries by the same names, where compat32 is asked for.

    F and P modes run no programs of 32 bits at all.
    """
    need(refusals, mode)
    gpus = Gpus(shared, mode, host_of_both())
    tree = python_of_32_bits()
    places = {
        "usr/lib/i386-linux-gnu": "/usr/lib/i386-linux-gnu",
        "usr/lib/i386-linux-gnu/ld-linux.so.2": "/lib/ld-linux.so.2",
        "usr/bin/python3.11": "/usr/bin/python-32",
        "usr/lib/python3.11": "/python-32/lib/python3.11",
    }
    binds = [f"--volume={os.path.realpath(tree / name)}:{to}:ro" for name, to in places.items()]
    script = f"PYTHONHOME=/python-32 python-32 -c '{PROBE}'; python3 -c '{PROBE}'"

    def codes(features: str) -> list[str]:
        options = ("--nv", *binds, "-e", f"NVIDIA_DRIVER_CAPABILITIES={features}")
        return gpus("sh", "-c", script, options=options).out.splitlines()

    assert codes("compute,utility,compat32") == ["100 9", "100 9"]
    assert codes("compute,utility") == ["missing missing", "100 9"]


@needs_namespaces
@pytest.mark.parametrize("mode", ["N1", "F3", "P1"])
def test_an_image_on_a_disk_that_is_only_read(
    mode: str, shared: Shared, refusals: dict[str, str], host: DriverHost, tmp_path: Path
) -> None:
    """The store of a site: nothing can be made in the image's tree, and nothing has to be."""
    need(refusals, mode)
    site = tmp_path / "site"
    site.mkdir()
    before = (
        f"mount --bind {shlex.quote(str(shared.store))} {shlex.quote(str(site))}\n"
        f"mount -o remount,bind,ro {shlex.quote(str(site))}\n"
    )
    gpus = GpuHost(shared, mode, host, tmp_path / "host", before=before)
    own = {"UDOCKER_DIR": str(tmp_path / "own"), "UDOCKER_REPOS": str(site)}
    words = ("run", "-q", "--rm", f"--execmode={mode}", "--nv", shared.image(SCI))
    result = gpus.command(*words, "python3", "-c", PROBE, **own)
    assert result.out == "100 17\n", result
    assert not any(path.name.startswith("libcuda") for path in (tmp_path / "own").rglob("*"))


@pytest.mark.parametrize("mode", ["F3", "P1", "R1"])
def test_the_driver_removes_no_file_of_the_host(
    mode: str, shared: Shared, refusals: dict[str, str], host: DriverHost, tmp_path: Path
) -> None:
    """It would: a node with other numbers than it expects, in a directory of this user's.

    It is told to make no nodes, and what is mounted cannot be removed: each alone is enough.
    """
    need(refusals, mode)
    devices = DriverHost(tmp_path / "devices")
    devices.gpu("0000:01:00.0", 0, "GPU-00000000-aaaa", node=False)
    devices.text("proc/driver/nvidia/params", "Mobile: 0\nModifyDeviceFiles: 1\n")
    for name in NODES:
        devices.text(f"dev/{name}").chmod(0o666)
    gpus = Gpus(shared, mode, host, devices=True)
    script = f"nvidia-smi >/dev/null; echo $?; python3 -c '{PROBE}'"
    result = gpus("sh", "-c", script, UDOCKER_DEVICE_ROOT=str(devices.top))
    assert result.out.splitlines() == ["17", "100 17"], result
    assert sorted(path.name for path in devices.path("dev/x").parent.iterdir()) == sorted(NODES)
