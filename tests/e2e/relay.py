"""A relay before a registry: remembers what is asked, and closes connections in mid-request."""

from __future__ import annotations

import contextlib
import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from fakes.serving import Serving

_HOP = ("connection", "keep-alive", "transfer-encoding")


class Asked(NamedTuple):
    method: str
    path: str
    size: int  # of the body, as far as it was read


class Relay(Serving):
    """Passes requests on to ``registry`` (host:port), each when it is there with its body.

    ``cut``: the numbers of those PATCH requests (from 0) of which half a body is read before the
    connection is closed. ``leaky``: that half is passed on, as by a relay that does not wait;
    otherwise nothing is.
    """

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self.cut: set[int] = set()
        self.leaky = False
        self.log: list[Asked] = []
        self.patches = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.relay = self

    def bytes_of(self, method: str) -> list[int]:
        """The sizes of the bodies of all requests by ``method``."""
        return [asked.size for asked in self.log if asked.method == method]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    relay: Relay

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _pass_on(self) -> None:
        relay = self.server.relay
        size = int(self.headers.get("Content-Length", 0))
        cut = False
        if self.command == "PATCH":
            cut = relay.patches in relay.cut
            relay.patches += 1
        body = self.rfile.read(size // 2 if cut else size)
        relay.log.append(Asked(self.command, self.path, len(body)))
        with contextlib.closing(http.client.HTTPConnection(relay.registry)) as upstream:
            if not cut:
                self._answer(upstream, body)
                return
            if relay.leaky:
                self._ask(upstream)
                upstream.send(body)
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _pass_on

    def _ask(self, upstream: http.client.HTTPConnection) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, text in self.headers.items():
            if name.lower() not in _HOP:
                upstream.putheader(name, text)
        upstream.endheaders()

    def _answer(self, upstream: http.client.HTTPConnection, body: bytes) -> None:
        self._ask(upstream)
        upstream.send(body)
        reply = upstream.getresponse()
        data = reply.read()
        self.send_response(reply.status)
        for name, text in reply.getheaders():
            if name.lower() not in (*_HOP, "content-length"):
                self.send_header(name, text)
        length = reply.headers.get("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data)
