"""The host's C library, and what comes along with it, in the place of an image's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builders.drivers import DriverHost, library, needs_x86_64
from builders.trees import Link, grow
from test_elf import program as elf
from udocker.errors import DeviceError
from udocker.ops import host_libc, libc
from udocker.store.view import View

if TYPE_CHECKING:
    from pathlib import Path

    from builders.trees import Node

pytestmark = needs_x86_64
LIB = "usr/lib/x86_64-linux-gnu"


def text(*words: str) -> str:
    """C of a library that has these words between zero bytes."""
    joined = "".join(f"\\0{word}" for word in words)
    return f'const char told[] = "{joined}\\0";'


def release(version: str) -> str:
    return f"GNU C Library (X) stable release version {version}.\\n"


@pytest.fixture
def host(tmp_path: Path) -> DriverHost:
    made = DriverHost(tmp_path / "host")
    for name, word in (
        ("libc.so.6", release("2.36")),
        ("libm.so.6", ""),
        ("libstdc++.so.6.0.30", "GLIBCXX_3.4.9\\0GLIBCXX_3.4.30\\0GLIBCXX_3.4"),
        ("libgcc_s.so.1", "GCC_3.0\\0GCC_12.0.0\\0GCC_4.2.0"),
    ):
        made.path(f"{LIB}/{name}").write_bytes(library(name, source=text(word)))
    made.link(f"{LIB}/libstdc++.so.6", "libstdc++.so.6.0.30")
    return made


def mounts(tmp_path: Path, host: DriverHost, table: dict[str, Node]) -> dict[str, str]:
    """Guest path -> file of the host, for an image with glibc 2.31 and ``table``."""
    own = {f"{LIB}/libc.so.6": elf() + b"\0GNU C Library (X) stable release version 2.31.\n\0"}
    view = View((str(grow(tmp_path / "tree", {**own, **table})),))
    found, after, told = host_libc.replaced(host.places, view, libc.examine(view, "x86_64"))
    assert (after.version, told) == ((2, 36), "")
    assert all(mount.readonly and not mount.is_dir for mount in found)
    return {mount.target: os.path.basename(mount.source) for mount in found}


def test_what_is_newer_comes_along(tmp_path: Path, host: DriverHost) -> None:
    table: dict[str, Node] = {
        f"{LIB}/libstdc++.so.6": Link("libstdc++.so.6.0.28"),
        f"{LIB}/libstdc++.so.6.0.28": elf() + b"\0GLIBCXX_3.4.28\0",
        "lib/libgcc_s.so.1": elf() + b"\0GCC_7.0.0\0GCC_10.1.0\0",
    }
    assert mounts(tmp_path, host, table) == {
        f"/{LIB}/libc.so.6": "libc.so.6",
        f"/{LIB}/libstdc++.so.6.0.28": "libstdc++.so.6.0.30",
        "/lib/libgcc_s.so.1": "libgcc_s.so.1",
    }


def test_what_is_as_new_stays(tmp_path: Path, host: DriverHost) -> None:
    """So does what is not there: nothing is made in the image's directories."""
    table: dict[str, Node] = {f"{LIB}/libstdc++.so.6": elf() + b"\0GLIBCXX_3.4.30\0"}
    assert list(mounts(tmp_path, host, table)) == [f"/{LIB}/libc.so.6"]


def test_a_newer_c_library_stays(tmp_path: Path, host: DriverHost) -> None:
    told = b"\0GNU C Library (X) stable release version 2.41.\n\0"
    table = {
        f"{LIB}/libc.so.6": elf() + told,
        f"{LIB}/libstdc++.so.6": elf() + b"\0GLIBCXX_3.4.1\0",
    }
    view = View((str(grow(tmp_path / "tree", table)),))
    found, after, why = host_libc.replaced(host.places, view, libc.examine(view, "x86_64"))
    assert (found, after.version) == ((), (2, 41))
    assert "no older than the host's glibc 2.36: it stays" in why


def test_an_image_without_glibc(tmp_path: Path, host: DriverHost) -> None:
    view = View((str(grow(tmp_path / "tree", {"lib/ld-musl-x86_64.so.1": elf()})),))
    with pytest.raises(DeviceError, match="glibc cannot stand in its place"):
        host_libc.replaced(host.places, view, libc.examine(view, "x86_64"))
