"""cp, both ways: what comes is what was there, wherever it lies, and nothing leads out."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from e2e.checks import is_told
from e2e.engines import BUSYBOX, need
from e2e.living import LONG, living, started

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.engines import Shared

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.engines"]

MAKE = (
    "mkdir -p /d/sub /etc/new; echo one >/d/one; ln -s /etc/passwd /d/link; chmod 640 /d/one; "
    "chmod 555 /d/sub; rm -rf /var/spool; echo; ln -s /etc /to-etc; ln -s / /out; rm -rf /home"
)


@pytest.mark.parametrize("mode", ["N1", "F3", "R1"])
def test_there_and_back(
    shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str
) -> None:
    need(refusals, mode)
    with living(shared, f"cp-{mode.lower()}") as box:
        image = shared.image(BUSYBOX)
        shared("run", "-q", f"--execmode={mode}", f"--name={box.name}", image, "sh", "-c", MAKE)

        def inside(*program: str) -> str:
            return shared("run", "-q", f"--execmode={mode}", box.name, *program).out

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
        shown = inside("sh", "-c", "cat /etc/host /d/one /home/link /host; ls /home; id -u >/mine")
        assert shown == "host\nhost\ndeep\nhost\nfile\nlink\n"
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


@pytest.mark.parametrize("mode", ["N1", "F3"])
def test_while_it_runs(shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str) -> None:
    need(refusals, mode)
    (tmp_path / "file").write_text("new\n")
    with living(shared, f"cp-{mode.lower()}") as box:
        box.run("sh", "-c", f"echo made >/made; sleep {LONG}", options=(f"--execmode={mode}",))
        box("exec", "sh", "-c", "while [ ! -s /made ]; do sleep 0.1; done")
        shared("cp", f"{box.name}:/made", "made", cwd=tmp_path)
        assert (tmp_path / "made").read_text() == "made\n"
        result = shared("cp", str(tmp_path / "file"), f"{box.name}:/etc/", check=False)
        if mode == "F3":
            is_told(result, 125, "while it runs", "exec -i")
        else:
            assert box("exec", "cat", "/etc/file").out == "new\n"


@pytest.mark.parametrize("mode", ["N1", "F3", "R1"])
def test_by_an_archive(shared: Shared, refusals: dict[str, str], tmp_path: Path, mode: str) -> None:
    need(refusals, mode)
    with living(shared, f"cp-{mode.lower()}") as box:
        image = shared.image(BUSYBOX)
        shared("run", "-q", f"--execmode={mode}", f"--name={box.name}", image, "sh", "-c", MAKE)
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
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w:gz") as archive:
            for name in ("new/file", "top"):
                member = tarfile.TarInfo(name)
                member.size = 4
                archive.addfile(member, io.BytesIO(b"abc\n"))
        with started(shared, "cp", "-q", "-", f"{box.name}:/to-etc") as writing:
            assert writing.communicate(made.getvalue()) == (b"", b"")
        words = ("run", "-q", f"--execmode={mode}", box.name, "cat", "/etc/new/file", "/etc/top")
        assert shared(*words).out == "abc\nabc\n"
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
