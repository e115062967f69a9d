"""The image of docs/scenes: Debian 12, packages of PyPI, and a model that is trained in it."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from image_maker import debian, layers

NAME = "digits:1"
SOURCE = Path(__file__).resolve().parents[2] / "docs" / "scenes" / "digits"
PORT = 5000
CONFIG = {
    "Env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        *("LANG=C.UTF-8", "PYTHONUNBUFFERED=1", "OPENBLAS_NUM_THREADS=1"),
    ],
    "Cmd": ["deepaas-run", "--listen-ip=0.0.0.0"],
    "ExposedPorts": {f"{PORT}/tcp": {}},
    "WorkingDir": "/srv",
}
_SUITE = "bookworm"
_PYTHON = "3.11"  # of that suite
_PACKAGES = "/usr/local/lib/python3.11/dist-packages"
_WHEELS = "mnt/wheels"
# What DEEPaaS needs and PyPI has as source only: of Python alone, so built for any version of it.
_SOURCES = ("aiohttp-apispec==2.2.3", "pyinotify==0.9.6")
# What nothing here needs, of 300 MB: the tests of numpy, scipy and sklearn, sources of scripts.
_LEFT_OUT = (
    f'find "$1{_PACKAGES}" -depth'
    r" \( -type d -name tests -o -type f -name '*.map' -o -type f -name '*.pyi' \)"
    " -exec rm -r {} +"
)


def difference_tars(scratch: Path) -> list[Path]:
    """The layers of the image, the lowest first. Raises CalledProcessError, SystemExit."""
    wheels = _wheels(scratch)
    given = shlex.quote(str(wheels))
    pip = "python3 $(echo pip-*.whl)/pip --isolated install -q --break-system-packages --no-compile"
    packages = [
        f'mkdir "$1/{_WHEELS}" && cp {given}/*.whl "$1/{_WHEELS}"',
        _inside(f"cd /{_WHEELS} && {pip} --no-index --find-links=. 'digits[mpi]'"),
        f'rm -r "$1/{_WHEELS}"',
        _inside("ldconfig"),  # MPICH is in /usr/local/lib
        _LEFT_OUT,
        _inside(f"python3 -m compileall -q -j2 {_PACKAGES}"),
    ]
    model = f"mv /srv/model.joblib {_PACKAGES}/digits && rm /srv/*.json"
    trained = [_inside(f"OPENBLAS_NUM_THREADS=1 digits-train --out=/srv --epochs=30 && {model}")]
    steps = [[debian.install(["python3"])], packages, trained]
    tars = debian.grown(_SUITE, steps, scratch)
    tree = layers.Tree()
    found = []
    for number, tar in enumerate(tars[1:]):
        before, tree = tree, layers.Tree(tar)
        found.append(scratch / f"scene-{number}")
        layers.write_difference(before, tree, found[-1])
    return found


def _wheels(scratch: Path) -> Path:
    """All packages for the image's Python, fetched by the pip of this machine with its settings."""
    wheels = scratch / "wheels"
    subprocess.run([sys.executable, "-m", "venv", scratch / "venv"], check=True)
    pip = [f"{scratch}/venv/bin/pip", "--disable-pip-version-check", "-q"]
    source = scratch / "digits"  # a build leaves files beside its source
    shutil.copytree(SOURCE, source)
    # By what pip fetches for it: a virtual environment may lack what makes wheels of old sources.
    built = [*pip, "wheel", "--use-pep517", "--no-deps", "-w", str(wheels), str(source), *_SOURCES]
    subprocess.run(built, check=True)
    machine = platform.machine()
    kind = ["--only-binary=:all:", f"--python-version={_PYTHON}", "--implementation=cp"]
    # Of C libraries up to that of the suite; 2014 stands for all that were before it.
    libraries = ("2014", "_2_17", "_2_24", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34", "_2_35")
    kind += [f"--platform=manylinux{library}_{machine}" for library in libraries]
    wanted = ["-d", str(wheels), f"--find-links={wheels}", "pip", "digits[mpi]"]
    subprocess.run([*pip, "download", *kind, *wanted], check=True)
    return wheels


def _inside(command: str) -> str:
    return f'chroot "$1" sh -euc {shlex.quote(command)}'
