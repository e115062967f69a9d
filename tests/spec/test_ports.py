from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udocker.errors import UsageError
from udocker.model.codec import decode, encode
from udocker.model.request import Published
from udocker.spec import ports

ANYBODY, ROOT = 1000, 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8080", Published(8080, 8080)),
        ("8080:8080/udp", Published(8080, 8080, protocol="udp")),
        ("8080:80/TCP", Published(80, 8080)),
        ("8080:80", Published(80, 8080)),
        ("127.0.0.1:81:80", Published(80, 81, address="127.0.0.1")),
        ("127.0.0.1::80", Published(80, address="127.0.0.1")),
        ("127.0.0.1::8000-8009", Published(8000, count=10, address="127.0.0.1")),
        ("0.0.0.0:81:80", Published(80, 81)),
        ("[::]:81:80", Published(80, 81)),
        ("[::1]:81:80", Published(80, 81, address="::1")),
        ("[0:0::1]::80", Published(80, address="::1")),
        ("[::ffff:127.0.0.1]:81:80", Published(80, 81, address="127.0.0.1")),
        ("::80", Published(80)),
        ("9000-9002:9000-9002", Published(9000, 9000, 3)),
        ("18000-18002:8000-8002/udp", Published(8000, 18000, 3, "udp")),
        ("8000-8009:80", Published(80, 8000, choices=10)),
        ("9000/sctp", Published(9000, 9000, protocol="sctp")),
        ("1-65535", Published(1, 1, 65535)),
    ],
)
def test_published(text: str, found: Published) -> None:
    assert ports.parse(text) == found
    assert decode(Published, encode(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "0", "65536", "80:", "80:x", "80/icmp", "9-7", "1-3:1-2", "1-3:1-5"),
        *("8080:-1", "0:80", "-", "1-", "٣", "80 ", "80/", "8080:80:90", "localhost:8080:80"),
        *("[::1:81:80", "fe80::1%eth0:81:80", "[fe80::1%lo]:81:80", "1.2.3:81:80", "/tcp", "8:8\n"),
    ],
)
def test_wrong_ports(text: str) -> None:
    if text == "80/":  # as Docker
        assert ports.parse(text) == Published(80, 80)
        return
    with pytest.raises(UsageError, match="-p '"):
        ports.parse(text)


def _checked(*texts: str, first: int = 1024, uid: int = ANYBODY) -> tuple[Published, ...]:
    return ports.check([ports.parse(text) for text in texts], first, uid)


def test_ports_of_the_host_below_a_number_are_roots() -> None:
    assert _checked("8080:80", "8081") == (Published(80, 8080), Published(8081, 8081))
    assert _checked("80", first=80) == (Published(80, 80),)
    assert _checked("80", uid=ROOT) == (Published(80, 80),)
    assert _checked("127.0.0.1::80") == (Published(80, address="127.0.0.1"),)
    for text, usual in (("80", "8080:80"), ("80:8080", "8080:8080"), ("1020-1030:53", "8053:53")):
        with pytest.raises(UsageError, match="of the host is root's: ports from 1024") as caught:
            _checked(text)
        assert f"-p {usual}" in str(caught.value.hint)


def test_a_port_is_published_once() -> None:
    assert _checked("8080:80", "8080:80") == (Published(80, 8080),)
    assert len(_checked("8080:80", "8080:80/udp")) == 2
    assert len(_checked("127.0.0.1:8080:80", "127.0.0.2:8080:81")) == 2
    assert len(_checked("127.0.0.1::80", "127.0.0.1::81")) == 2
    for texts, what in (
        (("8080:80", "8081:80"), "port 80/tcp of the container"),
        (("127.0.0.1:8080:80", "[::1]:8080:80"), "port 80/tcp of the container"),
        (("9000-9009:8000-8009", "8005"), "port 8005/tcp of the container"),
        (("8080:80", "8080:81"), "port 8080/tcp of the host"),
        (("8080:80", "127.0.0.1:8080:81"), "port 8080/tcp of the host"),
        (("9000-9009:8000-8009/udp", "9003:53/udp"), "port 9003/udp of the host"),
    ):
        with pytest.raises(UsageError, match=f"{what} is published twice"):
            _checked(*texts)


def test_sctp_stays_what_it_is() -> None:
    assert _checked("9000/sctp") == (Published(9000, 9000, protocol="sctp"),)
    for text in ("9001:9000/sctp", "127.0.0.1::9000/sctp", "9000-9001:9000/sctp"):
        with pytest.raises(UsageError, match="port 9000/sctp cannot be another"):
            _checked(text)


def test_what_an_image_exposes() -> None:
    said = (
        "80/tcp",
        "443",
        "53/udp",
        "8000-8002/tcp",
        "x",
        "99999",
        "80/sctp",
        "-1",
        "0",
        "80/tcp",
    )
    assert ports.exposed(said, [Published(79, 8079, 2), Published(53, 53)]) == [
        *(("tcp", number) for number in (443, 8000, 8001, 8002)),
        ("udp", 53),
    ]


def test_in_words() -> None:
    assert ports.told(Published(80, 8080)) == "0.0.0.0:8080->80/tcp"
    assert ports.told(Published(53, 5300, 2, "udp", "::1")) == "[::1]:5300-5301->53-54/udp"
    assert ports.binding(Published(80, 8080, address="127.0.0.1")) == (
        "80/tcp",
        "127.0.0.1",
        "8080",
    )


published = st.builds(
    Published,
    container=st.integers(1, 30000),
    host=st.integers(1, 30000) | st.just(0),
    count=st.integers(1, 40),
    protocol=st.sampled_from(["tcp", "udp"]),
    address=st.sampled_from(["", "127.0.0.1", "::1"]),
)


@given(published)
def test_ranges_are_their_ports(each: Published) -> None:
    parts = list(ports.singles([each]))
    assert len(parts) == each.count
    assert all(part.count == 1 and bool(part.host) == bool(each.host) for part in parts)
    if each.host:
        assert ports.merged(parts) == (each,)
        assert ports.merged(parts[::-1]) == tuple(parts[::-1])
