"""The bytes of a blob, from any place on."""

from __future__ import annotations

import io
import os

import pytest

from udocker.errors import VerificationError
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.registry.outgoing import Source
from udocker.verified import VerifiedReader

DATA = os.urandom(100_000)


class Opened:
    """A source, how often its blob was opened, and what it told of."""

    def __init__(self, promised: bytes = DATA) -> None:
        self.streams: list[io.BytesIO] = []
        self.told: list[int] = []
        self._blob = Descriptor("", Digest.of(promised), len(DATA))
        self.source = Source(self._blob, self._open, self.told.append)

    def _open(self, blob: Descriptor) -> VerifiedReader:
        self.streams.append(io.BytesIO(DATA))
        return VerifiedReader(self.streams[-1], blob)

    def read(self, start: int, end: int, size: int) -> list[bytes]:
        """The parts that reads of ``size`` give, until there is nothing more."""
        content = self.source.content(start, end)
        assert content.size == end - start
        return list(iter(content.open().read if size < 0 else _reader(content.open(), size), b""))


def _reader(stream, size):
    return lambda: stream.read(size)


@pytest.mark.parametrize("size", [-1, 7_000])
@pytest.mark.parametrize("start", [0, 1, 50_000])
@pytest.mark.parametrize("end", [50_001, 100_000])
def test_a_part_is_no_more_than_itself(size: int, start: int, end: int) -> None:
    opened = Opened()
    assert b"".join(opened.read(start, end, size)) == DATA[start:end]
    assert sum(opened.told) == end


def test_parts_in_order_are_read_once() -> None:
    opened = Opened()
    for start in range(0, len(DATA), 10_000):
        opened.read(start, start + 10_000, 3_000)
    assert len(opened.streams) == 1
    assert sum(opened.told) == len(DATA)


def test_going_back_is_told_of_once() -> None:
    opened = Opened()
    opened.read(0, 60_000, 7_000)
    opened.read(20_000, 100_000, 7_000)
    assert [stream.closed for stream in opened.streams] == [True, False]
    assert sum(opened.told) == len(DATA)
    opened.source.close()
    assert all(stream.closed for stream in opened.streams)


def test_what_is_complete_is_told_of() -> None:
    opened = Opened()
    opened.source.complete()
    assert opened.told == [len(DATA)]
    assert opened.streams == []


@pytest.mark.parametrize("start", [0, 99_999])
def test_damage_is_seen_before_the_last_byte(start: int) -> None:
    opened = Opened(promised=DATA[::-1])
    with pytest.raises(VerificationError, match="is damaged"):
        opened.read(start, 100_000, 100_000)
