"""NVIDIA's user space in images of Debian 11, 12 and 13, and on a host that seems to have a GPU.

The codes tell how far it came: cuInit's 100 is "no device", NVML's 9 "driver not loaded", and 17
"access to the GPU is blocked": then its library has seen the node.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from builders.nvidia_driver import driver_host, host_of_both
from builders.processes import needs_namespaces
from builders.pythons import PYTHONS, nvidia_packages, python_of_32_bits
from e2e.conftest import command
from e2e.engines import SCI, need
from e2e.gpus import PROBE, Gpus, with_python

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]

# NVIDIA's own packages of PyPI say the same.
_PACKAGES = """
import pynvml
from cuda.bindings import driver
try:
    pynvml.nvmlInit()
except pynvml.NVMLError as error:
    print(type(error).__name__, error.value)
try:
    print(driver.cuInit(0)[0].name, driver.cuDriverGetVersion()[1])
except RuntimeError:
    print("not found")
"""
# A /dev with nodes that are none: an ordinary user can make no others.
_NODES = ("nvidia0", "nvidiactl", "nvidia-uvm")
_USUAL = ("null", "zero", "full", "random", "urandom", "tty")
_BEFORE = """\
set -e
mkdir -p {top}/dev
mount -t tmpfs -o mode=755 dev {top}/dev
cd {top}/dev
for n in {usual}; do touch $n; mount --bind /dev/$n $n; done
for n in {nodes}; do touch $n; mount --bind /dev/null $n; done
mkdir shm pts
mount --rbind /dev/pts pts
mount --rbind /dev/shm shm
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
mount --rbind . /dev
cd /
exec unshare --user --map-user={user} --map-group={group} -- "$@"
"""


@pytest.fixture(scope="module")
def host() -> DriverHost:
    return driver_host()


@pytest.fixture(params=sorted(PYTHONS))
def release(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def image(release: str, shared: Shared) -> str:
    return with_python(shared, release)


@pytest.mark.parametrize("mode", ["N1", "F3", "P1"])
def test_the_driver_in_images_of_several_c_libraries(
    mode: str, shared: Shared, refusals: dict[str, str], host: DriverHost, release: str, image: str
) -> None:
    need(refusals, mode)
    packages = nvidia_packages(release)
    options = (f"--volume={packages}:/packages:ro", "-e", "PYTHONPATH=/packages")
    words = ("run", "-q", "--rm", f"--execmode={mode}", *options)
    program = ("python3", "-c", PROBE + _PACKAGES)
    environment = {"UDOCKER_DRIVER_ROOT": str(host.top)}
    assert shared(*words, "--nv", image, *program, env=environment).out.splitlines() == [
        "100 9",
        "NVMLError_DriverNotLoaded 9",
        "CUDA_ERROR_NO_DEVICE 12020",
    ]
    if mode == "N1":
        assert shared(*words, image, *program, env=environment).out.splitlines() == [
            "missing missing",
            "NVMLError_LibraryNotFound 12",
            "not found",
        ]


def test_programs_of_32_bits(shared: Shared, refusals: dict[str, str]) -> None:
    """They get their own libraries by the same names, where compat32 is asked for.

    In N1: F and P modes run no programs of 32 bits at all.
    """
    need(refusals, "N1")
    gpus = Gpus(shared, "N1", host_of_both())
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


def test_nvidia_smi_without_its_library(
    shared: Shared, refusals: dict[str, str], host: DriverHost
) -> None:
    need(refusals, "N1")
    smi = host.top / "usr/lib/nvidia/current/nvidia-smi"
    gpus = Gpus(shared, "N1", host)
    result = gpus("nvidia-smi", options=(f"--volume={smi}:/usr/bin/nvidia-smi:ro",), check=False)
    assert result.code == 12
    assert "couldn't find libnvidia-ml.so" in result.out


class GpuHost:
    """Runs in a mount namespace whose /dev has nodes of a GPU, as the ordinary user."""

    def __init__(self, shared: Shared, host: DriverHost, top: Path, before: str = "") -> None:
        before += _BEFORE.format(
            top=shlex.quote(str(top)),
            usual=" ".join(_USUAL),
            nodes=" ".join(_NODES),
            user=os.getuid(),
            group=os.getgid(),
        )
        unshare = ("unshare", "--user", "--map-root-user", "--mount")
        self.words = (*unshare, "sh", "-c", before, "sh", *command())
        self.environment = {**shared.environment(), "UDOCKER_DRIVER_ROOT": str(host.top)}

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@needs_namespaces
@pytest.mark.parametrize("mode", ["N1", "F3", "P1", "R1", "S1"])
def test_a_host_whose_nodes_are_there(
    mode: str, shared: Shared, refusals: dict[str, str], host: DriverHost, tmp_path: Path
) -> None:
    """The library has seen the node, and the node is there still: the driver removes none."""
    need(refusals, mode)
    run = GpuHost(shared, host, tmp_path)
    container = Gpus(shared, mode, host).container(SCI)
    script = f"nvidia-smi >/dev/null; echo $?; python3 -c '{PROBE}'; ls /dev | grep nvidia"
    words = ("run", "-q", f"--execmode={mode}", "--nv", container, "sh", "-c", script)
    ended = run(*words)
    assert ended.stdout.splitlines() == ["17", "100 17", *sorted(_NODES)], ended.stderr


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
    run = GpuHost(shared, host, tmp_path / "host", before)
    own = {"UDOCKER_DIR": str(tmp_path / "own"), "UDOCKER_REPOS": str(site)}
    run.environment.update(own)
    image = shared.image(SCI)
    ended = run("run", "-q", "--rm", f"--execmode={mode}", "--nv", image, "python3", "-c", PROBE)
    assert ended.stdout == "100 17\n", ended.stderr
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
    for name in _NODES:
        devices.text(f"dev/{name}").chmod(0o666)
    gpus = Gpus(shared, mode, host, devices=True)
    script = f"nvidia-smi >/dev/null; echo $?; python3 -c '{PROBE}'"
    result = gpus("sh", "-c", script, UDOCKER_DEVICE_ROOT=str(devices.top))
    assert result.out.splitlines() == ["17", "100 17"], result
    assert sorted(path.name for path in devices.path("dev/x").parent.iterdir()) == sorted(_NODES)
