"""A proxy before a real registry, with the faults of a FakeRegistry.

with serving(storage, readonly=True) as address, FaultProxy(address) as proxy:
    proxy.fault("/blobs/", Fault(times=1, truncate=1000))
    proxy.host  # "127.0.0.1:34567", to be used in references
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fakes.registry import FakeRegistry, RegistryHandler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fakes.registry import Blob, Logged

_PATIENCE = 60  # seconds that the registry may take
_REDIRECTED = (200, 206)
# Of the connection, not of the reply (RFC 9110, 7.6.1), and what this server says itself.
_NOT_PASSED_ON = ("connection", "content-length", "date", "keep-alive", "server")
_NOT_PASSED_ON += ("transfer-encoding", "host", "accept-encoding")


class FaultProxy(FakeRegistry):
    """Passes requests on to the registry at ``upstream`` (host:port), and what it answers back.

    ``ranges`` False: as if whoever asks had asked for the whole blob. ``redirect_blobs`` is where
    blobs are said to be, with {path}, for those whom the registry lets in.
    """

    def __init__(self, upstream: str, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.upstream = upstream
        self.most_at_once = 0  # blobs on their way
        self._running = 0
        self._counting = threading.Lock()

    @property
    def handler(self) -> type[RegistryHandler]:
        return _Handler

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """A blob is on its way while the block runs."""
        with self._counting:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            yield
        finally:
            with self._counting:
                self._running -= 1

    def passed_on(self, logged: Logged) -> tuple[int, bytes, dict[str, str]]:
        """What the registry answers: its status, body and headers."""
        headers = {name: text for name, text in logged.headers.items() if _is_passed_on(name)}
        if not self.ranges:
            headers.pop("range", None)
        connection = http.client.HTTPConnection(self.upstream, timeout=_PATIENCE)
        with contextlib.closing(connection):
            connection.request(logged.method, logged.path, logged.body or None, headers)
            reply = connection.getresponse()
            body = reply.read()
            given = {name: text for name, text in reply.getheaders() if _is_passed_on(name)}
            return reply.status, body, given


class _Handler(RegistryHandler):
    def do_GET(self) -> None:
        proxy = self.server.registry
        assert isinstance(proxy, FaultProxy)
        with proxy.counted() if "/blobs/" in self.path else contextlib.nullcontext():
            super().do_GET()

    def reply(self, logged: Logged) -> tuple[int, Blob, Mapping[str, str]]:
        proxy = self.server.registry
        assert isinstance(proxy, FaultProxy)
        status, body, headers = proxy.passed_on(logged)
        path = urlsplit(logged.path).path
        if proxy.redirect_blobs and "/blobs/" in path and status in _REDIRECTED:
            return 307, b"", {"Location": proxy.redirect_blobs.format(path=path)}
        return status, body, headers


def _is_passed_on(name: str) -> bool:
    return name.lower() not in _NOT_PASSED_ON
