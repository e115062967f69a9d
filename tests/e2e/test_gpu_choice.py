"""Which GPUs a container gets, and by which ways: a driver's doubles count the nodes they see."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, needs_x86_64
from builders.nvidia_doubles import two_gpus
from e2e.engines import SCI, need
from e2e.gpus import PROBE, GpuHost, Gpus

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Shared

pytestmark = [pytest.mark.e2e, needs_x86_64]
pytest_plugins = ["e2e.engines"]

_MODES = ("N1", "R1", "F3", "P1", "S1")
# N1 and S1 have the host's own /dev, in which a test makes nodes only in a namespace of its own.
_WITH_NODES = ("R1", "F3", "P1")
_NODES = ("nvidia0", "nvidia1", "nvidiactl")
_VERSION = "535.261.03"


@pytest.fixture(scope="module")
def doubles(tmp_path_factory: pytest.TempPathFactory) -> DriverHost:
    return two_gpus(tmp_path_factory.mktemp("doubles"), _VERSION)


@pytest.fixture(params=_WITH_NODES)
def two(
    request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str], doubles: DriverHost
) -> Gpus:
    need(refusals, request.param)
    return Gpus(shared, request.param, doubles, devices=True)


@pytest.fixture(params=_MODES)
def pair(
    request: pytest.FixtureRequest,
    shared: Shared,
    refusals: dict[str, str],
    doubles: DriverHost,
    tmp_path: Path,
) -> Gpus:
    """The same in all modes. In N1 and S1 the kernel's files, which have the UUIDs, are missing."""
    need(refusals, request.param)
    if request.param in _WITH_NODES:
        return Gpus(shared, request.param, doubles, devices=True)
    return GpuHost(shared, request.param, doubles, tmp_path, nodes=_NODES)


def visible(gpus: Gpus, *options: str, **environ: str) -> tuple[int, str]:
    """A bit for each GPU that the driver sees, and CUDA_VISIBLE_DEVICES."""
    program = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', '-'))"
    result = gpus("python3", "-c", PROBE + program, options=options, **environ)
    first, second = result.out.splitlines()
    return int(first.split()[0]), second


def test_all_gpus(pair: Gpus) -> None:
    assert visible(pair, "--gpus=all") == (3, "-")
    assert visible(pair, "--gpus=all", CUDA_VISIBLE_DEVICES="1") == (3, "1")


@pytest.mark.parametrize(
    ("option", "bits", "uuid"),
    [
        ("--gpus=1", 1, "GPU-00000000-aaaa"),
        ('--gpus="device=1"', 2, "GPU-10000000-aaaa"),
        ("--gpus=device=GPU-1", 2, "GPU-10000000-aaaa"),
    ],
)
def test_a_choice_of_gpus(pair: Gpus, option: str, bits: int, uuid: str) -> None:
    """Of those that are left out there are no nodes; numbers would mean others, and go."""
    if pair.mode in _WITH_NODES:
        assert visible(pair, option, CUDA_VISIBLE_DEVICES="0,1") == (bits, uuid)
    elif "GPU-" in option:
        result = pair("true", options=(option,), check=False)
        assert "GPU-1: unknown device" in result.err
    else:
        assert visible(pair, option, CUDA_VISIBLE_DEVICES="0,1") == (bits, "-")


def test_a_gpu_that_does_not_exist(pair: Gpus) -> None:
    result = pair("true", options=('--gpus="device=7"',), check=False)
    assert result.code == 125
    assert "7" in result.err
    if pair.mode in _WITH_NODES:
        assert "0 (GPU-00000000-aaaa), 1 (GPU-10000000-aaaa)" in result.err
    else:
        assert "here are 0, 1\n" in result.err


_REMOVE = """
rm -f /dev/nvidia0
mv /dev/nvidia1 /tmp/moved || mv /tmp/moved /dev/nvidia1
ln -sfn /tmp /dev/nvidiactl
rm -rf /dev/nvidia*
cd /dev && rm -f nvidia0 nvidia1 nvidiactl
true
"""


def test_the_host_s_nodes_stay(two: Gpus, doubles: DriverHost, tmp_path: Path) -> None:
    """This user owns them, and could remove them; in a container they are as if mounted."""
    host = DriverHost(tmp_path / "own")
    shutil.copytree(doubles.top, host.top, symlinks=True, dirs_exist_ok=True)
    for name in _NODES:
        host.path(f"dev/{name}").unlink()
        host.text(f"dev/{name}").chmod(0o666)
    folder = host.path(f"dev/{_NODES[0]}").parent
    before = {path.name: path.lstat().st_ino for path in folder.iterdir()}
    gpus = Gpus(two.shared, two.mode, host, devices=True)
    said = gpus("sh", "-c", _REMOVE, check=False).err
    assert {path.name: path.lstat().st_ino for path in folder.iterdir()} == before
    assert said.count("Device or resource busy") >= len(_NODES)
    assert not any(path.is_symlink() for path in folder.iterdir())


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


@pytest.mark.parametrize("mode", _MODES)
def test_a_driver_whose_path_has_odd_characters(
    mode: str, shared: Shared, refusals: dict[str, str], doubles: DriverHost, tmp_path: Path
) -> None:
    """Separators of lists of paths, of options and of lines."""
    shutil.copytree(doubles.top, tmp_path / "a:b c,d\ne", symlinks=True)
    need(refusals, mode)
    odd = Gpus(shared, mode, DriverHost(tmp_path / "a:b c,d\ne"))
    assert odd("python3", "-c", PROBE).out == "0 0\n"  # the double counts no GPU here
