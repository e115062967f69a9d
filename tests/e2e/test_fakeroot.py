"""Root with one id of its own, in N1 and R1: what package managers do there is not refused."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from e2e.checks import is_told
from e2e.engines import BUSYBOX, Inside, Shared, need
from udocker.host import probe
from udocker.ops import ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.conftest import Result

    Run = Callable[..., Result]

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_MODES = ("N1", "R1")
# Beside them, with owners that are real.
_MANY = "N1 with many ids"
_DEVICE = "DEVICE='mknod /opt/made/null c 1 3'\n"
_IMAGE = "debian:12"
_PACKAGE = """
rm -rf /tmp/made /tmp/repo; mkdir -p /tmp/made/DEBIAN /tmp/made/opt/made /tmp/repo
for name in tool games; do cp /bin/true /tmp/made/opt/made/$name; done
ln -s tool /tmp/made/opt/made/link
printf 'Package: made\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: x\\n' \\
    >/tmp/made/DEBIAN/control
printf '#!/bin/sh\\nset -e\\nuseradd --system made\\nchown -R made: /opt/made\\n' \\
    >/tmp/made/DEBIAN/postinst
echo 'groupadd -f --system makers; usermod -aG makers made; su made -s /bin/sh -c true
chmod 2750 /opt/made; dpkg-statoverride --update --add root mail 4750 /opt/made/tool
'"$DEVICE" >>/tmp/made/DEBIAN/postinst
chmod 755 /tmp/made/DEBIAN/postinst
chown -hR games:news /tmp/made/opt; chmod 4755 /tmp/made/opt/made/tool
chmod 2755 /tmp/made/opt/made/games
cd /tmp/repo; dpkg-deb -b /tmp/made made.deb >/dev/null
"""
_REPOSITORY = """
{ dpkg-deb -f made.deb; echo Filename: ./made.deb; echo Size: $(stat -c %s made.deb)
  echo SHA256: $(sha256sum made.deb | cut -d' ' -f1); } >Packages
printf 'deb [trusted=yes] file:/tmp/repo ./\\n' >/etc/apt/sources.list
rm -f /etc/apt/sources.list.d/*
"""
_SPEC = """
Name: owned
Version: 1
Release: 1
Summary: x
License: x
BuildArch: noarch
%description
x
%pre
getent group ranchers >/dev/null || groupadd -r ranchers
getent passwd rancher >/dev/null || useradd -r -g ranchers rancher
%install
mkdir -p %{buildroot}/opt/owned
for name in tool f; do echo '#!/bin/sh' >%{buildroot}/opt/owned/$name; done
%post
chown -R rancher:ranchers /opt/owned/f
%files
%dir %attr(2750, rancher, ranchers) /opt/owned
%attr(4755, games, mail) /opt/owned/tool
%attr(640, rancher, ranchers) /opt/owned/f
"""
_RPM = """
cd /tmp; rm -rf built db; HOME=/tmp rpmbuild --quiet -bb --define '_topdir /tmp/built' /v/own.spec
rpm -i --nodeps --dbpath /tmp/db built/RPMS/noarch/*.rpm
"""
_AWAY = """
dpkg -P made >/dev/null 2>&1; userdel made; groupdel makers
dpkg-statoverride --quiet --remove /opt/made/tool
"""


@pytest.fixture(params=_MODES)
def inside(request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]) -> Run:
    """Runs a shell script as root in a container that stays: one for each mode."""
    return _run(request.param, shared, refusals)


@pytest.fixture(params=(*_MODES, _MANY))
def root(request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]) -> Iterator[Run]:
    """The same, also with many ids; that container goes, since only udocker can remove it."""
    if request.param == _MANY:
        found = ranges.find(probe(os.environ), f"{os.environ['PATH']}:/usr/bin")
        if isinstance(found, str):
            pytest.skip(f"host: {found}")
    yield _run(request.param, shared, refusals)
    if request.param == _MANY:
        shared("rm", _name(_MANY))


def _run(way: str, shared: Shared, refusals: dict[str, str]) -> Run:
    mode = way[:2]
    need(refusals, mode)
    name = _name(way)
    if name not in {each for row in shared.containers() for each in row["names"]}:
        shared("create", "-q", f"--name={name}", shared.image(_IMAGE))

    def call(script: str, *options: str, check: bool = True, fakeroot: str = "") -> Result:
        more = ("--userns=auto",) if way == _MANY else ()
        words = ("run", "-q", f"--execmode={mode}", *more, *options, name, "sh", "-ec", script)
        return shared(*words, check=check, env={"UDOCKER_FAKEROOT": fakeroot})

    return call


def _name(way: str) -> str:
    return f"fakeroot-{way.replace(' ', '-')}"


def _lines(result: Result) -> list[str]:
    assert result.err == "", result
    return result.out.splitlines()


def _device(way: str) -> str:
    return "" if way == _MANY else _DEVICE


def test_dpkg(root: Run, request: pytest.FixtureRequest) -> None:
    way = request.node.callspec.params["root"]
    show = "dpkg -i made.deb >/dev/null; dpkg --audit; stat -c '%n %U:%G %a' /opt/made/*"
    found = _lines(root(_device(way) + _PACKAGE + show + _AWAY))
    if way == _MANY:
        owner = ("made:made", "made:made", "root:mail")
        modes = ("755", "777", "4750")  # chown(2) in the script takes the other bit away
    else:
        owner, modes = ("root:root",) * 3, ("2755", "777", "4750")
    names = ("games", "link", "tool")
    assert found == [f"/opt/made/{name} {who} {m}" for name, who, m in zip(names, owner, modes)]


def test_apt(root: Run, request: pytest.FixtureRequest) -> None:
    script = """
    export DEBIAN_FRONTEND=noninteractive; apt-get -q update; apt-get -q -y install made
    dpkg-query -W -f '${Status}\\n' made
    """
    way = request.node.callspec.params["root"]
    found = root(_device(way) + _PACKAGE + _REPOSITORY + script + _AWAY)
    assert "install ok installed" in found.out.splitlines()
    assert "E:" not in found.out + found.err
    assert "W:" not in found.out + found.err


def test_owners_are_taken_and_not_kept(inside: Run) -> None:
    script = """
    rm -rf /tmp/o; mkdir /tmp/o; cd /tmp/o
    touch f; chown daemon:mail f; chgrp -h mail f; ln -s f l; chown -h games l
    install -d -o daemon -g mail -m 2750 d; install -o games /bin/true t
    mkdir in; tar --owner=5 --group=7 -cf a.tar f; tar -C in -xpf a.tar; cp -a f in/g
    stat -c %u:%g f l d t in/f in/g
    """
    assert _lines(inside(script)) == ["0:0"] * 6


def _cpio(members: dict[str, tuple[int, int, int, bytes]]) -> bytes:
    """An archive as in packages of rpm: mode, uid, gid and content of each member (cpio(5))."""
    archive = b""
    for number, (name, (mode, uid, gid, content)) in enumerate({**members, _LAST: _NONE}.items()):
        fields = (number, mode, uid, gid, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + "".join(f"{field:08x}" for field in fields).encode()
        for part in (name.encode() + b"\0", content):
            archive += part
            archive += bytes(-len(archive) % 4)
    return archive


_LAST, _NONE = "TRAILER!!!", (0, 0, 0, b"")


@pytest.fixture
def programs() -> tuple[str, ...]:
    """What shows a container the host's programs, of which the images have few."""
    for program in ("cpio", "rpm", "rpmbuild"):
        if shutil.which(program) is None:
            pytest.skip(f"host: no {program}")
    return ("-v", "/usr:/usr:ro")


def test_cpio(inside: Run, programs: tuple[str, ...], tmp_path: Path) -> None:
    file, folder = stat.S_IFREG, stat.S_IFDIR
    members = {
        "d": (folder | 0o2775, 5, 7, b""),
        "d/f": (file | 0o640, 12, 34, b"text"),
        "d/s": (file | 0o4755, 1, 1, b"#!/bin/sh"),
    }
    (tmp_path / "a.cpio").write_bytes(_cpio(members))
    script = "cd /tmp; rm -rf d; cpio --quiet -id <../v/a.cpio; stat -c '%n %u:%g %a' d d/f d/s"
    volume = ("-v", f"{tmp_path}:/v", *programs)
    assert _lines(inside(script, *volume)) == ["d 0:0 2775", "d/f 0:0 640", "d/s 0:0 4755"]
    alone = inside(script, *volume, "--no-fakeroot", check=False)
    assert alone.code != 0
    assert "Invalid argument" in alone.err


def test_rpm(inside: Run, programs: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "own.spec").write_text(_SPEC)
    show = "stat -c '%n %U:%G %a' /opt/owned /opt/owned/*; rpm --dbpath /tmp/db -e --nodeps owned"
    volume = ("-v", f"{tmp_path}:/v", *programs)
    found = inside(_RPM + show, *volume)
    assert found.out.splitlines() == [
        "/opt/owned root:root 2750",
        "/opt/owned/f root:root 640",
        "/opt/owned/tool root:root 4755",
    ]
    assert "error" not in found.err
    alone = inside(_RPM, *volume, "--no-fakeroot", check=False)
    assert alone.code != 0
    assert "chown failed" in alone.err


def test_what_the_kernel_can_do_it_does(inside: Run) -> None:
    """A change of owner takes the setuid bit away, and one that is feigned does not."""
    script = """
    cd /tmp; cp /bin/true s; chmod 4755 s; chown 1:1 s; stat -c %a s; chown 0:0 s; stat -c %a s
    chown 0:0 missing 2>&1 || true
    """
    assert _lines(inside(script)) == [
        *("4755", "755", "chown: cannot access 'missing': No such file or directory")
    ]


def test_privileges_are_what_they_were(inside: Run) -> None:
    """No no_new_privs: programs with the setuid bit do what they do, here of the only user."""
    script = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"
    assert _lines(inside(script)) == ["NoNewPrivs:\t0", "Seccomp:\t2"]


def test_it_can_be_switched_off(inside: Run) -> None:
    script = "grep Seccomp: /proc/self/status; chown 1:1 /tmp 2>&1"
    answers = ["Seccomp:\t0", "chown: changing ownership of '/tmp': Invalid argument"]
    assert inside(script, "--no-fakeroot", check=False).out.splitlines() == answers
    assert inside(script, check=False, fakeroot="false").out.splitlines() == answers
    assert inside(script, "--no-fakeroot=false").out.splitlines() == ["Seccomp:\t2"]
    told = inside(script, check=False, fakeroot="perhaps")
    is_told(told, 2, "UDOCKER_FAKEROOT", "true or false")


def test_becoming_another_user_stays_root(inside: Run) -> None:
    script = """
    su daemon -s /bin/sh -c 'id -u'; setpriv --reuid=1 --regid=1 --clear-groups id -u
    chroot --userspec=daemon / id -u; useradd -m ann; stat -c %U /home/ann; userdel ann
    """
    assert _lines(inside(script)) == ["0", "0", "0", "root"]


def test_devices_are_not_made(inside: Run) -> None:
    script = """
    rm -rf /tmp/d; mkdir /tmp/d; cd /tmp/d; mknod null c 1 3; mknod loop b 7 0; mkfifo p
    stat -c '%n %F' *; mknod -m 666 zero c 1 5 2>&1 || true
    """
    assert _lines(inside(script)) == [
        *("p fifo", "mknod: cannot set permissions of 'zero': No such file or directory")
    ]


def test_whoever_is_not_root_is_told_the_truth(shared: Shared, refusals: dict[str, str]) -> None:
    need(refusals, "N1")
    script = "touch /tmp/f; chown 1:1 /tmp/f 2>&1 || grep Seccomp: /proc/self/status"
    found = Inside(shared, "N1")("sh", "-c", script, options=("--user=1000",), image=BUSYBOX)
    assert _lines(found) == ["chown: /tmp/f: Invalid argument", "Seccomp:\t0"]


def test_apt_s_setting_is_no_change(inside: Run, shared: Shared) -> None:
    mode = inside("apt-config shell user APT::Sandbox::User; printf %s $container_execmode")
    assert _lines(mode)[0] == "user='root'"
    changes = shared("diff", f"fakeroot-{mode.out.splitlines()[1]}").out
    assert "/etc/apt/apt.conf.d" not in changes


def test_a_volume_over_apt_s_settings_gets_none(inside: Run, tmp_path: Path) -> None:
    for target in ("/etc/apt", "/etc/apt/apt.conf.d"):
        volume = tmp_path / target.rpartition("/")[2]
        volume.mkdir()
        assert _lines(inside(f"ls -A {target}", "-v", f"{volume}:{target}")) == []
        assert list(volume.iterdir()) == []
