"""Pulling once more: after a kill at half of the bytes, and when the image is here already."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bencher.cases import Ground, must, remove
from bencher.measure import Contender, Stopwatch, interleave

_THROTTLE = Path(__file__).resolve().parent / "programs/throttle.py"
_RATE = 20_000_000  # bytes a second
_POLL = 0.02  # seconds
_MOST_BYTES = 55.0  # per cent, of the pull after the kill
_MOST_REQUESTS = 2
_MOST_WALL = 1.5  # times the start of the program, beside the round trips


TITLE = "Pull once more"


@dataclass(frozen=True)
class Figure:
    """The median of what was measured, and the most that it may be."""

    name: str
    value: float
    most: float
    unit: str = ""

    @property
    def line(self) -> str:
        """As text."""
        unit = f" {self.unit}" if self.unit else ""
        verdict = "" if self.value <= self.most else "  MISSED"
        return f"  {self.name:58} {self.value:8.2f}{unit} (at most {self.most:g}){verdict}"


class Counter:
    """A throttling proxy before the registry at ``address``, which counts."""

    def __init__(self, address: str) -> None:
        command = [sys.executable, str(_THROTTLE), address.rpartition(":")[2], str(_RATE)]
        self._process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.address = f"127.0.0.1:{self._answer()}"

    def read(self) -> tuple[int, int]:
        """The requests and the bytes of replies so far."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        requests, size = map(int, self._answer().split())
        return requests, size

    def close(self) -> None:
        """End the proxy."""
        with self._process:
            self._process.terminate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def counting(address: str) -> Iterator[Counter]:
    """A ``Counter`` while the block runs."""
    counter = Counter(address)
    try:
        yield counter
    finally:
        counter.close()


def measure(ground: Ground, rounds: int) -> list[Figure]:
    """The figures, of ``rounds`` rounds each. SystemExit when a command fails."""
    with counting(ground.registry) as counter:
        fetched = [_killed_at_half(ground, counter) for _ in range(rounds)]
        requests = _requests(ground, counter)
    return [
        Figure(
            "killed at half: bytes of the next pull", statistics.median(fetched), _MOST_BYTES, "%"
        ),
        Figure("image already here: requests", requests, _MOST_REQUESTS),
        Figure(
            "image already here: wall without round trips / version",
            _wall(ground, rounds),
            _MOST_WALL,
        ),
    ]


def _killed_at_half(ground: Ground, counter: Counter) -> float:
    """Per cent of the bytes of a whole pull that the pull after a ``kill -9`` fetches."""
    store = ground.scratch / "killed"
    environment = ground.environment(UDOCKER_DIR=str(store))
    command = [ground.udocker, "pull", "-q", f"{counter.address}/sci:latest"]
    remove(store)
    _, before = counter.read()
    must(command, environment)
    _, after = counter.read()
    whole = after - before
    remove(store)
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    while counter.read()[1] - after < whole / 2:
        if process.poll() is not None:
            raise SystemExit("bench: the pull is over before half of it has come")
        time.sleep(_POLL)
    process.kill()
    process.wait()
    time.sleep(10 * _POLL)  # what the proxy has read for it goes nowhere
    _, half = counter.read()
    must(command, environment)
    return 100 * (counter.read()[1] - half) / whole


def _requests(ground: Ground, counter: Counter) -> int:
    """How many requests a pull of an index makes whose image is here."""
    environment = ground.environment(UDOCKER_DIR=str(ground.scratch / "here"))
    command = [ground.udocker, "pull", "-q", f"{counter.address}/multi:latest"]
    must(command, environment)
    before, _ = counter.read()
    must(command, environment)
    return counter.read()[0] - before


def _wall(ground: Ground, rounds: int) -> float:
    """The time of a pull of what is here, less its round trip, by that of ``udocker version``."""
    environment = ground.environment(UDOCKER_DIR=str(ground.scratch / "here"))
    pull = [ground.udocker, "pull", "-q", f"{ground.registry}/sci:latest"]
    must(pull, environment)
    version = Contender(
        "version", lambda number: [[ground.udocker, "version"]], lambda number: environment
    )
    again = Contender("pull", lambda number: [pull], lambda number: environment)
    interleave(Stopwatch(ground.scratch), [version, again], 3 * rounds)
    trip = statistics.median(_round_trip(ground.registry) for _ in range(3 * rounds))
    return statistics.median(
        (pulled.wall - trip) / started.wall for started, pulled in zip(version.runs, again.runs)
    )


def _round_trip(address: str) -> float:
    """Seconds that a connection and one request take."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection(address)
    with contextlib.closing(connection):
        connection.request("GET", "/v2/sci/manifests/latest")
        connection.getresponse().read()
    return time.perf_counter() - begun


def text(figures: Sequence[Figure], title: str = TITLE) -> str:
    """The figures as lines."""
    return "\n".join([title, *(figure.line for figure in figures)])
