"""Hosts and URLs: where a registry is reached, what belongs to it, where a redirect may lead.

Nothing here touches the network.
"""

from __future__ import annotations

from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from udocker.errors import BadReference, BadReplyError, ConfigError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress
    from typing import Union

    from udocker.model.reference import Digest

    Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_HUB = "docker.io"
_LABEL_SIZE = 63
_LAST_PORT = 65535
_HUB_HOST = "registry-1.docker.io"
_PORTS = {"http": 80, "https": 443}
_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"  # those that a URL may hold as they are

# Second labels under which a country's registry sells third ones: example.co.uk, example.com.au.
_SECOND_LEVEL = """
    ac co com ed edu go gob gov gv id lg ltd mil ne net nhs nom or org plc sch
"""
# Domains whose subdomains belong to different customers.
_SHARED_DOMAINS = """
    amazonaws.com appspot.com azurecr.io azurewebsites.net cloudfront.net duckdns.org
    firebaseapp.com fly.dev github.io gitlab.io herokuapp.com netlify.app ngrok.io pages.dev
    pkg.dev run.app vercel.app web.app workers.dev
"""


@value
class Endpoint:
    """How one registry is reached."""

    registry: str  # as references name it
    scheme: str
    host: str  # host[:port]
    insecure: bool = False  # plain http and unverified TLS are accepted on the way

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def plain_http_allowed(self) -> bool:
        """Whether a token realm or a redirect may be http."""
        return self.insecure or self.scheme == "http"

    @property
    def ping(self) -> str:
        """The URL that every registry answers with 200 or 401."""
        return f"{self.url}/v2/"

    def manifest(self, repository: str, selector: str) -> str:
        return f"{self.url}/v2/{repository}/manifests/{selector}"

    def blob(self, repository: str, digest: Digest) -> str:
        return f"{self.url}/v2/{repository}/blobs/{digest}"


def candidates(registry: str, insecure: bool, certified: bool = False) -> tuple[Endpoint, ...]:
    """The ways to reach ``registry``, in the order to try them.

    The second is for a peer that turns out not to speak TLS. ``certified``: the user has
    certificates for it, so it does, even on this machine.
    """
    host = _HUB_HOST if registry == _HUB else registry
    if insecure:
        return (Endpoint(registry, "https", host, True), Endpoint(registry, "http", host, True))
    if is_loopback(split_port(host)[0]) and not certified:
        return (Endpoint(registry, "http", host),)
    return (Endpoint(registry, "https", host),)


def split_port(text: str) -> tuple[str, str]:
    """``host[:port]`` in two, without the brackets of an IPv6 address; port may be empty."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host.lower(), rest[1:]
    host, _, port = text.partition(":")
    return host.lower(), port


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only be this machine, judged by its text: no name is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def host_of(url: str) -> str:
    """``host[:port]`` of ``url``, for a message."""
    return urlsplit(url).netloc.rpartition("@")[2]


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what two URLs share when a secret of one may go to the other.

    Raises BadReplyError unless ``url`` is http or https to a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadReplyError("a reply holds a broken URL") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise BadReplyError(f"a reply leads to {plain(url)}, which is no http URL")
    return parts.scheme, parts.hostname, port if port is not None else _PORTS[parts.scheme]


def plain(url: str) -> str:
    """``url`` without user, query and fragment, which may hold secrets; printable."""
    parts = urlsplit(url)
    shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return "".join(c for c in shown if c.isprintable())


def redirect_target(url: str, location: str, allow_http: bool) -> str:
    """Where the reply to ``url`` leads. Raises BadReplyError when it must not be followed."""
    if not location:
        raise BadReplyError(f"{host_of(url)} redirects without saying where to")
    try:
        target = quote(urljoin(url, location.strip()), safe=_URL_CHARACTERS)
    except ValueError:
        raise BadReplyError(f"{host_of(url)} redirects to a broken URL") from None
    scheme, host, _ = origin(target)
    if "@" in urlsplit(target).netloc:
        raise BadReplyError(f"{host_of(url)} redirects to a URL that holds a password")
    if scheme == "http" and urlsplit(url).scheme == "https" and not allow_http:
        raise BadReplyError(
            f"{host_of(url)} redirects from https to plain http at {host}",
            hint="if you trust the network: --insecure",
        )
    return target


def same_site(one: str, other: str) -> bool:
    """Whether two host names belong to one owner, by the rule of thumb of ``_site``."""
    return _site(one.lower()) == _site(other.lower())


def _site(host: str) -> str:
    """The domain that was registered: the last two labels, or three below ``co.uk`` and such."""
    labels = host.split(".")
    if _address(host) is not None or len(labels) < 3:
        return host
    parent = ".".join(labels[-2:])
    national = len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL.split()
    return ".".join(labels[-3:]) if national or parent in _SHARED_DOMAINS.split() else parent


def proxy_for(url: str, proxy: str, no_proxy: str) -> str:
    """The proxy that a request to ``url`` takes; empty for none. Raises ConfigError."""
    _, host, port = origin(url)
    if not proxy or is_loopback(host):
        return ""
    entries = no_proxy.replace(",", " ").split()
    if any(_excludes(entry.lower(), host, str(port)) for entry in entries):
        return ""
    scheme, colon, _ = proxy.partition("://")
    if colon and scheme.lower() not in _PROXY_SCHEMES:
        raise ConfigError(
            f"the proxy {host_of(proxy)} is of a kind that is not known: {scheme}",
            hint="proxies look like http://host:port",
        )
    return proxy if colon else f"http://{proxy}"


def _excludes(entry: str, host: str, port: str) -> bool:
    """Whether an entry of no_proxy means ``host``: ``*``, a host, a domain, a network."""
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(host, entry)
    if _address(entry) is not None:
        return _address(entry) == _address(host)
    name, entry_port = split_port(entry)
    name = name.lstrip("*.")
    return bool(name) and entry_port in ("", port) and (host == name or host.endswith(f".{name}"))


def _in_network(host: str, network: str) -> bool:
    import ipaddress

    address = _address(host)
    try:
        return address is not None and address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> Address | None:
    import ipaddress

    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_host(registry: str) -> None:
    """Raise BadReference for a host that Docker's grammar has and no connection can be made to.

    That is a port over 65535 (RFC 793), or a label of more than 63 bytes (RFC 1035, 2.3.4).
    """
    host, _, port = registry.rpartition(":")
    if not port.isdigit():
        host, port = registry, "0"
    too_long = not host.startswith("[") and max(map(len, host.split("."))) > _LABEL_SIZE
    if too_long or int(port[:6]) > _LAST_PORT:
        raise BadReference(f"not a registry host: {registry}", hint="check the name and the port")
