from __future__ import annotations

import pytest

from udocker.errors import UsageError
from udocker.model.request import NameOptions
from udocker.spec import network


def test_networks() -> None:
    assert network.is_network("host")
    assert network.is_network("bridge")
    assert not network.is_network("none")
    with pytest.raises(UsageError):
        network.is_network("")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a:1.2.3.4", ("a", "1.2.3.4")),
        ("a=1.2.3.4", ("a", "1.2.3.4")),
        ("a:::1", ("a", "::1")),
        ("a:[::1]", ("a", "::1")),
        ("host.docker.internal:host-gateway", ("host.docker.internal", "127.0.0.1")),
    ],
)
def test_hosts(text: str, found: tuple[str, str]) -> None:
    assert network.parse_host(text) == found


@pytest.mark.parametrize("text", ["", "a", "a:", ":1.2.3.4", "a:1.2.3", "a b:1.2.3.4", "a:b"])
def test_wrong_hosts(text: str) -> None:
    with pytest.raises(UsageError):
        network.parse_host(text)


HOST = b"# of the host\nnameserver 10.0.0.1\nsearch a.b\noptions rotate\n"


@pytest.mark.parametrize(
    ("names", "content"),
    [
        (NameOptions(), HOST),
        (
            NameOptions(servers=("9.9.9.9", "::1")),
            b"# of the host\nsearch a.b\noptions rotate\nnameserver 9.9.9.9\nnameserver ::1\n",
        ),
        (
            NameOptions(search=("x.y", "z")),
            b"# of the host\nnameserver 10.0.0.1\noptions rotate\nsearch x.y z\n",
        ),
        (
            NameOptions(search=(".",)),
            b"# of the host\nnameserver 10.0.0.1\noptions rotate\n",
        ),
        (
            NameOptions(options=("ndots:2",)),
            b"# of the host\nnameserver 10.0.0.1\nsearch a.b\noptions ndots:2\n",
        ),
    ],
)
def test_resolv_conf(names: NameOptions, content: bytes) -> None:
    assert network.resolv_conf(HOST, names) == content


def test_without_a_file_of_the_host() -> None:
    assert network.resolv_conf(None, NameOptions(servers=("9.9.9.9",))) == b"nameserver 9.9.9.9\n"
    added = network.hosts(None, NameOptions(hosts=(("a", "1.2.3.4"),)))
    assert added == b"127.0.0.1\tlocalhost\n1.2.3.4\ta\n"
    assert network.hosts(b"x", NameOptions(hosts=(("a", "::1"),))) == b"x\n::1\ta\n"
    assert network.hosts(None, NameOptions()) is None
