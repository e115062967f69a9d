"""Batch jobs over a Slurm that tools/slurm has started: messages of MPI, many ranks, staging.

Each figure is the median of rounds in which all contenders take their turns, and ratios are medians
of those within a round. The cluster's hosts are one machine, so its processors are common to all.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from image_maker.layout import Layout

TITLE = "In batch jobs"
MODES = ("N1", "F3", "P1")
_HOST = "host"
_IMAGE = "mpi:12"
_RANKS = 64
_READY = 200
_NODES = 4
_MOST_RANK = 80.0  # ms
_MOST_LATENCY, _LEAST_BANDWIDTH = 1.1, 0.9
_ADDRESS = "10.213.0.1"  # of the login host
_LINE = re.compile(r"(\d+) bytes: ([\d.]+) us, (\d+) MB/s")
_TIMES = re.compile(r"\b(\d+)m([\d.]+)s")
_BLOB = re.compile(r'"GET /v2/\S+/blobs/(sha256:[0-9a-f]+) \S+" 20[06] (\d+)')


@dataclass(frozen=True)
class Figure:
    """What was measured, and whether it is as it should be; None: nothing is said of that."""

    name: str
    value: float
    unit: str
    bar: str = ""
    is_met: bool | None = None

    @property
    def line(self) -> str:
        """As text."""
        bar = f" ({self.bar})" if self.bar else ""
        return f"  {self.name:56} {self.value:9.2f} {self.unit}{bar}" + (
            "  MISSED" if self.is_met is False else ""
        )


class Bench:
    """A cluster, with a store on a filesystem that all its hosts see."""

    def __init__(self, cluster: Path, scratch: Path, images: Path, udocker: str) -> None:
        self._tool = str(Path(__file__).resolve().parents[1] / "slurm")
        self._cluster, self._scratch, self._images = cluster, scratch, images
        self._udocker = udocker

    def measure(self, rounds: int, only: str) -> list[Figure]:
        """All that have one of the words of ``only`` in their names. SystemExit on a failure."""
        self._pull(f"oci:{self._images}/oci:busybox:latest")
        parts: dict[str, Callable[[int], Iterator[Figure]]] = {
            "messages": self._messages,
            "ranks": self._ranks,
            "ready": self._ready,
            "stage": self._stage,
        }
        return [
            figure
            for name, part in parts.items()
            if any(word in name for word in only.split(","))
            for figure in part(rounds)
        ]

    def _call(self, *words: str, store: str = "store", env: dict[str, str] | None = None) -> str:
        """A command on the login host; what it prints."""
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._scratch),
            "UDOCKER_DIR": str(self._scratch / store),
            **(env or {}),
        }
        command = [self._tool, "in", str(self._cluster), *words]
        done = subprocess.run(
            command, env=environ, cwd=self._scratch, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"bench: {' '.join(words)}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return done.stdout

    def _pull(self, name: str, store: str = "store") -> None:
        self._call(self._udocker, "pull", "-q", name, store=store)

    def _run(self, mode: str, *words: str) -> list[str]:
        return [self._udocker, "run", "-q", f"--execmode={mode}", *words]

    def _messages(self, rounds: int) -> Iterator[Figure]:
        self._pull(f"oci:{self._images.parent}/mpi/oci:{_IMAGE}")
        program = next(self._scratch.glob("store/trees/sha256/*/root/usr/bin/probe-openmpi"))
        step = ["srun", "-Q", "-N1", "-n2", "--mpi=pmix"]
        commands = {_HOST: [*step, str(program), "10"]}
        for mode in MODES:
            commands[mode] = [*step, *self._run(mode, _IMAGE, "probe-openmpi", "10")]
            self._call(*commands[mode])
        found: dict[str, list[dict[int, tuple[float, float]]]] = {name: [] for name in commands}
        for number in range(rounds):
            for name in _turned(list(commands), number):
                lines = _LINE.findall(self._call(*commands[name]))
                found[name].append({int(s): (float(us), float(rate)) for s, us, rate in lines})
        for name, runs in found.items():
            latency = [run[8][0] for run in runs]
            rate = [run[16 << 20][1] for run in runs]
            yield Figure(f"8 bytes, {name}", statistics.median(latency), "us")
            yield Figure(f"16 MiB, {name}", statistics.median(rate), "MB/s")
            if name == _HOST:
                continue
            slower = _ratio(latency, [run[8][0] for run in found[_HOST]])
            faster = _ratio(rate, [run[16 << 20][1] for run in found[_HOST]])
            bar = f"at most {_MOST_LATENCY}"
            yield Figure(f"latency, {name} / host", slower, "x", bar, slower <= _MOST_LATENCY)
            bar = f"at least {_LEAST_BANDWIDTH}"
            yield Figure(f"bandwidth, {name} / host", faster, "x", bar, faster >= _LEAST_BANDWIDTH)

    def _ranks(self, rounds: int) -> Iterator[Figure]:
        """On the clock; and of processor time, which tells the same on a busy machine."""
        step = ["srun", "-Q", "-N1", f"-n{_RANKS}", "--mpi=pmi2", "bash", "-c"]
        lines = {_HOST: "true"}
        lines |= {m: shlex.join(self._run(m, "busybox:latest", "true")) for m in MODES}
        commands = {name: [*step, f"{line}; times"] for name, line in lines.items()}
        told: dict[str, list[str]] = {name: [] for name in commands}
        found = self._times(commands, rounds, told=told)
        cpu = {name: [_processor_time(text) for text in texts] for name, texts in told.items()}
        host = statistics.median(found[_HOST])
        yield Figure(f"{_RANKS} ranks of true, host", host, "s")
        for name in MODES:
            more = _more(found[name], found[_HOST]) / _RANKS * 1e3
            bar = f"at most {_MOST_RANK:g}"
            text = f"{_RANKS} ranks of true, {name}: more than host, each"
            yield Figure(text, more, "ms", bar, more <= _MOST_RANK)
            used = _more(cpu[name], cpu[_HOST]) / _RANKS * 1e3
            yield Figure("  and of processor time", used, "ms")

    def _ready(self, rounds: int) -> Iterator[Figure]:
        """A start beside one image, and beside many."""
        self._pull(f"oci:{self._images}/oci:busybox:latest", "many")
        self._call(self._udocker, "load", "-q", "-i", _many(self._scratch), store="many")
        for mode in MODES:
            run = ["srun", "-Q", "-n8", *self._run(mode, "--mpi=none", "busybox:latest", "true")]
            found = self._times({"store": run, "many": run}, 2 * rounds, stores=True)
            growth = _ratio(found["many"], found["store"])
            text = f"8 ranks, {mode}: beside {_READY} images / beside 1"
            yield Figure(text, growth, "x", "at most 1.1", growth <= 1.1)

    def _times(
        self,
        commands: dict[str, list[str]],
        rounds: int,
        *,
        stores: bool = False,
        told: dict[str, list[str]] | None = None,
    ) -> dict[str, list[float]]:
        """Seconds of each in turn, after a round that does not count; ``told`` is what they say."""
        found: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name in _turned(list(commands), number):
                begin = time.monotonic()
                said = self._call(*commands[name], store=name if stores else "store")
                if number:
                    found[name].append(time.monotonic() - begin)
                    if told is not None:
                        told[name].append(said)
        return found

    def _stage(self, rounds: int) -> Iterator[Figure]:
        """Bytes that go out of the registry, for each of the image's."""
        data = self._images / "registry"
        blobs = data / "docker/registry/v2/blobs/sha256"
        with self._registry(data) as (address, log):
            env = {"UDOCKER_INSECURE_REGISTRIES": address}
            image = f"{address}/sci:latest"
            line = f"{self._udocker} stage {image} && srun -Q {self._udocker} run {image} true"
            seconds = []
            for number in range(max(1, rounds // 3)):
                begin = time.monotonic()
                job = ("salloc", "-Q", f"-N{_NODES}", f"-n{_NODES}", "--ntasks-per-node=1")
                self._call(*job, "sh", "-c", line, store=f"staged-{number}", env=env)
                seconds.append(time.monotonic() - begin)
            sent = _BLOB.findall(log.read_text())
        of_image = sum(
            (blobs / digest[7:9] / digest[7:] / "data").stat().st_size
            for digest in {digest for digest, _ in sent}
        )
        times = sum(int(size) for _, size in sent) / of_image / len(seconds)
        text = f"sci to {_NODES} nodes: bytes from the registry / the image's"
        yield Figure(text, times, "x", "1", times <= 1.01)
        yield Figure("  and one run on each", statistics.median(seconds), "s")

    @contextlib.contextmanager
    def _registry(self, data: Path) -> Iterator[tuple[str, Path]]:
        """On the login host: its address, and its log."""
        port = 20000 + os.getpid() % 10000
        settings = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(data)},
                "maintenance": {
                    "readonly": {"enabled": True},
                    "uploadpurging": {"enabled": False},
                },
            },
            "http": {"addr": f"{_ADDRESS}:{port}"},
        }
        config, log = self._scratch / "registry.yml", self._scratch / "registry.log"
        config.write_text(json.dumps(settings))
        command = [self._tool, "in", str(self._cluster), "docker-registry", "serve", str(config)]
        with log.open("wb") as stream:
            server = subprocess.Popen(command, stdout=stream, stderr=stream)
        try:
            while "listening on" not in log.read_text():
                if server.poll() is not None:
                    raise SystemExit(f"bench: no registry: {log.read_text()[-500:]}")
                time.sleep(0.05)
            yield f"{_ADDRESS}:{port}", log
        finally:
            server.kill()
            server.wait()


def _turned(names: list[str], number: int) -> list[str]:
    turn = number % len(names)
    return names[turn:] + names[:turn]


def _ratio(those: list[float], of_these: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(those, of_these))


def _more(those: list[float], than_these: list[float]) -> float:
    return statistics.median(a - b for a, b in zip(those, than_these))


def _processor_time(text: str) -> float:
    """Seconds that `times` told of: of user and system, its own and its children's."""
    return sum(60 * int(minutes) + float(rest) for minutes, rest in _TIMES.findall(text))


def _many(folder: Path) -> str:
    """An archive of images with a file each, which is another in each."""
    layout = Layout(folder / "many.oci")
    path = folder / "one.tar"
    for number in range(_READY):
        content = f"{number}\n".encode()
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo("one")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
        layout.tag(f"many:{number}", layout.image([layout.layer(path)], architecture, {}))
    layout.finish()
    with tarfile.open(folder / "many.tar", "w") as archive:
        archive.add(folder / "many.oci", ".")
    return str(folder / "many.tar")
