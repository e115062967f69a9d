"""digits-train: learns from the known pictures, alone or in several processes, and may be stopped.

At SIGTERM, which batch systems send before the time is over, it writes what it has so far after
the epoch that it is in, and ends with 75; the same command then goes on from there.
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
    """A model on its way, and how good it was after each epoch."""

    def __init__(self, rate: float, units: int) -> None:
        self.model = MLPClassifier(
            (units,), solver="sgd", learning_rate_init=rate, batch_size=64, random_state=0
        )
        self.losses: list[float] = []

    def epoch(self, pixels: np.ndarray, labels: np.ndarray, world: Any) -> None:
        """Each process learns from its share of the pictures, then they agree on the weights."""
        share = slice(world.rank, None, world.size)
        self.model.partial_fit(pixels[share], labels[share], classes=pictures.LABELS)
        for array in (*self.model.coefs_, *self.model.intercepts_):
            world.average(array)
        loss = np.array([self.model.loss_])
        world.average(loss)
        self.losses.append(float(loss[0]))

    def results(self, pixels: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        weights = b"".join(array.tobytes() for array in self.model.coefs_)
        return {
            "epochs": len(self.losses),
            "rate": self.model.learning_rate_init,
            "loss": round(self.losses[-1], 6),
            "accuracy": round(float(self.model.score(pixels, labels)), 4),
            "weights": hashlib.sha256(weights).hexdigest(),
        }


def train(
    *,
    epochs: int = 10,
    rate: float = 0.1,
    units: int = 128,
    out: Path | None = None,
    mpi: bool = False,
) -> dict[str, Any]:
    """Train and tell how it went; with ``out`` the model and this are written there.

    SystemExit with STOPPED at SIGTERM, if there is a place to write to.
    """
    world = Together() if mpi else Alone()
    learn, trial, labels, trial_labels = pictures.known()
    saved = out / "checkpoint.joblib" if out else None
    run = joblib.load(saved) if saved and saved.exists() else Run(rate, units)
    tell = world.rank == 0 and out is not None
    if tell and run.losses:
        print(f"going on after epoch {len(run.losses)}", flush=True)
    stop = _Wish() if saved else None
    while len(run.losses) < epochs:
        run.epoch(learn, labels, world)
        if tell:
            print(f"epoch {len(run.losses)}: loss {run.losses[-1]:.4f}", flush=True)
        if stop and world.any(stop.is_there) and len(run.losses) < epochs:
            if tell:
                _write(saved, run)
                print(f"stopped after epoch {len(run.losses)}", flush=True)
            raise SystemExit(STOPPED)
    results = {**run.results(trial, trial_labels), "processes": world.size}
    if tell:
        _write(out / "model.joblib", run.model)
        (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        saved.unlink(missing_ok=True)
    return results


class _Wish:
    """That this ends, by SIGTERM."""

    def __init__(self) -> None:
        self.is_there = False
        signal.signal(signal.SIGTERM, self._come)

    def _come(self, number: int, frame: object) -> None:
        self.is_there = True


def _write(path: Path, what: Any) -> None:
    """Whole or not at all, whenever it is stopped."""
    aside = path.with_suffix(".part")
    joblib.dump(what, aside)
    os.replace(aside, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[2].strip())
    parser.add_argument("--out", type=Path, default=Path(), help="where results go (here)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.1, help="how fast it learns")
    parser.add_argument("--units", type=int, default=128, help="size of the hidden layer")
    parser.add_argument("--mpi", action="store_true", help="as one of the processes of MPI")
    options = vars(parser.parse_args())
    options["out"].mkdir(parents=True, exist_ok=True)
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        print(f"GPUs of this job: {os.environ['CUDA_VISIBLE_DEVICES']}; this model needs none")
    results = train(**options)
    print(json.dumps(results)) if os.environ.get("PMI_RANK", "0") == "0" else None
    return 0


if __name__ == "__main__":
    sys.exit(main())
