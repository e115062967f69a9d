"""Apptainer for the tests, from a suite of Debian that has it; it runs beside the host's libc.

It is the program as Debian built it, and not installed: a tree of its own, without the setuid
part, that any user may start.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from image_maker import debian

_SUITE = "sid"  # no other has the package
_PROGRAM = "usr/bin/apptainer"
_WANTED = (_PROGRAM, "usr/lib", "etc/apptainer", "var/lib/apptainer")


def make(making: Path, final: Path, scratch: Path) -> None:
    """Make ``bin/apptainer`` and what it needs in ``making``, to be started from ``final``.

    Raises SystemExit when Debian's archive does not give it, and CalledProcessError.
    """
    tar = debian.unpacked(_SUITE, ["apptainer"], scratch)
    root = making / "root"
    root.mkdir()
    members = [f"./{name}" for name in _WANTED]
    subprocess.run(["tar", "-C", root, "--no-same-owner", "-xf", tar, *members], check=True)
    (starter,) = root.glob("usr/lib/*/apptainer/bin/starter")
    libraries = starter.parents[2]
    for program in (root / _PROGRAM, starter):
        _at_home(program, final / libraries.relative_to(making))
    # Where it is not installed it looks for /etc and /var from where its programs are, and
    # Debian has one of these programs deeper than its makers.
    for directory, above in (("usr", ".."), ("usr/lib", "../..")):
        for name in ("etc", "var"):
            (root / directory / name).symlink_to(f"{above}/{name}")
    (making / "bin").mkdir()
    (making / "bin" / "apptainer").symlink_to(f"../root/{_PROGRAM}")


def _at_home(program: Path, libraries: Path) -> None:
    """Let ``program`` have loader and libraries from ``libraries`` and not from the host."""
    shown = subprocess.run(
        ["patchelf", "--print-interpreter", program], stdout=subprocess.PIPE, text=True, check=True
    )
    loader = libraries / Path(shown.stdout.strip()).name
    # --force-rpath: the libraries of its libraries, too.
    paths = ["--force-rpath", "--set-rpath", str(libraries)]
    subprocess.run(["patchelf", "--set-interpreter", str(loader), *paths, program], check=True)
