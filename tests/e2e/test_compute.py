"""The host's drivers that compute without a GPU, in containers: by a CDI spec, nothing copied.

PoCL compiles a kernel and runs it, lavapipe is a device of Vulkan, and the programs that tell of
AMD's GPUs and of fabrics come as far as a machine without any lets them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.compute import KIND, compute_host, spec_of
from builders.drivers import needs_x86_64
from e2e.engines import SCI, need
from e2e.gpus import with_python
from udocker.engine import table
from udocker.model.features import UNION_ROOT

if TYPE_CHECKING:
    from e2e.conftest import Result
    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]

# R1 and S1 can, too, but they need a copy of the image, which takes long.
_MODES = ("N1", "F3", "P1")
_PROGRAM = Path(__file__).parent / "programs/sums.py"
# Vulkan's loader without a driver: VK_ERROR_INCOMPATIBLE_DRIVER.
_VULKAN = """
import ctypes
class Info(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("rest", ctypes.c_void_p * 7)]
info, made = Info(1), ctypes.c_void_p()
print(ctypes.CDLL("libvulkan.so.1").vkCreateInstance(ctypes.byref(info), None, ctypes.byref(made)))
"""


class Tools:
    """Runs in one mode, in a container of Debian 12 with the loaders of OpenCL and Vulkan."""

    def __init__(self, shared: Shared, mode: str, specs: Path, container: str) -> None:
        self.shared = shared
        self.mode = mode
        self.options = (f"--cdi-dir={specs}", f"--device={KIND}=all")
        self.container = container

    def __call__(self, *program: str, with_tools: bool = True) -> Result:
        device = self.options if with_tools else ()
        words = ("run", "-q", f"--execmode={self.mode}", *device, f"-v={_PROGRAM}:/sums.py:ro")
        return self.shared(*words, self.container, *program, check=False)


@pytest.fixture(scope="module")
def host(shared: Shared) -> Path:
    words = ("run", "-q", "--rm", "--execmode=P1", shared.image(SCI), "cat")
    return compute_host(shared(*words, "/var/lib/dpkg/status").out)


@pytest.fixture(scope="module")
def specs(host: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("specs")
    (folder / "tools.json").write_text(json.dumps(spec_of(host / "root")))
    return folder


@pytest.fixture(params=_MODES)
def tools(
    request: pytest.FixtureRequest,
    shared: Shared,
    refusals: dict[str, str],
    host: Path,
    specs: Path,
) -> Tools:
    mode: str = request.param
    need(refusals, mode)
    form = "union" if UNION_ROOT in table.find(mode).engine.FEATURES else "plain"
    name = f"compute-{form}"
    if name not in {each for row in shared.containers() for each in row["names"]}:
        shared("create", "-q", f"--name={name}", shared.image(SCI))
        install = "dpkg -i /debs/*.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }"
        words = ("run", "-q", f"--execmode={mode}", f"--volume={host}/debs:/debs", name)
        shared(*words, "sh", "-c", install)
    return Tools(shared, mode, specs, name)


def test_the_image_alone_has_no_driver(tools: Tools) -> None:
    script = 'python3 /sums.py 2>&1; python3 -c "$1"'
    result = tools("sh", "-c", script, "sh", _VULKAN, with_tools=False)
    assert result.out == "clGetPlatformIDs: -1001\n-9\n", result


def test_the_host_s_drivers_work(tools: Tools) -> None:
    """A kernel of OpenCL computes; there is a device of Vulkan; programs find their parts."""
    script = """
        rm -rf ~/.cache/pocl
        python3 /sums.py
        clinfo -l
        vulkaninfo --summary
        echo "= rocminfo"; rocminfo
        echo "= fi_info"; fi_info -l
        echo "= ucx_info"; ucx_info -d
        echo "= ibv_devices"; ibv_devices 2>&1
    """
    result = tools("sh", "-c", script)
    devices, rocm, fabrics, ucx, verbs = re.split("^= .*\n", result.out, flags=re.MULTILINE)
    assert devices.splitlines()[0] == "1000 of 1000 right", result
    assert "Platform #0: Portable Computing Language\n `-- Device #0: " in devices
    assert re.search(r"deviceName += llvmpipe \(LLVM ", devices)
    assert "ROCk module is NOT loaded, possibly no GPU devices" in rocm
    assert {"psm2", "shm", "tcp", "udp"} <= set(re.findall(r"^(\w+):$", fabrics, re.MULTILINE))
    # cma is a part of UCX that is loaded from beside it.
    assert {"self", "tcp", "posix", "cma"} <= set(re.findall(r"Transport: (\w+)", ucx))
    assert "Failed to get IB devices list: " in verbs


@pytest.mark.parametrize("mode", _MODES)
def test_an_image_whose_c_library_is_too_old(
    mode: str, shared: Shared, refusals: dict[str, str], specs: Path
) -> None:
    """It is told before the start; with the host's C library in its place the programs run."""
    need(refusals, mode)
    image = with_python(shared, "11")
    words = ("run", "-q", "--rm", f"--execmode={mode}", f"--cdi-dir={specs}")
    result = shared(*words, f"--device={KIND}=all", image, "ucx_info", "-v", check=False)
    assert result.code == 125
    assert re.search(r"of the host need glibc 2\.36, the image has 2\.31\n  try: ", result.err)
    script = """
        ucx_info -v
        echo "= rocminfo"; rocminfo
        echo "= fi_info"; fi_info -l
        echo "= libc"; python3 -c "import os; print(os.confstr('CS_GNU_LIBC_VERSION'))"
    """
    options = (f"--device={KIND}=all", "--host-libc", image, "dash", "-c", script)
    result = shared(*words, *options, check=False)
    ucx, rocm, fabrics, last = re.split("^= .*\n", result.out, flags=re.MULTILINE)
    assert ucx.startswith("# Version 1."), result
    # They need the host's libstdc++ as well.
    assert "ROCk module is NOT loaded, possibly no GPU devices" in rocm, result
    assert {"shm", "tcp", "udp"} <= set(re.findall(r"^(\w+):$", fabrics, re.MULTILINE)), result
    assert last.strip() == os.confstr("CS_GNU_LIBC_VERSION")


@pytest.mark.parametrize("tools", ["N1"], indirect=True)
def test_nothing_of_them_is_in_the_container(tools: Tools, specs: Path) -> None:
    tools("true")
    spec = json.loads((specs / "tools.json").read_text())
    targets = [mount["containerPath"] for mount in spec["containerEdits"]["mounts"]]
    changed = {line.split()[-1] for line in tools.shared("diff", tools.container).out.splitlines()}
    assert "/usr/bin/clinfo" in changed  # what was installed there is
    assert not changed.intersection(targets)
