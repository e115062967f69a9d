"""One HTTP exchange with a registry, by ``requests``: documents, and what is pushed.

Layers that are pulled go by ``transfer``.

The environment is not read: proxy, credentials and certificates come from Settings.
"""

from __future__ import annotations

import contextlib
import io
import threading

from udocker.errors import BadReplyError, ConfigError, UdockerError, UnreachableError
from udocker.model.value import replace, value
from udocker.registry.address import host_of, plain, proxy_for
from udocker.registry.certificates import CERTIFICATES_HINT
from udocker.registry.replies import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    import requests

    from udocker.registry.certificates import Certificates

    class Readable(Protocol):
        def read(self, size: int = -1, /) -> bytes: ...


DOCUMENT_LIMIT = 4 << 20  # bytes; image-spec asks registries to take manifests of 4 MiB
ERROR_LIMIT = 64 << 10  # bytes of an error reply that are read
_CHUNK = 64 << 10
_INSECURE_HINT = "if you trust the network: --insecure"
_UNTRUSTED_HINT = (
    "name its authority's file by SSL_CERT_FILE, or put it into certs.d; or --insecure"
)
# What OpenSSL calls the reply of a server that does not speak TLS.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


@value
class Settings:
    """What the user decided about registries and the network. Times are in seconds."""

    insecure: bool  # accept plain http and unverified TLS from every registry
    insecure_registries: tuple[str, ...]  # the same for these: host or host:port
    jobs: int  # layers at once
    connect_timeout: int
    stall_timeout: int  # without a byte
    user_agent: str
    proxy: str  # for https, URL or host:port; empty: none
    no_proxy: str  # hosts, domains and networks reached without it, separated by commas
    ca_bundle: str = ""  # file or directory of authorities; empty: the host's
    certificate_folders: tuple[str, ...] = ()  # see ``Certificates``
    http_proxy: str = ""  # the proxy for http
    token_services: tuple[str, ...] = ()  # hosts that may be sent a login of another site's
    tries: int = 4  # of one request or one layer
    retry_delay: float = 0.5  # before the second try; doubled for each one more

    def __repr__(self) -> str:
        return f"Settings({self.user_agent!r}, …)"  # the proxy's URL may hold a password

    def accepts_insecure(self, registry: str) -> bool:
        """Whether ``registry`` (host or host:port) may speak plain http or have any certificate."""
        return self.insecure or _is_among(registry, self.insecure_registries)

    def trusts_with_logins(self, host: str) -> bool:
        """Whether ``host`` (or host:port) may be sent logins for registries of other sites."""
        return _is_among(host, self.token_services)

    def proxy_for(self, url: str) -> str:
        """The proxy that a request to ``url`` takes; empty for none. Raises ConfigError."""
        is_http = url.lower().startswith("http://")
        return proxy_for(url, self.http_proxy if is_http else self.proxy, self.no_proxy)

    def delay(self, tries: int) -> float:
        """Seconds to wait after ``tries`` failures in a row."""
        return float(self.retry_delay * 2 ** (tries - 1))


def _is_among(host: str, entries: tuple[str, ...]) -> bool:
    """Whether an entry is ``host``, or without its port."""
    name = host.lower()
    known = [entry.lower() for entry in entries]
    return name in known or name.rpartition(":")[0] in known


@value
class Content:
    """Bytes to send: their number, and what gives them, from the first one, each time."""

    size: int
    open: Callable[[], Readable]

    @classmethod
    def of(cls, data: bytes) -> Content:
        return cls(len(data), lambda: io.BytesIO(data))


class _Body:
    """What ``requests`` sends in small parts, each of which may take as long as a timeout says."""

    def __init__(self, content: Content) -> None:
        self._size = content.size
        self.read = content.open().read

    def __len__(self) -> int:
        return self._size


@value
class Request:
    """A GET, or with a ``form`` (application/x-www-form-urlencoded) a POST; or what it says."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    form: str = ""
    secrets: tuple[str, ...] = ()  # what headers and form hold of them
    method: str = "GET"
    content: Content = Content.of(b"")
    only_once: bool = False  # it is not known to do no harm a second time

    def __repr__(self) -> str:
        return f"Request({self.method} {plain(self.url)!r})"

    def authorised(self, authorization: str) -> Request:
        """The request with this Authorization header; as it is when that is empty."""
        if not authorization:
            return self
        headers = (*self.headers, ("Authorization", authorization))
        return replace(self, headers=headers, secrets=(authorization.partition(" ")[2],))


class ConnectionDropped(UnreachableError):
    """The peer was there and went away; the same request may succeed now."""


class Stalled(UnreachableError):
    """The peer is there and says nothing more; another connection may do better."""


class NotTls(UnreachableError):
    """The peer of an https request does not speak TLS."""


class Http:
    """Does exchanges; connections stay open until ``close``."""

    def __init__(self, settings: Settings, certificates: Certificates) -> None:
        self._settings = settings
        self._certificates = certificates
        self._session: requests.Session | None = None
        self._opening = threading.Lock()

    def close(self) -> None:
        """Close the connections that are kept open; the next exchange opens new ones."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def exchange(self, request: Request, *, verify: bool, limit: int = DOCUMENT_LIMIT) -> Reply:
        """The reply to ``request``, whatever its status; redirects are not followed.

        ``verify``: the certificate must be good; ``limit``: bytes that a body may have. Raises
        UnreachableError, BadReplyError, ConfigError.
        """
        with self._explained(request.url):
            response = self._open(request, verify)
            with contextlib.closing(response):
                headers = {name.lower(): text for name, text in response.headers.items()}
                is_head = request.method == "HEAD"
                body = b"" if is_head else _read(response, plain(request.url), limit)
                return Reply(request.url, response.status_code, headers, body, request.secrets)

    def _open(self, request: Request, verify: bool) -> requests.Response:
        session = self._opened()
        settings = self._settings
        content = request.content
        proxy = settings.proxy_for(request.url)
        headers = {"User-Agent": settings.user_agent, "Accept-Encoding": "identity"}
        headers.update(request.headers)
        if request.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        trust = self._certificates.trust(host_of(request.url))
        return session.request(
            "POST" if request.form else request.method,
            request.url,
            headers=headers,
            data=_Body(content) if content.size else request.form or None,
            timeout=(settings.connect_timeout, settings.stall_timeout),
            allow_redirects=False,
            stream=True,
            verify=trust.authorities if verify else False,
            cert=(trust.certificate, trust.key) if trust.certificate else None,
            proxies={"http": proxy, "https": proxy} if proxy else {},
        )

    def _opened(self) -> requests.Session:
        import requests
        import urllib3

        with self._opening:
            if self._session is None:
                self._session = requests.Session()
                self._session.trust_env = False
                # Each unverified connection would be told of; the user asked for them.
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            return self._session

    @contextlib.contextmanager
    def _explained(self, url: str) -> Iterator[None]:
        """Turn what ``requests`` raises into an error for the user."""
        import requests

        try:
            yield
        except requests.RequestException as error:
            raise self._explain(error, url) from error
        except OSError as error:
            # requests raises a bare OSError for a CA bundle that is not there.
            raise ConfigError(
                f"cannot use the CA certificates: {error}", hint=CERTIFICATES_HINT
            ) from error

    def _explain(self, error: requests.RequestException, url: str) -> UdockerError:
        from requests import ConnectTimeout, Timeout
        from requests.exceptions import InvalidProxyURL, InvalidSchema, ProxyError, SSLError

        host = host_of(url)
        settings = self._settings
        if isinstance(error, (ProxyError, InvalidProxyURL, InvalidSchema)):
            proxy = host_of(settings.proxy_for(url))
            return _explain_proxy(error, proxy, host)
        if isinstance(error, SSLError):
            return _explain_tls(error, host)
        refusal = _socks_refusal(error)
        if refusal:
            return unreachable(
                f"through the proxy {host_of(settings.proxy_for(url))}", host, refusal
            )
        if isinstance(error, ConnectTimeout):
            return no_answer(host, settings.connect_timeout)
        if isinstance(error, Timeout) or _mentions(error, "Read timed out"):
            return stalled(host, settings.stall_timeout)
        return _explain_connection(error, host)


def _read(response: requests.Response, where: str, limit: int) -> bytes:
    """The body; that of an error is cut, that of a document may not be longer than ``limit``."""
    is_document = response.status_code == 200
    limit = limit if is_document else ERROR_LIMIT
    too_large = BadReplyError(f"{where} is larger than the {limit} bytes that are allowed")
    declared = response.headers.get("Content-Length", "")
    expected = int(declared) if declared.isascii() and declared.isdigit() else None
    if is_document and expected is not None and expected > limit:
        raise too_large
    body = bytearray()
    for chunk in response.iter_content(_CHUNK):
        body += chunk
        if len(body) > limit:
            if is_document:
                raise too_large
            return bytes(body[:limit])
    # Version 1 of urllib3 does not tell of a body that is cut short.
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    if expected is not None and not encoded and len(body) < expected:
        raise dropped(host_of(response.url), f"after {len(body)} of {expected} bytes")
    return bytes(body)


def unreachable(way: str, host: str, cause: str) -> UnreachableError:
    return UnreachableError(
        f"cannot reach {host}{way and ' '}{way}: {cause}",
        hint="check the registry's name, the network and the proxy settings",
    )


def no_answer(host: str, seconds: int) -> UnreachableError:
    return unreachable("", host, f"no answer within {seconds} s")


def stalled(host: str, seconds: int) -> Stalled:
    return Stalled(
        f"{host} went silent: not a byte for {seconds} s", hint="try again; check the network"
    )


def dropped(host: str, when: str) -> ConnectionDropped:
    return ConnectionDropped(
        f"{host} closed the connection {when}", hint="try again; check the network"
    )


def untrusted(host: str, why: str) -> UnreachableError:
    return UnreachableError(
        f"the certificate of {host} is not trusted: {why}", hint=_UNTRUSTED_HINT
    )


def not_tls(host: str) -> NotTls:
    return NotTls(f"{host} speaks plain http, not https", hint=_INSECURE_HINT)


def _explain_tls(error: Exception, host: str) -> UnreachableError:
    import ssl

    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return untrusted(host, cause.verify_message)
    text = str(error).upper().replace(" ", "_")
    if any(name in text for name in _NOT_TLS):
        return not_tls(host)
    for cause in _causes(error):
        if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return dropped(host, "while TLS was being set up")
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return unreachable("", host, f"TLS: {cause.reason.lower().replace('_', ' ')}")
    return unreachable("", host, "TLS cannot be set up")


def _explain_connection(error: Exception, host: str) -> UdockerError:
    import socket

    from requests.exceptions import ContentDecodingError, InvalidURL

    if isinstance(error, (ContentDecodingError, InvalidURL)):
        return BadReplyError(f"{host}: {type(error).__name__}")
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return unreachable("", host, "no such host name")
        if isinstance(cause, (ConnectionResetError, BrokenPipeError)):
            break
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return unreachable("", host, cause.strerror.lower())
    return dropped(host, "before the reply was complete")


def _explain_proxy(error: Exception, proxy: str, host: str) -> UdockerError:
    from requests.exceptions import ProxyError

    if not isinstance(error, ProxyError):
        return ConfigError(
            f"the proxy {proxy} cannot be used: no support for its kind of URL",
            hint="proxies look like http://host:port",
        )
    refusal = "Tunnel connection failed: "
    for cause in _causes(error):
        if isinstance(cause, OSError) and str(cause).startswith(refusal):
            return unreachable(f"through the proxy {proxy}", host, str(cause)[len(refusal) :])
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return unreachable(f"through the proxy {proxy}", host, cause.strerror.lower())
    return unreachable(f"through the proxy {proxy}", host, "the proxy does not answer")


def _socks_refusal(error: Exception) -> str:
    """What PySocks says of a SOCKS proxy; empty when it is not about one."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and type(cause).__module__ == "socks":
            inner = getattr(cause, "socket_err", None)
            said = getattr(inner, "strerror", None) or getattr(cause, "msg", "") or "no connection"
            return str(said).lower()
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and all that it was raised for; requests and urllib3 wrap in several ways."""
    seen: list[Any] = []
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        seen.append(current)
        yield current
        waiting += [current.__cause__, current.__context__, getattr(current, "reason", None)]
        waiting += current.args


def _mentions(error: Exception, text: str) -> bool:
    return any(text in str(cause) for cause in _causes(error))
