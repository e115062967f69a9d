"""Unpack images with umoci and with podman, and print what came of it, as JSON.

    unshare --user --map-auto --map-root-user --mount python THIS LAYOUT PEER,PEER NAME...

It needs a namespace in which other users' ids are there, so that owners and modes are real. Its
standard output is {name: {peer: {"error": text, "tree": {path: facts}}}}.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

Facts = dict[str, Any]
Tree = dict[str, Facts]

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}
_BLOCK = 1 << 16
_WORK = "/mnt"


def listing(root: str) -> Tree:
    """Every entry below ``root``, and itself as "", with all that can be told of it."""
    before = os.open(".", os.O_PATH)
    os.chdir(root)  # the longest path that may be is relative
    try:
        return _listing()
    finally:
        os.fchdir(before)
        os.close(before)


def _listing() -> Tree:
    found: Tree = {}
    groups: dict[int, list[str]] = {}
    pending = [""]
    while pending:
        path = pending.pop()
        here = path or "."
        try:
            status = os.lstat(here)
        except FileNotFoundError:  # an overlay lists a whiteout that lies over nothing
            continue
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        found[path] = {
            "kind": kind,
            "mode": 0o777 if kind == "symlink" else stat.S_IMODE(status.st_mode),
            "uid": status.st_uid,
            "gid": status.st_gid,
            "mtime": status.st_mtime_ns,
            "xattrs": _xattrs(here),
        }
        if kind == "directory":
            pending += [os.path.join(path, name) for name in os.listdir(here)]
            continue
        groups.setdefault(status.st_ino, []).append(path)
        if kind == "file":
            found[path]["size"] = status.st_size
            found[path]["content"] = _digest(here, status.st_size)
        elif kind == "symlink":
            found[path]["target"] = os.readlink(here)
        elif kind in ("char", "block"):
            found[path]["number"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    for paths in groups.values():
        for path in paths:
            found[path]["same"] = sorted(paths)
    return found


def _xattrs(path: str) -> dict[str, str]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {
        name: base64.b64encode(os.getxattr(path, name, follow_symlinks=False)).decode()
        for name in names
    }


def _digest(path: str, size: int) -> str:
    """Of the blocks that are not all zeros, with their places: long holes are passed over."""
    digest = hashlib.sha256()
    at = 0
    with open(path, "rb") as stream:
        while at < size:
            with contextlib.suppress(OSError):  # nothing but a hole
                at = os.lseek(stream.fileno(), at, os.SEEK_DATA) // _BLOCK * _BLOCK
                stream.seek(at)
                data = stream.read(_BLOCK)
                if data.strip(b"\0"):
                    digest.update(b"%d:%d:" % (at, len(data)) + data)
                at += _BLOCK
                continue
            break
    return digest.hexdigest()


def _umoci(layout: str, name: str) -> Iterator[str]:
    target = f"{_WORK}/umoci"
    _run("umoci", "raw", "unpack", "--image", f"{layout}:{name}", target)
    try:
        yield target
    finally:
        shutil.rmtree(target)


def _podman(layout: str, name: str) -> Iterator[str]:
    podman = [
        *("podman", "--storage-driver=overlay", f"--root={_WORK}/store", f"--runroot={_WORK}/run"),
        *("--cgroup-manager=cgroupfs", "--events-backend=none", f"--tmpdir={_WORK}/tmp"),
    ]
    # It makes a name of the path, and a name has no capital letters.
    place = Path(_WORK, "layout")
    place.unlink(missing_ok=True)
    place.symlink_to(layout)
    image = _run(*podman, "pull", "--quiet", f"oci:{place}:{name}").split()[-1]
    target = _run(*podman, "image", "mount", image).strip()
    try:
        yield target
    finally:
        _run(*podman, "image", "unmount", image)
        _run(*podman, "rmi", "--force", image)


def _run(*command: str) -> str:
    # What podman would set for itself; then it makes no namespace, and leaves no process behind.
    told = {
        "_CONTAINERS_USERNS_CONFIGURED": "done",
        "_CONTAINERS_ROOTLESS_UID": "1000",
        "_CONTAINERS_ROOTLESS_GID": "1000",
    }
    done = subprocess.run(
        command, env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip()[-600:])
    return done.stdout


PEERS: dict[str, Callable[[str, str], Iterator[str]]] = {"umoci": _umoci, "podman": _podman}


def _unpacked(peer: str, layout: str, name: str) -> dict[str, Any]:
    error: Optional[str] = None
    tree: Tree = {}
    try:
        with contextlib.contextmanager(PEERS[peer])(layout, name) as root:
            tree = listing(root)
    except RuntimeError as caught:
        error = str(caught)
    return {"error": error, "tree": tree}


def main(layout: str, peers: list[str], names: list[str]) -> None:
    # In memory, at a short path (podman wants that), and gone with the namespace.
    _run("mount", "-t", "tmpfs", "peers", _WORK)
    os.environ["XDG_RUNTIME_DIR"] = f"{_WORK}/xdg"
    for part in ("xdg", "store", "run", "tmp"):
        os.mkdir(f"{_WORK}/{part}")
    # Its locks are otherwise one file in /dev/shm for all that call themselves user 1000.
    settings = Path(_WORK, "containers.conf")
    settings.write_text('[engine]\nlock_type = "file"\n')
    os.environ["CONTAINERS_CONF"] = str(settings)
    found = {name: {peer: _unpacked(peer, layout, name) for peer in peers} for name in names}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","), sys.argv[3:])
