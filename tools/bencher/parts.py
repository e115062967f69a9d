"""The parts of ``tools/bench``: each measures, and writes what it has found."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING

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
from bencher.measure import Row, Stopwatch, interleave, rows
from bencher.output import write_lines, write_panels
from image_maker.registry import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bencher.options import Options

DEFAULT = ("start", "pull", "memory")
_TITLES = {
    "start": "Start of `true`",
    "pull": "Pull and unpack of an image of several layers, empty store",
    "memory": "Peak memory of a pull by layer size",
}
_BIG = (16, 512)  # MiB


def default(options: Options, wanted: Sequence[str]) -> None:
    """Those of DEFAULT that are ``wanted``, in one file."""
    panels: list[tuple[str, list[Row]]] = []
    figures: list[again.Figure] = []
    with options.workplace() as scratch:
        data = scratch / "registry"
        shutil.copytree(options.images / "registry", data)
        with serving(data, readonly=False) as address:
            python = os.path.realpath(os.path.join(os.path.dirname(options.udocker), "python3"))
            ground = cases.Ground(scratch, address, options.udocker, python)
            stopwatch = Stopwatch(scratch)
            for name in wanted:
                _say(name)
                contenders = {
                    "start": lambda: cases.start(ground),
                    "pull": lambda: cases.pull(ground),
                    "memory": lambda: cases.memory(ground, _BIG),
                }[name]()
                interleave(stopwatch, contenders, options.rounds or (15 if name == "start" else 5))
                panels.append((_TITLES[name], rows(contenders)))
            if "pull" in wanted:
                _say("pull once more")
                figures = again.measure(ground, options.rounds or 5)
    write_panels(panels, options.out, figures=figures)


def _modes(options: Options) -> None:
    with (
        options.workplace() as scratch,
        serving(options.images / "registry", readonly=True) as address,
    ):
        contenders = starts.contenders(cases.Ground(scratch, address, options.udocker, ""))
        interleave(Stopwatch(scratch), contenders, options.rounds or 15)
    panels = [(starts.TITLE, rows(contenders, of_first=True))]
    write_panels(panels, options.out, "modes", starts.figures(contenders), starts.FIGURES)


def _engines(options: Options) -> None:
    workloads = [name for name in engines.WORKLOADS if options.wants(name)]
    modes = options.chosen(engines.MODES)
    with options.workplace() as scratch:
        data = image.storage(options.images, scratch)
        with serving(data, readonly=True) as address:
            ground = cases.Ground(scratch, address, options.udocker, "")
            costs = engines.measure(ground, modes, workloads, options.rounds or 5)
    write_lines(engines.table(costs), costs, options.out, "engines")
    (options.out / "engines.svg").write_text(engines.chart(costs) + "\n")


def _unpack(options: Options) -> None:
    panels = []
    with options.workplace() as scratch:
        data = layered.storage(options.images, scratch)
        with serving(data / "registry", readonly=True) as address:
            bench = unpacking.Bench(cases.Ground(scratch, address, options.udocker, ""), data)
            stopwatch = Stopwatch(scratch)
            for name, (title, make, line) in unpacking.PANELS.items():
                if not options.wants(name):
                    continue
                _say(name)
                with unpacking.line(address, line) as reached:
                    contenders = make(bench, reached)
                    interleave(stopwatch, contenders, options.rounds or 5)
                least = f" (the line: {bench.least_seconds():.1f} s)" if name == "slow" else ""
                panels.append((title + least, rows(contenders, of_first=True)))
    write_panels(panels, options.out, "unpack")


def _containers(options: Options) -> None:
    with options.workplace() as scratch, contextlib.ExitStack() as stack:
        data = layered.storage(options.images, scratch)
        address = stack.enter_context(serving(options.images / "registry", readonly=True))
        layers = stack.enter_context(serving(data / "registry", readonly=True))
        ground = cases.Ground(scratch, address, options.udocker, "")
        stopwatch = Stopwatch(scratch)
        rounds = options.rounds or 5
        bench = containers.Bench(ground, layers)
        one, crowd = bench.one(), bench.crowd()
        interleave(stopwatch, one, 3 * rounds)
        interleave(stopwatch, crowd, rounds)
        panels = [
            ("A container", rows(one, of_first=True)),
            (f"An empty store; {bench.disk()}", rows(crowd, of_first=True)),
        ]
    write_panels(panels, options.out, "containers")


def _living(options: Options) -> None:
    panels = []
    with (
        options.workplace() as scratch,
        serving(options.images / "registry", readonly=True) as address,
    ):
        bench = living.Bench(cases.Ground(scratch, address, options.udocker, ""))
        stopwatch = Stopwatch(scratch)
        rounds = options.rounds or 5
        for title, make, count in (
            ("lists", bench.lists, 3 * rounds),
            ("exec beside run", bench.entered, 3 * rounds),
            ("crowd", bench.crowd, rounds),
        ):
            if not options.wants(title):
                continue
            _say(title)
            contenders = make()
            interleave(stopwatch, contenders, count)
            panels.append((title, rows(contenders, of_first=True)))
        bench.end()
    write_panels(panels, options.out, "living")


def _console(options: Options) -> None:
    layout = options.images.parent / "console" / "oci"
    with options.workplace() as scratch:
        ground = cases.Ground(scratch, "", options.udocker, "")
        modes = options.chosen(console.MODES)
        rates = console.measure(ground, layout, modes, options.rounds or 15)
    write_lines(console.table(rates), rates, options.out, "console")


def _scene(options: Options) -> None:
    storage = options.images.parent / "scene" / "registry"
    if not storage.is_dir():
        raise SystemExit(f"bench: {storage} is missing: tools/images --scene makes it")
    with options.workplace() as scratch, serving(storage, readonly=True) as address:
        ground = cases.Ground(scratch, address, options.udocker, "")
        answer, training = scene.contenders(ground, options.chosen(scene.MODES))
        rounds = options.rounds or 5
        scene.answer_in_turn(answer, rounds)
        interleave(Stopwatch(scratch), training, rounds)
    panels = [
        (scene.ANSWER, rows(answer, of_first=True)),
        (scene.TRAINING, rows(training, of_first=True)),
    ]
    figures = scene.figures(answer, training)
    write_panels(panels, options.out, "scene", figures, scene.FIGURES)


def _peers(options: Options) -> None:
    with (
        options.workplace() as scratch,
        serving(options.images / "registry", readonly=True) as address,
    ):
        ground = cases.Ground(scratch, address, options.udocker, "")
        camp = peers.Camp(ground, options.images / "oci", os.environ["PATH"])
        found = hosts.present(camp)
        cells = hosts.look(camp, found)
        print(hosts.table(cells), flush=True)
        panels = hosts.measure(camp, found, options.rounds or 5)
    write_panels(panels, options.out, "peers")
    (options.out / "hosts.md").write_text(hosts.table(cells) + "\n")
    (options.out / "hosts.svg").write_text(hosts.chart(cells) + "\n")


def _batch(options: Options) -> None:
    with options.workplace() as scratch:
        bench = batch.Bench(options.slurm, scratch, options.images, options.udocker)
        figures = bench.measure(options.rounds or 9, options.only)
    text = "\n".join((batch.TITLE, *(figure.line for figure in figures)))
    write_lines(text, figures, options.out, "batch")


def _say(name: str) -> None:
    print(f"bench: {name}", file=sys.stderr, flush=True)


# Parts that are written to files of their own.
APART: dict[str, Callable[[Options], None]] = {
    "modes": _modes,
    "console": _console,
    "scene": _scene,
    "peers": _peers,
    "engines": _engines,
    "unpack": _unpack,
    "batch": _batch,
    "containers": _containers,
    "living": _living,
}
