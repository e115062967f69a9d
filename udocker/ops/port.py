"""What a container listens on. Its network is the host's, so its ports are the host's, too."""

from __future__ import annotations

import contextlib
import os
import socket

from udocker.engine.processes import tree
from udocker.model.value import value
from udocker.ops.control import roots, running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.ops.session import Session

# State of a socket that waits for others: TCP_LISTEN, and for UDP TCP_CLOSE of tcp_states.h.
_TABLES = (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07"))


@value
class Port:
    """``protocol`` is tcp or udp; ``address`` as it is bound."""

    number: int
    protocol: str
    address: str


def ports(session: Session, text: str) -> list[Port]:
    """What the processes of a container that runs here listen on, in the order of numbers.

    Raises ContainerNotFound, NotRunning.
    """
    container, found = running(session, text)
    listening: set[tuple[int, str, str]] = set()
    for pid in tree(roots(container, found)):
        inodes = set(_sockets(pid))
        if inodes:
            listening.update(each for inode, each in _table(pid) if inode in inodes)
    return [Port(*each) for each in sorted(listening)]


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
    """Words of 32 bits in the order of this machine."""
    words = [bytes.fromhex(text[n : n + 8])[::-1] for n in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words))
