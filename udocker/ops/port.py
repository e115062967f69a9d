"""What a container listens on, and what was published of it. Its network is the host's."""

from __future__ import annotations

import contextlib
import os
import socket

from udocker.engine.processes import tree
from udocker.model.value import value
from udocker.ops.control import roots, running
from udocker.spec.ports import singles
from udocker.store import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.ops.session import Session

# State of a socket that waits for others: TCP_LISTEN, and for UDP TCP_CLOSE of tcp_states.h.
_TABLES = (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07"))
_EVERY = "0.0.0.0"
_MAPPED = "::ffff:"  # before an address of IPv4, ipv6(7)


@value
class Port:
    """``number`` is the container's, ``host`` the host's; ``protocol`` tcp or udp."""

    number: int
    protocol: str
    address: str  # of the host's, as it is bound
    host: int


def ports(session: Session, text: str) -> list[Port]:
    """What the processes of a container that runs here listen on, in the order of numbers.

    What was published is there from the beginning. Raises ContainerNotFound, NotRunning.
    """
    container, found = running(session, text)
    listening: set[tuple[int, str, str]] = set()
    for pid in tree(roots(container, found)):
        inodes = set(_sockets(pid))
        if inodes:
            listening.update(each for inode, each in _table(pid) if inode in inodes)
    published = list(singles(said.read(container.path).ports))
    inner = {(each.host, each.protocol): each.container for each in published}
    shown = {
        (inner.get((host, protocol), host), protocol, address, host)
        for host, protocol, address in listening
    }
    bound = {(host, protocol) for host, protocol, _ in listening}
    shown |= {
        (each.container, each.protocol, each.address or _EVERY, each.host)
        for each in published
        if (each.host, each.protocol) not in bound
    }
    return [Port(*each) for each in sorted(shown)]


def _sockets(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                link = os.readlink(f"/proc/{pid}/fd/{name}")
                if link.startswith("socket:["):
                    yield link[8:-1]


def _table(pid: int) -> Iterator[tuple[str, tuple[int, str, str]]]:
    """proc_pid_net(5): inodes of sockets that wait for others, and where."""
    for name, wanted in _TABLES:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{name}", "rb") as stream:
            for line in stream.read().decode("ascii", "replace").splitlines()[1:]:
                words = line.split()
                if words[3] == wanted:
                    address, _, port = words[1].partition(":")
                    yield words[9], (int(port, 16), name[:3], _address(address))


def _address(text: str) -> str:
    """Words of 32 bits in the order of this machine; one of IPv4 is shown as such."""
    words = [bytes.fromhex(text[n : n + 8])[::-1] for n in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    found = socket.inet_ntop(family, b"".join(words))
    return found.removeprefix(_MAPPED) if "." in found else found
