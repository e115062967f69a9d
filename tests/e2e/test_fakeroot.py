"""Root with one id of its own, in N1 and R1: what package managers do there is not refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.engines import BUSYBOX, Inside, Shared, need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.conftest import Result

    Run = Callable[..., Result]

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_MODES = ("N1", "R1")
_IMAGE = "debian:12"
_PACKAGE = """
rm -rf /tmp/made /tmp/repo; mkdir -p /tmp/made/DEBIAN /tmp/made/opt/made /tmp/repo
cp /bin/true /tmp/made/opt/made/tool; ln -s tool /tmp/made/opt/made/link
printf 'Package: made\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: x\\n' \\
    >/tmp/made/DEBIAN/control
printf '#!/bin/sh\\nset -e\\nuseradd --system made\\nchown -R made: /opt/made\\n' \\
    >/tmp/made/DEBIAN/postinst
echo 'chmod 2750 /opt/made; dpkg-statoverride --update --add root mail 4750 /opt/made/tool
mknod /opt/made/null c 1 3; su made -s /bin/sh -c true' >>/tmp/made/DEBIAN/postinst
chmod 755 /tmp/made/DEBIAN/postinst
chown -hR games:news /tmp/made/opt
cd /tmp/repo; dpkg-deb -b /tmp/made made.deb >/dev/null
"""
_REPOSITORY = """
{ dpkg-deb -f made.deb; echo Filename: ./made.deb; echo Size: $(stat -c %s made.deb)
  echo SHA256: $(sha256sum made.deb | cut -d' ' -f1); } >Packages
printf 'deb [trusted=yes] file:/tmp/repo ./\\n' >/etc/apt/sources.list
rm -f /etc/apt/sources.list.d/*
"""


_AWAY = """
dpkg -P made >/dev/null 2>&1; userdel made; dpkg-statoverride --quiet --remove /opt/made/tool
"""


@pytest.fixture(params=_MODES)
def inside(request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]) -> Run:
    """Runs a shell script as root in a container that stays: one for each mode."""
    mode = request.param
    need(refusals, mode)
    name = f"fakeroot-{mode}"
    if name not in {each for row in shared.containers() for each in row["names"]}:
        shared("create", "-q", f"--name={name}", shared.image(_IMAGE))

    def call(script: str, *options: str, check: bool = True) -> Result:
        words = ("run", "-q", f"--execmode={mode}", *options, name, "sh", "-ec", script)
        return shared(*words, check=check)

    return call


def _lines(result: Result) -> list[str]:
    assert result.err == "", result
    return result.out.splitlines()


def test_dpkg(inside: Run) -> None:
    found = inside(_PACKAGE + "dpkg -i made.deb >/dev/null; dpkg --audit; ls /opt/made" + _AWAY)
    assert _lines(found) == ["link", "tool"]


def test_apt(inside: Run) -> None:
    script = """
    export DEBIAN_FRONTEND=noninteractive; apt-get -q update; apt-get -q -y install made
    dpkg-query -W -f '${Status}\\n' made
    """
    found = inside(_PACKAGE + _REPOSITORY + script + _AWAY)
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


def test_what_the_kernel_can_do_it_does(inside: Run) -> None:
    """A change of owner takes the setuid bit away, and one that is feigned does not."""
    script = """
    cd /tmp; cp /bin/true s; chmod 4755 s; chown 1:1 s; stat -c %a s; chown 0:0 s; stat -c %a s
    chown 0:0 missing 2>&1 || true
    """
    assert _lines(inside(script)) == [
        *("4755", "755", "chown: cannot access 'missing': No such file or directory")
    ]


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
