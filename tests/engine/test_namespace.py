"""The steps of N1 for real, in user namespaces: each test in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from builders.processes import SOURCE, environment, needs_namespaces, python
from builders.trees import Directory, Link, contents, grow

pytestmark = needs_namespaces

# What every child begins with. `go` carries out steps; the rest is for looking around afterwards,
# when nothing can be imported any more.
DRIVER = """
import errno, os, sys, traceback
from udocker.engine.steps import Steps
from udocker.errors import EngineError
from udocker.model.launch import *
from udocker.model.run import *
top = sys.argv[1]
root = top + "/root"
steps = Steps()
BEGIN = Unshare(0, 0, os.getuid(), os.getgid())
ENTER = EnterRoot(root)

def go(*given, cwd="/"):
    steps.run(Launch(("x",), (), cwd, steps=given))

def told(*given, cwd="/"):
    try:
        go(*given, cwd=cwd)
    except EngineError as error:
        print(error.message)

def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"

def write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))

def read(path):
    descriptor = os.open(path, os.O_RDONLY)
    data = os.read(descriptor, 4096)
    os.close(descriptor)
    return data.decode()

def mount(kind, target, flags=0):
    kernel = steps._kernel
    result = kernel.lib.udocker_mount(kind, target.encode(), kind, flags, kernel.ffi.NULL)
    assert result == 0, (target, kernel.ffi.errno)

class OldKernel:
    \"\"\"No mount_setattr(2), as before Linux 5.12. \"\"\"
    def __init__(self, lib, ffi):
        self.lib, self.ffi = lib, ffi
    def __getattr__(self, name):
        return getattr(self.lib, name)
    def udocker_mount_readonly(self, target):
        self.ffi.errno = errno.ENOSYS
        return -1
"""
OLD_KERNEL = "steps._kernel.lib = OldKernel(steps._kernel.lib, steps._kernel.ffi)\n"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with a root in it."""
    grow(tmp_path / "root", {"etc/hosts": b"of the image", "proc": Directory(), "dev": Directory()})
    return tmp_path


def child(top: Path, code: str, *words: str, **env: str) -> list[str]:
    """The lines that ``code`` prints after the driver."""
    done = python(DRIVER + code, top, *words, env=environment(**env))
    return done.stdout.splitlines()


# The root


def test_the_user_is_who_was_asked_for(top: Path) -> None:
    code = """
go(Unshare(1234, 5678, os.getuid(), os.getgid()), ENTER)
print(os.getuid(), os.getgid(), os.getgroups() in ([], [65534], [5678]))
"""
    assert child(top, code)[0].split()[:2] == ["1234", "5678"]


def test_the_old_root_is_gone(top: Path) -> None:
    code = """
go(BEGIN, ENTER, Bind("/proc", "/proc"))
print(sorted(os.listdir("/")), sorted(os.listdir("/../..")), os.getcwd())
print(os.path.exists(top), os.path.exists("/proc/self/root" + top))
points = [line.split()[4] for line in read("/proc/self/mountinfo").splitlines()]
print(points[0], all(p == "/" or p.startswith("/proc") for p in points))
"""
    listing, gone, points = child(top, code)
    assert listing == "['dev', 'etc', 'proc'] ['dev', 'etc', 'proc'] /"
    assert gone == "False False"
    assert points == "/ True"


def test_nothing_can_be_imported_after_the_root_has_changed(top: Path) -> None:
    planted = "import os; os.write(1, b'planted code ran\\n')"
    for folder in {str(SOURCE), *filter(None, sys.path), "/"}:
        grow(Path(f"{top}/root{folder}"), {"planted.py": planted.encode(), "wave.py": b"raise 1"})
    code = """
go(BEGIN, ENTER)
print(os.path.exists(sys.argv[2] + "/planted.py"))
for name in ("planted", "wave", "udocker.config", "zipfile"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        print("refused")
"""
    assert child(top, code, str(SOURCE)) == ["True", *["refused"] * 4]


def test_errors_after_the_root_has_changed_are_told(top: Path) -> None:
    lines = child(top, 'told(BEGIN, ENTER, Bind("/not/there", "/x"))')
    assert lines == ["cannot bind /not/there on /x: No such file or directory (/x)"]


def test_a_root_that_is_not_there(top: Path) -> None:
    assert child(top, 'told(BEGIN, EnterRoot(root + "/none"))') == [
        f"cannot make {top}/root/none the root: No such file or directory ({top}/root/none)"
    ]


def test_the_working_directory(top: Path) -> None:
    assert child(top, 'go(BEGIN, ENTER, cwd="/etc"); print(os.getcwd())') == ["/etc"]
    lines = child(top, 'told(BEGIN, ENTER, cwd="/none")')
    assert lines == ["cannot enter the working directory /none: No such file or directory"]


def test_host_names_are_of_the_namespace(top: Path) -> None:
    before = os.uname().nodename
    code = """
go(Unshare(0, 0, os.getuid(), os.getgid(), uts=True), ENTER, SetHostname("box"))
print(os.uname().nodename)
"""
    assert child(top, code) == ["box"]
    assert os.uname().nodename == before
    lines = child(top, 'told(BEGIN, ENTER, SetHostname("box"))')
    assert lines == ["cannot set the host name box: Operation not permitted (box)"]


# Binds


def test_a_bind_shows_the_source_and_writes_to_it(top: Path) -> None:
    grow(top / "data", {"in/file": b"of the host"})
    code = """
go(BEGIN, ENTER, Bind(top + "/data", "/srv/data"), Bind(top + "/data/in/file", "/etc/hosts",
    is_dir=False))
print(read("/srv/data/in/file"), read("/etc/hosts"), attempt(write, "/srv/data/new"))
"""
    assert child(top, code) == ["of the host of the host ok"]
    assert (top / "data/new").exists()
    assert (top / "root/etc/hosts").read_bytes() == b"of the image"
    assert list((top / "root/srv/data").iterdir()) == []


NESTED = """
go(BEGIN)
mount(b"tmpfs", top + "/data/sub")
os.mkdir(top + "/data/sub/deep")
mount(b"tmpfs", top + "/data/sub/deep")
os.mkdir(top + "/data/odd \\\\ name")
mount(b"tmpfs", top + "/data/odd \\\\ name")
"""
# Of a mount that a user namespace inherits some flags are locked: leaving one out is refused.
FLAGGED = """
go(BEGIN)
flags = 2 | 4 | 8  # nosuid, nodev, noexec
mount(b"tmpfs", top + "/data", flags)
os.mkdir(top + "/data/sub")
mount(b"tmpfs", top + "/data/sub", flags | 1024 | 2048)  # noatime, nodiratime
os.mkdir(top + "/data/sub/deep")
os.mkdir(top + "/data/odd \\\\ name")
go(Unshare(0, 0, 0, 0))
"""


@pytest.mark.parametrize("prelude", [NESTED, FLAGGED], ids=["nested", "locked-flags"])
@pytest.mark.parametrize("kernel", ["", OLD_KERNEL], ids=["this-kernel", "old-kernel"])
@pytest.mark.parametrize(
    "locale",
    [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["utf8", "ascii"],
)
def test_read_only_is_all_that_is_mounted_below(
    top: Path, prelude: str, kernel: str, locale: dict[str, str]
) -> None:
    grow(top / "data", {"sub": Directory()})
    code = (
        prelude
        + kernel
        + """
os.mkdir(root + "/writable")
go(ENTER, Bind(top + "/data", "/ro", readonly=True), Bind(top + "/data", "/rw"))
for place in ("/ro", "/ro/sub", "/ro/sub/deep", "/ro/odd \\\\ name"):
    print(attempt(write, place + "/file"), attempt(os.mkdir, place + "/dir"))
for place in ("/rw", "/rw/sub", "/rw/sub/deep", "/writable"):
    print(attempt(write, place + "/file"))
"""
    )
    assert child(top, code, **locale) == [*["EROFS EROFS"] * 4, *["ok"] * 4]


@pytest.mark.parametrize("kernel", ["", OLD_KERNEL], ids=["this-kernel", "old-kernel"])
def test_a_read_only_file(top: Path, kernel: str) -> None:
    grow(top, {"file": b"content"})
    code = (
        kernel
        + """
go(BEGIN, ENTER, Bind(top + "/file", "/etc/file", readonly=True, is_dir=False))
print(read("/etc/file"), attempt(write, "/etc/file"), attempt(write, "/etc/other"))
"""
    )
    assert child(top, code) == ["content EROFS ok"]


@pytest.mark.parametrize("kernel", ["", OLD_KERNEL], ids=["this-kernel", "old-kernel"])
def test_read_only_through_a_link(top: Path, kernel: str) -> None:
    grow(top / "data", {"file": b""})
    grow(top / "root", {"var/run": Link("/run"), "run": Directory()})
    code = (
        kernel
        + """
go(BEGIN, ENTER, Bind(top + "/data", "/var/run/data", readonly=True))
print(attempt(write, "/run/data/file"), attempt(write, "/run/other"))
"""
    )
    assert child(top, code) == ["EROFS ok"]


def test_shallow_is_the_mount_alone(top: Path) -> None:
    grow(top / "data", {"sub": Directory()})
    code = (
        NESTED
        + """
go(ENTER, Bind(top + "/data", "/ro", readonly=True, shallow=True))
print(attempt(write, "/ro/file"), attempt(write, "/ro/sub/file"))
"""
    )
    assert child(top, code) == ["EROFS ok"]


def test_a_mount_that_cannot_be_reached_is_no_reason_to_fail(top: Path) -> None:
    """As tracefs below debugfs, whose directory is root's alone."""
    grow(top / "data", {"locked/sub": Directory()})
    code = (
        OLD_KERNEL
        + """
go(BEGIN)
mount(b"tmpfs", top + "/data/locked/sub")
os.chmod(top + "/data/locked", 0)
go(Unshare(1, 1, 0, 0))
# Not root of the directory's owner any more: capabilities are gone with another program.
go(ENTER, Bind(top + "/data", "/ro", readonly=True))
print(attempt(write, "/ro/file"))
"""
    )
    assert child(top, code) == ["EROFS"]


REMOUNT_FAILS = """
class NoRemount(OldKernel):
    def udocker_mount(self, source, target, kind, flags, data):
        if flags & 32:
            self.ffi.errno = errno.EPERM
            return -1
        return self.lib.udocker_mount(source, target, kind, flags, data)
steps._kernel.lib = NoRemount(steps._kernel.lib, steps._kernel.ffi)
"""


def test_what_cannot_be_made_read_only_is_not_shown_at_all(top: Path) -> None:
    grow(top / "data", {"file": b""})
    code = REMOUNT_FAILS + 'told(BEGIN, ENTER, Bind(top + "/data", "/ro", readonly=True))'
    assert child(top, code) == [
        f"cannot bind {top}/data on /ro read-only: Operation not permitted (/ro)"
    ]
    code = (
        REMOUNT_FAILS
        + 'go(BEGIN, ENTER, Bind(top + "/data", "/ro", readonly=True, required=False))\n'
        + 'print(os.listdir("/ro"))'
    )
    assert child(top, code) == ["[]"]


def test_what_cannot_be_mounted_and_need_not(top: Path) -> None:
    code = """
go(BEGIN, ENTER, Bind("/not/there", "/srv", required=False),
   Bind("/etc", "/etc/hosts", required=False), Bind("/etc/passwd", "/proc", is_dir=False,
   required=False))
print(read("/etc/hosts"))
"""
    assert child(top, code) == ["of the image"]


def test_a_directory_over_a_file_and_a_file_over_a_directory(top: Path) -> None:
    grow(top / "data", {"file": b""})
    lines = child(top, 'told(BEGIN, ENTER, Bind(top + "/data", "/etc/hosts"))')
    assert lines == [f"cannot bind {top}/data on /etc/hosts: Not a directory (/etc/hosts)"]
    lines = child(top, 'told(BEGIN, ENTER, Bind(top + "/data/file", "/etc", is_dir=False))')
    assert lines == [f"cannot bind {top}/data/file on /etc: Not a directory (/etc)"]


# Mount points, in images that mean no good


@pytest.mark.parametrize(
    ("target", "inside"),
    [
        ("/new", "new"),
        ("/new/deep/er", "new/deep/er"),
        ("/absolute", "etc"),
        ("/absolute/new", "etc/new"),
        ("/climb", "etc"),
        ("/dangling", "not/there"),
        ("/dangling/new", "not/there/new"),
        ("/relative", "not/here"),
        ("/chain", "not/there"),
        ("/a/../b", "b"),
        ("/var/run/x", "run/x"),
        ("/var/run", "run"),
    ],
)
def test_mount_points_are_made_where_links_lead_inside(top: Path, target: str, inside: str) -> None:
    grow(top / "data", {"mark": b"of the host"})
    grow(
        top / "root",
        {
            "a": Directory(),
            "absolute": Link("/etc"),
            "climb": Link("../../../../../../etc"),
            "dangling": Link("/not/there"),
            "relative": Link("../not/here"),
            "chain": Link("dangling"),
            "run": Directory(),
            "var/run": Link("../run"),  # as Alpine and Fedora have it
        },
    )
    before = sorted(os.listdir("/"))
    code = 'go(BEGIN, ENTER, Bind(top + "/data", sys.argv[2])); print(read(sys.argv[3] + "/mark"))'
    assert child(top, code, target, f"/{inside}") == ["of the host"]
    assert (top / "root" / inside).is_dir()
    assert sorted(os.listdir("/")) == before
    assert sorted(os.listdir(top)) == ["data", "root"]


def test_points_for_files(top: Path) -> None:
    grow(top, {"file": b"of the host"})
    grow(top / "root", {"dangling": Link("/run/resolv.conf")})
    code = """
file = top + "/file"
go(BEGIN, ENTER, Bind(file, "/new/file", is_dir=False), Bind(file, "/dangling", is_dir=False))
print(read("/new/file"), read("/run/resolv.conf"))
"""
    assert child(top, code) == ["of the host of the host"]
    assert contents(top / "root")["run/resolv.conf"] == ("file", "0o644", b"")


@pytest.mark.parametrize("target", ["/loop", "/loop/x", "/etc/hosts/x"])
def test_points_that_cannot_be(top: Path, target: str) -> None:
    grow(top / "root", {"loop": Link("loop")})
    grow(top / "data", {})
    [line] = child(top, 'told(BEGIN, ENTER, Bind(top + "/data", sys.argv[2]))', target)
    assert line.startswith(f"cannot bind {top}/data on {target}: ")


def test_directories_are_made_inside(top: Path) -> None:
    grow(
        top / "root",
        {
            "out": Link("/../../../not/there"),
            "run": Directory(0o700),
            "file": b"",
            "var/run": Link("../run"),
        },
    )
    code = """
go(BEGIN, ENTER, MakeDirectory("/new/deep", 0o1777), MakeDirectory("/out"),
   MakeDirectory("/run", 0o1777), MakeDirectory("/var/run", 0o1777), MakeDirectory("/var/run/x"))
"""
    child(top, code)
    found = contents(top / "root")
    assert found["new/deep"] == ("directory", "0o1777")
    assert found["not/there"] == ("directory", "0o755")
    assert found["run"] == ("directory", "0o700")
    assert found["run/x"] == ("directory", "0o755")
    for path in ("/file", "/file/x"):
        [line] = child(top, "told(BEGIN, ENTER, MakeDirectory(sys.argv[2]))", path)
        assert line.startswith(f"cannot make the directory {path}: ")


# The union


def test_the_union_keeps_changes_in_the_upper_directory(top: Path) -> None:
    names = {"lower": "l,o:w er", "upper": "u=p\\per", "work": "w:o,rk", "union": "u,n:i on"}
    grow(top / names["lower"], {"etc/hosts": b"lower", "gone": b"", "dir/old": b""})
    for name in ("upper", "work", "union"):
        (top / names[name]).mkdir()
    code = """
lower, upper, work, union = (f"{top}/{name}" for name in sys.argv[2:])
try:
    go(BEGIN, MountUnion(lower, upper, work, union), EnterRoot(union))
except EngineError as error:
    print(error.message)
else:
    os.unlink("/gone")
    os.unlink("/dir/old")
    os.rmdir("/dir")
    os.mkdir("/dir")
    write("/new")
    os.chmod("/etc/hosts", 0o600)
    print(sorted(os.listdir("/")), os.listdir("/dir"), read("/etc/hosts"))
"""
    [line] = child(top, code, *names.values())
    if line.startswith("cannot mount overlayfs") and "not permitted" in line:
        pytest.skip("host: no overlayfs in user namespaces")
    assert line == "['dir', 'etc', 'new'] [] lower"
    assert sorted(contents(top / names["lower"])) == ["dir", "dir/old", "etc", "etc/hosts", "gone"]
    changed = contents(top / names["upper"])
    assert changed["new"] == ("file", "0o644", b"")
    assert changed["etc/hosts"] == ("file", "0o600", b"lower")
    assert changed["gone"][0] == "c"
    assert os.getxattr(top / names["upper"] / "dir", "user.overlay.opaque") == b"y"


def test_a_union_that_cannot_be(top: Path) -> None:
    grow(top / "work", {})
    grow(top / "union", {})
    code = 'told(BEGIN, MountUnion(top + "/no", top + "/u", top + "/work", top + "/union"))'
    [line] = child(top, code)
    assert line.startswith(f"cannot mount overlayfs on {top}/union: ")
    assert "No such file" in line


def test_no_union_over_a_root_that_has_files(top: Path) -> None:
    """Another process has just given the container a plain root."""
    for name in ("lower", "upper", "work"):
        (top / name).mkdir()
    union = 'MountUnion(top + "/lower", top + "/upper", top + "/work", root)'
    own = 'ShareUnion(top + "/upper", top + "/lower", top + "/work", top + "/work/s", root)'
    told = ["the container was given a root directory of its own at this very moment"]
    assert child(top, f"told(BEGIN, {union})") == told
    assert child(top, f"told({own})") == told
