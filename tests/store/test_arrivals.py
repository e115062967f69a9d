"""Blobs that are read while they come."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from udocker.errors import VerificationError
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.store import arrivals as module
from udocker.store.arrivals import Arrivals, Interrupted
from udocker.store.blobs import Blobs

DATA = bytes(range(256)) * 2048
HALF = len(DATA) // 2
BLOB = Descriptor("", Digest.of(DATA), len(DATA))


@pytest.fixture
def blobs(store_path: Path) -> Blobs:
    return Blobs(str(store_path))


@pytest.fixture
def arrivals(blobs: Blobs) -> Arrivals:
    return Arrivals(blobs, [BLOB])


class Reading(threading.Thread):
    """Reads a blob to its end."""

    def __init__(self, arrivals: Arrivals) -> None:
        super().__init__()
        self.data = bytearray()
        self.error: BaseException | None = None
        self._arrivals = arrivals
        self.start()

    def run(self) -> None:
        try:
            with self._arrivals.open(BLOB) as stream:
                while piece := stream.read(1 << 16):
                    self.data += piece
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def end(self) -> bytes:
        self.join(20)
        assert not self.is_alive()
        return bytes(self.data)


def left(blobs: Blobs) -> list[str]:
    return os.listdir(blobs.partial)


def test_bytes_are_there_as_they_come_and_the_end_when_they_are_proven(
    arrivals: Arrivals, blobs: Blobs
) -> None:
    sink = arrivals.sink(BLOB)
    with arrivals.open(BLOB) as stream:
        sink.write(DATA[:HALF], 0)
        assert stream.read(HALF) == DATA[:HALF]
        sink.write(DATA[HALF:], HALF)
        assert stream.read(HALF) == DATA[HALF:]
        reading = Reading(arrivals)
        reading.join(0.2)
        assert reading.is_alive()  # all bytes are there, and nothing says that they are right
        sink.commit()
        assert stream.read(1) == b""
    assert reading.end() == DATA
    assert blobs.has(BLOB)
    assert left(blobs) == []


def test_a_reader_goes_on_where_it_was_when_the_fetch_begins_again(
    arrivals: Arrivals, blobs: Blobs
) -> None:
    sink = arrivals.sink(BLOB)
    sink.write(DATA[:HALF], 0)
    with arrivals.open(BLOB) as stream:
        assert stream.read(HALF) == DATA[:HALF]
        sink.abort()
        assert arrivals.was_begun_again(BLOB.digest)
        sink = arrivals.sink(BLOB)
        sink.write(DATA[: HALF // 2], 0)
        sink.write(DATA[HALF // 2 :], HALF // 2)
        assert stream.read(HALF) == DATA[HALF:]
        sink.commit()
        assert stream.read(1) == b""
    assert left(blobs) == []


def test_a_fetch_that_began_again_before_a_byte_came_leaves_no_doubt(arrivals: Arrivals) -> None:
    arrivals.sink(BLOB).abort()
    sink = arrivals.sink(BLOB)
    sink.write(DATA, 0)
    sink.commit()
    assert not arrivals.was_begun_again(BLOB.digest)
    assert Reading(arrivals).end() == DATA


@pytest.mark.parametrize("written", [0, HALF, len(DATA)])
def test_what_will_not_come_ends_who_waits(arrivals: Arrivals, blobs: Blobs, written: int) -> None:
    sink = arrivals.sink(BLOB)
    sink.write(DATA[:written], 0)
    reading = Reading(arrivals)
    sink.abort()
    arrivals.close()
    reading.end()
    assert isinstance(reading.error, Interrupted)
    assert left(blobs) == []


def test_altered_bytes_have_no_end(arrivals: Arrivals, blobs: Blobs) -> None:
    sink = arrivals.sink(BLOB)
    sink.write(bytes(len(DATA)), 0)
    reading = Reading(arrivals)
    with pytest.raises(VerificationError):
        sink.commit()
    arrivals.close()
    reading.end()
    assert isinstance(reading.error, Interrupted)
    assert not arrivals.is_proven(BLOB.digest)
    assert not blobs.has(BLOB)
    assert left(blobs) == []


@pytest.mark.parametrize("again", [False, True])
def test_the_file_goes_while_a_reader_opens_it(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """It is renamed into the store, or given up for another."""
    sink = arrivals.sink(BLOB)
    sink.write(DATA, 0)
    opened = os.open

    def go(path: Any, flags: int, *rest: Any) -> int:
        monkeypatch.setattr(module.os, "open", opened)
        if again:
            sink.abort()
            other = arrivals.sink(BLOB)
            other.write(DATA, 0)
            other.commit()
        else:
            sink.commit()
        return opened(path, flags, *rest)

    monkeypatch.setattr(module.os, "open", go)
    reading = Reading(arrivals)
    assert reading.end() == DATA
    assert reading.error is None


def test_a_blob_that_somebody_removed(arrivals: Arrivals, blobs: Blobs) -> None:
    sink = arrivals.sink(BLOB)
    sink.write(DATA, 0)
    sink.commit()
    blobs.remove(BLOB.digest)
    reading = Reading(arrivals)
    reading.end()
    assert isinstance(reading.error, FileNotFoundError)
