"""An image with Open MPI and MPICH of Debian 12, small parts of both, and a program for each."""

from __future__ import annotations

import platform
import subprocess
import tarfile
from pathlib import Path

from image_maker import debian

_PACKAGES = ["libopenmpi3", "openmpi-bin", "openmpi-common", "libmpich12", "dash", "coreutils"]
_PLACE = f"usr/lib/{platform.machine()}-linux-gnu"
_LIBRARIES = {"OPEN_MPI": "libmpi.so.40", "MPICH": "libmpich.so.12"}
_LEFT_OUT = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/X11", "usr/share/icons"),
    *("usr/share/perl5", "usr/share/bash-completion", "usr/lib/openssh", "usr/bin/ssh"),
    *("usr/share/info", "var/lib/dpkg", "var/cache", "dev"),
    *(f"{_PLACE}/{name}" for name in ("gconv", "perl", "libmpichfort.so", "liboshmem.so")),
)


def tree(tar: Path, scratch: Path) -> None:
    """Write the tar of the image. ``scratch`` is for the work in between."""
    packages = debian.unpacked("bookworm", _PACKAGES, scratch)
    with tarfile.open(packages) as source, tarfile.open(tar, "w") as archive:
        for member in source:
            name = member.name.removeprefix("./")
            if not name.startswith(_LEFT_OUT):
                data = source.extractfile(member) if member.isreg() else None
                archive.addfile(member, data)
        for kind in _LIBRARIES:
            program = _program(kind, source, scratch)
            archive.add(program, f"./usr/bin/{program.name}", filter=_owned_by_root)


def _program(kind: str, packages: tarfile.TarFile, scratch: Path) -> Path:
    library = scratch / _LIBRARIES[kind]
    member = packages.getmember(f"./{_PLACE}/{_LIBRARIES[kind]}")
    data = packages.extractfile(member)  # a link, which is followed
    assert data is not None
    library.write_bytes(data.read())
    program = scratch / f"probe-{kind.lower().replace('_', '')}"
    source = Path(__file__).with_name("mpi_probe.c")
    options = ["-O2", f"-D{kind}", "-Wall", "-Werror", "-Wl,--allow-shlib-undefined"]
    subprocess.run(["gcc", *options, "-o", program, source, library], check=True)
    return program


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755
    return member
