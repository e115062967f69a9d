"""Debian packages in a directory, for tests: by a private apt, unpacked, not installed.

What is made is kept beside the images of the end-to-end tests. Nothing of it is ours.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from image_maker.debian import mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_INSTALLED = re.compile(r"^Inst (\S+) ", re.MULTILINE)
_PATIENCE = 300  # seconds for one call of apt


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The directory ``name`` beside the images; ``make`` fills it where it is not there yet.

    It is made aside, and renamed: several processes may do it at once. Skips the test where there
    are no images.
    """
    images = os.environ.get("UDOCKER_TEST_IMAGES")
    if not images:
        pytest.skip("UDOCKER_TEST_IMAGES names no images: tools/check makes them")
    place = Path(f"{images.rstrip('/')}-{name}")
    if place.exists():
        return place
    try:
        aside = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    except OSError as error:
        pytest.skip(f"host: {place.parent} cannot be written: {error.strerror}")
    try:
        root = aside / "root"
        root.mkdir()
        make(root)
        os.chmod(root, 0o755)
        if not place.exists():
            os.rename(root, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place


class Apt:
    """Its own lists of one suite, and ``status``, what it takes for installed ("": nothing).

    ``architecture`` as Debian calls it. Skips the test where the suite, or later a package, cannot
    be had.
    """

    def __init__(
        self,
        folder: Path,
        suite: str,
        component: str,
        *,
        status: str = "",
        architecture: str = "amd64",
    ) -> None:
        self._folder = folder
        self._architecture = architecture
        self._what = f"Debian's packages ({suite}, {component})"
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        (folder / "status").write_text(status)
        source = f"deb [signed-by={_KEYS}] {_mirror()} {suite} {component}\n"
        (folder / "sources.list").write_text(source)
        self._run("update")

    def closure(self, names: Iterable[str]) -> list[str]:
        """``names`` and all that they need and that is not installed."""
        told = self._run("install", "--simulate", "--no-install-recommends", *names)
        return _INSTALLED.findall(told)

    def unpack(self, names: Iterable[str], root: Path) -> None:
        """The files of these packages, and of no others."""
        place = Path(tempfile.mkdtemp(dir=self._folder))
        for package in self.download(names, place):
            subprocess.run(["dpkg", "-x", package, root], check=True)

    def download(self, names: Iterable[str], place: Path) -> list[Path]:
        """The packages themselves."""
        self._run("download", *names, cwd=place)
        return sorted(place.glob("*.deb"))

    def _run(self, *words: str, cwd: Path | None = None) -> str:
        options = {
            "Dir::Etc::SourceList": self._folder / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder / "cache",
            "APT::Architecture": self._architecture,
            "APT::Architectures": self._architecture,
            "APT::Sandbox::User": "",
        }
        given = [word for name, text in options.items() for word in ("-o", f"{name}={text}")]
        done = subprocess.run(
            ["apt-get", "-q", *given, *words],
            cwd=cwd or self._folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode != 0 or "\nErr:" in f"\n{done.stdout}":
            pytest.skip(f"host: {self._what} cannot be had here")
        return done.stdout


def _mirror() -> str:
    try:
        return mirror()
    except (SystemExit, OSError):
        pytest.skip("host: apt knows no Debian mirror")
