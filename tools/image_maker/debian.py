"""Debian trees by mmdebstrap, from the mirror that this machine's apt uses."""

from __future__ import annotations

import os
import shlex
import subprocess
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
_NOT_MERGED = ("buster", "bullseye")  # they lack what the hook installs
# Not worth their bytes in a test.
_LEFT_OUT = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*"),
    *(
        "/usr/bin/*lto-dump*",
        "/usr/lib/gcc/*/lto1",
        "/usr/lib/*-linux-gnu/lib*san.*",
        "/usr/lib/gcc/*/lib*san*",
    ),
)
# What belongs to the machine that makes the tree.
_NOT_IN_IMAGE = (
    *("dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "etc/resolv.conf", "etc/hostname"),
    *("var/lib/apt/lists/*", "var/cache/apt/*", "var/log/*"),
)


def mirror() -> str:
    """The address of a Debian mirror. SystemExit when apt knows none."""
    given = os.environ.get("UDOCKER_TEST_MIRROR")
    if given:
        return given
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
    rows = [line.split("|") for line in listed if line.count("|") == 2]
    addresses = [row[2] for row in rows if row[:2] == ["Debian", "Debian"]]
    # Before the first apt-get update only the address tells what it is.
    addresses += [row[2] for row in rows if urllib.parse.urlsplit(row[2]).path == "/debian/"]
    if not addresses:
        raise SystemExit("images: apt knows no Debian mirror: name one in UDOCKER_TEST_MIRROR")
    return addresses[0]


def snapshots(suite: str, steps: list[list[str]], directory: Path) -> list[Path]:
    """Tars of a small tree of ``suite``, and of the same tree after each step of more packages.

    Each step also replaces /etc/stage and /opt/stage, so that something goes away in each.
    ``directory`` must allow devices and programs. Raises CalledProcessError.
    """
    hooks = [[install(packages), _stage(number)] for number, packages in enumerate(steps, 1)]
    return grown(suite, hooks, directory, [_stage(0)])


def grown(
    suite: str, steps: list[list[str]], directory: Path, first: Sequence[str] = ()
) -> list[Path]:
    """Tars of a small tree of ``suite`` after ``first``, and of the same tree after each step.

    A step is shell lines, which are given the tree as $1. Raises as ``snapshots`` does.
    """
    tars = [directory / f"{suite}-{number}.tar" for number in range(len(steps) + 1)]
    hooks = [line for step, tar in zip([first, *steps], tars) for line in (*step, _tar(tar))]
    merged = () if suite in _NOT_MERGED else (f"--hook-dir={_MERGED_USR}",)
    included = ["usr-is-merged"] if merged else []
    included += ["ca-certificates"] if mirror().startswith("https") else []
    options = [
        "--variant=apt",
        *merged,
        *(f"--include={name}" for name in included),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *(f"--customize-hook={hook}" for hook in hooks),
    ]
    _mmdebstrap(options, suite, Path("/dev/null"), directory)
    return tars


def tree(suite: str, packages: list[str], target: Path, directory: Path) -> None:
    """Set up a tree of ``suite`` with ``packages`` at ``target``; for root, who may enter it.

    ``directory`` is for the work in between. Raises SystemExit as ``unpacked``.
    """
    options = [
        *("--variant=apt", f"--hook-dir={_MERGED_USR}", "--include=usr-is-merged"),
        *(f"--include={name}" for name in packages),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        '--aptopt=Acquire::Check-Valid-Until "false"',
    ]
    _mmdebstrap(options, suite, target, directory)


def unpacked(suite: str, packages: list[str], directory: Path, architecture: str = "") -> Path:
    """A tar of the files of ``packages`` and all that they depend on, of which none is set up.

    ``architecture`` is that of the packages, as Debian calls it; "": this machine's.
    The list of packages may be older than its makers want, as a mirror that stands still has it.
    ``directory`` is for the work in between. Raises SystemExit when a package cannot be had.
    """
    tar = directory / f"{suite}-{architecture}.tar"
    options = ["--variant=extract", *(f"--include={name}" for name in packages)]
    options += [f"--architectures={architecture}"] if architecture else []
    options.append('--aptopt=Acquire::Check-Valid-Until "false"')
    _mmdebstrap(options, suite, tar, directory)
    return tar


def _mmdebstrap(options: list[str], suite: str, target: Path, directory: Path) -> None:
    address = mirror()
    command = [
        *("mmdebstrap", "--quiet", f"--mode={_mode()}", f"--keyring={_KEYRING}"),
        *(f"--aptopt={line}" for line in _proxies()),
        *(*options, suite, str(target), address),
    ]
    environment = {**os.environ, "TMPDIR": str(directory), "DEBIAN_FRONTEND": "noninteractive"}
    log = directory / f"{suite}.log"
    with log.open("w") as stream:
        result = subprocess.run(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if result.returncode != 0:
        last = "".join(f"\n  {line}" for line in log.read_text().split("\n")[-12:] if line)
        raise SystemExit(f"images: mmdebstrap could not make {suite} from {address}:{last}")


def _mode() -> str:
    return "root" if os.getuid() == 0 else "unshare"


def _proxies() -> list[str]:
    """The proxy settings of this machine's apt."""
    shown = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [
        line
        for line in shown.stdout.split("\n")
        if line.lower().startswith(("acquire::http::proxy ", "acquire::https::proxy "))
    ]


# Hooks are shell lines; the tree is their $1. Everything is installed inside the tree by its own
# apt: an apt that runs outside of it could reach this machine's packages.


def install(packages: list[str]) -> str:
    names = " ".join(shlex.quote(name) for name in packages)
    return f'chroot "$1" apt-get --yes -qq --no-install-recommends install {names}'


def _stage(number: int) -> str:
    return (
        'cd "$1" && rm -rf opt/stage etc/stage-* && mkdir -p opt/kept opt/stage/part'
        f" && echo {number} | tee opt/stage/number-{number} opt/stage/part/{number}"
        f" etc/stage-{number} >/dev/null"
    )


def _tar(path: Path) -> str:
    left_out = " ".join(shlex.quote(f"--exclude=./{pattern}") for pattern in _NOT_IN_IMAGE)
    # Code 1: a directory of the running system, /sys for one, changed meanwhile.
    return (
        f'{{ tar -C "$1" --one-file-system --numeric-owner --sort=name --format=pax --xattrs'
        f" {left_out} -cf {shlex.quote(str(path))} ."
        " || [ $? = 1 ]; }"
    )
