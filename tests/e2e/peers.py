"""Other programs that read and write images: what they print, or why they fail."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_UNSHARE = ("unshare", "--user", "--map-auto", "--map-root-user", "--mount")
# podman's locks in /dev/shm have one name for all: another user's would be in the way.
_START = 'mount -t tmpfs shm /dev/shm && exec "$@"'
_PODMAN_IN_NAMESPACE = {
    "_CONTAINERS_USERNS_CONFIGURED": "done",
    "_CONTAINERS_ROOTLESS_UID": "1000",
    "_CONTAINERS_ROOTLESS_GID": "1000",
}


def told(*words: object, cwd: Path | None = None, **more: str) -> str:
    """What a program printed."""
    command = [str(word) for word in words]
    environment = {**os.environ, **more}
    done = subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (command, done.stderr[-600:])
    return done.stdout


class Podman:
    """podman with a store of its own, as root of a user namespace.

    ``before``: lines for the shell that is that root, with mounts of its own.
    """

    def __init__(self, top: Path, before: str = "") -> None:
        self._top = top
        self._namespace = (*_UNSHARE, "sh", "-c", f"{before}\n{_START}", "sh")

    def __call__(self, *words: object, cwd: Path | None = None) -> str:
        """``cwd``: names are made of paths, so these had better be short and have no capitals."""
        return told(
            *self._namespace,
            *("podman", "--storage-driver=vfs"),
            *(f"--root={self._top}/s", f"--runroot={self._top}/r"),
            *("--cgroup-manager=cgroupfs", "--events-backend=none", f"--tmpdir={self._top}/t"),
            *words,
            cwd=cwd,
            **_PODMAN_IN_NAMESPACE,
        )

    def close(self) -> None:
        told(*_UNSHARE, "rm", "-rf", self._top)
