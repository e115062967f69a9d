"""GPUs in containers: the real user space of NVIDIA's driver, and doubles that count nodes.

No GPU is needed: the driver itself says how far it came. cuInit gives 100 (no device) once the
library is there, NVML 9 (driver not loaded).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
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
# N1 and S1 have the host's own /dev, in which a test can make no nodes.
_WITH_NODES = ("R1", "F3")
# One GPU for each node that can be opened, as the driver has it.
_DOUBLE = """
extern int open(const char *, int, ...);
extern int close(int);
static int count(void) {
    static char path[] = "/dev/nvidia0";
    int found = 0;
    for (int number = 0; number < 4; number++) {
        path[11] = (char)('0' + number);
        int node = open(path, 02);
        char nothing[4];
        extern long read(int, void *, unsigned long);
        extern int isatty(int);
        extern long lseek(int, long, int);
        if (node >= 0 && lseek(node, 0, 2) == 0 && read(node, nothing, 4) == 0) {
            found |= 1 << number;
        }
        if (node >= 0) {
            close(node);
        }
    }
    return found;
}
int cuInit(unsigned flags) { return flags == 0 ? count() : -1; }
int nvmlInit_v2(void) { return 0; }
"""
_VERSION = "535.261.03"
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
    return Gpus(shared, request.param, host)


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
ln -sfn {run} /run.new; mkdir -p /mnt/run; rm -rf /run; mv -T /run.new /run
mkdir -p /usr/lib/own; echo text >/usr/lib/x86_64-linux-gnu/libcuda.so.1
: >/usr/bin/nvidia-smi; chmod 755 /usr/bin/nvidia-smi
"""


@pytest.mark.parametrize("run", ["/mnt/run", "../../../../mnt/run", "none"])
def test_an_image_full_of_traps(gpus: Gpus, run: str) -> None:
    """Links in the way (they stay inside), a driver of its own, what other tools left, no /run."""
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


def test_a_driver_whose_path_has_odd_characters(
    gpus: Gpus, doubles: DriverHost, tmp_path: Path
) -> None:
    """Separators of lists of paths, of options and of lines."""
    shutil.copytree(doubles.top, tmp_path / "a:b c,d\ne", symlinks=True)
    odd = Gpus(gpus.shared, gpus.mode, DriverHost(tmp_path / "a:b c,d\ne"))
    assert odd("python3", "-c", PROBE).out == "0 0\n"  # the double counts no GPU here


# Choosing among GPUs


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> DriverHost:
    """Two GPUs, whose driver counts the nodes that it can open."""
    made = DriverHost(tmp_path_factory.mktemp("doubles"))
    folder = made.path(f"usr/lib64/libcuda.so.{_VERSION}").parent
    for soname in ("libcuda.so.1", "libnvidia-ml.so.1"):
        place = folder / f"{soname[: -len('.1')]}.{_VERSION}"
        words = ["gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{soname}", "-x", "c", "-"]
        subprocess.run([*words, "-o", place], input=_DOUBLE.encode(), check=True)
        (folder / soname).symlink_to(place.name)
    made.module(_VERSION)
    for number in range(2):
        made.gpu(f"0000:0{number + 1}:00.0", number, f"GPU-{number}0000000-aaaa")
    made.node("nvidiactl")
    made.text("proc/driver/nvidia/params", "Mobile: 0\nModifyDeviceFiles: 1\n")
    os.chmod(made.top, 0o755)
    return made


@pytest.fixture(params=_WITH_NODES)
def two(
    request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str], doubles: DriverHost
) -> Gpus:
    need(refusals, request.param)
    return Gpus(shared, request.param, doubles, devices=True)


def visible(gpus: Gpus, *options: str, **environ: str) -> tuple[int, str]:
    """A bit for each GPU that the driver sees, and CUDA_VISIBLE_DEVICES."""
    program = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', '-'))"
    result = gpus("python3", "-c", PROBE + program, options=options, **environ)
    first, second = result.out.splitlines()
    return int(first.split()[0]), second


def test_all_gpus(two: Gpus) -> None:
    assert visible(two, "--gpus=all") == (3, "-")
    assert visible(two, "--gpus=all", CUDA_VISIBLE_DEVICES="1") == (3, "1")


@pytest.mark.parametrize(
    ("option", "bits", "uuid"),
    [
        ("--gpus=1", 1, "GPU-00000000-aaaa"),
        ('--gpus="device=1"', 2, "GPU-10000000-aaaa"),
        ("--gpus=device=GPU-1", 2, "GPU-10000000-aaaa"),
    ],
)
def test_a_choice_of_gpus(two: Gpus, option: str, bits: int, uuid: str) -> None:
    """Of those that are left out there are no nodes; numbers would mean others, and go."""
    assert visible(two, option, CUDA_VISIBLE_DEVICES="0,1") == (bits, uuid)


def test_a_gpu_that_does_not_exist(two: Gpus) -> None:
    result = two("true", options=('--gpus="device=7"',), check=False)
    assert result.code == 125
    assert "7" in result.err
    assert "0 (GPU-00000000-aaaa), 1 (GPU-10000000-aaaa)" in result.err


def test_the_host_s_nodes_stay(two: Gpus, doubles: DriverHost) -> None:
    """What a container does to them, it does to something else."""
    two("sh", "-c", "rm -f /dev/nvidia0; echo x >/dev/nvidia1", options=("--nv",), check=False)
    assert os.readlink(doubles.path("dev/nvidia0")) == "/dev/null"
    assert os.readlink(doubles.path("dev/nvidia1")) == "/dev/null"


@pytest.mark.parametrize(("name", "bits"), [("all", 3), ("1", 2), ("GPU-00000000-aaaa", 1)])
def test_a_device_of_cdi(two: Gpus, doubles: DriverHost, name: str, bits: int) -> None:
    """By the spec that udocker writes, which others read too."""
    specs = doubles.path("specs/nvidia.json")
    if not specs.exists():
        two.shared("gpu", "cdi", f"--output={specs}", env=two.environment)
    options = (f"--cdi-dir={specs.parent}", f"--device=nvidia.com/gpu={name}")
    found = two("python3", "-c", PROBE, options=options, UDOCKER_DRIVER_ROOT="").out
    assert int(found.split()[0]) == bits


def test_a_device_of_cdi_without_a_spec(two: Gpus) -> None:
    """What is here has the names that a spec of udocker's gives it."""
    found = two("python3", "-c", PROBE, options=("--device=nvidia.com/gpu=0",)).out
    assert int(found.split()[0]) == 1


def test_a_spec_of_another_driver(two: Gpus, doubles: DriverHost) -> None:
    """Its libraries are there still, but the kernel's module is another."""
    specs, old = doubles.path("old-specs/nvidia.json"), "470.1.2"
    two.shared("gpu", "cdi", f"--output={specs}", env=two.environment)
    folder = f"{doubles.top}/usr/lib64"
    written = specs.read_text().replace(f"{folder}/", f"{doubles.top}/old/")
    specs.write_text(written.replace(_VERSION, old))
    for name in ("libcuda", "libnvidia-ml"):
        place = doubles.path(f"old/{name}.so.{old}")
        shutil.copy(f"{folder}/{name}.so.{_VERSION}", place)
    options = (f"--cdi-dir={specs.parent}", "--device=nvidia.com/gpu=0")
    result = two("python3", "-c", PROBE, options=options)
    assert result.out.split()[0] == "1"
    (told,) = result.err.splitlines()
    assert told.startswith(f"udocker: warning: CDI spec {specs} is stale: it is for driver {old}, ")
    assert f"{_VERSION} is loaded" in told


def test_a_hook_that_is_not_known(two: Gpus, doubles: DriverHost) -> None:
    specs = doubles.path("hook-specs/nvidia.json")
    two.shared("gpu", "cdi", f"--output={specs}", env=two.environment)
    spec = json.loads(specs.read_text())
    spec["containerEdits"]["hooks"].append({"hookName": "prestart", "path": "/opt/site/limits"})
    specs.write_text(json.dumps(spec))
    options = (f"--cdi-dir={specs.parent}", "--device=nvidia.com/gpu=0")
    result = two("true", options=options, check=False)
    assert result.code == 125
    told = f"CDI spec {specs}: the hook limits is"
    assert result.err.startswith(f"udocker: {told} not known, and no hook is run\n  try: ")
    result = two("python3", "-c", PROBE, options=(*options, "--allow-cdi-hooks=skip"))
    assert result.out.split()[0] == "1"
    assert f"warning: {told} passed over: what it does is not known\n" in result.err


def test_a_device_of_cdi_that_no_spec_has(two: Gpus, doubles: DriverHost) -> None:
    options = (f"--cdi-dir={doubles.top}", "--device=nvidia.com/gpu=9")
    result = two("true", options=options, check=False)
    assert result.code == 125
    assert "\n  try: " in result.err
    assert "unresolvable CDI devices nvidia.com/gpu=9" in result.err


def test_the_driver_is_told_to_make_no_nodes(two: Gpus) -> None:
    """Else it would remove what stands for one. In R1 the kernel's file is needed to mount on."""
    result = two("cat", "/proc/driver/nvidia/params", check=False)
    if two.mode == "R1":
        assert result.code == 1
    else:
        assert result.out == "Mobile: 0\nModifyDeviceFiles: 0\n"


def test_a_device_by_its_name(two: Gpus) -> None:
    result = two("sh", "-c", "wc -c </dev/zilch", options=("--device=/dev/null:/dev/zilch",))
    assert (result.out, result.err) == ("0\n", "")
    result = two("true", options=("--device=/dev/null:/dev/zilch:r", "--device=/dev/zero:rw"))
    told = "--device: /dev/null:r: permissions cannot be enforced: what the node allows holds"
    assert result.err == f"udocker: warning: {told}\n"
    result = two("true", options=("--device=/dev/no-such",), check=False)
    assert (result.code, result.err.split("\n")[0]) == (
        125,
        "udocker: --device: /dev/no-such does not exist",
    )


def test_runs_at_the_same_time_share_what_is_made(two: Gpus) -> None:
    words = ("run", "-q", f"--execmode={two.mode}", "--nv", two.container(SCI))
    two("true")
    for stage in two.directory().glob("files/devices-*"):
        shutil.rmtree(stage)
    runs = [
        two.shared.start([*words, "python3", "-c", PROBE], env=two.environment) for _ in range(4)
    ]
    assert [run.communicate()[0].split()[0] for run in runs] == [b"3"] * 4
    assert len(list(two.directory().glob("files/devices-*"))) == 1
