"""Published ports at the start of a run: which of the host's are taken, and which are free."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import session as make_session
from builders.specs import config, container
from udocker.errors import PortInUse
from udocker.model.request import Published, RunRequest
from udocker.ops import published
from udocker.ops.published import first_free_port, with_ports
from udocker.spec import ports
from udocker.store import said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Settle = Callable[..., list[Published]]

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


@contextlib.contextmanager
def taken(kind: int = STREAM, address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port of this host that somebody has."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as found:
        found.bind((address, port))
        if kind == STREAM:
            found.listen()
        yield int(found.getsockname()[1])


def free(kind: int = STREAM) -> int:
    with taken(kind) as number:
        return number


@pytest.fixture
def settled(store_path: Path) -> Settle:
    def settle(*texts: str, exposes: tuple[str, ...] = (), uid: int = 1000) -> list[Published]:
        session = make_session(store_path, host(uid=uid))
        asked = tuple(ports.parse(text) for text in texts)
        request = RunRequest("x", ports=asked, publish_all=bool(exposes), exposed=exposes[1:])
        image = config({"ExposedPorts": {each: {} for each in exposes[:1]}})
        found = with_ports(session, request, container(image=image))
        assert not found.publish_all
        return list(found.ports)

    return settle


def test_what_is_free_stays(settled: Settle) -> None:
    number = free()
    assert settled(f"{number}:80", "8080") == [Published(80, number), Published(8080, 8080)]
    assert len(settled(f"127.0.0.1:{number}:80", f"127.0.0.2:{number}:81")) == 2


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
@pytest.mark.parametrize(("kind", "protocol"), [(STREAM, "tcp"), (DGRAM, "udp")])
def test_a_port_that_another_program_has(
    settled: Settle, address: str, kind: int, protocol: str
) -> None:
    with taken(kind, address) as number:
        text = f"port {number}/{protocol} of the host is in use"
        with pytest.raises(PortInUse, match=text) as caught:
            settled(f"{number}:80/{protocol}")
        assert "127.0.0.1::80 takes one that is free" in str(caught.value.hint)
        with pytest.raises(PortInUse, match=text):
            settled(f"{number - 1}-{number}:80-81/{protocol}")
        if address == "127.0.0.1":
            assert settled(f"127.0.0.5:{number}:80/{protocol}")
        assert settled(f"{number}/{protocol}")  # its own program says so itself


def test_an_address_that_is_another_hosts(settled: Settle) -> None:
    with pytest.raises(PortInUse, match=r"no address of this host: 192\.0\.2\.1"):
        settled("192.0.2.1:8080:80")


def test_a_connection_that_has_ended_takes_nothing(settled: Settle) -> None:
    with socket.socket() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        number = int(server.getsockname()[1])
        server.accept()[0].close()
    assert settled(f"{number}:80")


def test_any_that_is_free(settled: Settle) -> None:
    found = settled("127.0.0.1::80", "127.0.0.1::8000-8009", "127.0.0.1::53/udp", "[::1]::81")
    singles = list(ports.singles(found))
    assert [each.container for each in singles] == [80, *range(8000, 8010), 53, 81]
    assert len({(each.protocol, each.host) for each in singles}) == len(singles)
    assert all(1024 <= each.host < 65536 for each in singles)


def test_one_of_several(settled: Settle) -> None:
    with taken() as number, contextlib.suppress(OSError), taken(port=number + 1):
        [found] = settled(f"{number}-{number + 20}:80")
        assert number + 1 < found.host <= number + 20
        assert found.choices == 1
        with pytest.raises(PortInUse, match=f"each of the ports {number}-{number + 1}/tcp"):
            settled(f"{number}-{number + 1}:80")
        one, other = settled(f"{number}-{number + 20}:80", f"{number}-{number + 20}:81")
        assert one.host != other.host


def test_all_that_an_image_exposes(settled: Settle) -> None:
    """As it is where that is free and not root's."""
    kept, low = free(), first_free_port() - 1
    with taken() as number:
        found = settled("8080:90", exposes=(f"{number}/tcp", str(kept), f"{low}/udp", "90"))
    by_port = {each.container: each for each in found}
    assert by_port[90] == Published(90, 8080)
    assert by_port[kept] == Published(kept, kept)
    assert by_port[number].is_moved
    assert (by_port[low].is_moved, by_port[low].protocol) == (True, "udp")
    assert len(found) == 4


def test_a_range_counts_once(settled: Settle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_bound", lambda family, kind, place, is_open: place[1])
    assert settled(exposes=("8000-8999/tcp",)) == [Published(8000, 8000, 1000)]


def test_without_a_file_that_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_PORT_START", "/nowhere")
    assert first_free_port() == 1024


def test_what_is_noted(tmp_path: Path) -> None:
    given = said.Said(ports=(Published(80, 8080), Published(53, 5300, 2, "udp", "::1")))
    assert not said.is_there(str(tmp_path))
    said.write(str(tmp_path), given)
    assert said.is_there(str(tmp_path))
    assert said.read(str(tmp_path)) == given
    (tmp_path / "said.json").write_text('{"volumes": [], "labels": {}, "ports": [{"host": "x"}]}')
    assert said.read(str(tmp_path)) == said.Said()
