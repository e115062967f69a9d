"""The trees of the small images, made of programs of this machine's Debian packages."""

from __future__ import annotations

import io
import platform
import subprocess
import tarfile
import tempfile
from pathlib import Path

_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"
_GROUP = b"root:x:0:\nuser:x:1000:\n"
_MACHINE = platform.machine()
_BUSYBOX = "/bin/busybox"
_LOADER = f"ld-musl-{_MACHINE}.so.1"
_LIBC = f"/usr/lib/{_MACHINE}-linux-musl/libc.so"


class _Tar:
    """A tar that is being written, of files that belong to root and have no age."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def directory(self, *names: str, mode: int = 0o755, owner: int = 0) -> None:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, mode
            member.uid = member.gid = owner
            self._archive.addfile(member)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), mode
        self._archive.addfile(member, io.BytesIO(data))

    def link(self, name: str, target: str, *, hard: bool = False) -> None:
        member = tarfile.TarInfo(name)
        member.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
        member.linkname, member.mode = target, 0o755 if hard else 0o777
        self._archive.addfile(member)

    def system(self, name: str) -> None:
        """What every one of the small images has."""
        self.directory("bin", "dev", "etc", "home", "proc", "sys", "usr", "var")
        self.directory("tmp", mode=0o1777)
        self.directory("root", mode=0o700)
        self.directory("home/user", owner=1000)
        self.file("etc/passwd", _PASSWD)
        self.file("etc/group", _GROUP)
        self.file("etc/os-release", f'ID={name}\nPRETTY_NAME="{name} of the tests"\n'.encode())


def busybox(tar: Path) -> None:
    """Static busybox, with hard links for its applets."""
    listed = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        tree = _Tar(archive)
        tree.system("busybox")
        tree.file("bin/busybox", Path(_BUSYBOX).read_bytes(), 0o755)
        for applet in listed.stdout.split():
            if applet != "busybox":
                tree.link(f"bin/{applet}", "bin/busybox", hard=True)


def foreign(tar: Path, packages: Path) -> None:
    """Busybox as above, and dash that a loader must start: of another machine.

    ``packages`` is a tar of Debian's busybox-static and dash with what they need.
    """
    applets = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    with tarfile.open(packages) as source, tarfile.open(tar, "w") as archive:
        tree = _Tar(archive)
        tree.system("foreign")
        for member in source:
            name = member.name.removeprefix("./")
            if name.startswith("lib") or name in ("bin/busybox", "bin/dash"):
                member.name = name
                archive.addfile(member, source.extractfile(member) if member.isreg() else None)
        for applet in applets.stdout.split():
            if applet != "busybox":
                tree.link(f"bin/{applet}", "bin/busybox", hard=True)


def musl(tar: Path) -> None:
    """A program that musl's loader must start, and the loader."""
    source = Path(__file__).parent / "musl_probe.c"
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "probe"
        flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-s"]
        subprocess.run(["musl-gcc", *flags, "-o", program, source], check=True)
        probe = program.read_bytes()
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        tree = _Tar(archive)
        tree.system("musl")
        tree.directory("lib", "usr/bin")
        tree.directory("data", owner=1000)
        tree.file(f"lib/{_LOADER}", Path(_LIBC).read_bytes(), 0o755)
        tree.link(f"lib/libc.musl-{_MACHINE}.so.1", _LOADER)
        tree.file("usr/bin/probe", probe, 0o755)


def marked(tar: Path, word: str) -> None:
    """A layer with one file, /etc/marker, that says ``word``."""
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        tree = _Tar(archive)
        tree.directory("etc")
        tree.file("etc/marker", f"{word}\n".encode())
