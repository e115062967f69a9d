"""digits-train: learns from the known pictures, alone or as several processes, and may be stopped.

At SIGTERM, which batch systems send before the time is over, it writes what it has so far when the
epoch is over, and ends with code 75; the same command then goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.neural_network import MLPClassifier

from digits import pictures

STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again


class Alone:
    """The only process there is. ``Together`` has the same methods."""

    rank, size = 0, 1

    def average(self, array: np.ndarray) -> None:
        pass

    def any(self, wish: bool) -> bool:
        return wish


class Together:
    """One of the processes of an MPI program."""

    def __init__(self) -> None:
        from mpi4py import MPI

        self._mpi, self._world = MPI, MPI.COMM_WORLD
        self.rank, self.size = self._world.rank, self._world.size

    def average(self, array: np.ndarray) -> None:
        """Set ``array`` to the mean of those of all processes."""
        self._world.Allreduce(self._mpi.IN_PLACE, array)
        array /= self.size

    def any(self, wish: bool) -> bool:
        """Whether one of them wishes it."""
        return bool(self._world.allreduce(wish, self._mpi.LOR))


class Run:
    """A model on its way, and how wrong it was after each epoch."""

    def __init__(self, rate: float, units: int) -> None:
        self.asked = (rate, units)
        self.losses: list[float] = []
        self.model = MLPClassifier(
            (units,), solver="sgd", learning_rate_init=rate, batch_size=64, random_state=0
        )

    def epoch(self, pixels: np.ndarray, labels: np.ndarray, world: Alone | Together) -> None:
        """Each process learns from its share of the pictures, then they agree on the weights."""
        share = slice(world.rank, None, world.size)
        self.model.partial_fit(pixels[share], labels[share], classes=pictures.LABELS)
        loss = np.array([self.model.loss_])
        for array in (*self.model.coefs_, *self.model.intercepts_, loss):
            world.average(array)
        self.losses.append(float(loss[0]))

    def results(self, pixels: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        weights = b"".join(array.tobytes() for array in self.model.coefs_)
        return {
            "epochs": len(self.losses),
            "rate": self.asked[0],
            "loss": round(self.losses[-1], 6),
            "accuracy": round(float(self.model.score(pixels, labels)), 4),
            "weights": hashlib.sha256(weights).hexdigest(),
        }


class Folder:
    """Where a run writes to, and finds what one that was stopped has left."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._saved = path / "checkpoint.joblib"

    def begin(self, rate: float, units: int) -> Run:
        """Go on, or begin. SystemExit: what is there was asked for otherwise."""
        if not self._saved.exists():
            return Run(rate, units)
        run: Run = joblib.load(self._saved)
        if run.asked != (rate, units):
            raise SystemExit(f"{self._saved} is of a run with other options: remove it")
        return run

    def save(self, run: Run) -> None:
        _write(self._saved, run)

    def finish(self, run: Run, results: dict[str, Any]) -> None:
        _write(self._path / "model.joblib", run.model)
        (self._path / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        self._saved.unlink(missing_ok=True)


def train(epochs: int, rate: float, units: int = 128) -> dict[str, Any]:
    """Train without a word; how it went."""
    learn, trial, labels, trial_labels = pictures.known()
    run = Run(rate, units)
    while len(run.losses) < epochs:
        run.epoch(learn, labels, Alone())
    return run.results(trial, trial_labels)


def _train(options: argparse.Namespace, world: Alone | Together) -> int:
    """Train until the end or SIGTERM; the exit code. Only the first process writes."""
    learn, trial, labels, trial_labels = pictures.known()
    folder = Folder(options.out)
    run = folder.begin(options.rate, options.units)
    tell = print if world.rank == 0 else lambda *words, **options: None
    if run.losses:
        tell(f"going on after epoch {len(run.losses)}", flush=True)
    wish = _Wish()
    while len(run.losses) < options.epochs:
        run.epoch(learn, labels, world)
        tell(f"epoch {len(run.losses)}: loss {run.losses[-1]:.4f}", flush=True)
        if world.any(wish.is_there) and len(run.losses) < options.epochs:
            if world.rank == 0:
                folder.save(run)
            tell(f"stopped after epoch {len(run.losses)}", flush=True)
            return STOPPED
    if world.rank == 0:
        results = {**run.results(trial, trial_labels), "processes": world.size}
        folder.finish(run, results)
        print(json.dumps(results))
    return 0


class _Wish:
    """That this ends, by SIGTERM."""

    def __init__(self) -> None:
        self.is_there = False
        signal.signal(signal.SIGTERM, self._come)

    def _come(self, number: int, frame: object) -> None:
        self.is_there = True


def _write(path: Path, what: object) -> None:
    """Whole or not at all, whenever it is stopped."""
    aside = path.with_suffix(".part")
    joblib.dump(what, aside)
    os.replace(aside, path)


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _rate(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(), help="where results go (here)")
    parser.add_argument("--epochs", type=_whole, default=10, help="(10)")
    parser.add_argument("--rate", type=_rate, default=0.1, help="how fast it learns (0.1)")
    parser.add_argument("--units", type=_whole, default=128, help="size of the hidden layer (128)")
    parser.add_argument("--mpi", action="store_true", help="as one of the processes of MPI")
    options = parser.parse_args()
    world = Together() if options.mpi else Alone()
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus and world.rank == 0:
        print(f"GPUs of this job: {gpus}; a model as small as this one needs none")
    return _train(options, world)


if __name__ == "__main__":
    sys.exit(main())
