"""The start of `true` in every mode that works here, and what it adds to let ``auto`` choose."""

from __future__ import annotations

import json
import statistics

from bencher.again import Figure
from bencher.cases import Ground, must
from bencher.measure import Contender

TITLE = "Start of `true` in a container that is there, by mode"
FIGURES = "What auto adds"
_AUTO = "auto"
_MOST = 2.0  # milliseconds


def contenders(ground: Ground) -> list[Contender]:
    """The mode that ``auto`` takes, ``auto``, and the others; each has a container that has run.

    SystemExit when a command fails.
    """
    ours = ground.environment(UDOCKER_DIR=str(ground.scratch / "starts"))
    image = f"{ground.registry}/debian:12"
    must([ground.udocker, "pull", "-q", image], ours)
    found = json.loads(must([ground.udocker, "doctor", "--json"], ours))
    first = found["chosen"]
    others = [row["name"] for row in found["modes"] if row["ok"] and row["name"] != first]
    return [_contender(ground, ours, image, mode) for mode in (first, _AUTO, *others)]


def _contender(ground: Ground, ours: dict[str, str], image: str, mode: str) -> Contender:
    must([ground.udocker, "create", "-q", f"--name=start-{mode}", image], ours)
    command = [ground.udocker, "run", "-q", f"--execmode={mode}", f"start-{mode}", "true"]
    must(command, ours)
    return Contender(mode, lambda number: [command], lambda number: ours)


def figures(measured: list[Contender]) -> list[Figure]:
    """Medians of what a run of ``auto`` takes longer than one of its mode in the same round."""
    chosen, auto = measured[:2]
    pairs = list(zip(chosen.runs, auto.runs))
    wall = statistics.median(b.wall - a.wall for a, b in pairs)
    cpu = statistics.median(b.cpu - a.cpu for a, b in pairs)
    return [
        Figure(f"on the clock, beside {chosen.name}", wall * 1e3, _MOST, "ms"),
        Figure("of processor time", cpu * 1e3, _MOST, "ms"),
    ]
