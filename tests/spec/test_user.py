"""Who the command is, by the container's files and without them."""

from __future__ import annotations

import pytest

from udocker.errors import UdockerError
from udocker.model.run import User
from udocker.spec.user import group_with, passwd_with, resolve

PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
ann:x:1000:1001:Ann,,,:/home/ann:/bin/bash
1234:x:77:78::/numeric:/bin/sh
twin:x:1000:5::/home/twin:/bin/sh
nohome:x:2000:2000:::/bin/sh
"""
GROUP = b"""\
root:x:0:
daemon:x:1:ann
ann:x:1001:
users:x:100:ann,other
video:x:44:other,ann
44:x:4444:
lonely:x:300
"""
ANN = User(1000, 1001, "ann", "/home/ann", (1, 100, 44))


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, "root", "/root")),
        ("root", User(0, 0, "root", "/root")),
        ("0", User(0, 0, "root", "/root")),
        ("ann", ANN),
        ("1000", ANN),  # the first line with that number
        ("01000", ANN),
        ("ann:", ANN),
        ("1000:", ANN),
        ("ann:users", User(1000, 100, "ann", "/home/ann")),
        ("ann:0", User(1000, 0, "ann", "/home/ann")),
        ("1000:1001", User(1000, 1001, "ann", "/home/ann")),
        ("ann:44", User(1000, 4444, "ann", "/home/ann")),  # names go before numbers
        ("1234", User(77, 78, "1234", "/numeric")),
        (":users", User(0, 100, "root", "/root")),
        (":", User(0, 0, "root", "/root")),
        ("nohome", User(2000, 2000, "nohome", "/")),
        ("9999", User(9999, 0, "user9999", "/")),
        ("9999:8888", User(9999, 8888, "user9999", "/")),
        ("4294967294:4294967294", User(2**32 - 2, 2**32 - 2, "user4294967294", "/")),
    ],
)
def test_every_form(text: str, user: User) -> None:
    assert resolve(text, PASSWD, GROUP) == user


@pytest.mark.parametrize("passwd", [None, b"", b"\n\n", b"# nobody\n"])
def test_without_accounts_root_and_numbers_work(passwd: bytes | None) -> None:
    assert resolve("", passwd, None) == User(0, 0, "root", "/root")
    assert resolve("root", passwd, None) == User(0, 0, "root", "/root")
    assert resolve("5:6", passwd, None) == User(5, 6, "user5", "/")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody", "no user 'nobody' in the container's /etc/passwd"),
        ("Ann", "no user 'Ann' in the container's /etc/passwd"),
        ("-1", "no user '-1' in the container's /etc/passwd"),
        ("1 000", "no user '1 000' in the container's /etc/passwd"),
        ("0x10", "no user '0x10' in the container's /etc/passwd"),
        ("\u0661", "no user '\u0661' in the container's /etc/passwd"),
        ("\u00b2", "no user '\u00b2' in the container's /etc/passwd"),
        ("ann:staff", "no group 'staff' in the container's /etc/group (user 'ann:staff')"),
        ("ann:users:1", "no group 'users:1' in the container's /etc/group (user 'ann:users:1')"),
        ("0:\u00b2", "no group '\u00b2' in the container's /etc/group (user '0:\u00b2')"),
        ("4294967295", "user '4294967295': 4294967295 is not a user or group id"),
        ("0:4294967295", "user '0:4294967295': 4294967295 is not a user or group id"),
        ("99999999999", "user '99999999999': 99999999999 is not a user or group id"),
        ("9" * 5000, f"user '{'9' * 5000}': {'9' * 5000} is not a user or group id"),
    ],
)
def test_what_names_nobody(text: str, message: str) -> None:
    with pytest.raises(UdockerError) as caught:
        resolve(text, PASSWD, GROUP)
    assert caught.value.message == message
    assert caught.value.exit_code == 125


def test_lines_that_are_no_accounts_are_passed_over() -> None:
    odd = (
        b"\n"
        b"# root:x:5:5::/commented:/bin/sh\n"
        b"short:x:1\n"
        b"short:x:1:2:gecos\n"
        b"+nis::::::\n"
        b"letters:x:abc:1::/:/\n"
        b"nogroup:x:1::::/\n"
        b"minus:x:-1:1::/:/\n"
        b"blank:x: 1:1::/:/\n"
        b"high:x:\xc2\xb2:1::/:/\n"
        b"large:x:4294967295:1::/:/\n"
        b"giant:x:" + b"9" * 5000 + b":1::/:/\n"
        b"giantgroup:x:1:" + b"9" * 5000 + b"::/:/\n"
        b"l\xe9on:x:500:501:L\xe9on:/home/l\xe9on:/bin/sh\n"
        b"real:x:7:8::/home/real:/bin/sh:more:fields\n"
        b"last:x:9:9::/last"
    )
    for name in ("short", "+nis", "letters", "nogroup", "minus", "blank", "high", "large", "giant"):
        with pytest.raises(UdockerError, match="no user"):
            resolve(name, odd, None)
    with pytest.raises(UdockerError, match="no user"):
        resolve("giantgroup", odd, None)
    assert resolve("real", odd, None) == User(7, 8, "real", "/home/real")
    assert resolve("last", odd, None) == User(9, 9, "last", "/last")
    assert resolve("0", odd, None) == User(0, 0, "root", "/root")
    latin = resolve("l\udce9on", odd, None)
    assert latin.home == "/home/l\udce9on"
    assert resolve("500", odd, None) == latin


def test_lines_that_are_no_groups_are_passed_over() -> None:
    odd = (
        b"#staff:x:1:\nshort:x\nhigh:x:\xc2\xb2:\ngiant:x:" + b"9" * 5000 + b":\n"
        b"large:x:4294967295:\nminus:x:-5:\n\nreal:x:55:a,l\xe9on\n"
    )
    for name in ("#staff", "staff", "short", "high", "giant", "large", "minus"):
        with pytest.raises(UdockerError, match="no group"):
            resolve(f"0:{name}", None, odd)
    assert resolve("0:real", None, odd).gid == 55
    passwd = b"l\xe9on:x:500:501::/:/\n"
    assert resolve("500", passwd, odd).groups == (55,)


def test_windows_line_ends_change_no_number() -> None:
    passwd = PASSWD.replace(b"\n", b"\r\n")
    group = GROUP.replace(b"\n", b"\r\n")
    assert resolve("ann:users", passwd, group) == User(1000, 100, "ann", "/home/ann")


# The files with what is missing added


@pytest.mark.parametrize("uid", [0, 1, 77, 1000])
def test_a_known_user_needs_no_line(uid: int) -> None:
    assert passwd_with(PASSWD, User(uid, 5, "whoever", "/")) is None


@pytest.mark.parametrize(
    ("passwd", "before"), [(None, b""), (b"", b""), (b"a:b", b"a:b\n"), (PASSWD, PASSWD)]
)
def test_an_unknown_user_gets_one(passwd: bytes | None, before: bytes) -> None:
    user = User(4321, 8, "user4321", "/")
    added = passwd_with(passwd, user)
    assert added == before + b"user4321:x:4321:8:user4321:/:/bin/sh\n"
    assert resolve("4321", added, None) == user


def test_names_of_any_bytes_come_back() -> None:
    user = User(500, 501, "l\udce9on", "/home/l\udce9on")
    added = passwd_with(None, user)
    assert added == b"l\xe9on:x:500:501:l\xe9on:/home/l\xe9on:/bin/sh\n"


def test_groups() -> None:
    assert group_with(GROUP, User(1000, 100, "ann", "/")) is None
    assert group_with(GROUP, User(7, 7, "user7", "/")) == GROUP + b"user7:x:7:\n"
    assert group_with(None, User(7, 8, "user7", "/")) == b"group8:x:8:\n"
    assert group_with(b"x", User(7, 8, "user7", "/")) == b"x\ngroup8:x:8:\n"
