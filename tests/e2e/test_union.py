"""One container, run in N1 and in the F modes in turn: the union on the disk is the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.engines import SCI, Shared, need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

_MODES = ("N1", "F2", "F3")

# As a package manager and a careless user work.
_WORK = r"""
set -e
cd /
rm -rf /usr/share/perl5 && mkdir /usr/share/perl5 && echo new >/usr/share/perl5/f
rm -f /etc/hostname /etc/motd; echo x >>/etc/profile; chmod 600 /etc/issue
mkdir -p /opt/a/b && echo 1 >/opt/a/b/c && ln /opt/a/b/c /opt/a/d && mv /opt/a /opt/z
mv /etc/issue.net /etc/moved; mv /usr/share/common-licenses /usr/share/renamed
ln /etc/debian_version /etc/debian_link
cp -a /usr/share/info /usr/share/info2; rm -r /usr/share/info; mv /usr/share/info2 /usr/share/info
touch -d 2001-01-01 /usr/share/doc /etc/fstab; truncate -s 3 /etc/shells
rmdir /mnt; ln -s opt /mnt
for i in 1 2 3; do echo $i >/usr/bin/.new; mv /usr/bin/.new /usr/bin/arch; done
"""
_INODES = r"""
import os
open_before = os.open("/etc/group", os.O_RDONLY)
inode = os.stat("/etc/group").st_ino
os.chmod("/etc/group", 0o600)
assert os.stat("/etc/group").st_ino == inode == os.fstat(open_before).st_ino
os.chdir("/usr/share/base-files")
here = os.stat(".").st_ino
open("new", "w").close()
assert os.stat(".").st_ino == os.stat("/usr/share/base-files").st_ino == here
assert os.getcwd() == "/usr/share/base-files"
mounted = ("resolv.conf", "hosts")
for entry in os.scandir("/etc"):
    assert entry.name in mounted or entry.inode() == entry.stat(follow_symlinks=False).st_ino
"""
# But for what only the F modes remember: owners, and bits that N1 cannot set.
_SHOW = r"""
cd /; find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev \) -prune -o \
    -type d -printf '%p %m %y\n' -o -printf '%p %m %y %s %l %n\n' |
    sed 's/ [1-7]\([0-7][0-7][0-7]\) / \1 /' | sort
tar cf - --sort=name --owner=0 --group=0 --mode=a-st etc opt usr/share mnt | sha256sum
"""

_LAST_DESCRIPTOR = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
taken = []
while len(taken) == 0 or taken[-1] < 29:
    taken.append(os.dup(0))
for path in ("/tmp/last", "/var/tmp/last"):
    os.close(taken.pop())
    taken.append(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    print("made")
try:
    os.open("/tmp/more", os.O_CREAT | os.O_WRONLY)
except OSError as error:
    print(str(error)[:10])
"""

_ATTRIBUTES = """
import os
closed = os.open("/tmp/x", os.O_CREAT | os.O_RDONLY, 0)
os.setxattr(closed, "user.a", b"1")
os.setxattr("/tmp/x", "user.b", b"2")
os.removexattr(closed, "user.a")
print(os.listxattr("/tmp/x"), os.getxattr("/tmp/x", "user.b"), oct(os.stat("/tmp/x").st_mode))
"""

# Nobody needs a right to a directory to remove it or to put another in its place.
_CLOSED = r"""
try() { "$@" 2>/dev/null; echo "$* $?"; }
cd /tmp
try mkdir -m 0 closed; try rmdir closed; try ls -d closed
try mkdir -m a-r -p a/unreadable; try rm -rf a
mkdir full; touch full/x; chmod 0 full; try rmdir full; stat -c %a full
chmod 700 full; try rm -r full
mkdir e f; chmod 0 e f; try mv -T e f; stat -c %a f; try rmdir f; try ls -d e f
cd /usr/share
for name in base-files common-licenses; do rm $name/*; chmod 0 $name; done
try rmdir base-files; try mkdir -m 0 base-files; stat -c %a base-files; try rmdir base-files
try mkdir -m 0 new; try mv -T new common-licenses; stat -c %a common-licenses
chmod 700 common-licenses; ls -A common-licenses; try ls -d new base-files
"""
_CLOSED_SAYS = """\
mkdir -m 0 closed 0
rmdir closed 0
ls -d closed 2
mkdir -m a-r -p a/unreadable 0
rm -rf a 0
rmdir full 1
0
rm -r full 0
mv -T e f 0
0
rmdir f 0
ls -d e f 2
rmdir base-files 0
mkdir -m 0 base-files 0
0
rmdir base-files 0
mkdir -m 0 new 0
mv -T new common-licenses 0
0
ls -d new base-files 2
"""


class Runs:
    """Runs scripts in one container."""

    def __init__(self, shared: Shared, name: str) -> None:
        self.shared = shared
        self.name = name
        shared("create", "-q", f"--name={name}", shared.image(SCI))

    def __call__(self, mode: str, *words: str) -> str:
        # Without what N1 shows root's programs (apt), and no other mode.
        return self.shared(
            "run", "-q", f"--execmode={mode}", "--no-fakeroot", self.name, *words
        ).out


@pytest.fixture
def runs(
    shared: Shared, refusals: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[Runs]:
    need(refusals, *_MODES)
    made = Runs(shared, re.sub(r"\W+", "-", request.node.name).strip("-"))
    yield made
    shared("rm", made.name)


def _trees(shared: Shared) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in (shared.store / "trees").glob("*/*/root/**/*"):
        status = path.lstat()
        times = (status.st_mtime_ns, status.st_ctime_ns)
        found[str(path)] = (status.st_mode, status.st_ino, status.st_nlink, status.st_size, *times)
    return found


@pytest.fixture
def unchanged_trees(shared: Shared) -> Iterator[Callable[[], None]]:
    """Image trees are read only, whatever is done in containers."""
    shared.image(SCI)
    before = _trees(shared)
    assert len(before) > 1000
    yield lambda: None
    assert _trees(shared) == before


@pytest.mark.usefixtures("unchanged_trees")
@pytest.mark.parametrize("mode", _MODES)
def test_the_others_see_what_one_has_done(mode: str, runs: Runs) -> None:
    runs(mode, "sh", "-c", _WORK)
    runs(mode, "python3", "-c", _INODES)
    shown = {other: runs(other, "sh", "-c", _SHOW) for other in _MODES}
    assert shown["F2"] == shown["N1"]
    assert shown["F3"] == shown["N1"]
    assert "./usr/share/perl5/f 644 f 4  1\n" in shown["N1"]
    assert "./etc/motd " not in shown["N1"]


@pytest.mark.usefixtures("unchanged_trees")
def test_they_take_turns(runs: Runs) -> None:
    """What one has hidden, another makes anew, and a third one removes."""
    first = "rm -rf /usr/share/info; mkdir -p /srv/d; echo a >/srv/d/f; mv /srv/d /srv/e"
    second = "mkdir /usr/share/info; ls -A /usr/share/info; mv /srv/e /usr/share/info/e"
    third = "find /usr/share/info | sort; rm -r /usr/share/info; ls /usr/share | grep -c ^info"
    for modes in (("N1", "F3", "N1"), ("F2", "N1", "F3"), ("F3", "F2", "N1")):
        runs(modes[0], "sh", "-c", first)
        assert runs(modes[1], "sh", "-c", second) == ""
        listed = "/usr/share/info\n/usr/share/info/e\n/usr/share/info/e/f\n0\n"
        assert runs(modes[2], "sh", "-c", f"{third} || true") == listed


@pytest.mark.usefixtures("unchanged_trees")
@pytest.mark.parametrize("mode", ["F2", "F3"])
def test_a_large_directory_goes_while_others_list_it(mode: str, runs: Runs) -> None:
    make = "import os; [os.close(os.open(f'/usr/share/doc/{n}', 64)) for n in range(20000)]"
    runs(mode, "python3", "-c", make)
    script = """
        for n in 1 2 3; do ls -f /usr/share/doc >/dev/null || echo failed; done &
        rm -r /usr/share/doc || echo left
        wait; mkdir /usr/share/doc && ls -A /usr/share/doc | wc -l
    """
    assert runs(mode, "sh", "-c", script) == "0\n"
    assert runs("N1", "sh", "-c", "ls -A /usr/share/doc | wc -l") == "0\n"


@pytest.mark.parametrize("modes", [("F3", "N1"), ("N1", "F3")], ids=["N1 later", "F3 later"])
def test_not_both_at_once(modes: tuple[str, str], runs: Runs) -> None:
    shared = runs.shared
    words = ("run", "-q", f"--execmode={modes[0]}", runs.name, "sh", "-c", "echo go; read line")
    with shared.start(words) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        later = shared("run", "-q", f"--execmode={modes[1]}", runs.name, "true", check=False)
        process.communicate(b"\n", timeout=60)
    assert later.code == 125
    assert f"--execmode={modes[0]}" in later.err
    assert f"process {process.pid} (sh) runs in the container" in later.err
    assert runs(modes[1], "echo", "free") == "free\n"


@pytest.mark.parametrize("mode", ["F2", "F3"])
def test_what_the_host_reads_is_what_is_inside(mode: str, runs: Runs, tmp_path: Path) -> None:
    """A run with a volume below a directory of the image that was made anew."""
    (tmp_path / "file").write_text("host\n")
    runs(mode, "sh", "-c", "rm -r /usr/share/info; mkdir /usr/share/info; rmdir /mnt")
    options = ("-v", f"{tmp_path}:/usr/share/info/v", "-v", f"{tmp_path}:/mnt/a/b")
    words = ("run", "-q", f"--execmode={mode}", *options, runs.name)
    script = "cat /usr/share/info/v/file /mnt/a/b/file; ls /usr/share/info /mnt /mnt/a"
    out = runs.shared(*words, "sh", "-c", script).out
    assert out == "host\nhost\n/mnt:\na\n\n/mnt/a:\nb\n\n/usr/share/info:\nv\n"


@pytest.mark.parametrize("mode", _MODES)
def test_one_descriptor_is_enough_to_make_a_file(mode: str, runs: Runs) -> None:
    assert runs(mode, "python3", "-c", _LAST_DESCRIPTOR) == "made\nmade\n[Errno 24]\n"


@pytest.mark.parametrize("mode", _MODES)
def test_root_gives_attributes_to_what_its_mode_closes(mode: str, runs: Runs) -> None:
    assert runs(mode, "python3", "-c", _ATTRIBUTES) == "['user.b'] b'2' 0o100000\n"


@pytest.mark.parametrize("user", ["1002:1002", "0:0"])
@pytest.mark.parametrize("mode", _MODES)
def test_directories_go_though_their_modes_close_them(mode: str, user: str, runs: Runs) -> None:
    """Also those that hold whiteouts, and in place of what the image has."""
    words = ("run", "-q", f"--execmode={mode}", f"--user={user}", runs.name)
    assert runs.shared(*words, "sh", "-c", _CLOSED).out == _CLOSED_SAYS


@pytest.mark.parametrize("modes", [("N1", "F3"), ("F3", "N1"), ("F3", "F3")])
def test_a_directory_that_cannot_be_listed_hides_what_the_image_has(
    modes: tuple[str, str], runs: Runs
) -> None:
    place = "/usr/share/base-files"
    make = f"rm -r {place}; mkdir {place}; echo mine >{place}/mine; chmod 0311 {place}"
    look = f"cat {place}/mine; cat {place}/motd 2>&1"
    for mode, script in zip(modes, (make, look)):
        words = ("run", "-q", f"--execmode={mode}", "--user=1002:1002", runs.name)
        out = runs.shared(*words, "sh", "-c", f"{script}; true").out
    assert out == f"mine\ncat: {place}/motd: No such file or directory\n"


def test_nothing_is_left_in_the_work_directory(runs: Runs) -> None:
    runs("F3", "sh", "-c", _WORK)
    ids = [row["id"] for row in runs.shared.containers() if runs.name in row["names"]]
    work = runs.shared.store / "containers" / ids[0] / "work" / "inprocess"
    assert [path.name for path in work.iterdir() if "-" not in path.name] == []
    assert len(list(work.iterdir())) == 1
