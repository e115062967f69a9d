"""Runs with the driver of some root; a program that says how far its libraries come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders.pythons import python_tar
from e2e.engines import SCI
from udocker.engine import table
from udocker.model.run import UNION_ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from builders.drivers import DriverHost
    from e2e.conftest import Result
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


def with_python(shared: Shared, release: str) -> str:
    """An image of a release of Debian that has Python. Skips the test as ``python_tar``."""
    if release == "12":
        return shared.image(SCI)
    name = f"python:{release}"
    if name not in shared("images", "--no-trunc").out:
        shared("import", "-q", str(python_tar(release)), name)
    return name


class Gpus:
    """Runs in one mode, with the driver of a root."""

    def __init__(self, shared: Shared, mode: str, host: DriverHost, devices: bool = False) -> None:
        self.shared = shared
        self.mode = mode
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
        return self.shared(*words, check=check, env={**self.environment, **more})

    def container(self, image: str) -> str:
        """One for all runs of an image in such modes: a copy of a large one takes long."""
        form = "union" if UNION_ROOT in table.find(self.mode).engine.FEATURES else "plain"
        name = f"gpu-{image.replace(':', '-')}-{form}"
        if name not in {each for row in self.shared.containers() for each in row["names"]}:
            self.shared("create", "-q", f"--name={name}", self.shared.image(image))
        return name

    def directory(self, image: str = SCI) -> Path:
        name = self.container(image)
        identity = next(r["id"] for r in self.shared.containers() if name in r["names"])
        return self.shared.store / "containers" / identity
