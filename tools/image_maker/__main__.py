"""tools/images DIRECTORY: make the images of the tests unless they are there already.

DIRECTORY/current then leads to: ``oci`` (an OCI layout with every image), ``registry`` (the
storage of a docker-registry with the same ones), ``listing`` (what their trees must hold).
With ``--apptainer`` it makes DIRECTORY/apptainer instead, with ``bin/apptainer``, a program that
runs from there only; with ``--mpi`` DIRECTORY/mpi, an OCI layout with ``mpi:12`` and ``mpi:13``;
with ``--console`` DIRECTORY/console, one with ``tomcat:10``, a web server in Java; with ``--scene``
DIRECTORY/scene, with ``oci`` and ``registry`` of ``digits:1``, a module for DEEPaaS.
With ``--slurm`` root makes DIRECTORY/slurm, a tree of Debian 13 with its Slurm, for tools/slurm.
What is there is made anew when this program changes, or by ``--again``.

Needs Debian's docker-registry, skopeo, mmdebstrap, busybox-static, musl-tools, gcc and zstd;
for Apptainer mmdebstrap and patchelf; for the scene python3-venv, and PyPI as pip is set to it.
UDOCKER_TEST_MIRROR names a Debian mirror where apt's own is not wanted.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from image_maker import apptainer, console, debian, layers, mpi, registry, scene, small
from image_maker.kept import Kept
from image_maker.layout import Layer, Layout

_PROGRAMS = (
    *("docker-registry", "skopeo", "mmdebstrap", "busybox", "musl-gcc", "gcc", "gzip", "zstd"),
)
_SCENE_PROGRAMS = ("docker-registry", "skopeo", "mmdebstrap", "zstd")
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
_OTHER = {"amd64": "arm64", "arm64": "amd64"}[_ARCHITECTURE]
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELL = {"Env": [_PATH], "Cmd": ["sh"]}
# Debian 12 grows by these, a layer each, into the image `sci`.
_STEPS = [["python3"], ["python3-numpy"], ["gcc", "libc6-dev"]]
_SLURM = [
    *("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge", "libmunge2"),
    *("libpmix2t64", "libpmix-dev", "iproute2", "procps", "util-linux"),
    *("python3-minimal", "libpython3-stdlib", "python3-cffi-backend"),
]
_SCRATCH = 3 << 30  # bytes that the work in between may take


def main(arguments: list[str]) -> int:
    options = {word for word in arguments if word in ("--again", *_KINDS)}
    words = [word for word in arguments if word not in options]
    if len(words) != 1 or words[0].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 0 if "--help" in words else 2
    kept = next((each for option, each in _KINDS.items() if option in options), _IMAGES)
    missing = [name for name in kept.programs if shutil.which(name) is None]
    if missing:
        print(f"images: missing: {' '.join(missing)}", file=sys.stderr)
        return 1
    os.umask(0o022)  # the tests' user reads what this one makes
    try:
        print(kept.keep(Path(words[0]).absolute(), again="--again" in options))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"images: {error}") from error
    return 0


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A directory for the work in between: in memory where there is room."""
    memory = Path("/dev/shm")
    unfit = os.ST_NODEV | os.ST_NOEXEC
    parent = "/var/tmp"
    if memory.is_dir() and not os.statvfs(memory).f_flag & unfit:
        facts = os.statvfs(memory)
        parent = str(memory) if facts.f_bavail * facts.f_frsize > _SCRATCH else parent
    with tempfile.TemporaryDirectory(prefix="udocker-images-", dir=parent) as top:
        os.chmod(top, 0o711)
        scratch = Path(top) / "work"
        scratch.mkdir()
        scratch.chmod(0o777)  # mmdebstrap without root works under other user ids
        yield scratch


def _make_apptainer(making: Path, final: Path) -> None:
    with _scratch() as scratch:
        apptainer.make(making, final, scratch)


def _make_mpi(making: Path, final: Path) -> None:
    layout = Layout(making / "oci")
    # The images lack what a few fabrics need, and Open MPI would tell of each.
    quiet = "OMPI_MCA_mca_base_component_show_load_errors=0"
    config = {"Env": [_PATH, quiet], "Cmd": ["sh"]}

    def make(release: str, scratch: Path) -> None:
        scratch.mkdir()
        scratch.chmod(0o777)
        tar = scratch / f"mpi-{release}"
        mpi.tree(release, tar, scratch)
        layer = layout.layer(tar)
        layout.tag(f"mpi:{release}", layout.image([layer], _ARCHITECTURE, config))

    with _scratch() as scratch, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda release: make(release, scratch / release), mpi.RELEASES))
    layout.finish()


def _make_scene(making: Path, final: Path) -> None:
    layout = Layout(making / "oci")
    with _scratch() as scratch, ThreadPoolExecutor(2) as pool:
        tars = scene.difference_tars(scratch)
        zipped = list(pool.map(lambda tar: layout.layer(tar, "zstd"), tars))
        layout.tag(scene.NAME, layout.image(zipped, _ARCHITECTURE, scene.CONFIG))
    layout.finish()
    with registry.serving(making / "registry", readonly=False) as address:
        _push(f"oci:{making}/oci:{scene.NAME}", f"{address}/{scene.NAME}", "--all")


def _make_console(making: Path, final: Path) -> None:
    layout = Layout(making / "oci")
    with _scratch() as scratch:
        console.tree(scratch / "console", scratch)
        layer = layout.layer(scratch / "console", "zstd")
        config = console.config(_ARCHITECTURE, _PATH)
        layout.tag("tomcat:10", layout.image([layer], _ARCHITECTURE, config))
    layout.finish()


def _make_slurm(making: Path, final: Path) -> None:
    if os.getuid() != 0:
        raise SystemExit("images: only root can make a tree that daemons run in")
    with _scratch() as scratch:
        debian.tree("trixie", _SLURM, making / "tree", scratch)


def _make_images(making: Path, final: Path) -> None:
    layout = Layout(making / "oci")
    with _scratch() as scratch, ThreadPoolExecutor(2) as pool:
        bookworm = pool.submit(debian.snapshots, "bookworm", _STEPS, scratch)
        trixie = pool.submit(debian.snapshots, "trixie", [], scratch)
        _small_images(layout, scratch)
        listings = {
            "debian-13": _debian(layout, "debian:13", trixie.result(), scratch),
            "sci": _sci(layout, bookworm.result(), scratch, pool),
        }
    layout.finish()
    (making / "listing").mkdir()
    for name, listing in listings.items():
        (making / "listing" / f"{name}.json").write_text(json.dumps(listing))
    _fill_registry(making)


def _small_images(layout: Layout, scratch: Path) -> None:
    small.busybox(scratch / "busybox")
    busybox = layout.layer(scratch / "busybox")
    layout.tag("busybox:latest", layout.image([busybox], _ARCHITECTURE, _SHELL))
    small.musl(scratch / "musl")
    told = {
        "Env": [_PATH, "PROBE=from the image"],
        "Entrypoint": ["/usr/bin/probe"],
        "User": "1000:1000",
        "WorkingDir": "/data",
    }
    musl = layout.layer(scratch / "musl")
    layout.tag("musl:latest", layout.image([musl], _ARCHITECTURE, told))
    images = []
    for architecture in (_OTHER, _ARCHITECTURE):
        small.marked(scratch / architecture, architecture)
        mark = layout.layer(scratch / architecture)
        images.append(layout.image([busybox, mark], architecture, _SHELL))
    layout.tag("multi:latest", layout.index(images))
    packages = debian.unpacked("bookworm", ["busybox-static", "dash"], scratch, _OTHER)
    small.foreign(scratch / "foreign", packages)
    foreign = layout.layer(scratch / "foreign")
    layout.tag("foreign:latest", layout.image([foreign], _OTHER, _SHELL))


def _debian(layout: Layout, name: str, tars: list[Path], scratch: Path) -> dict[str, Any]:
    tree = layers.Tree(tars[0])
    tar = scratch / name
    layers.write_difference(layers.Tree(), tree, tar)
    config = {"Env": [_PATH], "Cmd": ["bash"]}
    layout.tag(name, layout.image([layout.layer(tar)], _ARCHITECTURE, config))
    return tree.listing()


def _sci(
    layout: Layout, tars: list[Path], scratch: Path, pool: ThreadPoolExecutor
) -> dict[str, Any]:
    """Debian 12 and the images that stand on it; the listing of the largest."""
    tree = layers.Tree()
    differences = []
    for number, tar in enumerate(tars):
        before, tree = tree, layers.Tree(tar)
        differences.append(scratch / f"sci-{number}")
        layers.write_difference(before, tree, differences[-1])
    zipped: list[Layer] = list(pool.map(layout.layer, differences))
    zstd = [layout.layer(tar, "zstd") for tar in differences]
    shell = {"Env": [_PATH], "Cmd": ["bash"]}
    layout.tag("debian:12", layout.image(zipped[:1], _ARCHITECTURE, shell))
    python = {"Env": [_PATH, "LANG=C.UTF-8"], "Cmd": ["python3"]}
    layout.tag("sci:latest", layout.image(zipped, _ARCHITECTURE, python))
    layout.tag("sci:zstd", layout.image(zstd, _ARCHITECTURE, python))
    return tree.listing()


def _fill_registry(making: Path) -> None:
    with registry.serving(making / "registry", readonly=False) as address:
        index = json.loads((making / "oci" / "index.json").read_bytes())
        for entry in index["manifests"]:
            name = entry["annotations"]["org.opencontainers.image.ref.name"]
            _push(f"oci:{making}/oci:{name}", f"{address}/{name}", "--all")
        _push(f"oci:{making}/oci:busybox:latest", f"{address}/busybox:docker", "--format=v2s2")


def _push(source: str, target: str, option: str) -> None:
    subprocess.run(
        [
            *("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"),
            *(option, source, f"docker://{target}"),
        ],
        check=True,
    )


_IMAGES = Kept("images", "current", _PROGRAMS, _make_images)
_KINDS = {
    "--apptainer": Kept("apptainer", "apptainer", ("mmdebstrap", "patchelf"), _make_apptainer),
    "--mpi": Kept("mpi", "mpi", ("mmdebstrap", "gcc", "gzip"), _make_mpi),
    "--scene": Kept("scene", "scene", _SCENE_PROGRAMS, _make_scene, scene.SOURCE),
    "--console": Kept("console", "console", ("mmdebstrap", "zstd"), _make_console),
    "--slurm": Kept("slurm", "slurm", ("mmdebstrap",), _make_slurm),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
