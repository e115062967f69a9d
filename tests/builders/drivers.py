"""Hosts with drivers of any layout: small libraries, texts of the kernel, stand-ins for nodes."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

from udocker.devices import ldcache
from udocker.devices.places import Places

if TYPE_CHECKING:
    from pathlib import Path

needs_x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="host: the compiler makes libraries for x86_64"
)
_COMPILERS = {
    "x86_64": ("gcc", "-nostdlib"),
    "i386": ("gcc", "-m32", "-nostdlib"),
    "aarch64": ("aarch64-linux-gnu-gcc", "-nostdlib"),
    "glibc": ("gcc",),  # of this host, with what it needs of its C library
}
_INFORMATION = """\
Model: \t\t NVIDIA A100-SXM4-40GB
IRQ:   \t\t 284
GPU UUID: \t {uuid}
Video BIOS: \t 92.00.19.00.13
Bus Type: \t PCIe
Bus Location: \t {bus}
Device Minor: \t {minor}
GPU Excluded:\t No
"""
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Jul 30 2025\nGCC version: 12\n"
OPEN_MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build (b)\n"


@functools.cache
def library(soname: str, kind: str = "x86_64", source: str = "int x;", *flags: str) -> bytes:
    """A shared library; without DT_SONAME where ``soname`` is ""."""
    named = (f"-Wl,-soname,{soname}",) if soname else ()
    command = (*_COMPILERS[kind], "-shared", "-fPIC", *named, *flags, "-x", "c", "-")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "made.so")
        subprocess.run([*command, "-o", path], input=source.encode(), check=True)
        with open(path, "rb") as stream:
            return stream.read()


class DriverHost:
    """One directory for all roots."""

    def __init__(self, top: Path) -> None:
        self.top = top
        top.mkdir(parents=True, exist_ok=True)

    @property
    def places(self) -> Places:
        top = str(self.top)
        return Places(top, top, f"{top}/proc", f"{top}/sys")

    def path(self, name: str) -> Path:
        path = self.top / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, name: str, content: str = "") -> Path:
        path = self.path(name)
        path.write_text(content)
        return path

    def link(self, name: str, target: str) -> None:
        self.path(name).symlink_to(target)

    def library(self, name: str, soname: str | None = None, kind: str = "x86_64") -> Path:
        """Its soname is that of the file up to ``.so``, and ``.1``."""
        path = self.path(name)
        if soname is None:
            soname = f"{path.name.partition('.so')[0]}.so.1"
        path.write_bytes(library(soname, kind))
        return path

    def driver(self, folder: str, version: str, *names: str, kind: str = "x86_64") -> None:
        """Libraries of a version with their links, as an installer leaves them."""
        for name in names or ("libcuda", "libnvidia-ml"):
            self.library(f"{folder}/{name}.so.{version}", kind=kind)
            link = self.path(f"{folder}/{name}.so.1")
            link.unlink(missing_ok=True)
            link.symlink_to(f"{name}.so.{version}")

    def program(self, name: str, content: str = "program", mode: int = 0o755) -> None:
        self.text(name, content).chmod(mode)

    def cache(self, *paths: str, flags: int = ldcache.X86_64) -> None:
        """/etc/ld.so.cache with these, by the names of the files."""
        rows = [
            ldcache.Entry(os.path.basename(path).encode(), path.encode(), flags) for path in paths
        ]
        self.path("etc/ld.so.cache").write_bytes(ldcache.write(rows))

    def module(self, version: str, shape: str = MODULE) -> None:
        self.text("proc/driver/nvidia/version", shape.format(version))

    def node(self, name: str) -> None:
        """A device that everybody may open: an ordinary user can make none."""
        self.link(f"dev/{name}", "/dev/null")

    def closed(self, name: str) -> None:
        self.text(f"dev/{name}").chmod(0)

    def gpu(self, bus: str, minor: int, uuid: str = "", node: bool = True) -> None:
        told = _INFORMATION.format(uuid=uuid or f"GPU-{minor:08x}", bus=bus, minor=minor)
        self.text(f"proc/driver/nvidia/gpus/{bus}/information", told)
        if node:
            self.node(f"nvidia{minor}")

    def card(self, name: str, bus: str, vendor: str) -> None:
        """A node in /dev/dri, and what the kernel says of it."""
        device = f"sys/devices/pci0000:00/{bus}"
        self.text(f"{device}/vendor", f"{vendor}\n")
        self.path(f"{device}/drm/{name}").mkdir(parents=True)
        self.link(f"sys/class/drm/{name}/device", f"../../../devices/pci0000:00/{bus}")
        if not self.path(f"sys/bus/pci/devices/{bus}").is_symlink():
            self.link(f"sys/bus/pci/devices/{bus}", f"../../../devices/pci0000:00/{bus}")
        self.node(f"dri/{name}")
