"""The images that unpacking is measured with: seven layers of Debian, and many small files."""

from __future__ import annotations

import io
import platform
import random
import subprocess
import tarfile
from pathlib import Path

from bencher.image import MACHINES, kept
from image_maker import debian, layers
from image_maker.layout import Layout
from image_maker.registry import serving

SEVEN = "seven:latest"
SEVEN_ZSTD = "seven:zstd"
SMALL = "small:latest"
SMALL_FILES = 300_000
# Debian 12 grows by these, a layer each: about 280 MiB in all when compressed by gzip.
_STEPS = [
    ["python3"],
    ["python3-numpy"],
    ["gcc", "libc6-dev"],
    ["python3-scipy"],
    ["git"],
    ["clang"],
]
_PER_DIRECTORY = 100


def storage(images: Path, scratch: Path) -> Path:
    """A directory with ``oci``, a layout, and ``registry``, a registry's storage of the same.

    Made now unless it is kept beside ``images``. Raises SystemExit when mmdebstrap fails.
    """
    return kept("layered", images, Path(__file__), lambda making: _make(making, scratch))


def _make(making: Path, scratch: Path) -> None:
    work = scratch / "work"
    work.mkdir()
    scratch.chmod(0o711)
    work.chmod(0o777)  # mmdebstrap without root works under other user ids
    layout = Layout(making / "oci")
    tree = layers.Tree()
    zipped, zstd = [], []
    for number, tar in enumerate(debian.snapshots("bookworm", _STEPS, work)):
        before, tree = tree, layers.Tree(tar)
        difference = work / f"layer-{number}"
        layers.write_difference(before, tree, difference)
        zipped.append(layout.layer(difference))
        zstd.append(layout.layer(difference, "zstd"))
        difference.unlink()
    machine, config = MACHINES[platform.machine()], {"Cmd": ["bash"]}
    layout.tag(SEVEN, layout.image(zipped, machine, config))
    layout.tag(SEVEN_ZSTD, layout.image(zstd, machine, config))
    small = work / "small"
    _write_small_files(small)
    layout.tag(SMALL, layout.image([layout.layer(small)], machine, config))
    layout.finish()
    with serving(making / "registry", readonly=False) as address:
        for name in (SEVEN, SEVEN_ZSTD, SMALL):
            source, target = f"oci:{making}/oci:{name}", f"docker://{address}/{name}"
            command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]
            subprocess.run([*command, source, target], check=True)


def _write_small_files(path: Path) -> None:
    """A tar of files of up to 2 KiB, a hundred in each directory."""
    generator = random.Random(1)
    text = b"".join(b"%016x\n" % generator.getrandbits(64) for _ in range(1 << 16))
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(SMALL_FILES):
            directory = f"srv/{number // _PER_DIRECTORY // 50}/{number // _PER_DIRECTORY}"
            if number % (50 * _PER_DIRECTORY) == 0:
                archive.addfile(_entry(directory.rpartition("/")[0], tarfile.DIRTYPE))
            if number % _PER_DIRECTORY == 0:
                archive.addfile(_entry(directory, tarfile.DIRTYPE))
            info = _entry(f"{directory}/file-{number}", tarfile.REGTYPE)
            info.size = generator.randrange(2048)
            start = generator.randrange(len(text) - info.size)
            archive.addfile(info, io.BytesIO(text[start : start + info.size]))


def _entry(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mtime = 1_700_000_000
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info
