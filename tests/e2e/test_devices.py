"""GPUs in containers: the real user space of NVIDIA's driver.

No GPU is needed: the driver itself says how far it came. cuInit gives 100 (no device) once the
library is there, NVML 9 (driver not loaded).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from builders.nvidia_driver import driver_host
from builders.processes import PATIENCE
from e2e import checks
from e2e.engines import BUSYBOX, SCI, need
from e2e.gpus import PROBE, Gpus

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]

_MODES = ("N1", "R1", "F3", "P1", "S1")
# Those of an engine with mounts, and of one without: the others do the same with a specification.
_FEW = ("N1", "F3")
_VERSION = "535.261.03"
_PLACE = "/run/udocker/devices"
_MUSL = "musl:latest"
_KILLS = 5


@pytest.fixture(scope="module")
def host() -> DriverHost:
    return driver_host()


@pytest.fixture(params=_MODES)
def everywhere(
    request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str], host: DriverHost
) -> Gpus:
    need(refusals, request.param)
    return Gpus(shared, request.param, host)


@pytest.fixture(params=_FEW)
def gpus(
    request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str], host: DriverHost
) -> Gpus:
    need(refusals, request.param)
    return Gpus(shared, request.param, host, name="driver")


def test_the_driver_is_loaded(everywhere: Gpus) -> None:
    assert everywhere("python3", "-c", PROBE).out == "100 9\n"


def test_without_being_asked_for_it_is_not_there(gpus: Gpus) -> None:
    assert gpus("python3", "-c", PROBE, options=()).out == "missing missing\n"


def test_nvidia_smi_runs_and_says_what_is_missing(gpus: Gpus) -> None:
    result = gpus("nvidia-smi", check=False)
    assert result.code == 9
    assert "couldn't communicate with the NVIDIA driver" in result.out


def test_the_loader_knows_the_libraries_by_its_cache(gpus: Gpus) -> None:
    script = "ldconfig -p | grep -c /run/udocker/devices; env | grep -c ^LD_LIBRARY_PATH="
    assert gpus("sh", "-c", script, check=False).out.splitlines()[1] == "0"
    found = gpus("sh", "-c", "ldconfig -p | grep libcuda.so.1").out
    assert "=> /run/udocker/devices/lib64/libcuda.so." in found
    # What the image has itself is found as before.
    assert gpus("sh", "-c", "ldconfig -p | grep -c libc.so.6").out == "1\n"


def test_each_file_that_comes_in_is_told_of(gpus: Gpus, host: DriverHost) -> None:
    words = ("run", f"--execmode={gpus.mode}", "--nv", gpus.container(SCI), "ls", "-R", _PLACE)
    result = gpus.command("--debug", *words)
    told = re.findall(r"^udocker: debug: device (file|link) (.*)$", result.err, re.MULTILINE)
    lines = [line for _, line in told]
    assert len(lines) == len(set(lines))
    sources = {line.split(" at ")[0] for line in lines if " at /" in line}
    libraries = {str(path) for path in host.top.rglob(f"*.so.{_VERSION}")}
    of_video = {path for path in libraries if re.search("libnvcuvid|libnvidia-encode", path)}
    assert libraries - of_video <= sources
    assert not of_video & sources
    # What is there is what was told of, and nothing else.
    targets = {re.split(" at | to ", line)[1 if kind == "file" else 0] for kind, line in told}
    names = [os.path.basename(path) for path in targets if path.startswith(f"{_PLACE}/")]
    shown = [line for line in result.out.splitlines() if "." in line and not line.endswith(":")]
    assert sorted(shown) == sorted(name for name in names if "." in name)
    assert any(line.endswith(" at " + f"{_PLACE}/bin/nvidia-smi") for line in lines)
    assert "device file" not in gpus.command(*words).err


def test_nothing_of_it_is_in_the_container(gpus: Gpus) -> None:
    gpus("true")
    names = [path.name for path in gpus.directory().rglob("*nvidia*")]
    names += [path.name for path in gpus.directory().rglob("libcuda*")]
    in_stage = [p.name for p in gpus.directory().glob("files/devices-*/**/*") if not p.is_dir()]
    assert sorted(names) == sorted(n for n in in_stage if "nvidia" in n or n.startswith("libcuda"))
    assert gpus.shared("diff", gpus.container(SCI)).out.count("nvidia") == 0
    assert "libcuda" not in gpus.shared("diff", gpus.container(SCI)).out


def test_a_kill_while_its_files_are_made_leaves_nothing(gpus: Gpus) -> None:
    """``kill -9`` at any moment of a run: no file in image, container or ``tmp``; the next runs."""
    folder = gpus.directory()
    upper, places, tmp = folder / "upper", gpus.shared.store / "trees", gpus.shared.store / "tmp"

    def listed(top: Path) -> set[tuple[str, int]]:
        return {(str(path), path.lstat().st_mtime_ns) for path in top.rglob("*")}

    def made() -> list[Path]:
        return list(folder.glob("files/devices-*"))

    begin = time.monotonic()
    gpus("true")
    seconds = time.monotonic() - begin
    (whole,) = (sorted(path.name for path in stage.rglob("*")) for stage in made()[:1])
    before = listed(places)
    source = random.Random(gpus.mode)
    words = ("run", "-q", f"--execmode={gpus.mode}", "--nv", gpus.container(SCI), "sleep", "9")
    for number in range(_KILLS):
        for stage in made():
            shutil.rmtree(stage)
        old = set(os.listdir(tmp))
        process = gpus.shared.start(words, env=gpus.environment, start_new_session=True)
        if number % 2:
            time.sleep(source.uniform(0, seconds))
        else:  # as soon as the first of its files is there: making them takes little time
            end = time.monotonic() + PATIENCE
            while not (set(os.listdir(tmp)) - old or made()) and time.monotonic() < end:
                pass
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert [sorted(path.name for path in stage.rglob("*")) for stage in made()] in ([], [whole])
    assert gpus("python3", "-c", PROBE).out == "100 9\n"
    assert listed(places) == before
    names = [path.name for path in upper.rglob("*") if not path.is_dir()]
    assert [n for n in names if "nvidia" in n or n.startswith("libcuda")] == []
    assert checks.left(gpus.shared.store) == []


def test_the_image_s_variables_only_narrow(gpus: Gpus) -> None:
    options = ("-e", "NVIDIA_VISIBLE_DEVICES=all")
    assert gpus("python3", "-c", PROBE, options=options).out == "missing missing\n"
    options = ("--nv", "-e", "NVIDIA_DRIVER_CAPABILITIES=utility")
    assert gpus("python3", "-c", PROBE, options=options).out == "missing 9\n"


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("NVIDIA_REQUIRE_DRIVER", "driver>=999", "driver>=999 (NVIDIA_REQUIRE_DRIVER)"),
        ("NVIDIA_REQUIRE_CUDA", "cuda>=12.4", "cuda>=12.4 (NVIDIA_REQUIRE_CUDA)"),
        ("CUDA_VERSION", "12.4.1", "cuda>=12.4 (CUDA_VERSION)"),
    ],
)
def test_a_driver_that_is_too_old_for_the_image(
    gpus: Gpus, name: str, text: str, what: str
) -> None:
    options = ("--nv", "-e", f"{name}={text}")
    result = gpus("true", options=options, check=False)
    assert result.code == 125
    told, hint, *rest = result.err.splitlines()
    assert told.startswith(f"udocker: requirement error: unsatisfied condition: {what}; ")
    assert told.endswith(f"this host has driver {_VERSION}, cuda 12.2")
    assert hint.startswith("  try: a newer driver, or an image for an older CUDA; ")
    assert rest == []
    (escape,) = re.findall("-e (NVIDIA_DISABLE_REQUIRE=1) ", hint)
    result = gpus("python3", "-c", PROBE, options=(*options, "-e", escape))
    assert (result.out, "requirement" in result.err) == ("100 9\n", False)


def test_a_driver_that_is_new_enough_for_the_image(gpus: Gpus) -> None:
    """What only the GPU could tell is a warning."""
    options = ("--nv", "-e", "NVIDIA_REQUIRE_CUDA=cuda>=12.2 brand=tesla,driver>=470,driver<471")
    assert "requires" not in gpus("true", options=options).err
    result = gpus("true", options=("--nv", "-e", "NVIDIA_REQUIRE_CUDA=brand=tesla,cuda>=12.2"))
    assert "warning: not known whether this host has what the image requires: brand=" in result.err


def test_gpus_that_are_not_there_are_an_error(gpus: Gpus) -> None:
    result = gpus("true", options=("--gpus=all",), check=False)
    assert result.code == 125
    assert result.err.startswith("udocker: --gpus all: could not select device driver ")
    assert "no GPU of NVIDIA that may be used" in result.err
    assert "\n  try: " in result.err


@pytest.mark.parametrize("mode", ["N1", "F3", "P1"])
def test_static_programs_get_nodes_only(
    mode: str, shared: Shared, refusals: dict[str, str], host: DriverHost
) -> None:
    need(refusals, mode)
    result = Gpus(shared, mode, host)("ls", "/", image=BUSYBOX)
    assert result.code == 0
    assert "its programs load no driver" in result.err


@pytest.mark.parametrize("mode", _MODES)
def test_an_image_of_musl_is_refused(
    mode: str, shared: Shared, refusals: dict[str, str], host: DriverHost
) -> None:
    """What needs nothing of it gets the nodes by ``void``."""
    need(refusals, mode)
    gpus = Gpus(shared, mode, host)
    result = gpus("probe", image=_MUSL, options=("--nv", "--user=root"), check=False)
    _, told, hint = result.err.splitlines()  # the first tells that there is no GPU
    assert (result.code, result.out) == (125, "")
    assert told == "udocker: the image has musl, and the driver's libraries need glibc"
    assert hint.startswith("  try: an image with that glibc ")
    if mode != "F3":  # it takes no programs of musl
        options = ("--nv", "--user=root", "-e", "NVIDIA_VISIBLE_DEVICES=void")
        assert gpus("probe", image=_MUSL, options=options).out.startswith("musl cwd=")


@pytest.mark.parametrize("mode", ["F3", "P1"])
@pytest.mark.parametrize("option", ["--nv", "--device=/dev/null:/dev/nvidia9"])
def test_an_image_for_another_processor(
    mode: str, option: str, shared: Shared, refusals: dict[str, str], host: DriverHost
) -> None:
    """qemu runs it; of the driver it is told that it is for this one. Nodes are no matter."""
    need(refusals, mode)
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("host: no qemu-aarch64-static")
    result = Gpus(shared, mode, host)("uname", "-m", image="foreign:latest", options=(option,))
    assert result.out == "aarch64\n"
    told = "warning: the image has no C library for this machine: its programs load no driver\n"
    assert (told in result.err) is (option == "--nv")


def test_drivers_of_the_image_stay(gpus: Gpus) -> None:
    """OCL_ICD_VENDORS stands for the directory in which the image has its own."""
    make = "mkdir -p /etc/OpenCL/vendors && echo libown.so >/etc/OpenCL/vendors/own.icd"
    gpus("sh", "-c", make, options=())
    shown = gpus("sh", "-c", "cat $OCL_ICD_VENDORS/*.icd; rm -r /etc/OpenCL").out
    assert sorted(shown.split()) == ["libnvidia-opencl.so.1", "libown.so"]


@pytest.mark.parametrize(
    ("names", "comes_first"),
    [("999.10.02", True), ("100.10.02", False), ("999.10.02 998.1.1", False), ("", False)],
)
def test_the_image_s_newer_libcuda_comes_first(gpus: Gpus, names: str, comes_first: bool) -> None:
    """Forward compatibility: only where there is one, of a newer driver than the host's."""
    place = "/usr/local/cuda/compat"
    gpus("sh", "-c", f"mkdir -p {place}; for v in {names}; do : >{place}/libcuda.so.$v; done")
    require = ("--nv", "-e", "NVIDIA_REQUIRE_CUDA=cuda>=13")  # the host's driver has 12.2
    assert gpus("true", options=require, check=False).code == (0 if comes_first else 125)
    shown = gpus("sh", "-c", f"echo $LD_LIBRARY_PATH; rm -r {place}").out
    assert shown == (f"{place}\n" if comes_first else "\n")


@pytest.mark.parametrize("mode", ["N1", "R1", "F3", "P1"])
def test_a_root_that_is_only_read(
    mode: str, shared: Shared, refusals: dict[str, str], host: DriverHost
) -> None:
    need(refusals, mode)
    script = 'touch /x /run/udocker/devices/x 2>/dev/null || exec python3 -c "$1"'
    program = ("sh", "-c", script, "sh", PROBE)
    result = Gpus(shared, mode, host)(*program, options=("--nv", "--read-only"))
    assert result.out == "100 9\n", result


_TRAPS = """
set -e
mkdir -p /opt/nv/lib64; : >/opt/nv/lib64/libcuda.so.1; ln -sfn /opt/nv /usr/local/nvidia
ln -sfn {run} /run.new; mkdir -p /mnt/run; rm -rf /run; mv -T /run.new /run
mkdir -p /usr/lib/own; echo text >/usr/lib/x86_64-linux-gnu/libcuda.so.1
: >/usr/bin/nvidia-smi; chmod 755 /usr/bin/nvidia-smi
"""


@pytest.mark.parametrize("run", ["/mnt/run", "../../../../mnt/run", "none"])
def test_an_image_full_of_traps(gpus: Gpus, run: str) -> None:
    """Links in the way (they stay inside), drivers of its own, what other tools left, no /run."""
    name = "traps"
    gpus.shared("create", "-q", f"--name={name}", gpus.shared.image(SCI))
    words = ("run", "-q", f"--execmode={gpus.mode}")
    script = _TRAPS.format(run=run) + ("rm /run\n" if run == "none" else "")
    gpus.shared(*words, name, "sh", "-c", script)
    code = f"python3 -c '{PROBE}'; nvidia-smi >/dev/null; echo $?"
    options = ("--nv", "-e", "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64")
    result = gpus.shared(*words, *options, name, "sh", "-c", code, env=gpus.environment)
    gpus.shared("rm", "-f", name)
    assert result.out == "100 9\n9\n", result
    assert not os.path.exists("/mnt/run")
