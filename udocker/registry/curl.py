"""One GET by libcurl inside a multi handle: its settings, its callbacks, its errors in words."""

from __future__ import annotations

import time

from udocker.errors import BadReplyError, ConfigError, UdockerError, UnreachableError
from udocker.registry.address import host_of
from udocker.registry.certificates import CERTIFICATES_HINT
from udocker.registry.http import (
    ERROR_LIMIT,
    ConnectionDropped,
    dropped,
    no_answer,
    not_tls,
    unreachable,
    untrusted,
)
from udocker.registry.replies import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from udocker.registry.certificates import Trust
    from udocker.registry.http import Settings

_BUFFER = 256 << 10  # bytes that libcurl reads at once
# libcurl hands over 16 KiB at a time, and passing on takes longer than reading them.
_AT_ONCE = 256 << 10  # bytes that are passed on together
_LATEST = 0.25  # seconds after which what has come is passed on however little it is
_HEADER_LIMIT = 256 << 10  # bytes of headers that are kept


class Exchange:
    """A GET, of a range of bytes if ``span`` says so: from which, and to before which.

    The body of a 200 or 206 goes to ``accept`` as it comes; that of an error is kept.

    Callbacks of libcurl must not raise: what ``accept`` raises is kept in ``failure``.
    """

    def __init__(
        self,
        url: str,
        authorization: str,
        accept: Callable[[Reply, bytes], None],
        span: tuple[int, int] | None = None,
    ) -> None:
        import pycurl

        self.url = url
        self.authorization = authorization
        self.handle: Any = pycurl.Curl()
        self.failure: BaseException | None = None
        self._accept = accept
        self._span = span
        self._status = 0
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body = bytearray()
        self._heard = time.monotonic()
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._passed_on = 0.0  # when

    @property
    def reply(self) -> Reply:
        """What has come so far."""
        secrets = (self.authorization.partition(" ")[2],)
        return Reply(self.url, self._status, self._headers, bytes(self._body), secrets)

    @property
    def cut(self) -> bool:
        """Whether libcurl was told to stop because enough of an error's body has come."""
        return self.failure is None and len(self._body) >= ERROR_LIMIT

    def silence(self) -> float:
        """Seconds without a byte; none while the connection is made, which has its own limit."""
        import pycurl

        if self.handle.getinfo(pycurl.PRETRANSFER_TIME) == 0:
            self._heard = time.monotonic()
        return time.monotonic() - self._heard

    def configure(self, settings: Settings, trust: Trust, verify: bool) -> None:
        """Set everything that libcurl would otherwise take from the environment, and the rest."""
        import pycurl

        proxy = settings.proxy_for(self.url)
        headers = ["Accept: */*"]
        if self._span is not None:
            headers.append(f"Range: bytes={self._span[0]}-{self._span[1] - 1}")
        if self.authorization:
            headers.append(f"Authorization: {self.authorization}")
        options = {
            pycurl.URL: self.url,
            pycurl.HTTPHEADER: headers,
            pycurl.USERAGENT: settings.user_agent,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.FOLLOWLOCATION: 0,
            # Several connections carry more than the streams of one do on a long line.
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
            pycurl.PROXY: proxy,
            pycurl.NOPROXY: "",
            pycurl.NOSIGNAL: 1,
            pycurl.BUFFERSIZE: _BUFFER,
            pycurl.CONNECTTIMEOUT: settings.connect_timeout,
            pycurl.HEADERFUNCTION: self._take_header,
            pycurl.WRITEFUNCTION: self._take_body,
        }
        options.update(_certificates(trust, verify))
        for option, given in options.items():
            self.handle.setopt(option, given)

    def _take_header(self, line: bytes) -> None:
        self._heard = time.monotonic()
        self._header_bytes += len(line)
        if self._header_bytes > _HEADER_LIMIT:
            return
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            # A reply of a proxy, or 100 Continue, comes before the one that counts.
            code = text.split(" ", 2)[1:2]
            self._status = int(code[0]) if code and code[0].isdigit() else 0
            self._headers.clear()
            return
        name, colon, given = text.partition(":")
        if colon:
            name, given = name.strip().lower(), given.strip()
            known = self._headers.get(name)
            self._headers[name] = given if known is None else f"{known}, {given}"

    def _take_body(self, data: bytes) -> int | None:
        self._heard = time.monotonic()
        try:
            if self._status in (200, 206):
                self._pending.append(data)
                self._pending_size += len(data)
                if self._pending_size >= _AT_ONCE or self._heard - self._passed_on > _LATEST:
                    self._pass_on()
                return None
            self._body += data
            return 0 if len(self._body) >= ERROR_LIMIT else None
        except BaseException as error:  # noqa: BLE001 - raised again by the loop
            self.failure = error
            return 0

    def finish(self) -> None:
        """Pass on the last bytes that have come."""
        try:
            if self.failure is None:
                self._pass_on()
        except BaseException as error:  # noqa: BLE001 - raised again by the loop
            self.failure = error

    def _pass_on(self) -> None:
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._pending_size = 0
            self._passed_on = self._heard
            self._accept(self.reply, data)

    def close(self) -> None:
        self.handle.close()


def _certificates(trust: Trust, verify: bool) -> dict[int, object]:
    import os

    import pycurl

    options: dict[int, object] = {}
    if trust.certificate:
        options = {pycurl.SSLCERT: trust.certificate, pycurl.SSLKEY: trust.key}
    if not verify:
        return {**options, pycurl.SSL_VERIFYPEER: 0, pycurl.SSL_VERIFYHOST: 0}
    kind = pycurl.CAPATH if os.path.isdir(trust.authorities) else pycurl.CAINFO
    return {**options, kind: trust.authorities}


def explain(code: int, text: str, exchange: Exchange, settings: Settings) -> UdockerError:
    """The error that libcurl's ``code`` is to a user; a ConnectionDropped is worth a retry."""
    import pycurl

    host = host_of(exchange.url)
    proxy = host_of(settings.proxy_for(exchange.url))
    way = f"through the proxy {proxy}" if proxy else ""
    lasting = _no_trust(code, text, host)
    if lasting is None and "CONNECT tunnel" in text:
        lasting = unreachable(way, host, text)
    if lasting is not None:
        return lasting
    if code in (
        *(pycurl.E_PARTIAL_FILE, pycurl.E_GOT_NOTHING),
        *(pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR),
    ):
        return dropped(host, "before the layer was complete")
    error = _no_connection(code, text, host, way, settings)
    if error is None:
        return BadReplyError(f"{host} sends what is no HTTP reply: {text}")
    return ConnectionDropped(error.message, hint=error.hint)


def _no_trust(code: int, text: str, host: str) -> UdockerError | None:
    import pycurl

    if code == pycurl.E_SSL_CACERT_BADFILE:
        return ConfigError(f"cannot use the CA certificates: {text}", hint=CERTIFICATES_HINT)
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        return untrusted(host, text.rpartition("certificate problem: ")[2])
    if code == pycurl.E_SSL_CONNECT_ERROR and "wrong version" in text:
        return not_tls(host)
    return None


def _no_connection(
    code: int, text: str, host: str, way: str, settings: Settings
) -> UnreachableError | None:
    import pycurl

    if code == pycurl.E_OPERATION_TIMEDOUT:
        return no_answer(host, settings.connect_timeout)
    if code in (pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY):
        return unreachable(way, host, "no such host name")
    if code == pycurl.E_COULDNT_CONNECT:
        return unreachable(way, host, "connection refused, or no route to it")
    if code == pycurl.E_SSL_CONNECT_ERROR:
        return unreachable(way, host, text)
    return None
