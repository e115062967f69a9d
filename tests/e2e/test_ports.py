"""``-p`` and ``-P``: servers on ports that are others of the host's, and who cannot have them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from e2e.checks import is_told
from e2e.engines import BUSYBOX, need
from e2e.living import Living, living, started, wait_until
from udocker.engine import table
from udocker.model.features import MOVED_PORTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

SERVES = "mkdir -p /www; echo hello >/www/page; exec httpd -f -h /www -p "
DEBIAN = "debian:12"
ECHOES = """use Socket;
socket(my $s, AF_INET, SOCK_DGRAM, 0); bind($s, sockaddr_in(53, INADDR_ANY)) or die;
while (defined(my $from = recv($s, my $what, 9, 0))) { send($s, $what, 0, $from); }
"""
ASKS = ("wget", "-q", "-O", "-")
ABLE = [m.name for m in table.MODES if MOVED_PORTS in m.engine.FEATURES and m.name != "F4"]
UNABLE = [m.name for m in table.MODES if MOVED_PORTS not in m.engine.FEATURES]


@pytest.fixture(params=ABLE)
def box(
    request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]
) -> Iterator[Living]:
    need(refusals, request.param)
    with living(shared, f"ports-{request.param.lower()}", request.param) as found:
        yield found


@pytest.fixture
def one(shared: Shared, refusals: dict[str, str]) -> Iterator[Living]:
    """In a mode that can."""
    mode = next((name for name in ABLE if not refusals[name]), "")
    if not mode:
        pytest.skip("host: no mode that redirects ports")
    with living(shared, "ports-one", mode) as found:
        yield found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def _page(port: int, address: str = "127.0.0.1") -> str:
    """What the server says, once it listens."""
    end = time.monotonic() + 20
    while True:
        try:
            connection = http.client.HTTPConnection(address, port, timeout=5)
            connection.request("GET", "/page")
            return connection.getresponse().read().decode()
        except ConnectionError:
            assert time.monotonic() < end
            time.sleep(0.05)


def _serve(box: Living, *options: str, place: str = "80") -> None:
    mode = (f"--execmode={box.mode}",) if box.mode else ()
    box.run("sh", "-c", f"{SERVES}{place}", options=(*mode, *options))


def test_a_server_on_a_port_of_roots(box: Living) -> None:
    port = _free_port()
    _serve(box, "-p", f"{port}:80")
    assert _page(port) == "hello\n"
    for place in ("127.0.0.1", "localhost:80"):
        assert box("exec", *ASKS, f"http://{place}/page").out == "hello\n"
    assert box("exec", *ASKS, f"http://127.0.0.1:{port}/page").out == "hello\n"  # the host's own
    [line] = box("port").out.splitlines()
    assert line.startswith("80/tcp -> ")
    assert line.endswith(f":{port}")
    assert box("port", "80").out.endswith(f":{port}\n")
    listed = box.shared("ps", f"--filter=name={box.name}", "--format={{.Ports}}").out
    assert listed == f"0.0.0.0:{port}->80/tcp\n"
    bindings = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}]}
    for field in ("HostConfig.PortBindings", "NetworkSettings.Ports"):
        assert json.loads(box(f"inspect --format={{{{json(.{field})}}}}").out) == bindings
    image = box.shared.image(BUSYBOX)
    again = box.shared("run", "-q", "--rm", "-p", f"{port}:80", image, "true", check=False)
    is_told(again, 125, f"port {port}/tcp of the host is in use", "-p 127.0.0.1::80")

    # As it was made, whenever it is started.
    box("stop -t 5")
    assert box.shared("ps", f"--filter=name={box.name}", "--format={{.Ports}}").out == "\n"
    assert json.loads(box("inspect --format={{json(.NetworkSettings.Ports)}}").out) == {}
    box("start")
    assert _page(port) == "hello\n"


def test_on_one_address(box: Living) -> None:
    """Whatever the program says."""
    port = _free_port()
    _serve(box, "-p", f"127.0.0.2:{port}:80", place="0.0.0.0:80")
    assert _page(port, "127.0.0.2") == "hello\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert box("exec", *ASKS, "http://127.0.0.1/page").out == "hello\n"
    assert box("port").out == f"80/tcp -> 127.0.0.2:{port}\n"


def test_one_that_is_free(one: Living) -> None:
    _serve(one, "-p", "127.0.0.1::80", "-P", "--expose=53/udp")
    lines = one("port").out.splitlines()
    assert [line.partition(" -> ")[0] for line in lines] == ["53/udp", "80/tcp"]
    port = int(lines[1].rpartition(":")[2])
    assert _page(port) == "hello\n"
    assert one("exec", *ASKS, "http://127.0.0.1/page").out == "hello\n"


def test_all_that_the_image_exposes(one: Living) -> None:
    shared = one.shared
    shared("create", "--name=ports-made", shared.image(BUSYBOX), "true")
    try:
        shared("commit", "-c", "EXPOSE 80", "ports-made", "ports-exposing")
        command = ("sh", "-c", f"{SERVES}80")
        shared("run", "-q", "-d", "-P", f"--name={one.name}", "ports-exposing", *command)
        assert one.begun()["mode"] in ABLE
        place = one("port", "80").out.strip()
        assert _page(int(place.rpartition(":")[2])) == "hello\n"
    finally:
        shared("rm", "-f", "ports-made", one.name, check=False)
        shared("rmi", "-f", "ports-exposing", check=False)


def test_auto_takes_a_mode_that_can(shared: Shared, one: Living) -> None:
    port = _free_port()
    with living(shared, "ports-auto") as found:
        _serve(found, "-p", f"{port}:80")
        assert found.begun()["mode"] == one.mode
        assert _page(port) == "hello\n"


def test_a_container_that_is_made_and_started(one: Living) -> None:
    port, image = _free_port(), one.shared.image(BUSYBOX)
    options = (f"--name={one.name}", f"--execmode={one.mode}", "-p", f"{port}:80")
    one.shared("create", *options, image, "sh", "-c", f"{SERVES}80")
    one("start")
    assert _page(port) == "hello\n"


def test_in_the_foreground(one: Living) -> None:
    """Nothing is noted of such a run but its ports."""
    port, image = _free_port(), one.shared.image(BUSYBOX)
    options = (f"--name={one.name}", f"--execmode={one.mode}", "-p", f"{port}:80")
    words = ("run", "-q", *options, image, "sh", "-c", f"{SERVES}80")
    with started(one.shared, *words):
        assert _page(port) == "hello\n"
        assert one("exec", *ASKS, "http://127.0.0.1/page").out == "hello\n"
        assert one("port", "80").out.endswith(f":{port}\n")
    wait_until(lambda: not one.state()["running"])
    shown = ("ps", f"--filter=name={one.name}", "--format={{.Ports}}")
    with started(one.shared, "run", "-q", one.name, "sleep", "30"):  # another run: none of them
        wait_until(lambda: bool(one.state()["running"]))
        assert one.shared(*shown).out == "\n"


def test_datagrams(one: Living) -> None:
    port = _free_port()
    options = (f"--execmode={one.mode}", "-p", f"{port}:53/udp", f"--name={one.name}")
    one.shared("run", "-q", "-d", *options, one.shared.image(DEBIAN), "perl", "-e", ECHOES)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        for _ in range(100):
            with contextlib.suppress(OSError):  # nobody listens yet
                client.sendto(b"x", ("127.0.0.1", port))
                assert client.recv(9) == b"x"
                return
    pytest.fail("nothing came back")


@pytest.mark.parametrize("mode", UNABLE)
def test_modes_that_cannot_say_so(shared: Shared, mode: str) -> None:
    before = shared.containers()
    words = ("run", "-q", f"--execmode={mode}", "-p", f"{_free_port()}:80", shared.image(BUSYBOX))
    is_told(
        shared(*words, "true", check=False),
        125,
        f"mode {mode} lacks ports by other numbers than on the host",
        "--execmode=F3 or",
    )
    assert shared.containers() == before


def test_what_is_refused_before_anything_is_done(shared: Shared) -> None:
    image = shared.image(BUSYBOX)
    port = _free_port()
    for options, part in (
        (["-p", "8080:80", "-p", "8081:80"], "port 80/tcp of the container is published twice"),
        (["-p", "here:8080:80"], "not an address: 'here'"),
        (["-p", "8080-8081:80-82"], "the ranges differ in length"),
        (["-p", f"{port}:{port + 1}/sctp"], "cannot be another one of the host's"),
    ):
        is_told(shared("run", *options, image, "true", check=False), 2, part)


def test_a_warning_where_the_program_chooses_its_address(
    shared: Shared, refusals: dict[str, str]
) -> None:
    need(refusals, "N1")
    port = _free_port()
    options = ("--execmode=N1", "-p", f"127.0.0.1:{port}:{port}")
    ended = shared("run", "-q", "--rm", *options, shared.image(BUSYBOX), "true")
    assert "lacks one address for a port (the program chooses where it listens)" in ended.err
    assert len(ended.err.splitlines()) == 1
    needed = ("run", "-q", "--rm", "--network=none", "-p", f"{port}:80", shared.image(BUSYBOX))
    assert shared(*needed, "true").err == ""  # there is no network to publish to
