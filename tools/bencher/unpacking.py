"""Unpacking, and fetching with unpacking, beside tar and other tools; everything on a tmpfs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bencher import layered
from bencher.cases import Ground, must, remove
from bencher.measure import Contender

_PROGRAMS = Path(__file__).resolve().parent / "programs"
_RATE = 20_000_000  # bytes a second: the slow line
_LATENCY = 0.02  # seconds
# Lines by name: bytes a second, and seconds that a request takes, of each connection.
LINES = {"": (), "slow": (_RATE,), "20": (_RATE, _LATENCY), "100": (5 * _RATE, _LATENCY)}
# proot-distro, which the budget names too, is in no package registry that can be asked.


class Bench:
    """The images at ``data`` (see ``layered``), and a scratch directory on ``ground``."""

    def __init__(self, ground: Ground, data: Path) -> None:
        self._ground = ground
        self._layout = data / "oci"
        self._python = str(Path(ground.udocker).parent / "python3")
        self._out = ground.scratch / "out"

    def gzip(self) -> list[Contender]:
        """Unpacking the seven layers, compressed by gzip."""
        python, stdlib = ("udocker._native",), ("isal",)
        return [
            self._tar("tar -xzf", layered.SEVEN, "-xzf"),
            self._ours("udocker, 2 threads", layered.SEVEN, 2),
            self._ours("udocker, 1 thread", layered.SEVEN, 1),
            self._ours("udocker without isal, 1 thread", layered.SEVEN, 1, *stdlib),
            self._ours("udocker, Python only, 1 thread", layered.SEVEN, 1, *python),
            self._ours("udocker, Python only, 2 threads", layered.SEVEN, 2, *python),
            self._floor("gzip", layered.SEVEN),
        ]

    def zstd(self) -> list[Contender]:
        """Unpacking the seven layers, compressed by zstd."""
        return [
            self._tar("tar --zstd -xf", layered.SEVEN_ZSTD, "--zstd", "-xf"),
            self._tar("tar -xzf, of the gzip layers", layered.SEVEN, "-xzf"),
            self._ours("udocker, 2 threads", layered.SEVEN_ZSTD, 2),
            self._ours("udocker, 1 thread", layered.SEVEN_ZSTD, 1),
            self._floor("zstd", layered.SEVEN_ZSTD),
        ]

    def small(self) -> list[Contender]:
        """Unpacking a layer of many small files."""
        return [
            self._tar("tar -xzf", layered.SMALL, "-xzf"),
            self._ours("udocker, 2 threads", layered.SMALL, 2),
            self._ours("udocker, Python only", layered.SMALL, 1, "udocker._native"),
            self._floor("gzip", layered.SMALL),
        ]

    def fetch(self, registry: str) -> list[Contender]:
        """From the registry to a program that runs."""
        image = f"{registry}/{layered.SEVEN}"
        ground, out = self._ground, self._out
        curl = f"set -e; mkdir -p {out}/blobs {out}/root; cd {out}/blobs; curl -sSfZ"
        for blob in self._blobs(layered.SEVEN):
            curl += f" -o {blob.name} http://{registry}/v2/seven/blobs/sha256:{blob.name}"
        for blob in self._blobs(layered.SEVEN):
            curl += f"; tar -xzf {blob.name} -C {out}/root"
        layout, bundle = f"{out}/layout", f"{out}/bundle"
        skopeo = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}"]
        umoci = ["umoci", "unpack", "--rootless", "--image", f"{layout}:x", bundle]
        podman = [*ground.podman("out"), "run", "-q", "--rm", "--tls-verify=false"]
        ours = [ground.udocker, "run", "-q", "--execmode=N1", image, "true"]
        return [
            self._contender("curl -Z, tar -xzf, chroot", ["sh", "-c", curl], _true(f"{out}/root")),
            self._contender("udocker run", ours),
            self._contender("podman run", [*podman, "--network=host", image, "true"]),
            self._contender(
                "skopeo, umoci, chroot",
                [*skopeo, f"oci:{layout}:x"],
                umoci,
                _true(f"{bundle}/rootfs"),
            ),
        ]

    def download(self, registry: str) -> list[Contender]:
        """The layers alone, to files."""
        image = f"{registry}/{layered.SEVEN}"
        skopeo = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}"]
        ours = [self._python, f"{_PROGRAMS}/download.py", image, f"{self._out}/store"]
        return [
            self._contender("skopeo copy to an OCI layout", [*skopeo, f"oci:{self._out}/oci:x"]),
            self._contender("udocker, layers only", ours),
        ]

    def least_seconds(self) -> float:
        """What the slow line needs for the bytes of the layers alone."""
        return sum(blob.stat().st_size for blob in self._blobs(layered.SEVEN)) / _RATE

    def _contender(self, name: str, *commands: list[str]) -> Contender:
        def before(number: int) -> dict[str, str]:
            # podman's files belong to subordinate ids: only its own namespace may remove them.
            again = ["podman", "unshare", "rm", "-rf", str(self._out)]
            if (self._out / "root/overlay").exists():
                subprocess.run(again, env=self._ground.environment(), check=False)
            remove(self._out)
            self._out.mkdir()
            return self._ground.environment(UDOCKER_DIR=str(self._out))

        return Contender(name, lambda number: list(commands), before)

    def _ours(self, name: str, image: str, threads: int, *without: str) -> Contender:
        program = [self._python, f"{_PROGRAMS}/unpack.py", str(self._layout), image]
        return self._contender(name, [*program, f"{self._out}/tree", str(threads), *without])

    def _tar(self, name: str, image: str, *options: str) -> Contender:
        lines = [f"tar {' '.join(options)} {blob} -C {self._out}" for blob in self._blobs(image)]
        return self._contender(name, ["sh", "-ec", "; ".join(lines)])

    def _floor(self, compression: str, image: str) -> Contender:
        """Only what has to be: decompressing, two digests, and the system calls for the files."""
        program = self._ground.scratch / "floor"
        if not program.exists():
            must(["cc", "-O2", "-o", str(program), f"{_PROGRAMS}/floor.c"], {"PATH": os.defpath})
        blobs = self._blobs(image)
        tars = []
        for number, blob in enumerate(blobs):
            tars.append(self._ground.scratch / f"{image}-{number}.tar")
            with tars[-1].open("wb") as stream:
                subprocess.run([compression, "-dc", blob], stdout=stream, check=True)
        return self._contender(
            "decompress, hash; make files (C)",
            [self._python, f"{_PROGRAMS}/digests.py", compression, *map(str, blobs)],
            [str(program), str(self._out), *map(str, tars)],
        )

    def _blobs(self, image: str) -> list[Path]:
        index = json.loads((self._layout / "index.json").read_bytes())
        entry = next(
            entry
            for entry in index["manifests"]
            if entry["annotations"]["org.opencontainers.image.ref.name"] == image
        )
        manifest = json.loads(self._blob(entry).read_bytes())
        return [self._blob(layer) for layer in manifest["layers"]]

    def _blob(self, descriptor: dict[str, str]) -> Path:
        return self._layout / "blobs" / descriptor["digest"].replace(":", "/")


def _true(root: str) -> list[str]:
    return ["unshare", "--map-root-user", "chroot", root, "true"]


@contextlib.contextmanager
def line(address: str, name: str) -> Iterator[str]:
    """A proxy before the registry at ``address``, through which bytes come as by that line."""
    if not LINES[name]:
        yield address
        return
    port = address.rpartition(":")[2]
    command = [sys.executable, f"{_PROGRAMS}/throttle.py", port, *map(str, LINES[name])]
    proxy = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert proxy.stdout is not None
        yield f"127.0.0.1:{proxy.stdout.readline().strip()}"
    finally:
        proxy.terminate()
        proxy.wait()


# By name: a title, what makes the contenders of a registry's address, and the line to that.
PANELS: dict[str, tuple[str, Callable[[Bench, str], list[Contender]], str]] = {
    "gzip": ("Unpack of seven gzip layers", lambda bench, _: bench.gzip(), ""),
    "zstd": ("Unpack of seven zstd layers", lambda bench, _: bench.zstd(), ""),
    "small": (
        f"Unpack of {layered.SMALL_FILES:,} small files",
        lambda bench, _: bench.small(),
        "",
    ),
    "fetch": ("From the registry to `true`", Bench.fetch, ""),
    "slow": ("The same at 20 MB/s", Bench.fetch, "slow"),
    "layers": ("Download of seven layers", Bench.download, ""),
    "layers-20": ("The same, 20 MB/s and 20 ms for each connection", Bench.download, "20"),
    "layers-100": ("The same, 100 MB/s and 20 ms for each connection", Bench.download, "100"),
}
