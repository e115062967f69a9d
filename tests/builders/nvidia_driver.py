"""A host with the user space of NVIDIA's driver, of Debian's packages; nothing of it is ours.

It is made once, beside the images of the end-to-end tests, and kept. No GPU is needed: the driver
itself says how far it came.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from builders.drivers import DriverHost
from image_maker.debian import mirror

_SUITE, _COMPONENT = "bookworm", "non-free"
_PACKAGES = (
    *("libcuda1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1", "libnvidia-nvvm4"),
    *("libnvidia-cfg1", "nvidia-opencl-icd", "nvidia-opencl-common", "nvidia-smi"),
    *("libnvcuvid1", "libnvidia-encode1"),
)
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def driver_host() -> DriverHost:
    """Skips the test where these packages cannot be had."""
    images = os.environ.get("UDOCKER_TEST_IMAGES")
    if not images:
        pytest.skip("UDOCKER_TEST_IMAGES names no images: tools/check makes them")
    place = Path(f"{images.rstrip('/')}-nvidia-1")
    if not place.exists():
        _make(place)
    return DriverHost(place)


def _make(place: Path) -> None:
    """Aside, and renamed: several processes may do it at once."""
    try:
        aside = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    except OSError as error:
        pytest.skip(f"host: {place.parent} cannot be written: {error.strerror}")
    try:
        _download(aside / "apt")
        root = aside / "root"
        for package in sorted((aside / "apt").glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, root], check=True)
        _alternatives(DriverHost(root))
        os.chmod(root, 0o755)
        if not place.exists():
            os.rename(root, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _download(folder: Path) -> None:
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "cache/archives/partial").mkdir(parents=True)
    source = f"deb [signed-by={_KEYS}] {_mirror()} {_SUITE} {_COMPONENT}\n"
    (folder / "sources.list").write_text(source)
    options = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",
    }
    given = [word for name, text in options.items() for word in ("-o", f"{name}={text}")]
    for words in (["update"], ["download", *_PACKAGES]):
        done = subprocess.run(
            ["apt-get", "-q", *given, *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0 or "\nErr:" in f"\n{done.stdout}":
            pytest.skip("host: Debian's packages of NVIDIA's driver (non-free) cannot be had here")


def _mirror() -> str:
    try:
        return mirror()
    except (SystemExit, OSError):
        pytest.skip("host: apt knows no Debian mirror")


def _alternatives(host: DriverHost) -> None:
    """The links and the cache that an installation makes besides."""
    links = {
        f"{_LIBRARIES}/libcuda.so.1": f"{_LIBRARIES}/nvidia/current/libcuda.so.1",
        f"{_LIBRARIES}/libnvidia-ml.so.1": f"{_LIBRARIES}/nvidia/current/libnvidia-ml.so.1",
        "/usr/bin/nvidia-smi": "/usr/lib/nvidia/current/nvidia-smi",
    }
    for name, target in links.items():
        between = f"/etc/alternatives/nvidia--{os.path.basename(name)}"
        host.link(name, between)
        host.link(between, target)
    host.cache(*(name for name in links if name.startswith(_LIBRARIES)))
