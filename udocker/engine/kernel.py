"""System calls that Python does not have, mounts above all."""

from __future__ import annotations

import errno
import os

# <linux/mount.h>
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19
MS_RELATIME = 1 << 21
# A remount in a user namespace must keep these (mount_namespaces(7)); ST_ and MS_ agree in value.
_MS_KEPT = 2 | 4 | 8 | 1024 | 2048
_ST_RELATIME = 4096


class Kernel:
    """System calls by the engines' own library. Methods raise OSError that names the target."""

    def __init__(self) -> None:
        from udocker._native import ffi, lib

        self.ffi = ffi
        self.lib = lib

    def mount(
        self,
        source: str | None,
        target: str,
        kind: str | None,
        flags: int,
        options: str | None = None,
    ) -> None:
        null = self.ffi.NULL
        encoded = [null if text is None else os.fsencode(text) for text in (source, kind, options)]
        result = self.lib.udocker_mount(
            encoded[0], os.fsencode(target), encoded[1], flags, encoded[2]
        )
        self.check(result, target)

    def check(self, result: int, what: str) -> None:
        """OSError for what a call of the library left in errno, unless ``result`` is 0."""
        if result != 0:
            number = self.ffi.errno
            raise OSError(number, os.strerror(number), what)

    def make_readonly(self, target: str, shallow: bool) -> None:
        """Also what is mounted below, unless ``shallow``. The working directory is the old root."""
        if not shallow:
            if self.lib.udocker_mount_readonly(os.fsencode(target)) == 0:
                return
            if self.ffi.errno not in (errno.ENOSYS, errno.EPERM):
                self.check(-1, target)
        for point in [target] if shallow else _mounts_below(target):
            self.remount_readonly(point)

    def remount_readonly(self, target: str) -> None:
        try:
            flags = os.statvfs(target).f_flag
        except PermissionError:
            return  # who cannot get there cannot write there
        kept = flags & _MS_KEPT | (MS_RELATIME if flags & _ST_RELATIME else 0)
        self.mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def _mounts_below(target: str) -> list[str]:
    """Mount points at and below ``target``, from the old root's /proc (the working directory)."""
    with open("proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        points = [_unescaped(line.split(" ")[4]) for line in stream]
    return [p for p in points if p == target or p.startswith(target.rstrip("/") + "/")]


def _unescaped(point: str) -> str:
    """A field of mountinfo: the kernel writes blanks and backslashes as octal numbers."""
    first, *rest = point.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
