"""Threads that unpack: what one of them meets ends all, and none is left."""

from __future__ import annotations

import gzip
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from udocker.errors import UnpackError
from udocker.unpack.crew import Crew
from udocker.unpack.tree import Builder
from udocker.verified import VerifiedReader
from unpack.layers import LIMITS, FakeLayer, directory, file, hardlink, snapshot, tar, unpack

PATIENCE = 20  # seconds


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/task"))
    yield
    assert set(os.listdir("/proc/self/task")) <= before


class Endless(FakeLayer):
    """A layer of one large file that comes very slowly."""

    def open(self) -> BinaryIO:
        stream = io.BytesIO(self.blob)

        class Slow(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                time.sleep(0.01)
                return stream.read(512)

        return VerifiedReader(Slow(), self.descriptor)  # type: ignore[arg-type]


def endless() -> Endless:
    return Endless(tar(file("large", bytes(512 * 100 * PATIENCE))))


def bad() -> FakeLayer:
    return FakeLayer(gzip.compress(tar(file("f", os.urandom(100_000))))[:50_000])


def builder(place: Path, *layers: FakeLayer) -> Builder:
    place.mkdir()
    return Builder(layers, str(place), LIMITS, lambda _: None)


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_what_one_meets_ends_the_others(tmp_path: Path) -> None:
    """One still reads, and one waits for what is below it."""
    waits = FakeLayer(tar(hardlink("h", "large")))
    start = time.monotonic()
    with builder(tmp_path / "tree", endless(), waits, bad()) as building:
        building.start(3)
        with pytest.raises(UnpackError, match="ends too early"):
            building.finish()
    assert time.monotonic() - start < PATIENCE / 2


def test_what_was_met_is_told_before_the_end(tmp_path: Path) -> None:
    broken = bad()
    with builder(tmp_path / "tree", endless(), broken) as building:
        building.start(2)
        wait_until(lambda: building.failure() is not None)
        failed = building.failure()
        assert failed is not None
        assert isinstance(failed[0], UnpackError)
        assert failed[1] is broken


def test_leaving_ends_it(tmp_path: Path) -> None:
    start = time.monotonic()
    with builder(tmp_path / "tree", endless()) as building:
        building.start(1)
    assert time.monotonic() - start < PATIENCE / 2


def test_an_interrupt_while_waiting_ends_it(tmp_path: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    interrupter = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.monotonic()
    try:
        with builder(tmp_path / "tree", endless()) as building:
            building.start(1)
            interrupter.start()
            with pytest.raises(KeyboardInterrupt):
                building.finish()
    finally:
        interrupter.join()
        signal.signal(signal.SIGINT, previous)
    assert time.monotonic() - start < PATIENCE / 2


def test_no_thread_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("udocker.unpack.crew.start_new_thread", refuse)
    with builder(tmp_path / "tree", FakeLayer(tar(file("f", "x")))) as building:
        building.start(4)
        building.finish()
    assert (tmp_path / "tree/root/f").read_text() == "x"


def test_a_signal_to_the_crew_is_not_lost() -> None:
    """Who waits is told of what changes, and of the end."""
    seen: list[int] = []

    def work() -> None:
        with crew.changed:
            seen.append(1)
            crew.changed.notify_all()
            while True:
                crew.wait()

    crew = Crew(work)
    crew.start(3)
    wait_until(lambda: len(seen) == 3)
    crew.stop()
    assert crew.failure is None


@pytest.mark.parametrize("workers", [2, 4, 30])
def test_in_whatever_order_they_end_the_tree_is_the_same(tmp_path: Path, workers: int) -> None:
    layers = []
    for number in range(40):
        made = [directory("d", mtime=number), file(f"d/{number}", bytes(number * 997 % 5000))]
        made.append(file(f"d/{'.wh.' if number % 3 else ''}{number - 1}"))
        if number % 7 == 6:
            made += [
                hardlink(f"h{number}", f"d/{number - 2 - (number - 4) % 3}"),
                file("o/.wh..wh..opq"),
            ]
        made.append(file(f"o/{number}", uid=number))
        layers.append(FakeLayer(tar(*made)))
    one = unpack(tmp_path, *layers)
    with builder(tmp_path / "several", *layers) as building:
        building.start(workers)
        building.finish()
    several, snapshots = tmp_path / "several", snapshot(one.root)
    for path, told in snapshot(several / "root").items():
        if path not in ("", "o"):  # made by nobody's wish, now
            assert told == snapshots.pop(path)
    assert set(snapshots) == {"", "o"}
    assert (several / "index.jsonl").read_bytes() == (one.directory / "index.jsonl").read_bytes()
    assert {path.name for path in several.iterdir()} == {"root", "index.jsonl"}
