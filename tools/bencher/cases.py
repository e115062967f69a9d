"""What is measured, against whom."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

from bencher.measure import Contender
from image_maker.layout import Layout

_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class Ground:
    """Where the benchmarks run: a scratch directory, the registry, and the udocker to measure."""

    def __init__(self, scratch: Path, registry: str, udocker: str, python: str) -> None:
        self.scratch = scratch
        self.registry = registry
        self.udocker = udocker
        self.python = python

    def environment(self, **more: str) -> dict[str, str]:
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        runtime = self.scratch / "runtime"
        runtime.mkdir(mode=0o700, exist_ok=True)
        return {"PATH": _PATH, "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), **more}

    def podman(self, store: str) -> list[str]:
        """podman with all it keeps under ``store``."""
        base = self.scratch / store
        return [
            # Its default here would be to copy all files for each layer.
            *("podman", "--storage-driver=overlay"),
            *("--root", f"{base}/root", "--runroot", f"{base}/run"),
            *("--tmpdir", f"{base}/tmp", "--cgroup-manager=cgroupfs", "--events-backend=file"),
            *("--runtime", "/usr/sbin/runc"),
        ]


def start(ground: Ground) -> list[Contender]:
    """The start of ``true`` in a container that is there."""
    store = str(ground.scratch / "start")
    ours = ground.environment(UDOCKER_DIR=store)
    image = f"{ground.registry}/debian:12"
    must([ground.udocker, "pull", "-q", image], ours)
    must([ground.udocker, "create", "--name=bench", image], ours)
    must([ground.udocker, "run", "--execmode=N1", "bench", "true"], ours)
    podman = ground.podman("podman-start")
    must([*podman, "pull", "-q", "--tls-verify=false", image], ground.environment())
    podman_run = [*podman, "run", "--rm", "--network=host", image, "true"]
    must(podman_run, ground.environment())

    def of(name: str, *command: str) -> Contender:
        return Contender(name, lambda number: [list(command)], lambda number: ours)

    return [
        of(
            "udocker run N1 CONTAINER true", ground.udocker, "run", "--execmode=N1", "bench", "true"
        ),
        of("udocker run --rm N1 IMAGE true", ground.udocker, "run", "--rm", image, "true"),
        of("python3 -c pass", ground.python, "-c", "pass"),
        of("podman run --rm IMAGE true", *podman_run),
    ]


def pull(ground: Ground) -> list[Contender]:
    """Pull and unpack of the image of several layers, into an empty store."""
    image = f"{ground.registry}/sci:latest"

    def fresh(number: int) -> dict[str, str]:
        for name in ("pull", "layout", "bundle"):
            remove(ground.scratch / name)
        return ground.environment(UDOCKER_DIR=str(ground.scratch / "pull"))

    def fresh_podman(number: int) -> dict[str, str]:
        # Its files belong to subordinate ids: only its own namespace may remove them.
        command = ["podman", "unshare", "rm", "-rf", str(ground.scratch / "podman-pull")]
        subprocess.run(command, env=ground.environment(), check=False, capture_output=True)
        return ground.environment()

    layout, bundle = str(ground.scratch / "layout"), str(ground.scratch / "bundle")
    skopeo = [
        *("skopeo", "copy", "-q", "--src-tls-verify=false"),
        *(f"docker://{image}", f"oci:{layout}:sci"),
    ]
    umoci = ["umoci", "unpack", "--rootless", "--image", f"{layout}:sci", bundle]
    podman = [*ground.podman("podman-pull"), "pull", "-q", "--tls-verify=false", image]
    return [
        Contender("udocker pull", lambda n: [[ground.udocker, "pull", "-q", image]], fresh),
        Contender("skopeo copy + umoci unpack", lambda n: [skopeo, umoci], fresh),
        Contender("podman pull", lambda n: [podman], fresh_podman),
    ]


def memory(ground: Ground, sizes: tuple[int, ...]) -> list[Contender]:
    """Pulls of one layer of so many MiB that do not compress."""
    found = []
    for size in sizes:
        image = _big_image(ground, size)

        def before(number: int) -> dict[str, str]:
            remove(ground.scratch / "memory")
            return ground.environment(UDOCKER_DIR=str(ground.scratch / "memory"))

        command = [ground.udocker, "pull", "-q", image]
        found.append(
            Contender(f"udocker pull, {size} MiB layer", lambda n, c=command: [c], before)  # type: ignore[misc]
        )
    return found


def _big_image(ground: Ground, size: int) -> str:
    """An image of one file of ``size`` MiB of noise, in the registry."""
    path = ground.scratch / f"big-{size}"
    layout = Layout(path)
    noise = ground.scratch / "noise"
    with noise.open("wb") as stream:
        generator = random.Random(size)
        for _ in range(size):
            stream.write(generator.randbytes(1 << 20))
    tar = ground.scratch / f"big-{size}.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(noise, "noise")
    noise.unlink()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    layout.tag("big", layout.image([layout.layer(tar)], machine, {"Cmd": ["/noise"]}))
    layout.finish()
    tar.unlink()
    target = f"{ground.registry}/big{size}:latest"
    must(
        [
            "skopeo",
            "copy",
            "-q",
            "--dest-tls-verify=false",
            f"oci:{path}:big",
            f"docker://{target}",
        ],
        ground.environment(),
    )
    shutil.rmtree(path)
    return target


def remove(path: Path) -> None:
    """Remove what is there, if anything: directories without permissions too."""
    if path.exists():
        subprocess.run(["chmod", "-R", "u+rwX", str(path)], check=False)
        shutil.rmtree(path)


def must(command: list[str], environment: dict[str, str]) -> str:
    """What the command prints; SystemExit when it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        text = (done.stdout + done.stderr)[-2000:].decode("utf-8", "replace")
        raise SystemExit(f"bench: {' '.join(command)}: status {done.returncode}\n{text}")
    return done.stdout.decode()
