"""cp, both ways: what comes is what was there, wherever it lies, and nothing leads out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import udocker
from e2e.checks import is_told
from e2e.engines import BUSYBOX, need
from e2e.living import LONG, Living, living, started, wait_until

if TYPE_CHECKING:
    from e2e.conftest import Result
    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

MAKE = (
    "mkdir -p /d/sub /etc/new; echo one >/d/one; ln -s /etc/passwd /d/link; chmod 640 /d/one; "
    "chmod 555 /d/sub; rm -rf /var/spool; echo; ln -s /etc /to-etc; ln -s / /out; rm -rf /home"
)


FOREGROUND = (
    "touch /data/begun; until [ -s /etc/file ] && [ -s /data/file ]; do sleep 0.1; done; "
    f"touch /data/seen; sleep {LONG}"
)
RUNNING = ("N1", "F3", "P1", "R1")
# A mode, and whether the container runs in it while it is copied to and from.
WAYS = pytest.mark.parametrize(
    ("mode", "runs"),
    [
        *(pytest.param(mode, False, id=mode) for mode in ("N1", "F3", "R1")),
        *(pytest.param(mode, True, id=f"{mode} runs") for mode in RUNNING),
    ],
)


def made(shared: Shared, box: Living, mode: str, runs: bool) -> None:
    """What MAKE does is done, and it goes on running if it is to."""
    first = ("run", "-q", f"--execmode={mode}")
    shared(*first, f"--name={box.name}", shared.image(BUSYBOX), "sh", "-c", MAKE)
    if runs:
        shared(*first, "-d", box.name, "sleep", LONG)


def shown(shared: Shared, box: Living, mode: str, runs: bool, *program: str) -> str:
    """What a program in it prints."""
    words = ("exec",) if runs else ("run", "-q", f"--execmode={mode}")
    return shared(*words, box.name, *program).out


@WAYS
def test_there_and_back(
    shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str, runs: bool
) -> None:
    need(refusals, mode)
    with living(shared, f"cp-{mode.lower()}") as box:
        made(shared, box, mode, runs)

        # Out.
        shared("cp", f"{box.name}:/d", "d", cwd=tmp_path)
        assert sorted(os.listdir(tmp_path / "d")) == ["link", "one", "sub"]
        assert (tmp_path / "d/one").read_text() == "one\n"
        assert (tmp_path / "d/one").stat().st_mode & 0o777 == 0o640
        assert (tmp_path / "d/sub").stat().st_mode & 0o777 == 0o555
        assert os.readlink(tmp_path / "d/link") == "/etc/passwd"
        shared("cp", "-L", f"{box.name}:/d/link", "passwd", cwd=tmp_path)
        assert "root" in (tmp_path / "passwd").read_text()
        shared("cp", f"{box.name}:/d/one", "d", cwd=tmp_path)
        shared("cp", f"{box.name}:/d/.", str(tmp_path / "d"))  # only what is in it
        assert "d" not in os.listdir(tmp_path / "d")
        # In: a file, a directory, by a link of the image, over what was removed.
        (tmp_path / "host").write_text("host\n")
        (tmp_path / "tree/home").mkdir(parents=True)
        (tmp_path / "tree/home/file").write_text("deep\n")
        os.symlink("file", tmp_path / "tree/home/link")
        shared("cp", str(tmp_path / "host"), f"{box.name}:/to-etc/")
        shared("cp", str(tmp_path / "host"), f"{box.name}:/d/one")
        shared("cp", str(tmp_path / "tree/home"), f"{box.name}:/")
        shared("cp", str(tmp_path / "host"), f"{box.name}:/out/../host")
        look = "cat /etc/host /d/one /home/link /host; ls /home; id -u >/mine"
        seen = shown(shared, box, mode, runs, "sh", "-c", look)
        assert seen == "host\nhost\ndeep\nhost\nfile\nlink\n"
        assert not os.path.exists("/host")
        changed = shared("diff", box.name).out
        assert "A /etc/host\n" in changed
        # Refused, and nothing is there.
        for source, target in (
            (f"{box.name}:/nowhere", str(tmp_path / "x")),
            (str(tmp_path / "nowhere"), f"{box.name}:/x"),
            (str(tmp_path / "host"), f"{box.name}:/no/such/"),
            (str(tmp_path / "tree"), f"{box.name}:/etc/passwd"),
        ):
            is_told(shared("cp", source, target, check=False), 125, "cannot copy")
        assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("mode", RUNNING)
def test_what_runs_sees_it(
    shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    """Also a program that has just looked, in directories that only the image has."""
    need(refusals, mode)
    (tmp_path / "file").write_text("new\n")
    os.symlink("/etc/file", tmp_path / "link")
    waits = (
        "until ls /etc /usr/bin >/dev/null; cat /etc/file /usr/bin/link 2>/dev/null; do :; done"
        f" >/seen; sleep {LONG}"
    )
    with living(shared, f"cp-{mode.lower()}") as box:
        box.run("sh", "-c", f"echo made >/made; {waits}", options=(f"--execmode={mode}",))
        box("exec", "sh", "-c", "while [ ! -s /made ]; do sleep 0.1; done")
        shared("cp", f"{box.name}:/made", "made", cwd=tmp_path)
        assert (tmp_path / "made").read_text() == "made\n"
        shared("cp", str(tmp_path / "file"), f"{box.name}:/etc/")
        shared("cp", str(tmp_path / "link"), f"{box.name}:/usr/bin")
        wait_until(lambda: box("exec", "cat", "/seen").out.endswith("new\nnew\n"))
        assert "A /etc/file\n" in box("diff").out


@pytest.mark.parametrize("mode", RUNNING)
def test_what_cannot_be_made_is_told_by_its_own_name(
    shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    """And not by that under which it is made first."""
    need(refusals, mode)
    (tmp_path / "file").write_text("new\n")
    with living(shared, f"cp-name-{mode.lower()}") as box:
        box.run("sleep", LONG, options=(f"--execmode={mode}",))
        refused = shared("cp", str(tmp_path / "file"), f"{box.name}:/proc/it", check=False)
        is_told(refused, 125, "cannot copy")
        assert refused.err.splitlines()[0].endswith("/proc/it")


@pytest.mark.parametrize("mode", ["F3", "P1"])
def test_udocker_may_lie_behind_a_link(
    shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    """As where /home is one; no part of what the engine is given may be a link."""
    need(refusals, mode)
    package = Path(udocker.__file__).resolve().parent
    (tmp_path / "link").symlink_to(package.parent)
    (tmp_path / "file").write_text("new\n")
    words = ("-m", "udocker", "cp", str(tmp_path / "file"))
    with living(shared, f"cp-link-{mode.lower()}") as box:
        box.run("sleep", LONG, options=(f"--execmode={mode}",))
        subprocess.run(
            [sys.executable, *words, f"{box.name}:/etc/"],
            env={**shared.environment(), "PYTHONPATH": str(tmp_path / "link")},
            cwd=tmp_path,
            check=True,
        )
        assert box("exec", "cat", "/etc/file").out == "new\n"


@pytest.mark.parametrize("mode", RUNNING)
def test_what_comes_in_is_what_it_was(
    shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    need(refusals, mode)
    tree = tmp_path / "tree"
    (tree / "closed").mkdir(parents=True)
    (tree / "closed/big").write_bytes(os.urandom(300_001))
    (tree / "closed/big").chmod(0o4750)
    (tree / "closed").chmod(0o555)
    (tree / "empty").touch()
    os.utime(tree / "empty", (1, 1_000_000_000))
    os.symlink("nowhere", tree / "link")
    os.mkfifo(tree / "pipe")
    with living(shared, f"cp-{mode.lower()}") as box:
        user = ("--user=1000:1000",) if mode != "R1" else ()
        box.run("sleep", LONG, options=(f"--execmode={mode}", *user))
        shared("cp", str(tree), f"{box.name}:/opt")
        names = ("/opt", "/opt/closed", "/opt/closed/big", "/opt/empty")
        found = box("exec --user=0", "stat", "-c", "%a %u %g %s", *names).out.splitlines()
        assert [line.rsplit(" ", 1)[0] for line in found] == [
            f"{tree.stat().st_mode & 0o777:o} 0 0",
            *("555 0 0", "750 0 0", f"{(tree / 'empty').stat().st_mode & 0o777:o} 0 0"),
        ]
        assert found[2].endswith(" 300001")
        assert box("exec", "stat", "-c", "%Y", "/opt/empty").out == "1000000000\n"
        assert box("exec", "readlink", "/opt/link").out == "nowhere\n"
        assert box("exec", "ls", "-A", "/opt").out.split() == ["closed", "empty", "link"]
        shared("cp", f"{box.name}:/opt/closed", str(tmp_path / "back"))
        assert (tmp_path / "back/big").read_bytes() == (tree / "closed/big").read_bytes()
        # Over what is there, and what cannot be over it.
        shared("cp", str(tree / "empty"), f"{box.name}:/opt/link")
        assert box("exec", "stat", "-c", "%F", "/opt/link").out == "regular empty file\n"
        refused = shared("cp", str(tree / "closed"), f"{box.name}:/opt/empty", check=False)
        is_told(refused, 125, "Not a directory")
        for long in ("/opt/" + "x" * 256, "/" + "/".join(["x" * 250] * 17)):
            refused = shared("cp", str(tree / "empty"), f"{box.name}:{long}", check=False)
            assert refused.code == 125
            assert "File name too long" in refused.err or "No such file" in refused.err
        (tree / "closed").chmod(0o755)
        (tree / "closed/big").unlink()
        (tree / "closed/big").mkdir()
        is_told(shared("cp", str(tree / "closed"), f"{box.name}:/opt/", check=False), 125)
        assert box("exec", "ls", "-A", "/opt/closed").out == "big\n"


@pytest.mark.parametrize("mode", RUNNING)
def test_where_something_is_mounted(
    shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    need(refusals, mode)
    (tmp_path / "file").write_text("new\n")
    for name in ("data", "read"):
        (tmp_path / name / "in").mkdir(parents=True)
    os.symlink("in", tmp_path / "data/link")
    options = (
        *(f"-v{tmp_path}/data:/data", f"-v{tmp_path}/read:/read:ro", "--tmpfs=/scratch"),
        f"--execmode={mode}",
    )

    def copied(target: str, check: bool = True) -> Result:
        return shared("cp", str(tmp_path / "file"), f"{box.name}:{target}", check=check)

    with living(shared, f"cp-{mode.lower()}") as box:
        box.run("sleep", LONG, options=options)
        for target in ("/data", "/data/link/more", "/scratch/", "/data/../scratch/more"):
            copied(target)
        assert (tmp_path / "data/file").read_text() == "new\n"
        assert (tmp_path / "data/in/more").read_text() == "new\n"
        assert box("exec", "ls", "/scratch").out.split() == (
            [] if mode in ("F3", "P1") else ["file", "more"]
        )
        # Out, too; of what the host's own directories have nothing.
        shared("cp", f"{box.name}:/data", "data-out", cwd=tmp_path)
        assert (tmp_path / "data-out/in/more").read_text() == "new\n"
        with started(shared, "cp", "-L", f"{box.name}:/data/link", "-") as reading:
            assert b"link/more" in reading.communicate()[0]
        shared("cp", f"{box.name}:/etc/hosts", "hosts", cwd=tmp_path)
        assert (tmp_path / "hosts").read_text() == box("exec", "cat", "/etc/hosts").out
        shared("cp", f"{box.name}:/", "all", cwd=tmp_path)
        assert (tmp_path / "all/data/file").read_text() == "new\n"
        assert os.listdir(tmp_path / "all/proc") == []
        is_told(copied("/read/", check=False), 125, "Read-only file system: /read/")
        is_told(copied("/read/in/x", check=False), 125, "Read-only file system: /read/in/")
        assert os.listdir(tmp_path / "read") == ["in"]
        box("rm -f")
        box.run("sleep", LONG, options=(*options, "--read-only"))
        is_told(copied("/etc/", check=False), 125, "Read-only file system: /etc/")
        copied("/data/again")
        assert (tmp_path / "data/again").read_text() == "new\n"


@pytest.mark.parametrize("mode", RUNNING)
def test_in_the_foreground_and_while_it_waits(
    shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    need(refusals, mode)
    (tmp_path / "file").write_text("new\n")
    (tmp_path / "data").mkdir()
    image = shared.image(BUSYBOX)
    with living(shared, f"cp-{mode.lower()}") as box:
        shared("create", "-q", f"--name={box.name}", image)
        volume = f"-v{tmp_path}/data:/data"  # which only this run knows of
        words = ("run", "-q", f"--execmode={mode}", volume, box.name, "sh", "-c", FOREGROUND)
        with started(shared, *words):
            wait_until((tmp_path / "data/begun").exists)
            for target in ("/data/", "/etc/"):
                shared("cp", str(tmp_path / "file"), f"{box.name}:{target}")
            assert (tmp_path / "data/file").read_text() == "new\n"
            assert box("exec", "cat", "/etc/file").out == "new\n"
            wait_until((tmp_path / "data/seen").exists)
            box("kill")
        wait_until(lambda: box.state()["status"] != "running")
        box("rm")
        box.run("sleep", LONG, options=(f"--execmode={mode}",))
        box("pause")
        shared("cp", str(tmp_path / "file"), f"{box.name}:/etc/")
        box("unpause")
        assert box("exec", "cat", "/etc/file").out == "new\n"


@WAYS
def test_by_an_archive(shared: Shared, refusals: dict[str, str], mode: str, runs: bool) -> None:
    need(refusals, mode)
    with living(shared, f"cp-{mode.lower()}") as box:
        made(shared, box, mode, runs)
        with started(shared, "cp", f"{box.name}:/d", "-") as reading:
            data = reading.communicate()[0]
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = {member.name: member for member in archive}
            assert sorted(members) == ["d", "d/link", "d/one", "d/sub"]
            one = archive.extractfile("d/one")
            assert one is not None
            assert one.read() == b"one\n"
        assert members["d/link"].linkname == "/etc/passwd"
        assert (members["d/one"].mode, members["d/sub"].mode) == (0o640, 0o555)
        # In: also what wants to get out.
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name in ("new/file", "top"):
                member = tarfile.TarInfo(name)
                member.size = 4
                archive.addfile(member, io.BytesIO(b"abc\n"))
        with started(shared, "cp", "-q", "-", f"{box.name}:/to-etc") as writing:
            assert writing.communicate(packed.getvalue()) == (b"", b"")
        words = ("cat", "/etc/new/file", "/etc/top")
        assert shown(shared, box, mode, runs, *words) == "abc\nabc\n"
        for data, why in ((b"", "there is nothing in it"), (b"no archive" * 100, "archive")):
            with started(shared, "cp", "-", f"{box.name}:/tmp") as writing:
                told = writing.communicate(data)[1].decode()
                assert writing.returncode == 125
                assert why in told
        assert os.listdir(shared.store / "tmp") == []


def test_words(shared: Shared) -> None:
    for words in (("a", "b"), ("x:/a", "y:/b"), ("-", "-"), ("-", "b")):
        is_told(shared("cp", *words, check=False), 2, "")
    for words in (("nobody:/a", "b"), ("nobody:/a", "-"), ("-", "nobody:/a")):
        is_told(shared("cp", *words, check=False), 125, "")
