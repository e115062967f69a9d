"""tools/bench [PART...]: measure udocker beside other tools.

The parts are start, pull and memory, which are the default, modes, engines, unpack, containers,
living, console, scene, peers and batch.
`pull` also pulls once more: after a kill at half of the bytes, and what is here already.
`modes` measures the start of `true` in every mode that works here, and what `auto` adds.
`engines` measures modes beside each other, in an image that mmdebstrap makes the first time.
`unpack` measures unpacking and fetching of seven layers, and of 300,000 small files, in images made
so too; there ratios are to the first row, tar's. `containers` measures making and removing of
containers, a thousand of them, and twenty pulls of one image. `living` measures lists of a thousand
containers and of 200 images, exec beside run, and 200 containers started and stopped at once.
`console` asks a web server in Java in several modes, with wrk; tools/images --console makes it.
`scene` has a module for DEEPaaS answer and train, beside the same program outside of a container;
tools/images --scene makes it.
`peers` tries other programs on hosts that forbid something, and measures them beside udocker: those
of podman, proot, proot-distro, ch-run, apptainer and udocker-1.3 (a link) that are in PATH.
`batch` measures in jobs of a Slurm that tools/slurm has started with five nodes or more: messages
of two ranks in containers and on the host, 64 ranks on one node, starts beside many images, and
what staging fetches.

  --udocker=PATH   the command to measure (default: .venv/bin/udocker of this checkout)
  --images=DIR     what tools/images made (default: /var/tmp/udocker-images/current)
  --scratch=DIR    where stores are made: a tmpfs or a loop filesystem (default: /dev/shm)
  --out=DIR        where text, JSON and a chart go (default: build/bench)
  --rounds=N       counted rounds after one to warm up (default: 15 for start and console, else 5)
  --modes=M,...    of engines: the first is what the others are divided by (default:
                   N1,F3,F2,P1,proot); proot, or proot=PATH, is P1 by that program, bwrap is
                   bubblewrap, and +v behind a mode adds volumes; of console and
                   scene: N1,F3,P1
  --only=WORD,...  of engines: the workloads that have one of the words in their names; of unpack:
                   gzip, zstd, small, fetch, slow, layers; of batch: messages, ranks,
                   ready, stage; of living: lists, exec, crowd; of peers: hosts, costs
  --slurm=DIR      of batch: the cluster. --scratch must be a directory that all its hosts see (not
                   /tmp or /dev/shm), as must the command

Containers are for ordinary users: root measures what root gets, and is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bencher import (
    again,
    batch,
    cases,
    console,
    containers,
    engines,
    hosts,
    image,
    layered,
    living,
    peers,
    scene,
    starts,
    unpacking,
)
from bencher.chart import chart
from bencher.measure import Row, Stopwatch, interleave, rows, table
from image_maker.registry import serving

_TOP = Path(__file__).resolve().parent.parent.parent
_NAMES = ("start", "pull", "memory")
_TITLES = {
    "start": "Start of `true`",
    "pull": "Pull and unpack of an image of several layers, empty store",
    "memory": "Peak memory of a pull by layer size",
}
_FIRST = "udocker's time divided by the row's"
_BIG = (16, 512)


def main(arguments: list[str]) -> int:
    options = {
        "udocker": str(_TOP / ".venv/bin/udocker"),
        "images": "/var/tmp/udocker-images/current",
        "scratch": "/dev/shm",
        "out": str(_TOP / "build/bench"),
        "rounds": "",
        "modes": "",
        "only": "",
        "slurm": "",
    }
    wanted = []
    for argument in arguments:
        name, equals, text = argument.lstrip("-").partition("=")
        if argument.startswith("--") and equals and name in options:
            options[name] = text
        elif argument in (*_NAMES, *_APART):
            wanted.append(argument)
        else:
            print((__doc__ or "").strip(), file=sys.stderr)
            return 0 if argument == "--help" else 2
    if os.getuid() == 0:
        print("bench: run it as an ordinary user", file=sys.stderr)
        return 1
    for name, part in _APART.items():
        if name in wanted:
            wanted.remove(name)
            part(options, Path(options["out"]))
            if not wanted:
                return 0
    wanted = wanted or list(_NAMES)
    panels, figures = _measure(wanted, options)
    _write(panels, Path(options["out"]), figures=figures)
    return 0


def _measure_modes(options: dict[str, str], out: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    try:
        with serving(Path(options["images"]) / "registry", readonly=True) as address:
            ground = cases.Ground(scratch, address, options["udocker"], "")
            contenders = starts.contenders(ground)
            interleave(Stopwatch(scratch), contenders, int(options["rounds"] or 15))
            panels = [(starts.TITLE, rows(contenders, of_first=True))]
            _write(panels, out, "modes", starts.figures(contenders), starts.FIGURES)
    finally:
        _remove(scratch)


def _measure_engines(options: dict[str, str]) -> list[engines.Cost]:
    words = options["only"].split(",")
    workloads = [name for name in engines.WORKLOADS if any(word in name for word in words)]
    modes = (options["modes"] or engines.MODES).split(",")
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    try:
        data = image.storage(Path(options["images"]), scratch)
        with serving(data, readonly=True) as address:
            ground = cases.Ground(scratch, address, options["udocker"], "")
            return engines.measure(ground, modes, workloads, int(options["rounds"] or 5))
    finally:
        _remove(scratch)


def _measure_unpacking(options: dict[str, str]) -> list[tuple[str, list[Row]]]:
    panels = []
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    try:
        data = layered.storage(Path(options["images"]), scratch)
        with serving(data / "registry", readonly=True) as address:
            ground = cases.Ground(scratch, address, options["udocker"], "")
            bench = unpacking.Bench(ground, data)
            stopwatch = Stopwatch(scratch)
            for name, (title, make, line) in unpacking.PANELS.items():
                if not any(word in name for word in options["only"].split(",")):
                    continue
                print(f"bench: {name}", file=sys.stderr, flush=True)
                with unpacking.line(address, line) as reached:
                    contenders = make(bench, reached)
                    interleave(stopwatch, contenders, int(options["rounds"] or 5))
                least = f" (the line: {bench.least_seconds():.1f} s)" if name == "slow" else ""
                panels.append((title + least, rows(contenders, of_first=True)))
    finally:
        os.system(f"podman unshare rm -rf {scratch} 2>/dev/null")  # noqa: S605
        _remove(scratch)
    return panels


def _measure_containers(options: dict[str, str]) -> list[tuple[str, list[Row]]]:
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    images = Path(options["images"])
    try:
        data = layered.storage(images, scratch)
        with contextlib.ExitStack() as stack:
            address = stack.enter_context(serving(images / "registry", readonly=True))
            layers = stack.enter_context(serving(data / "registry", readonly=True))
            ground = cases.Ground(scratch, address, options["udocker"], "")
            stopwatch = Stopwatch(scratch)
            rounds = int(options["rounds"] or 5)
            bench = containers.Bench(ground, layers)
            one, crowd = bench.one(), bench.crowd()
            interleave(stopwatch, one, 3 * rounds)
            interleave(stopwatch, crowd, rounds)
            return [
                ("A container", rows(one, of_first=True)),
                (f"An empty store; {bench.disk()}", rows(crowd, of_first=True)),
            ]
    finally:
        _remove(scratch)


def _measure_console(options: dict[str, str], out: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    try:
        ground = cases.Ground(scratch, "", options["udocker"], "")
        layout = Path(options["images"]).parent / "console" / "oci"
        modes = (options["modes"] or console.MODES).split(",")
        rates = console.measure(ground, layout, modes, int(options["rounds"] or 15))
    finally:
        _remove(scratch)
    out.mkdir(parents=True, exist_ok=True)
    text = f"{console.table(rates)}\n{_system()}."
    print(text)
    (out / "console.txt").write_text(text + "\n")
    data = [dataclasses.asdict(rate) for rate in rates]
    (out / "console.json").write_text(json.dumps(data, indent=2) + "\n")


def _measure_scene(options: dict[str, str], out: Path) -> None:
    storage = Path(options["images"]).parent / "scene" / "registry"
    if not storage.is_dir():
        raise SystemExit(f"bench: {storage} is missing: tools/images --scene makes it")
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    try:
        with serving(storage, readonly=True) as address:
            ground = cases.Ground(scratch, address, options["udocker"], "")
            modes = (options["modes"] or scene.MODES).split(",")
            answer, training = scene.contenders(ground, modes)
            rounds = int(options["rounds"] or 5)
            scene.answer_in_turn(answer, rounds)
            interleave(Stopwatch(scratch), training, rounds)
        panels = [
            (scene.ANSWER, rows(answer, of_first=True)),
            (scene.TRAINING, rows(training, of_first=True)),
        ]
        _write(panels, out, "scene", scene.figures(answer, training), scene.FIGURES)
    finally:
        _remove(scratch)


def _measure_living(options: dict[str, str]) -> list[tuple[str, list[Row]]]:
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    try:
        with serving(Path(options["images"]) / "registry", readonly=True) as address:
            bench = living.Bench(cases.Ground(scratch, address, options["udocker"], ""))
            stopwatch = Stopwatch(scratch)
            rounds = int(options["rounds"] or 5)
            panels = []
            for title, make, count in (
                ("lists", bench.lists, 3 * rounds),
                ("exec beside run", bench.entered, 3 * rounds),
                ("crowd", bench.crowd, rounds),
            ):
                if not any(word in title for word in options["only"].split(",")):
                    continue
                print(f"bench: {title}", file=sys.stderr, flush=True)
                contenders = make()
                interleave(stopwatch, contenders, count)
                panels.append((title, rows(contenders, of_first=True)))
            bench.end()
            return panels
    finally:
        _remove(scratch)


def _measure_peers(options: dict[str, str], out: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    images = Path(options["images"])
    try:
        with serving(images / "registry", readonly=True) as address:
            ground = cases.Ground(scratch, address, options["udocker"], "")
            camp = peers.Camp(ground, images / "oci", os.environ["PATH"])
            found = hosts.present(camp)
            if any(word in "hosts" for word in options["only"].split(",")):
                _write_hosts(hosts.look(camp, found), out)
            if any(word in "costs" for word in options["only"].split(",")):
                panels = hosts.measure(camp, found, int(options["rounds"] or 5))
                _write(panels, out, "peers")
    finally:
        os.system(f"podman unshare rm -rf {scratch} 2>/dev/null")  # noqa: S605
        _remove(scratch)


def _write_hosts(cells: list[hosts.Cell], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    print(hosts.table(cells), flush=True)
    (out / "hosts.md").write_text(hosts.table(cells) + "\n")
    (out / "hosts.svg").write_text(hosts.chart(cells) + "\n")


def _measure(
    wanted: list[str], options: dict[str, str]
) -> tuple[list[tuple[str, list[Row]]], list[again.Figure]]:
    panels = []
    figures: list[again.Figure] = []
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    try:
        data = scratch / "registry"
        shutil.copytree(Path(options["images"]) / "registry", data)
        with serving(data, readonly=False) as address:
            python = os.path.realpath(Path(options["udocker"]).parent / "python3")
            ground = cases.Ground(scratch, address, options["udocker"], python)
            stopwatch = Stopwatch(scratch)
            for name in wanted:
                print(f"bench: {name}", file=sys.stderr, flush=True)
                contenders = {
                    "start": lambda: cases.start(ground),
                    "pull": lambda: cases.pull(ground),
                    "memory": lambda: cases.memory(ground, _BIG),
                }[name]()
                rounds = int(options["rounds"] or (15 if name == "start" else 5))
                interleave(stopwatch, contenders, rounds)
                panels.append((_TITLES[name], rows(contenders)))
            if "pull" in wanted:
                print("bench: pull once more", file=sys.stderr, flush=True)
                figures = again.measure(ground, int(options["rounds"] or 5))
    finally:
        # podman's files belong to subordinate ids.
        os.system(f"podman unshare rm -rf {scratch} 2>/dev/null")  # noqa: S605
        _remove(scratch)
    return panels, figures


def _measure_batch(options: dict[str, str], out: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="udocker-bench-", dir=options["scratch"]))
    places = (Path(options["slurm"]), scratch, Path(options["images"]))
    try:
        bench = batch.Bench(*places, options["udocker"])
        figures = bench.measure(int(options["rounds"] or 9), options["only"])
        text = "\n".join((batch.TITLE, *(figure.line for figure in figures), f"{_system()}."))
        print(text)
        out.mkdir(parents=True, exist_ok=True)
        (out / "batch.txt").write_text(text + "\n")
        data = [dataclasses.asdict(figure) for figure in figures]
        (out / "batch.json").write_text(json.dumps(data, indent=2) + "\n")
    finally:
        _remove(scratch)


def _remove(scratch: Path) -> None:
    os.system(f"chmod -R u+rwX {scratch} 2>/dev/null")  # noqa: S605
    shutil.rmtree(scratch, ignore_errors=True)


def _write_costs(costs: list[engines.Cost], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = f"{engines.table(costs)}\n{_system()}."
    print(text)
    (out / "engines.txt").write_text(text + "\n")
    data = [dataclasses.asdict(cost) for cost in costs]
    (out / "engines.json").write_text(json.dumps(data, indent=2) + "\n")
    (out / "engines.svg").write_text(engines.chart(costs) + "\n")


def _system() -> str:
    return f"Linux {platform.release()} {platform.machine()}, {os.cpu_count()} processors"


def _write(
    panels: list[tuple[str, list[Row]]],
    out: Path,
    name: str = "bench",
    figures: Sequence[again.Figure] = (),
    of_figures: str = again.TITLE,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    ratio = "the row's time divided by the first row's" if name != "bench" else _FIRST
    text = "\n\n".join(
        [
            f"Medians of interleaved runs; x: {ratio}. {_system()}.",
            *(table(title, found) for title, found in panels),
            *([again.text(figures, of_figures)] if figures else []),
        ]
    )
    print(text)
    (out / f"{name}.txt").write_text(text + "\n")
    data = {title: [dataclasses.asdict(row) for row in found] for title, found in panels}
    if figures:
        data[of_figures] = [dataclasses.asdict(figure) for figure in figures]
    (out / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")
    drawn = chart(panels, of_first=name != "bench", cpu=name == "peers")
    (out / f"{name}.svg").write_text(drawn + "\n")


# Parts that are written to files of their own.
_APART: dict[str, Callable[[dict[str, str], Path], None]] = {
    "modes": _measure_modes,
    "console": _measure_console,
    "scene": _measure_scene,
    "peers": _measure_peers,
    "engines": lambda options, out: _write_costs(_measure_engines(options), out),
    "unpack": lambda options, out: _write(_measure_unpacking(options), out, "unpack"),
    "batch": _measure_batch,
    "containers": lambda options, out: _write(_measure_containers(options), out, "containers"),
    "living": lambda options, out: _write(_measure_living(options), out, "living"),
}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
