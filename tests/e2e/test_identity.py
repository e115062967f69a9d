"""Who one is in the F modes: owners, modes and groups that only the container knows of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.engines import Shared, need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.conftest import Result

    Run = Callable[..., Result]

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_MODES = ("F2", "F3")
_IMAGE = "debian:12"
_NAME = "identity"
_PACKAGE = """
mkdir -p /tmp/made/DEBIAN /tmp/made/opt/made && cp /bin/true /tmp/made/opt/made/tool
printf 'Package: made\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: x\\n' \\
    >/tmp/made/DEBIAN/control
printf '#!/bin/sh\\nset -e\\nuseradd --system made\\nchown -R made: /opt/made\\n' \\
    >/tmp/made/DEBIAN/postinst
echo 'chmod 2750 /opt/made; dpkg-statoverride --update --add root mail 4750 /opt/made/tool' \\
    >>/tmp/made/DEBIAN/postinst
chmod 755 /tmp/made/DEBIAN/postinst
chown -R games:news /tmp/made/opt
dpkg-deb -b /tmp/made /tmp/made.deb >/dev/null
"""


@pytest.fixture(params=_MODES)
def inside(request: pytest.FixtureRequest, shared: Shared, refusals: dict[str, str]) -> Run:
    """Runs a shell script as root in a container that stays."""
    mode = request.param
    need(refusals, mode)
    if _NAME not in {name for row in shared.containers() for name in row["names"]}:
        shared("create", "-q", f"--name={_NAME}", shared.image(_IMAGE))

    def call(script: str, *options: str, check: bool = True) -> Result:
        words = ("run", "-q", f"--execmode={mode}", *options, _NAME, "sh", "-ec", script)
        return shared(*words, check=check)

    return call


def _lines(result: Result) -> list[str]:
    assert result.err == "", result
    return result.out.splitlines()


def test_the_image_s_owners_and_modes(inside: Run) -> None:
    files = "/etc/shadow /var/mail /usr/bin/passwd /etc/passwd /usr/local"
    assert _lines(inside(f"stat -c '%U:%G %a' {files}")) == [
        "root:shadow 640",
        "root:mail 2775",
        "root:root 4755",
        "root:root 644",
        "root:root 755",
    ]
    assert "/usr/bin/passwd" in _lines(inside("find /usr/bin -perm -4000"))
    assert _lines(inside("tar -c /etc/shadow 2>/dev/null | tar -tv"))[0].startswith(
        "-rw-r----- root/shadow "
    )


def test_owners_last(inside: Run) -> None:
    inside("rm -rf /tmp/o; mkdir /tmp/o; cd /tmp/o; touch f; chown 5:7 f; mkdir d; chown 8:9 d")
    assert _lines(inside("cd /tmp/o; stat -c '%u:%g' f d .")) == ["5:7", "8:9", "0:0"]
    assert _lines(inside("cd /tmp/o; cp -a f g; mv f h; ln h i; stat -c '%u:%g' g h i")) == [
        *("5:7", "5:7", "5:7")
    ]
    assert _lines(inside("find /tmp/o -uid 5 | sort")) == ["/tmp/o/g", "/tmp/o/h", "/tmp/o/i"]
    pack = "tar -C /tmp -cf /tmp/o.tar o; rm -rf /tmp/o; tar -C /tmp -xpf /tmp/o.tar"
    assert _lines(inside(f"{pack}; stat -c '%u:%g' /tmp/o/g /tmp/o/d")) == ["5:7", "8:9"]
    assert _lines(inside("cd /tmp/o; chown 0:0 g; stat -c '%u:%g' g; chmod 6755 h; ls -ln h"))[
        1
    ].startswith("-rwsr-sr-x 2 5 7 ")


def test_the_host_gives_no_rights_away(inside: Run, shared: Shared, tmp_path: Path) -> None:
    """A setuid program of the container would be one of the user, for everybody on the host."""
    script = "cp /bin/true /tmp/setuid; chmod 4755 /tmp/setuid; stat -c %a /tmp/setuid"
    assert _lines(inside(script)) == ["4755"]
    (setuid,) = shared.store.glob("containers/*/*/tmp/setuid")
    assert setuid.stat().st_mode & 0o7777 == 0o755
    assert _lines(inside("find /tmp/setuid -perm -4000")) == ["/tmp/setuid"]
    # What is mounted is the user's own, with modes as they are.
    (tmp_path / "f").write_bytes(b"")
    inside(f"chmod 4444 {tmp_path}/f", "-v", str(tmp_path))
    assert (tmp_path / "f").stat().st_mode & 0o7777 == 0o4444


def test_root_passes_over_modes(inside: Run) -> None:
    script = """
    rm -rf /tmp/m; mkdir -m 0 /tmp/m; cd /tmp/m; echo a >f; chmod 444 f; echo b >>f; chmod 0 f
    cat f; test -w f; chmod 555 .; touch new; stat -c %a f .
    """
    assert _lines(inside(script)) == ["a", "b", "0", "555"]


def test_root_enters_what_its_umask_closes(inside: Run, tmp_path: Path) -> None:
    script = """
    rm -rf /tmp/n; mkdir /tmp/n; cd /tmp/n; umask 777; mkdir a a/b; mkdir -m 711 c; echo d >a/b/d
    cat a/b/d; stat -c %a a a/b c a/b/d
    """
    assert _lines(inside(script)) == ["d", "0", "0", "711", "0"]
    # On a volume modes are real.
    inside(f"umask 777; mkdir {tmp_path}/d", "-v", str(tmp_path))
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0


def test_accounts_and_becoming_others(inside: Run) -> None:
    script = """
    userdel -r ann 2>/dev/null || true; groupadd -f extra
    useradd -m -s /bin/bash -G extra,mail ann
    echo ann:secret | chpasswd
    stat -c '%U:%G %a' /home/ann
    su - ann -c 'id -Gn; touch f; mkdir d; ln -s f l; stat -c %U:%G f d; cd ..; pwd'
    runuser -u ann -- id -un
    setpriv --reuid=ann --regid=ann --init-groups id -Gn
    su ann -c 'chown root /home/ann/f' 2>&1 || echo refused
    su ann -c 'chgrp extra /home/ann/f'; stat -c %G /home/ann/f
    install -d -o ann -g mail -m 2750 /tmp/install; stat -c '%U:%G %a' /tmp/install
    """
    lines = _lines(inside(script))
    assert lines[:7] == [
        *("ann:ann 755", "ann mail extra", "ann:ann", "ann:ann", "/home", "ann", "ann mail extra")
    ]
    assert "Operation not permitted" in lines[7]
    assert lines[8:] == ["refused", "extra", "ann:mail 2750"]


def _tries(result: Result) -> list[str]:
    """The last words of what programs wrote: what was wrong with it, or what they say."""
    return [line.rpartition(": ")[2] for line in result.out.splitlines()]


_AS_GAMES = "setpriv --reuid=games --regid=games --clear-groups"
_DENIED = "Permission denied"
_NOT_PERMITTED = "Operation not permitted"


def test_others_keep_out_of_directories_that_are_not_theirs(inside: Run) -> None:
    script = f"""
    rm -rf /tmp/k; mkdir /tmp/k; cd /tmp/k; mkdir open; chmod 777 open; touch f open/f
    mkdir own; chown games own; exec 2>&1
    {_AS_GAMES} sh -c 'rm -f f; mkdir d; ln -s f l; ln f h; mv f g; mv open/f .; touch n
        mv own m; echo >r; rm -f missing && touch own/a && mv own/a own/b && mv own/b open/c
        rm open/f && echo done; mkdir own /usr/bin; rmdir /tmp/missing' || true
    stat -c %U open/c; ls
    """
    assert _tries(inside(script)) == [
        *(*[_DENIED] * 9, "done", *["File exists"] * 2, "No such file or directory"),
        *("games", "f", "open", "own"),
    ]


def test_others_keep_off_what_is_sticky(inside: Run) -> None:
    script = f"""
    rm -rf /tmp/k; mkdir /tmp/k; cd /tmp/k; chmod 1777 .; touch f; mkdir d; exec 2>&1
    {_AS_GAMES} sh -c 'rm -f f; rmdir d; mv f g; touch a; mv a f; mkfifo p; ln -s a l
        rm p l a && echo done'
    ls
    """
    assert _tries(inside(script)) == [*[_NOT_PERMITTED] * 4, "done", "d", "f"]


def test_others_keep_off_files_that_are_not_theirs(inside: Run) -> None:
    script = f"""
    rm -rf /tmp/k; mkdir /tmp/k; cd /tmp/k; for f in open mine group secret; do echo $f >$f; done
    chmod 666 open; chown games mine; chown :games group; chmod 664 group; chmod 600 secret mine
    exec 2>&1
    {_AS_GAMES} sh -c 'for f in open mine group; do cat $f; echo more >>$f && test -w $f; done
        cat secret; cat /etc/shadow; cat /etc/passwd >/dev/null && echo read
        (: >secret); (: >>/etc/passwd); test -r secret || echo no; test -w /etc/passwd || echo no
        chmod 777 secret; chmod 640 mine'
    cat secret; stat -c %a secret mine
    """
    assert _tries(inside(script)) == [
        *("open", "mine", "group", *[_DENIED] * 2, "read", *[_DENIED] * 2, "no", "no"),
        *(_NOT_PERMITTED, "secret", "600", "640"),
    ]


def test_what_is_stuck_is_not_moved_to_another_mount(inside: Run, tmp_path: Path) -> None:
    """That it is another one comes first: then mv(1) copies, and cannot remove."""
    script = f"""
    rm -rf /tmp/k; mkdir -m 1777 /tmp/k; cd /tmp/k; echo a >f; exec 2>&1
    {_AS_GAMES} mv f {tmp_path} || cat f {tmp_path}/f
    """
    assert _lines(inside(script, "-v", str(tmp_path))) == [
        *("mv: cannot remove 'f': Operation not permitted", "a", "a")
    ]


def test_others_are_kept_from_no_volume(inside: Run, tmp_path: Path) -> None:
    """What is mounted has the owners and modes of the host, where all are one user."""
    (tmp_path / "f").write_text("f\n")
    script = f"{_AS_GAMES} sh -c 'cat f; echo g >f; mv f g; cat g; mkdir d && rm g'"
    assert _lines(inside(script, "-v", str(tmp_path), "-w", str(tmp_path))) == ["f", "g"]


def test_a_package_with_owners(inside: Run) -> None:
    script = f"""
    dpkg --purge made >/dev/null 2>&1 || true; rm -rf /tmp/made; userdel made 2>/dev/null || true
    dpkg-statoverride --remove /opt/made/tool 2>/dev/null || true
    {_PACKAGE}
    dpkg-deb -c /tmp/made.deb | grep tool; dpkg -i /tmp/made.deb >/dev/null
    stat -c '%U:%G %a' /opt/made /opt/made/tool; dpkg --audit
    """
    packed, *installed = _lines(inside(script))
    assert packed.startswith("-rwxr-xr-x games/news ")
    assert installed == ["made:made 2750", "root:mail 4750"]


def test_chroot(inside: Run) -> None:
    script = """
    rm -rf /jail; mkdir -p /jail/usr/bin /jail/etc /jail/usr/lib; cd /jail
    for name in bin lib lib64; do ln -s usr/$name $name; done
    cp -a /usr/lib64 usr/; cp -a /lib/$(uname -m)-linux-gnu usr/lib/
    cp -a /bin/dash /bin/ls /bin/cat /usr/bin/id usr/bin/; ln -s dash usr/bin/sh
    echo jailed >etc/hostname; ln -s /etc/hostname etc/link
    chroot /jail /bin/sh -c 'cat /etc/link; cd ../../..; pwd; ls -d /home 2>&1; id -u'
    chroot --userspec=5:7 /jail /bin/sh -c 'id -u; cat /../etc/hostname; exec /bin/ls /'
    """
    missing = "ls: cannot access '/home': No such file or directory"
    assert _lines(inside(script)) == [
        *("jailed", "/", missing, "0", "5", "jailed"),
        *("bin", "etc", "lib", "lib64", "usr"),
    ]
    assert "refused" in inside("su ann -c 'chroot /jail /bin/true' || echo refused").out


def test_the_other_end_of_a_socket(inside: Run) -> None:
    program = """
use Socket;
my $name = pack_sockaddr_un("\\0identity");
socket(my $server, AF_UNIX, SOCK_STREAM, 0); bind($server, $name); listen($server, 1);
if (!fork) {
    $) = "7 7"; $( = 7; $< = $> = 5;
    socket(my $client, AF_UNIX, SOCK_STREAM, 0); connect($client, $name);
    sysread($client, my $byte, 1);
    exit;
}
accept(my $one, $server);
my (undef, $uid, $gid) = unpack("i3", getsockopt($one, SOL_SOCKET, SO_PEERCRED));
print "$uid $gid\\n"; close $one; wait;
"""
    assert _lines(inside(f"cat >/tmp/peer <<'END'\n{program}END\nperl /tmp/peer")) == ["5 7"]


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("games", "uid=5(games) gid=60(games) groups=60(games)"),
        ("games:mail", "uid=5(games) gid=8(mail) groups=8(mail)"),
        ("5", "uid=5(games) gid=60(games) groups=60(games)"),
        ("4321:8", "uid=4321(user4321) gid=8(mail) groups=8(mail)"),
    ],
)
def test_user(inside: Run, user: str, told: str) -> None:
    script = "id; touch /tmp/by-user; stat -c %u:%g /tmp/by-user; chown 0 /tmp/by-user"
    result = inside(f"{script} 2>&1 || echo refused; rm /tmp/by-user", f"--user={user}")
    who, owner, _, refused = result.out.splitlines()
    assert who == told
    assert told.startswith(f"uid={owner.split(':')[0]}(")
    assert refused == "refused"


def test_supplementary_groups_of_a_user(inside: Run) -> None:
    inside("usermod -aG audio,video games")
    assert _lines(inside("id -G", "--user=games")) == ["60 29 44"]
    assert _lines(inside("id -G", "--user=games:games")) == ["60"]
    inside("gpasswd -d games audio; gpasswd -d games video")
