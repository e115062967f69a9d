"""Images with Open MPI and MPICH of a release of Debian, without what no test needs of them, and a
program for each: in Debian 12 Open MPI 4 and MPICH 4.0, in Debian 13 Open MPI 5 and MPICH 4.2.
"""

from __future__ import annotations

import platform
import subprocess
import tarfile
from pathlib import Path

from image_maker import debian

# By the number of the release: its name, and what has the library of Open MPI.
RELEASES = {"12": ("bookworm", "libopenmpi3"), "13": ("trixie", "libopenmpi40")}
_PACKAGES = ["openmpi-bin", "openmpi-common", "mpich", "dash", "coreutils"]
_PLACE = f"usr/lib/{platform.machine()}-linux-gnu"
_LIBRARIES = {"OPEN_MPI": "libmpi.so.40", "MPICH": "libmpich.so.12"}
_LEFT_OUT = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/X11", "usr/share/icons"),
    *("usr/share/perl5", "usr/share/bash-completion", "usr/lib/openssh", "usr/bin/ssh"),
    *("usr/share/info", "var/lib/dpkg", "var/cache", "dev"),
    *(f"{_PLACE}/{name}" for name in ("gconv", "perl", "libmpichfort.so", "liboshmem.so")),
    # What UCX and hwloc load for GPUs if it is there.
    *(f"{_PLACE}/{name}" for name in ("libLLVM", "libamd", "libhsa", "libz3.so", "libze_")),
    *(f"{_PLACE}/{name}_rocm.so" for name in ("ucx/libucm", "ucx/libuct", "ucx/libucx_perftest")),
    f"{_PLACE}/hwloc",
)


def tree(release: str, tar: Path, scratch: Path) -> None:
    """Write the tar of the image of a release. ``scratch`` is for the work in between."""
    suite, library = RELEASES[release]
    packages = debian.unpacked(suite, [library, *_PACKAGES], scratch)
    with tarfile.open(packages) as source, tarfile.open(tar, "w") as archive:
        for member in source:
            name = member.name.removeprefix("./")
            if not name.startswith(_LEFT_OUT):
                data = source.extractfile(member) if member.isreg() else None
                archive.addfile(member, data)
        _merge(source, archive)
        for kind in _LIBRARIES:
            program = _program(kind, source, scratch)
            archive.add(program, f"./usr/bin/{program.name}", filter=_owned_by_root)


def _merge(packages: tarfile.TarFile, archive: tarfile.TarFile) -> None:
    """The links from / into /usr, which a package has that is not needed here."""
    names = packages.getnames()
    for name in ("bin", "lib", "lib64", "sbin"):
        if f"./{name}" not in names and f"./usr/{name}" in names:
            link = tarfile.TarInfo(f"./{name}")
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(link)


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
