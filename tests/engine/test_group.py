"""The file by which tasks of a host come into one user namespace; the kernel's part is e2e's."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from udocker.engine import group

if TYPE_CHECKING:
    from pathlib import Path

GONE = b"4194303 4 4026531837\n"


def test_whoever_is_in_it_is_found_while_it_goes_on(tmp_path: Path) -> None:
    with group.opened(f"{tmp_path}/step-1") as stream:
        stream.write(GONE + b"nonsense\n\n1 2\n")
        assert list(group.namespaces(stream)) == []
        group.join(stream)
        stream.write(GONE)
        inodes = [os.fstat(descriptor).st_ino for descriptor in group.namespaces(stream)]
    assert inodes == [os.stat("/proc/self/ns/user").st_ino]


def test_a_number_that_another_process_has_now_is_not_believed(tmp_path: Path) -> None:
    with group.opened(f"{tmp_path}/step-1") as stream:
        stream.write(b"%d 4 1\n" % os.getpid())
        assert list(group.namespaces(stream)) == []


def test_one_at_a_time_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "step-1"
    program = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with group.opened(str(path)):
        words = [sys.executable, "-c", program, str(path)]
        done = subprocess.run(words, stderr=subprocess.PIPE, check=False)
        assert b"BlockingIOError" in done.stderr
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_swept_while_one_waited_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "step-1"
    lock, taken = fcntl.flock, []

    def late(stream: object, flags: int) -> None:
        lock(stream, flags)  # type: ignore[arg-type]
        if not taken:
            taken.append(path.unlink())

    monkeypatch.setattr(fcntl, "flock", late)
    with group.opened(str(path)) as stream:
        assert os.fstat(stream.fileno()).st_ino == path.stat().st_ino
    assert taken == [None]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "step-1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), group.opened(f"{tmp_path}/step-1"):
        pytest.fail("it was followed")
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_group_sweeps_those_that_have_ended(tmp_path: Path) -> None:
    files = {
        "step-ended": GONE,
        "step-empty": b"",
        "step-living": GONE + b"%d 4 1\n" % os.getpid(),
        "step-fresh": GONE,
        "other-ended": GONE,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        if name != "step-fresh":
            os.utime(tmp_path / name, (0, 0))
    for name in ("step-living", "step-new"):  # the first is there, and sweeps nothing
        with group.opened(f"{tmp_path}/{name}"):
            left = sorted(os.listdir(tmp_path))
        if name == "step-living":
            assert left == sorted(files)
    assert left == ["other-ended", "step-fresh", "step-living", "step-new"]
