"""podman takes the specs that ``gpu cdi`` writes: NVIDIA's own driver, stand-ins for its nodes."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.commands import BUSYBOX, needs_busybox
from builders.drivers import needs_x86_64
from builders.nvidia_driver import driver_host
from builders.processes import SOURCE, needs_namespaces, wait_for
from e2e.conftest import command
from e2e.peers import Podman

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, needs_x86_64, needs_busybox, needs_namespaces]
_BLOCKED = 17  # of nvidia-smi and NVML: GPU access blocked by the operating system
_NODES = ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm")
_USUAL = ("null", "zero", "full", "random", "urandom", "tty")

# /dev with nodes of GPUs, and a /run whose /run/cdi has the spec. podman 4 has no option for that.
_BEFORE = """\
set -e
dev={top}/dev
mkdir -p "$dev"
mount -t tmpfs dev "$dev"
for n in {usual}; do touch "$dev/$n"; mount --bind "/dev/$n" "$dev/$n"; done
for n in {nodes}; do touch "$dev/$n"; mount --bind /dev/null "$dev/$n"; done
mkdir "$dev/shm" "$dev/pts"
mount --rbind /dev/pts "$dev/pts"
mount --rbind /dev/shm "$dev/shm"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
mount --rbind "$dev" /dev
mount -t tmpfs run /run
mkdir /run/cdi
if [ -d {top}/bin ]; then mount -t overlay -o lowerdir={top}/bin:/usr/bin overlay /usr/bin; fi
env HOME={top} PYTHONPATH={source} {udocker} gpu cdi --driver-root={driver} {form} \\
    --output=/run/cdi/nvidia.json 2>{top}/told
"""


@pytest.fixture(scope="module")
def top() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="p-", dir="/var/tmp"))  # no long path for podman
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _is_named(path: Path) -> bool:
    """Whether a process has ``path`` among its words."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(path) in process.read_bytes():
                return True
    return False


@pytest.fixture(scope="module")
def root(top: Path) -> Path:
    """busybox, and the C library that nvidia-smi needs: this host's."""
    made = top / "root"
    assert BUSYBOX is not None
    (made / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, made / "bin/busybox")
    for name in ("sh", "ls", "echo"):
        (made / "bin" / name).symlink_to("busybox")
    smi = driver_host().top / "usr/lib/nvidia/current/nvidia-smi"
    told = subprocess.run(["ldd", smi], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(/\S+) \(0x", told):
        (made / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(path), made / path.lstrip("/"))
    return made


@pytest.fixture(params=["--hook-free"])
def podman(top: Path, request: pytest.FixtureRequest) -> Iterator[Podman]:
    before = _BEFORE.format(
        top=top,
        form=request.param,
        usual=" ".join(_USUAL),
        nodes=" ".join(_NODES),
        source=SOURCE,
        udocker=shlex.join(command()),
        driver=driver_host().top,
    )
    program = Podman(top / "podman", before)
    yield program
    # podman has a process of its own clean up after it, which makes directories anew.
    wait_for(lambda: not _is_named(top / "podman"))
    program.close()


def run(podman: Podman, root: Path, device: str, script: str) -> list[str]:
    words = ("--runtime=runc", "run", "--rm", "--network=host", f"--device={device}", "--rootfs")
    return podman(*words, root, "sh", "-c", script).split()


@pytest.mark.parametrize(
    ("device", "nodes"),
    [("0", {"nvidia0"}), ("1", {"nvidia1"}), ("all", {"nvidia0", "nvidia1"})],
)
def test_podman_shows_the_chosen_gpu(
    podman: Podman, root: Path, device: str, nodes: set[str]
) -> None:
    found = set(run(podman, root, f"nvidia.com/gpu={device}", "ls /dev"))
    assert {name for name in found if name.startswith("nvidia")} == {
        *nodes,
        "nvidiactl",
        "nvidia-uvm",
    }


def test_the_driver_comes_as_far_as_the_nodes(podman: Podman, root: Path) -> None:
    """Its libraries are found and speak to the node: the code would be another without either."""
    script = "nvidia-smi >/dev/null; echo $?"
    assert run(podman, root, "nvidia.com/gpu=0", script) == [str(_BLOCKED)]


def test_what_the_spec_does_not_have(podman: Podman, root: Path) -> None:
    with pytest.raises(AssertionError, match=r"unresolvable CDI devices nvidia\.com/gpu=7"):
        run(podman, root, "nvidia.com/gpu=7", "true")


@pytest.mark.parametrize("podman", [""], indirect=True)
def test_with_hooks_all_that_is_missing_are_the_programs(podman: Podman, root: Path) -> None:
    with pytest.raises(AssertionError, match=r"nvidia-cdi-hook: no such file") as caught:
        run(podman, root, "nvidia.com/gpu=0", "true")
    assert "unresolvable" not in str(caught.value)


@pytest.fixture
def hooks(top: Path) -> Iterator[Path]:
    """A program for the hooks; the file in which it says what it was told."""
    shutil.copy(Path(__file__).parent / "programs/cdi_hook.py", top / "hook")
    program = top / "bin/nvidia-cdi-hook"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {top}/hook "$0" "$@"\n')
    program.chmod(0o755)
    yield top / "hook.told"
    shutil.rmtree(program.parent)


@pytest.mark.parametrize("podman", [""], indirect=True)
def test_with_hooks_the_libraries_have_their_names(hooks: Path, podman: Podman, root: Path) -> None:
    """podman and runc call them in order; without what they do the libraries are not found."""
    script = "nvidia-smi >/dev/null; echo $?; ls /usr/lib/x86_64-linux-gnu/nvidia/current"
    code, *names = run(podman, root, "nvidia.com/gpu=0", script)
    assert code == str(_BLOCKED)
    assert {"libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1"} <= set(names)
    told = [line.split() for line in hooks.read_text().splitlines()]
    assert [words[1] for words in told] == [
        "create-symlinks",
        "enable-cuda-compat",
        "update-ldcache",
        "disable-device-node-modification",
    ]
