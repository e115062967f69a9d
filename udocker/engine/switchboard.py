"""Between a supervised command and who attaches to it: output to the log and to all, input back."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import selectors
import socket
import termios
import time

from udocker.engine import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 1 << 16
_MOST_BEHIND = 1 << 23  # bytes that a client may leave unread before it is let go
_MOST_PENDING = 1 << 16  # bytes of input that the command has not read
_BEAT = 10.0  # seconds
_GOODBYE = 2.0  # seconds for the last words to a client


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.reader = frames.Reader()
        self.behind = b""
        self.attached = False

    def flush(self) -> None:
        """Raises OSError when it is gone."""
        with contextlib.suppress(BlockingIOError):
            while self.behind:
                self.behind = self.behind[self.socket.send(self.behind) :]


class Switchboard:
    """Of one run. ``outputs``: descriptors, and the names of the streams that come there.

    ``pending``: where input goes, -1: nowhere. ``terminal``: the side of a pseudo-terminal that
    is ours, or -1. ``signal`` passes a signal on. ``beat`` is called every now and then.
    """

    def __init__(
        self,
        listener: socket.socket,
        outputs: dict[int, str],
        *,
        input: int,
        terminal: int,
        log: Callable[[str, bytes], None],
        signal: Callable[[int], None],
        beat: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._outputs = dict(outputs)
        self._input = input
        self._terminal = terminal
        self._log = log
        self._signal = signal
        self._beat = beat
        self._clients: dict[int, _Client] = {}
        self._pending = b""
        self._closing = False
        self._selector = selectors.DefaultSelector()
        for descriptor in {*outputs, *([input] if input >= 0 else [])}:
            os.set_blocking(descriptor, False)

    def welcome(self, seconds: float) -> None:
        """Wait for the first client, which is to miss nothing."""
        self._listener.settimeout(seconds)
        with contextlib.suppress(OSError):
            self._greet(self._listener.accept()[0])

    def run(self, over: int) -> None:
        """Until ``over`` is closed at its other end, and what was printed until then is read."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(over, selectors.EVENT_READ)
        for descriptor in self._outputs:
            self._selector.register(descriptor, selectors.EVENT_READ)
        last = time.monotonic()
        is_over = False
        while not is_over:
            self._wait_for_input()
            for key, events in self._selector.select(_BEAT):
                if key.fd == over:
                    is_over = True
                else:
                    self._serve(key.fd, events)
            if time.monotonic() - last > _BEAT:
                self._beat()
                last = time.monotonic()
        for descriptor in list(self._outputs):
            while self._read(descriptor):
                pass

    def say_goodbye(self, code: int) -> None:
        """Tell the clients how it ended."""
        end = time.monotonic() + _GOODBYE
        for client in self._clients.values():
            client.behind += frames.pack(frames.EXIT, bytes([code & 255]))
            with contextlib.suppress(OSError):
                client.socket.settimeout(max(0.01, end - time.monotonic()))
                client.socket.sendall(client.behind)
            client.socket.close()
        self._listener.close()

    def _serve(self, descriptor: int, events: int) -> None:
        if descriptor == self._listener.fileno():
            with contextlib.suppress(OSError):
                self._greet(self._listener.accept()[0])
        elif descriptor in self._clients:
            self._hear(self._clients[descriptor], events)
        else:
            if descriptor == self._input and events & selectors.EVENT_WRITE:
                self._pass_input()
            if descriptor in self._outputs and events & selectors.EVENT_READ:
                self._read(descriptor)

    def _greet(self, connection: socket.socket) -> None:
        client = _Client(connection)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, descriptor: int) -> bool:
        """Take what was printed; False: there is no more, now or ever."""
        try:
            data = os.read(descriptor, _BLOCK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # of a terminal that nobody has open
                raise
            data = b""
        if not data:
            self._outputs.pop(descriptor)
            if descriptor != self._terminal:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(descriptor)
            return False
        name = self._outputs[descriptor]
        self._log(name, data)
        frame = frames.pack(frames.ERROR if name == "stderr" else frames.OUTPUT, data)
        for client in list(self._clients.values()):
            if client.attached:
                client.behind += frame
                self._hear(client, selectors.EVENT_WRITE)
        return True

    def _hear(self, client: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                data = client.socket.recv(_BLOCK)
                if not data:
                    raise ConnectionResetError
                for kind, frame in client.reader.feed(data):
                    self._do(client, kind, frame)
            client.flush()
            if len(client.behind) > _MOST_BEHIND:
                raise ConnectionResetError
        except BlockingIOError:
            pass
        except (OSError, ValueError):
            self._part(client)
            return
        wanted = selectors.EVENT_READ if len(self._pending) < _MOST_PENDING else 0
        wanted |= selectors.EVENT_WRITE if client.behind else 0
        self._want(client.socket.fileno(), wanted)

    def _do(self, client: _Client, kind: bytes, frame: bytes) -> None:
        if kind == frames.ATTACH:
            client.attached = True
        elif kind == frames.INPUT and self._input >= 0:
            self._pending += frame
        elif kind == frames.CLOSE and self._terminal < 0:
            self._closing = True
        elif kind == frames.RESIZE and self._terminal >= 0 and len(frame) == frames.SIZE.size:
            with contextlib.suppress(OSError):  # struct winsize: ioctl_tty(2)
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, frame + bytes(4))
        elif kind == frames.SIGNAL and len(frame) == 1:
            self._signal(frame[0])

    def _part(self, client: _Client) -> None:
        descriptor = client.socket.fileno()
        self._clients.pop(descriptor, None)
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)
        client.socket.close()

    def _pass_input(self) -> None:
        try:
            self._pending = self._pending[os.write(self._input, self._pending) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self._pending = b""
            self._closing = True

    def _wait_for_input(self) -> None:
        """Look whether the command reads when there is something for it; else not."""
        if self._input < 0:
            return
        if self._closing and not self._pending and self._terminal < 0:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._input)
            os.close(self._input)
            self._input = -1
            return
        wanted = selectors.EVENT_WRITE if self._pending else 0
        wanted |= selectors.EVENT_READ if self._input in self._outputs else 0
        self._want(self._input, wanted)
        if len(self._pending) < _MOST_PENDING:
            for client in self._clients.values():
                more = selectors.EVENT_WRITE if client.behind else 0
                self._want(client.socket.fileno(), selectors.EVENT_READ | more)

    def _want(self, descriptor: int, events: int) -> None:
        try:
            key = self._selector.get_key(descriptor)
        except KeyError:
            if events:
                self._selector.register(descriptor, events)
            return
        if not events:
            self._selector.unregister(descriptor)
        elif key.events != events:
            self._selector.modify(descriptor, events)
