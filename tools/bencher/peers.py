"""Other programs that run images without root, each as its manual says, with files of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bencher.cases import Ground, must

DYNAMIC, STATIC = "debian:12", "busybox:latest"
IMAGES = (DYNAMIC, STATIC)
_OLD = "udocker-1.3"
# 1.3 wants to fetch its engines, unless told that they are there.
_OLD_VERSION = "1.2.11"
# In its R modes the exit code is 1 where runc has not been waited for yet, whatever the command's.
_UNHEEDED = ("sh", "-c", '"$@" || :', "sh")


@dataclass(frozen=True)
class Peer:
    """A program. ``prepare`` gives it its images; ``command`` runs in one of them what follows."""

    name: str
    program: str  # what must be in PATH
    prepare: Callable[[Camp], None]
    command: Callable[[Camp, str], list[str]]
    images: tuple[str, ...] = IMAGES  # those that it is measured with
    # Ends what it has left running; a host that forbids would not have let it come so far.
    rest: Callable[[Camp], object] = lambda camp: None


class Camp:
    """Where the programs are tried: directories, the trees of the images, an environment."""

    def __init__(self, ground: Ground, layout: Path, path: str) -> None:
        self.ground = ground
        self.top = ground.scratch / "peers"
        self.top.mkdir()
        self.layout = layout
        self._path = path

    def environment(self, home: str = "") -> dict[str, str]:
        """``home``: another one than the camp's."""
        return {
            **self.ground.environment(UDOCKER_DIR=str(self.top / "udocker")),
            "PATH": self._path,
            "LANG": "C.UTF-8",
            "USER": os.environ.get("USER", "nobody"),
            "XDG_DATA_HOME": str(self.top / "data"),
            "XDG_CACHE_HOME": str(self.top / "cache"),
            "APPTAINER_CACHEDIR": str(self.top / "cache"),
            **({"HOME": home} if home else {}),
        }

    def find(self, program: str) -> str:
        """Its path, or ""."""
        return shutil.which(program, path=self._path) or ""

    def tree(self, image: str) -> str:
        """The plain directory with the files of ``image``, for those that take one."""
        place = self.top / f"tree-{short(image)}"
        if not place.exists():
            command = ["umoci", "raw", "unpack", "--rootless", "--image", f"{self.layout}:{image}"]
            must([*command, str(place)], self.environment())
        return str(place)

    def archive(self, image: str) -> str:
        """A file with ``image``."""
        place = self.top / f"{short(image)}.tar"
        if not place.exists():
            target = f"oci-archive:{place}:{image}"
            source = f"oci:{self.layout}:{image}"
            must(["skopeo", "--insecure-policy", "copy", "-q", source, target], self.environment())
        return str(place)

    def must(self, *command: str, **more: str) -> str:
        return must(list(command), {**self.environment(), **more})


def short(image: str) -> str:
    return image.partition(":")[0]


def _udocker(mode: str) -> Peer:
    def prepare(camp: Camp) -> None:
        for image in IMAGES:
            name = f"{mode}-{short(image)}"
            reference = f"{camp.ground.registry}/{image}"
            camp.must(camp.ground.udocker, "create", "-q", f"--name={name}", reference)
            camp.must(*command(camp, image), "true")

    def command(camp: Camp, image: str) -> list[str]:
        option = f"--execmode={mode}"
        return [camp.ground.udocker, "run", "-q", option, f"{mode}-{short(image)}"]

    return Peer(f"udocker {mode}", "true", prepare, command)


def _old(mode: str, *images: str) -> Peer:
    """udocker 1.3, with Debian's PRoot and runc in place of those that it would fetch."""

    def prepare(camp: Camp) -> None:
        state = camp.top / _OLD
        (state / "lib").mkdir(parents=True, exist_ok=True)
        (state / "lib" / "VERSION").write_text(_OLD_VERSION)
        run = [*_old_settings(camp), _OLD]
        for image in IMAGES:
            name, tar = f"{mode.lower()}{short(image)}", camp.top / f"root-{short(image)}.tar"
            if not tar.exists():
                camp.must("tar", "-C", camp.tree(image), "-cf", str(tar), ".")
                camp.must(*run, "import", str(tar), image)
            camp.must(*run, "create", f"--name={name}", image)
            camp.must(*run, "setup", f"--execmode={mode}", "--force", name)

    def command(camp: Camp, image: str) -> list[str]:
        run = [_OLD, "run", "--nobanner", f"{mode.lower()}{short(image)}"]
        return [*_UNHEEDED, *_old_settings(camp), *run]

    return Peer(f"udocker 1.3 {mode}", _OLD, prepare, command, images or IMAGES)


def _old_settings(camp: Camp) -> list[str]:
    return [
        *("env", "UDOCKER_TARBALL=", f"UDOCKER_DIR={camp.top / _OLD}"),
        f"UDOCKER_USE_PROOT_EXECUTABLE={camp.find('proot')}",
    ]


def _podman(camp: Camp) -> list[str]:
    return camp.ground.podman("peers/podman")


def _pull_podman(camp: Camp) -> None:
    for image in IMAGES:
        source = f"{camp.ground.registry}/{image}"
        camp.must(*_podman(camp), "pull", "-q", "--tls-verify=false", source)


def _run_podman(camp: Camp, image: str) -> list[str]:
    reference = f"{camp.ground.registry}/{image}"
    return [*_podman(camp), "run", "--rm", "--network=host", reference]


def _trees(camp: Camp) -> None:
    for image in IMAGES:
        camp.tree(image)


def _install(camp: Camp) -> None:
    for image in IMAGES:
        camp.must("proot-distro", "install", "-n", short(image), camp.archive(image))


PEERS = (
    _udocker("auto"),
    _udocker("F3"),
    _udocker("P1"),
    _old("P1", STATIC),
    _old("R1"),
    Peer(
        "PRoot",
        "proot",
        _trees,
        lambda camp, image: ["proot", "-S", camp.tree(image)],
    ),
    Peer(
        "proot-distro",
        "proot-distro",
        _install,
        lambda camp, image: ["proot-distro", "login", short(image), "--"],
    ),
    Peer(
        "Charliecloud",
        "ch-run",
        _trees,
        lambda camp, image: ["ch-run", camp.tree(image), "--"],
    ),
    Peer(
        "Apptainer",
        "apptainer",
        _trees,
        lambda camp, image: ["apptainer", "-q", "exec", camp.tree(image)],
    ),
    Peer(
        "podman",
        "podman",
        _pull_podman,
        _run_podman,
        rest=lambda camp: camp.must(*_podman(camp), "system", "migrate"),
    ),
)


def runs(camp: Camp, command: list[str], environment: dict[str, str]) -> bool:
    """Whether a command in the container prints what it should."""
    script = ["/bin/sh", "-c", "read name </etc/hostname; cd / && echo it runs"]
    try:
        done = subprocess.run(
            [*command, *script],
            env=environment,
            cwd=camp.top,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and "it runs" in done.stdout
