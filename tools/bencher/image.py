"""The image that engines are measured with: Debian 12 with what the workloads need."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from image_maker import debian, layers
from image_maker.layout import Layout
from image_maker.registry import serving

NAME = "bench:latest"
_PACKAGES = [
    *("python3-numpy", "python3-scipy", "gcc", "libc6-dev", "make", "git", "golang-go"),
    "busybox-static",
]
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def storage(images: Path, scratch: Path) -> Path:
    """The storage of a registry that has the image, made now unless it is kept beside ``images``.

    Raises SystemExit when mmdebstrap fails.
    """
    made = kept("bench", images, Path(__file__), lambda making: _make(making, scratch))
    return made / "registry"


def kept(name: str, images: Path, program: Path, make: Callable[[Path], None]) -> Path:
    """What ``make`` fills a directory with; made again when ``program``, its source, changes."""
    key = f"{name}-{hashlib.sha256(program.read_bytes()).hexdigest()[:16]}"
    places = [images.parent / key, Path(f"/var/tmp/udocker-{key}-{os.getuid()}")]
    for place in places:
        if place.is_dir():
            return place
    place = places[0] if os.access(images.parent, os.W_OK) else places[1]
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    try:
        make(making)
        making.rename(place)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return place


def _make(making: Path, scratch: Path) -> None:
    work = scratch / "work"
    work.mkdir()
    scratch.chmod(0o711)
    work.chmod(0o777)  # mmdebstrap without root works under other user ids
    tree = layers.Tree(debian.snapshots("bookworm", [_PACKAGES], work)[-1])
    tar = work / "bench"
    layers.write_difference(layers.Tree(), tree, tar)
    layout = Layout(making / "oci")
    config = {"Env": [_PATH, "LANG=C.UTF-8"], "Cmd": ["bash"]}
    layer = layout.layer(tar, "zstd")
    layout.tag(NAME, layout.image([layer], MACHINES[platform.machine()], config))
    layout.finish()
    shutil.rmtree(work)
    with serving(making / "registry", readonly=False) as address:
        source, target = f"oci:{making}/oci:{NAME}", f"docker://{address}/{NAME}"
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
        subprocess.run([*command, source, target], check=True)
