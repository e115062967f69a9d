"""Runs of whole process trees, in turn, with what the kernel says of each."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_SOURCE = Path(__file__).resolve().parent / "programs/timed.c"


@dataclass(frozen=True)
class Run:
    """One run: seconds on the clock, seconds of processor time, the largest process in MiB."""

    wall: float
    cpu: float
    rss: float


@dataclass
class Contender:
    """A command to time. ``before`` prepares a run and gives its environment; not timed."""

    name: str
    command: Callable[[int], list[list[str]]]
    before: Callable[[int], dict[str, str]]
    after: Callable[[int], None] = lambda number: None
    runs: list[Run] = field(default_factory=list)


class Stopwatch:
    """Times commands by a small program, built in ``scratch``: a child of this one would begin
    with this one's peak of memory. SystemExit without a compiler."""

    def __init__(self, scratch: Path) -> None:
        self._program = scratch / "timed"
        self._file = scratch / "timed.txt"
        done = subprocess.run(["cc", "-O2", "-o", self._program, _SOURCE], check=False)
        if done.returncode != 0:
            raise SystemExit("bench: the program that takes the time cannot be built")

    def time(self, name: str, commands: list[list[str]], environment: dict[str, str]) -> Run:
        """Run ``commands`` one after another. SystemExit when one fails."""
        wall = cpu = rss = 0.0
        for command in commands:
            with tempfile.TemporaryFile() as output:
                done = subprocess.run(
                    [str(self._program), str(self._file), *command],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
                if done.returncode != 0:
                    output.seek(0)
                    text = output.read()[-2000:].decode("utf-8", "replace")
                    raise SystemExit(f"bench: {name}: {command}: status {done.returncode}\n{text}")
            took, used, peak = map(int, self._file.read_text().split())
            wall, cpu, rss = wall + took / 1e6, cpu + used / 1e6, max(rss, peak / 1024)
        return Run(wall, cpu, rss)


def interleave(stopwatch: Stopwatch, contenders: list[Contender], rounds: int) -> None:
    """``rounds`` counted rounds after one that only warms up; the order turns each round.

    SystemExit when a command fails: a time of a failure would mean nothing.
    """
    for number in range(rounds + 1):
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            environment = contender.before(number)
            run = stopwatch.time(contender.name, contender.command(number), environment)
            contender.after(number)
            if number > 0:
                contender.runs.append(run)
        print(f"  round {number} of {rounds}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Row:
    """Medians of a contender; the ratios are medians of the ratios within a round."""

    name: str
    wall: float
    cpu: float
    rss: float
    wall_ratio: float
    cpu_ratio: float


def rows(contenders: list[Contender], *, of_first: bool = False) -> list[Row]:
    """A row for each contender; ratios are udocker's (the first) divided by the row's.

    ``of_first``: the row's divided by the first's, which is then another tool's.
    """
    first = contenders[0]
    found = []
    for contender in contenders:
        pairs = list(zip(first.runs, contender.runs))
        if of_first:
            pairs = [(b, a) for a, b in pairs]
        found.append(
            Row(
                contender.name,
                statistics.median(run.wall for run in contender.runs),
                statistics.median(run.cpu for run in contender.runs),
                statistics.median(run.rss for run in contender.runs),
                statistics.median(a.wall / b.wall for a, b in pairs),
                statistics.median(a.cpu / max(b.cpu, 1e-4) for a, b in pairs),
            )
        )
    return found


def table(title: str, found: list[Row]) -> str:
    """The rows as text."""
    lines = [
        title,
        f"  {'':34} {'wall s':>9} {'CPU s':>8} {'RSS MiB':>8} {'wall x':>7} {'CPU x':>7}",
    ]
    for row in found:
        lines.append(
            f"  {row.name:34} {row.wall:9.4f} {row.cpu:8.4f} {row.rss:8.1f} "
            f"{row.wall_ratio:7.2f} {row.cpu_ratio:7.2f}"
        )
    return "\n".join(lines)
