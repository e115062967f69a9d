"""What a supervised command printed, as Docker's json-file has it: a line of JSON for each line.

Bytes that are no UTF-8 are kept: as surrogates, in JSON's own escapes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from udocker.model.moment import moment
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONGEST = 16384  # bytes of a line that are kept together
_LOOK_AGAIN = 0.1  # seconds


class Writer:
    """Appends to the log at ``path``; beyond ``limit`` bytes (0: none) another one is begun.

    One older log is kept beside it. That the disk is full is not the command's fault: what cannot
    be written is lost.
    """

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._rest: dict[str, bytes] = {}
        self._file = -1
        self._size = 0

    def write(self, stream: str, data: bytes) -> None:
        """What came; an unfinished line waits for its end."""
        *lines, rest = (self._rest.get(stream, b"") + data).split(b"\n")
        for line in lines:
            self._line(stream, line + b"\n")
        while len(rest) > _LONGEST:
            self._line(stream, rest[:_LONGEST])
            rest = rest[_LONGEST:]
        self._rest[stream] = rest

    def finish(self) -> None:
        """Nothing more will come."""
        for stream, rest in self._rest.items():
            if rest:
                self._line(stream, rest)
        self._rest.clear()

    def _line(self, stream: str, line: bytes) -> None:
        text = line.decode("utf-8", "surrogateescape")
        record = {"log": text, "stream": stream, "time": moment(time.time_ns())}
        data = json.dumps(record).encode() + b"\n"
        with contextlib.suppress(OSError):
            if self._file < 0 or (self._limit and self._size + len(data) > self._limit):
                self._open(turn=self._file >= 0)
            os.write(self._file, data)
            self._size += len(data)

    def _open(self, turn: bool) -> None:
        if turn:
            os.close(self._file)
            self._file = -1
            os.rename(self._path, f"{self._path}.1")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._file).st_size


@value
class Line:
    """What was printed, where to ("stdout", "stderr"), and when (RFC 3339)."""

    stream: str
    data: bytes
    time: str


def read(path: str, goes_on: Callable[[], bool] = lambda: False) -> Iterator[Line | None]:
    """The lines of the logs at ``path``; then those that come as long as ``goes_on``.

    None: there is nothing more just now. What is no record is passed over.
    """
    with contextlib.suppress(FileNotFoundError), open(f"{path}.1", "rb") as stream:
        yield from _lines(stream.read())
    rest, place, inode = b"", 0, 0
    while True:
        is_last = not goes_on()  # asked before reading: what came before it is read
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as stream:
            if inode and os.fstat(stream.fileno()).st_ino != inode:
                yield from _lines(_turned(path, inode, place, rest))
                place, rest = 0, b""
            inode = os.fstat(stream.fileno()).st_ino
            stream.seek(place)
            data = stream.read()
            place += len(data)
            whole, newline, rest = (rest + data).rpartition(b"\n")
            yield from _lines(whole + newline)
        if is_last:
            return
        yield None
        time.sleep(_LOOK_AGAIN)


def _turned(path: str, inode: int, place: int, rest: bytes) -> bytes:
    """What was written to the older log after it had been read."""
    with contextlib.suppress(OSError), open(f"{path}.1", "rb") as stream:
        if os.fstat(stream.fileno()).st_ino == inode:
            stream.seek(place)
            return rest + stream.read()
    return b""


def _lines(data: bytes) -> Iterator[Line]:
    for text in data.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            record = json.loads(text)
            printed = record["log"].encode("utf-8", "surrogateescape")
            yield Line(str(record["stream"]), printed, str(record["time"]))
