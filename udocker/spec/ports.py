"""``--publish``: ports of the container, and which of the host's they are."""

from __future__ import annotations

import re

from udocker.errors import UsageError
from udocker.model.request import Published
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Single = tuple[str, int]  # a protocol, and a port of the container

TCP, UDP, SCTP = PROTOCOLS = ("tcp", "udp", "sctp")
_HINT = "-p 8080:80: port 8080 of the host, 80 of the container"
_MOST = 65535
_ALL = ("0.0.0.0", "::")  # words for: every address
_EXPOSED = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp))?", re.ASCII)


def parse(text: str) -> Published:
    """Read the value of -p: ``[ADDRESS:][[PORT]:]PORT[/udp]``. Raises UsageError.

    One port alone is the same of the host. ``ADDRESS::PORT`` leaves the choice to udocker, and
    ``8000-8009:80`` a choice of ten.
    """
    ports, _, protocol = text.lower().partition("/")
    if protocol not in ("", *PROTOCOLS):
        raise UsageError(f"-p {text!r}: unknown protocol {protocol!r}", hint=_HINT)
    rest, _, inner = ports.rpartition(":")
    address, colon, outer = rest.rpartition(":")
    if not colon:
        address, outer = "", rest
    container = _range(inner, text)
    host = _range(outer, text) if outer else range(0) if colon else container
    found = Published(
        container.start,
        host.start,
        len(container),
        protocol or TCP,
        _address(address, text),
        choices=len(host) if len(container) == 1 and host else 1,
    )
    if len(host) not in (0, len(container), found.choices):
        raise UsageError(f"-p {text!r}: the ranges differ in length", hint=_HINT)
    return found


def check(ports: Sequence[Published], first_free: int, uid: int) -> tuple[Published, ...]:
    """What was published, each once. Raises UsageError where that cannot be had in any mode.

    ``first_free``: the first port that needs no privileges, ip_unprivileged_port_start of ip(7).
    """
    found = tuple(dict.fromkeys(ports))
    for each in found:
        _check_alone(each, 1 if uid == 0 else first_free)
    for number, one in enumerate(found):
        for other in found[:number]:
            _check_apart(one, other)
    return found


def exposed(texts: Iterable[str], published: Iterable[Published]) -> list[Single]:
    """The ports that an image exposes and that are not published: protocol and number."""
    known = {(each.protocol, number) for each in published for number in _inner(each)}
    found: dict[Single, None] = {}
    for text in texts:
        match = _EXPOSED.fullmatch(text)
        if match:  # what else an image says is nobody's mistake here
            first, last = int(match[1]), int(match[2] or match[1])
            for number in range(max(first, 1), min(last, _MOST) + 1):
                found[match[3] or TCP, number] = None
    return sorted(each for each in found if each not in known)


def merged(ports: Iterable[Published]) -> tuple[Published, ...]:
    """The same in fewer ranges."""
    found: list[Published] = []
    for each in ports:
        before = found[-1] if found else None
        if before is not None and each == replace(
            before,
            container=before.container + before.count,
            host=before.host + before.count,
            count=each.count,
        ):
            found[-1] = replace(before, count=before.count + each.count)
        else:
            found.append(each)
    return tuple(found)


def singles(ports: Iterable[Published]) -> Iterator[Published]:
    """Each port by itself."""
    for each in ports:
        for number in range(each.count):
            host = each.host + number if each.host else 0
            yield replace(each, container=each.container + number, host=host, count=1)


def binding(published: Published) -> tuple[str, str, str]:
    """As Docker tells it: "80/tcp", the address, and the port of the host."""
    return (
        f"{published.container}/{published.protocol}",
        published.address or _ALL[0],
        str(published.host),
    )


def told(published: Published) -> str:
    """As ps shows it: ``0.0.0.0:8080->80/tcp``."""
    address = published.address or _ALL[0]
    place = f"[{address}]" if ":" in address else address
    host, inner = _words(published.host, published), _words(published.container, published)
    return f"{place}:{host}->{inner}/{published.protocol}"


def _words(first: int, published: Published) -> str:
    return str(first) if published.count == 1 else f"{first}-{first + published.count - 1}"


def _inner(published: Published) -> range:
    return range(published.container, published.container + published.count)


def _outer(published: Published) -> range:
    """The ports of the host that it has for sure."""
    is_open = published.choices > 1 or not published.host
    return range(0) if is_open else range(published.host, published.host + published.count)


def _meet(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


def _check_alone(one: Published, least: int) -> None:
    number = one.container
    if 0 < one.host < least:
        usual = number if number >= least else number + 8000
        raise UsageError(
            f"port {one.host} of the host is root's: ports from {least} on are for all",
            hint=f"take another one of the host's: -p {usual}:{number}",
        )
    if one.protocol == SCTP and (one.is_moved or one.choices > 1):
        raise UsageError(
            f"port {number}/sctp cannot be another one of the host's",
            hint=f"have the program listen on the one that is to be: -p {one.host or number}/sctp",
        )


def _check_apart(one: Published, other: Published) -> None:
    if one.protocol != other.protocol:
        return
    if _meet(_inner(one), _inner(other)):
        raise UsageError(
            f"port {max(one.container, other.container)}/{one.protocol} of the container is "
            "published twice",
            hint="a program listens on one port of the host: leave one -p out",
        )
    if _meet(_outer(one), _outer(other)) and (
        not (one.address and other.address) or one.address == other.address
    ):
        raise UsageError(
            f"port {max(one.host, other.host)}/{one.protocol} of the host is published twice",
            hint="give one of them another port of the host",
        )


def _range(text: str, whole: str) -> range:
    first, dash, last = text.partition("-")
    ends = (first, last if dash else first)
    if not all(end.isascii() and end.isdigit() and 0 < int(end[:6]) <= _MOST for end in ends):
        raise UsageError(f"-p {whole!r}: not a port: {text!r}", hint=_HINT)
    if int(ends[0]) > int(ends[1]):
        raise UsageError(f"-p {whole!r}: {text} is upside down", hint=_HINT)
    return range(int(ends[0]), int(ends[1]) + 1)


def _address(text: str, whole: str) -> str:
    """As it is spelled usually; "" for every address."""
    import ipaddress

    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not bare or bare in _ALL:
        return ""
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        found = None
    if found is None or "%" in bare:
        hint = "-p 127.0.0.1:8080:80, or -p [::1]:8080:80"
        raise UsageError(f"-p {whole!r}: not an address: {text!r}", hint=hint)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
