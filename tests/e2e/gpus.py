"""Runs with the driver of some root; a program that says how far its libraries come.

An ordinary user can make no device nodes: a namespace whose /dev has stand-ins is a host with GPUs.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from builders.pythons import python_tar
from e2e.conftest import Result, command
from e2e.engines import SCI
from udocker.engine import table
from udocker.model.features import UNION_ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builders.drivers import DriverHost
    from e2e.engines import Shared

PROBE = """
import ctypes
def call(library, name):
    try:
        return getattr(ctypes.CDLL(library), name)(0)
    except OSError:
        return "missing"
print(call("libcuda.so.1", "cuInit"), call("libnvidia-ml.so.1", "nvmlInit_v2"))
"""

NODES = ("nvidia0", "nvidiactl", "nvidia-uvm")
_USUAL = ("null", "zero", "full", "random", "urandom", "tty")
# A /dev with nodes that are none: an ordinary user can make no others.
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


_LOCAL = "python:"  # images that are made here


def with_python(shared: Shared, release: str) -> str:
    """An image of a release of Debian that has Python. Skips the test as ``python_tar``."""
    if release == "12":
        return shared.image(SCI)
    return named_with_python(shared, release)


def named_with_python(shared: Shared, release: str) -> str:
    """The same by the name that ``Gpus`` takes."""
    if release == "12":
        return SCI
    name = f"{_LOCAL}{release}"
    if name not in shared("images", "--no-trunc").out:
        shared("import", "-q", str(python_tar(release)), name)
    return name


class Gpus:
    """Runs in one mode, with the driver of a root; in a container of a test module's if named."""

    def __init__(
        self, shared: Shared, mode: str, host: DriverHost, devices: bool = False, name: str = "gpu"
    ) -> None:
        self.shared = shared
        self.mode = mode
        self._name = name
        self.environment = {"UDOCKER_DRIVER_ROOT": str(host.top)}
        if devices:
            self.environment["UDOCKER_DEVICE_ROOT"] = str(host.top)

    def __call__(
        self,
        *program: str,
        options: tuple[str, ...] = ("--nv",),
        image: str = SCI,
        check: bool = True,
        **more: str,
    ) -> Result:
        words = ("run", "-q", f"--execmode={self.mode}", *options, self.container(image), *program)
        result = self.command(*words, **more)
        assert result.code == 0 or not check, f"udocker {' '.join(words)}: {result}"
        return result

    def command(self, *words: str, **more: str) -> Result:
        """Any command of udocker's, on that host."""
        return self.shared(*words, check=False, env={**self.environment, **more})

    def by(self, argv: Sequence[str], more: Mapping[str, str]) -> Result:
        """Another program that starts udocker on that host."""
        done = subprocess.run(
            argv,
            env={**self.shared.environment(), **self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def container(self, image: str) -> str:
        """One for all runs of an image in such modes: a copy of a large one takes long."""
        form = "union" if UNION_ROOT in table.find(self.mode).engine.FEATURES else "plain"
        name = f"{self._name}-{image.replace(':', '-')}-{form}"
        if name not in {each for row in self.shared.containers() for each in row["names"]}:
            is_local = image.startswith(_LOCAL)
            reference = image if is_local else self.shared.image(image)
            self.shared("create", "-q", f"--name={name}", reference)
        return name

    def directory(self, image: str = SCI) -> Path:
        name = self.container(image)
        identity = next(r["id"] for r in self.shared.containers() if name in r["names"])
        return self.shared.store / "containers" / identity


class GpuHost(Gpus):
    """The same in a mount namespace whose /dev has nodes of a GPU, as the ordinary user.

    ``before``: shell commands of the namespace's root, before that.
    """

    def __init__(
        self,
        shared: Shared,
        mode: str,
        host: DriverHost,
        top: Path,
        *,
        nodes: Sequence[str] = NODES,
        before: str = "",
    ) -> None:
        super().__init__(shared, mode, host)
        before += _BEFORE.format(
            top=shlex.quote(str(top)),
            usual=" ".join(_USUAL),
            nodes=" ".join(nodes),
            user=os.getuid(),
            group=os.getgid(),
        )
        unshare = ("unshare", "--user", "--map-root-user", "--mount")
        self._within = (*unshare, "sh", "-c", before, "sh", *command())

    def command(self, *words: str, **more: str) -> Result:
        return self.by([*self._within, *words], more)
