"""Being at a supervised command: what it prints comes here, what is typed goes there."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket

from udocker.engine import frames
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 16
LEFT = -1  # by the keys that leave
LOST = -2  # the supervisor is gone
_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@value
class Wishes:
    """``tty``: the command has a terminal; ``stdin``: what is typed goes there."""

    tty: bool
    stdin: bool
    keys: bytes  # that leave it, at a terminal


def connect(path: str, attached: bool = True) -> socket.socket:
    """A client of the supervisor at ``path``, attached from now on. Raises OSError."""
    folder, _, name = path.rpartition("/")
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{place}/{name}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(place)
    if attached:
        connection.sendall(frames.pack(frames.ATTACH))
    return connection


def exit_code(path: str) -> int:
    """Wait for the end of the command at ``path``: its exit code, or LOST."""
    reader = frames.Reader()
    try:
        with connect(path, attached=False) as connection:
            while data := connection.recv(_BLOCK):
                for kind, frame in reader.feed(data):
                    if kind == frames.EXIT:
                        return frame[0]
    except OSError:
        pass
    return LOST


def follow(connection: socket.socket, wishes: Wishes) -> int:
    """Until the command ends: its exit code; or LEFT, LOST. Raises BrokenPipeError of stdout."""
    with _signals(wishes.tty) as woken, _raw(wishes):
        return _Client(connection, wishes, woken).run()


class _Client:
    def __init__(self, connection: socket.socket, wishes: Wishes, woken: int) -> None:
        self._connection = connection
        self._wishes = wishes
        self._woken = woken
        self._reader = frames.Reader()
        self._typed = b""  # the beginning of the keys that leave
        self._has_input = wishes.stdin

    def run(self) -> int:
        if self._wishes.tty:
            self._resize()
        while True:
            watched = [self._connection, self._woken, *([0] if self._has_input else [])]
            ready = select.select(watched, [], [])[0]
            if self._woken in ready:
                self._signal()
            if self._connection in ready:
                code = self._take()
                if code is not None:
                    return code
            if 0 in ready and not self._type():
                return LEFT

    def _take(self) -> int | None:
        try:
            data = self._connection.recv(_BLOCK)
        except ConnectionError:
            data = b""
        if not data:
            return LOST
        for kind, frame in self._reader.feed(data):
            if kind == frames.EXIT:
                return frame[0]
            _write(2 if kind == frames.ERROR else 1, frame)
        return None

    def _type(self) -> bool:
        data = os.read(0, _BLOCK)
        if not data:
            self._has_input = False
            self._send(frames.CLOSE)
            return True
        if not (self._wishes.tty and self._wishes.keys):
            self._send(frames.INPUT, data)
            return True
        data = self._typed + data
        before, keys, _ = data.partition(self._wishes.keys)
        if keys:
            self._send(frames.INPUT, before)
            return False
        wanted = self._wishes.keys
        held = next(n for n in range(len(wanted), -1, -1) if data.endswith(wanted[:n]))
        self._typed = data[len(data) - held :]
        self._send(frames.INPUT, data[: len(data) - held])
        return True

    def _signal(self) -> None:
        for number in os.read(self._woken, _BLOCK):
            if number == signal.SIGWINCH:
                self._resize()
            else:
                self._send(frames.SIGNAL, bytes([number]))

    def _resize(self) -> None:
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(1 if os.isatty(1) else 0)
            self._send(frames.RESIZE, frames.SIZE.pack(size.lines, size.columns))

    def _send(self, kind: bytes, data: bytes = b"") -> None:
        if data or kind == frames.CLOSE:
            with contextlib.suppress(OSError):  # what is to be read tells the end
                self._connection.sendall(frames.pack(kind, data))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _signals(tty: bool) -> Iterator[int]:
    """A descriptor that gives the numbers of signals. A terminal's keys are no signals then."""
    reader, writer = os.pipe()
    for descriptor in (reader, writer):
        os.set_blocking(descriptor, False)
    numbers = (signal.SIGWINCH,) if tty else _PROXIED
    old = {number: signal.signal(number, lambda *_: None) for number in numbers}
    before = signal.set_wakeup_fd(writer)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _raw(wishes: Wishes) -> Iterator[None]:
    """Every key goes to the command, where both have a terminal."""
    if not (wishes.tty and wishes.stdin and os.isatty(0)):
        yield
        return
    import termios
    import tty

    old = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # what was typed already is not lost
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, old)
