"""A deep-learning module in modes beside the same program outside of a container."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bencher.again import Figure
from bencher.cases import Ground, must
from bencher.measure import Contender

MODES = "N1,F3,P1"
IMAGE = "digits:1"
ANSWER = "First answer of a module for DEEPaaS: its start, its model loaded"
TRAINING = "Training of it, 60 epochs"
FIGURES = "Beside the same program outside"
_OUTSIDE = "outside"
_LONGER = {"N1": 0.3, "F3": 0.5}  # seconds that the first answer may take longer
_TRAINING = {"F3": 1.05}  # times of the time outside
_ANSWERED = Path(__file__).parent / "programs" / "answered.py"
_SERVE = ("deepaas-run", "--listen-port={}")
_TRAIN = ("digits-train", "--epochs=60")


def contenders(
    ground: Ground, layout: Path, modes: Sequence[str]
) -> tuple[list[Contender], list[Contender]]:
    """Of the first answer, and of training; in both the program outside is the first.

    ``layout`` has the image. SystemExit where it is not, or the program does not run outside.
    """
    if not layout.is_dir():
        raise SystemExit(f"bench: {layout} is missing: tools/images --scene makes it")
    ours = ground.environment(UDOCKER_DIR=str(ground.scratch / "scene"))
    must([ground.udocker, "pull", "-q", f"oci:{layout}:{IMAGE}"], ours)
    tree = ground.scratch / "tree"
    tree.mkdir()
    must([ground.udocker, "create", "-q", "--name=outside", IMAGE], ours)
    must([ground.udocker, "export", "-o", str(tree) + ".tar", "outside"], ours)
    subprocess.run(["tar", "-C", tree, "-xf", f"{tree}.tar", "./usr"], check=True)
    python = _outside(ground, tree)
    must([f"{tree}/usr/bin/python3", "-c", "import digits.train"], python)
    runs = {_OUTSIDE: ([f"{tree}/usr/bin/python3"], f"{tree}/usr/local/bin/", python)}
    for mode in modes:
        command = [ground.udocker, "run", "-q", "--rm", f"--execmode={mode}"]
        must([*command, IMAGE, "true"], ours)
        runs[mode] = ([*command, IMAGE], "", ours)
    answer, training = [], []
    for name, (command, place, environment) in runs.items():
        (serve, *more), (train, *rest) = _SERVE, _TRAIN
        out = ground.scratch / f"out-{name}"
        volume = [] if name == _OUTSIDE else [f"--volume={ground.scratch}"]
        trained = [*command[:-1], *volume, command[-1], place + train, *rest, f"--out={out}"]
        served = [sys.executable, str(_ANSWERED), *command, place + serve, *more]
        answer.append(_of(name, served, environment))
        training.append(_of(name, trained, environment))
    return answer, training


def _of(name: str, command: list[str], environment: dict[str, str]) -> Contender:
    return Contender(name, lambda number: [command], lambda number: environment)


def _outside(ground: Ground, tree: Path) -> dict[str, str]:
    """What has the Python of the tree take all from there but the C library."""
    return ground.environment(
        PYTHONHOME=f"{tree}/usr",
        PYTHONPATH=f"{tree}/usr/local/lib/python3.11/dist-packages",
        PYTHONUNBUFFERED="1",
        PYTHONDONTWRITEBYTECODE="1",
        OPENBLAS_NUM_THREADS="1",
        LANG="C.UTF-8",
    )


def figures(answer: list[Contender], training: list[Contender]) -> list[Figure]:
    """Medians of differences, and of ratios, within rounds."""
    found = []
    for row in answer[1:]:
        if row.name in _LONGER:
            seconds = statistics.median(a.wall - b.wall for a, b in zip(row.runs, answer[0].runs))
            name = f"first answer in {row.name}: longer"
            found.append(Figure(name, seconds, _LONGER[row.name], "s"))
    for row in training[1:]:
        if row.name in _TRAINING:
            ratio = statistics.median(a.wall / b.wall for a, b in zip(row.runs, training[0].runs))
            found.append(Figure(f"training in {row.name}", ratio, _TRAINING[row.name], "x"))
    return found
