"""Published ports at the start of a run: which of the host's they are, and that these are free."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from udocker.errors import PortInUse
from udocker.model.request import Published
from udocker.model.value import replace
from udocker.spec.ports import UDP, exposed, merged, singles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from udocker.model.container import Container
    from udocker.model.request import RunRequest
    from udocker.ops.session import Session

_PRIVATE_PORTS = 1024  # ip(7), where the kernel does not tell
_TRIES = 8  # that a port is found which was found before is a rare thing
_PORT_START = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


def first_free_port() -> int:
    """From which on ports are for all."""
    try:
        with open(_PORT_START, encoding="ascii") as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return _PRIVATE_PORTS


def with_ports(session: Session, request: RunRequest, container: Container) -> RunRequest:
    """``request`` with a port of the host's for each that is published, and -P carried out.

    Raises PortInUse where another program has one; of a port that keeps its number the container's
    program says so itself.
    """
    search = _Search()
    found: list[Published] = []
    for each in request.ports:
        if each.choices > 1 or not each.host:
            found += merged(search.choose(single) for single in singles((each,)))
        else:
            if each.is_moved:
                for single in singles((each,)):
                    search.check(single)
            found.append(each)
    if request.publish_all:
        least = 1 if session.host.uid == 0 else first_free_port()
        more = exposed((*container.config.exposed_ports, *request.exposed), found)
        found += merged(search.keep_or_choose(each, least) for each in more)
    return replace(request, ports=tuple(found), publish_all=False, exposed=())


class _Search:
    """For ports that are free, and of which none is found twice."""

    def __init__(self) -> None:
        self._found: set[tuple[str, int]] = set()

    def check(self, single: Published) -> None:
        """Raises PortInUse."""
        try:
            _probe(single, single.host)
        except OSError as error:
            raise _refusal(single, error) from error
        self._found.add((single.protocol, single.host))

    def choose(self, single: Published) -> Published:
        """A port of the host's for it. Raises PortInUse where none is free."""
        numbers: Iterable[int] = range(single.host, single.host + single.choices)
        failed = OSError(errno.EADDRINUSE, "")
        for number in numbers if single.host else (0,) * _TRIES:
            try:
                return replace(single, host=self._take(single, number), choices=1)
            except OSError as error:
                failed = error
        raise _refusal(single, failed) from failed

    def keep_or_choose(self, exposed_port: tuple[str, int], least: int) -> Published:
        """The number that it has, where that may be had; else another one."""
        protocol, number = exposed_port
        single = Published(number, number, protocol=protocol)
        if number >= least:
            with contextlib.suppress(OSError):
                self._take(single, number)
                return single
        return self.choose(replace(single, host=0))

    def _take(self, single: Published, number: int) -> int:
        number = _probe(single, number)
        if (single.protocol, number) in self._found:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._found.add((single.protocol, number))
        return number


def _probe(single: Published, number: int) -> int:
    """Bind sockets as the program will, and close them; the port. Raises OSError."""
    kind = socket.SOCK_DGRAM if single.protocol == UDP else socket.SOCK_STREAM
    for family, address in _places(single.address):
        number = _bound(family, kind, (address, number), is_open=not single.address)
    return number


def _bound(family: socket.AddressFamily, kind: int, place: tuple[str, int], is_open: bool) -> int:
    """The port that is bound, or may be. ``is_open``: that there is no IPv6 does not matter."""
    is_v6 = family == socket.AF_INET6
    try:
        with socket.socket(family, kind) as found:
            if kind == socket.SOCK_STREAM:  # connections that have ended do not matter
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_v6:
                found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind(place)
            return int(found.getsockname()[1])
    except OSError as error:
        if is_open and is_v6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return place[1]
        raise


def _places(address: str) -> Iterator[tuple[socket.AddressFamily, str]]:
    if not address:
        yield socket.AF_INET, "0.0.0.0"
        yield socket.AF_INET6, "::"
    else:
        yield (socket.AF_INET6 if ":" in address else socket.AF_INET), address


def _refusal(single: Published, error: OSError) -> PortInUse:
    if error.errno == errno.EADDRNOTAVAIL:
        text = f"no address of this host: {single.address}"
        return PortInUse(text, hint="ip addr lists them; without one, all are meant")
    what = f"port {single.host}/{single.protocol} of the host"
    if single.choices > 1:
        last = single.host + single.choices - 1
        what = f"each of the ports {single.host}-{last}/{single.protocol} of the host"
    elif not single.host:
        what = f"each port of the host for {single.protocol}"
    if error.errno == errno.EADDRINUSE:
        address = single.address or "127.0.0.1"
        hint = f"give another one; -p {address}::{single.container} takes one that is free"
        return PortInUse(f"{what} is in use", hint=hint)
    return PortInUse(f"{what} cannot be had: {error.strerror}")
