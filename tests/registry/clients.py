"""What tests of the registry client use: clients, sinks that remember, certificates, a proxy."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from udocker.errors import UdockerError, VerificationError
from udocker.model.oci import Descriptor, Platform
from udocker.model.reference import Reference
from udocker.registry.authfile import AuthFile
from udocker.registry.http import Settings
from udocker.registry.logins import Logins
from udocker.registry.mirrors import Mirrors
from udocker.registry.remote import Registry
from udocker.store.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from fakes.registry import FakeRegistry
    from udocker.registry.mirrors import Rule

AMD64 = Platform("linux", "amd64")


class RecordingSink:
    """A BlobSink in memory that says how it ended."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.data = bytearray(descriptor.size)
        self.there = Ranges()
        self.state = "open"

    def missing(self) -> list[tuple[int, int]]:
        return self.there.missing(0, self.descriptor.size)

    def write(self, data: bytes, at: int) -> int:
        assert self.state == "open"
        end = at + len(data)
        new = self.there.missing(at, end)
        self.there.add(at, end)
        for start, stop in new:
            self.data[start:stop] = data[start - at : stop - at]
        return sum(stop - start for start, stop in new)

    def commit(self) -> None:
        assert self.state == "open"
        if self.missing():
            raise VerificationError("wrong size")
        if hashlib.sha256(self.data).hexdigest() != self.descriptor.digest.hex:
            raise VerificationError(f"{self.descriptor.digest.short} is not what it should be")
        self.state = "committed"

    def leave(self, error: BaseException | None = None) -> None:
        if self.state == "open":
            self.state = "left"

    def abort(self) -> None:
        if self.state == "open":
            self.state = "aborted"


class Sinks:
    """A sink factory."""

    def __init__(self) -> None:
        self.made: list[RecordingSink] = []

    def __call__(self, descriptor: Descriptor) -> RecordingSink:
        self.made.append(RecordingSink(descriptor))
        return self.made[-1]

    def states(self) -> list[str]:
        return [sink.state for sink in self.made]

    def committed(self) -> list[bytes]:
        return [bytes(sink.data) for sink in self.made if sink.state == "committed"]


class RecordingTask:
    def __init__(self, title: str, total: int | None) -> None:
        self.title, self.total, self.amount, self.ended = title, total, 0, False

    def advance(self, amount: int) -> None:
        self.amount += amount

    def done(self, note: str = "") -> None:
        self.ended = True


class RecordingReporter:
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tasks: list[RecordingTask] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    warn = debug = info

    def task(self, title: str, total: int | None) -> RecordingTask:
        self.tasks.append(RecordingTask(title, total))
        return self.tasks[-1]

    def close(self) -> None:
        pass


class Client:
    """A Registry with everything around it that a test looks at."""

    def __init__(self, config: Path, settings: Settings, rules: Sequence[Rule] = ()) -> None:
        self.reporter = RecordingReporter()
        self.sinks = Sinks()
        logins = Logins([AuthFile(str(config))], {}, self.reporter)
        self.registry = Registry(settings, logins, Mirrors(lambda: rules), self.reporter)

    def resolve(self, name: str, platform: Platform = AMD64) -> Any:
        return self.registry.resolve(Reference.parse(name), platform)

    def download(self, name: str, *blobs: Mapping[str, Any]) -> None:
        """Fetch the blobs with these JSON descriptors."""
        descriptors = [Descriptor.from_json(blob, "the test") for blob in blobs]
        self.registry.download(Reference.parse(name), descriptors, self.sinks)


def make_settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {
        "insecure": False,
        "insecure_registries": (),
        "jobs": 3,
        "connect_timeout": 5,
        "stall_timeout": 5,
        "user_agent": "udocker/test",
        "proxy": "",
        "no_proxy": "",
        "retry_delay": 0.01,
    }
    return Settings(**{**given, **changes})


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# TLS


class Certificate:
    """A self-signed certificate for ``registry.test``, ``docker.io`` names and 127.0.0.1."""

    NAMES = ("registry.test", "*.docker.io", "files.test")

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "certificate.pem")
        self.key = str(folder / "key.pem")
        names = ",".join(f"DNS:{name}" for name in self.NAMES) + ",IP:127.0.0.1"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            f"-subj /CN=fake -addext subjectAltName={names} -keyout {self.key} -out {self.path}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context


# A proxy: the way to servers whose names are not this machine's


class FakeProxy:
    """Connects CONNECT requests, and http ones, to the servers that ``routes`` gives by host."""

    def __init__(self, refuse: bytes = b"") -> None:
        self.routes: dict[str, FakeRegistry] = {}
        self.asked: list[str] = []  # request lines
        self.refuse = refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> FakeProxy:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                more = client.recv(4096)
                if not more:
                    return
                head += more
            line = head.split(b"\r\n")[0].decode()
            self.asked.append(line)
            method, target, _ = line.split(" ")
            host = target.partition("://")[2].partition("/")[0] or target
            route = self.routes.get(host.partition(":")[0])
            if self.refuse or route is None:
                client.sendall(b"HTTP/1.1 " + (self.refuse or b"502 Bad Gateway") + b"\r\n\r\n")
                client.shutdown(socket.SHUT_RDWR)
                return
            server = socket.create_connection(route.address)
            self._sockets.append(server)
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(head)
            self._spawn(self._relay, client, server)
            self._relay(server, client)

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class FakeSocks(FakeProxy):
    """The same by SOCKS 5 (RFC 1928), for ``login`` as user and password (RFC 1929) if it is set.

    ``asked`` holds the hosts' names: who resolves a name himself finds nobody here.
    """

    login: tuple[str, str] | None = None

    @property
    def url(self) -> str:
        user = f"{self.login[0]}:{self.login[1]}@" if self.login else ""
        return f"socks5h://{user}127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client.makefile("rb") as stream:
            methods = stream.read(stream.read(2)[1])
            wanted = 2 if self.login else 0
            client.sendall(bytes((5, wanted if wanted in methods else 255)))
            if self.login:
                stream.read(1)
                given = [stream.read(stream.read(1)[0]).decode() for _ in self.login]
                client.sendall(bytes((1, tuple(given) != self.login)))
                if tuple(given) != self.login:
                    return
            kind = stream.read(4)[3]
            host = stream.read(stream.read(1)[0]).decode() if kind == 3 else ""
            stream.read(2)
            self.asked.append(host)
            route = self.routes.get(host)
            client.sendall(bytes((5, 0 if route and not self.refuse else 2, 0, 1, *bytes(6))))
            if route is None or self.refuse:
                return
            server = socket.create_connection(route.address)
            self._sockets.append(server)
            self._spawn(self._relay, client, server)
            self._relay(server, client)


def asked(fake: FakeRegistry) -> list[str | None]:
    """The ranges of layers that were asked for; None: all of it."""
    return [logged.headers.get("range") for logged in fake.requests("/blobs/")]


def check_failed(
    made: Client,
    fake: FakeRegistry,
    kind: type[UdockerError],
    words: str,
    *wanted: Mapping[str, Any],
) -> UdockerError:
    """That the blobs cannot be fetched, with ``words`` in the message, and nothing stays open."""
    with pytest.raises(kind, match=words) as caught:
        made.download(f"{fake.host}/a/b:1", *wanted)
    assert "open" not in made.sinks.states()
    return caught.value
