"""Leases by a lock of the kernel, and by a link where there is none."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from udocker import files, leases, makers

# Locks that fail, as on some mounts of NFS and Lustre.
NO_LOCKS = """
import errno, fcntl, os
def refuse(descriptor, flags):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
fcntl.flock = refuse
"""
HOLD = """
import os, sys, time
from udocker import leases
with leases.lease(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read(1)
    time.sleep(0.2)
    open(os.path.dirname(sys.argv[1]) + "/done", "w").close()
"""
COUNT = """
import sys
from pathlib import Path
from udocker import leases
counter = Path(sys.argv[1]).parent / "counter"
for _ in range(100):
    with leases.lease(sys.argv[1]):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def tree(path):
    return sorted(os.listdir(path))


@pytest.fixture(params=["locks", "links"])
def kind(request, monkeypatch):
    if request.param == "links":

        def refuse(descriptor, flags):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", refuse)
    return request.param


@pytest.fixture
def run(kind):
    prologue = NO_LOCKS if kind == "links" else ""

    def start(code, *arguments, **options):
        return subprocess.Popen(
            [sys.executable, "-c", prologue + code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            **options,
        )

    return start


@pytest.mark.usefixtures("kind")
def test_free(tmp_path):
    waited = []
    path = tmp_path / "one"
    for _ in range(2):
        with leases.lease(str(path), lambda: waited.append(1)):
            assert path.exists()
    assert waited == []
    assert tree(path.parent) == ["one"]


@pytest.mark.usefixtures("kind")
def test_is_private(tmp_path):
    with leases.lease(str(tmp_path / "one")):
        assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


def test_waits_for_another_process(tmp_path, run):
    path = tmp_path / "one"
    with run(HOLD, path) as holder:
        assert holder.stdout.readline() == b"held\n"
        told = []
        assert not (tmp_path / "done").exists()

        def waiting():
            told.append(holder.poll())
            holder.stdin.write(b"x")
            holder.stdin.flush()

        with leases.lease(str(path), waiting):
            assert (tmp_path / "done").exists()
        assert told == [None]


def test_waits_no_longer_than_it_is_to(tmp_path, run):
    path = tmp_path / "one"
    told = []
    with run(HOLD, path) as holder:
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(TimeoutError),
            leases.lease(str(path), lambda: told.append(1), patience=0.2),
        ):
            pytest.fail("it is held")
        assert told == [1]
        holder.stdin.write(b"x")
        holder.stdin.flush()
        with leases.lease(str(path), patience=60):
            assert (tmp_path / "done").exists()


def test_without_anybody_to_tell(tmp_path, run):
    path = tmp_path / "one"
    with run(HOLD, path) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.stdin.write(b"x")
        holder.stdin.flush()
        with leases.lease(str(path)):
            assert (tmp_path / "done").exists()


def test_another_path_is_another_lease(tmp_path, run):
    with leases.lease(str(tmp_path / "one")), run(HOLD, tmp_path / "two") as other:
        assert other.stdout.readline() == b"held\n"
        other.stdin.write(b"x")
        other.stdin.flush()


def test_one_at_a_time(tmp_path, run):
    (tmp_path / "counter").write_text("0")
    started = [run(COUNT, tmp_path / "one") for _ in range(4)]
    for process in started:
        process.communicate()
    assert [process.returncode for process in started] == [0] * 4
    assert (tmp_path / "counter").read_text() == "400"
    assert tree(tmp_path) == ["counter", "one"]


def test_dies_with_its_process(tmp_path, run):
    path = tmp_path / "one"
    with run(HOLD, path) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
        assert holder.wait() == -signal.SIGKILL
    waited = []
    with leases.lease(str(path), lambda: waited.append(1)):
        pass
    assert waited == []
    assert tree(tmp_path) == ["one"]


def test_a_program_that_is_started_does_not_keep_it(tmp_path, run):
    path = tmp_path / "one"
    with leases.lease(str(path)):
        child = run("print('started', flush=True); input()", close_fds=False)
        assert child.stdout.readline() == b"started\n"
    waited = []
    with leases.lease(str(path), lambda: waited.append(1)):
        pass
    child.communicate(b"\n")
    assert waited == []


@pytest.mark.usefixtures("kind")
def test_ends_with_the_error_inside(tmp_path):
    path = tmp_path / "one"
    before = tree("/proc/self/fd")
    threads = tree("/proc/self/task")
    with pytest.raises(KeyError), leases.lease(str(path)):
        raise KeyError("x")
    with leases.lease(str(path)):
        assert len(tree("/proc/self/fd")) == len(before) + 1
    assert tree("/proc/self/fd") == before
    assert set(tree("/proc/self/task")) <= set(threads)


@pytest.mark.usefixtures("kind")
def test_a_directory_in_the_way(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)), leases.lease(str(tmp_path)):
        pass


def test_a_lock_that_was_removed_while_waiting_is_not_one(tmp_path):
    """Otherwise the next one makes a new file, and two have the lease."""
    path = tmp_path / "one"
    holder = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)

    def waiting():
        path.unlink()
        os.close(holder)

    with leases.lease(str(path), waiting):
        assert path.exists()
        other = os.open(path, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)


def test_its_use_shows(tmp_path):
    path = tmp_path / "one"
    path.touch()
    os.utime(path, (1000, 1000))
    with leases.lease(str(path)):
        assert time.time() - path.stat().st_mtime < 60


class TestLinks:
    @pytest.fixture(autouse=True)
    def no_locks(self, monkeypatch):
        monkeypatch.setattr(leases, "_lock", lambda path, waiting: None)

    def elsewhere(self):
        return f"{files.unique_name()}.{'f' * 12}{makers.mark()[12:]}"

    def test_of_another_host_that_goes_on(self, tmp_path, monkeypatch):
        held = tmp_path / "one.held"
        held.symlink_to(self.elsewhere())
        monkeypatch.setattr(leases, "_SILENT", 0.3)
        begun = time.monotonic()

        def waiting():
            os.utime(held, (1000, 1000), follow_symlinks=False)

        with leases.lease(str(tmp_path / "one"), waiting):
            assert os.readlink(held).endswith(makers.mark())
        assert time.monotonic() - begun > 0.3
        assert tree(tmp_path) == []

    def test_touches_its_own(self, tmp_path, monkeypatch):
        monkeypatch.setattr(leases, "_BEAT", 0.01)
        held = tmp_path / "one.held"
        with leases.lease(str(tmp_path / "one")):
            os.utime(held, (1000, 1000), follow_symlinks=False)
            while held.lstat().st_mtime == 1000:
                time.sleep(0.01)

    def test_short_ones_have_no_second_thread(self, tmp_path):
        threads = tree("/proc/self/task")
        with leases.lease(str(tmp_path / "one"), beats=False):
            assert tree(tmp_path) == ["one.held"]
            assert set(tree("/proc/self/task")) <= set(threads)

    def test_one_that_was_taken_over_is_left_to_the_other(self, tmp_path):
        held = tmp_path / "one.held"
        with leases.lease(str(tmp_path / "one")):
            held.unlink()
            held.symlink_to("another")
        assert os.readlink(held) == "another"

    def test_what_is_taken_away_wrongly_is_put_back(self, tmp_path):
        (tmp_path / "one.held").symlink_to("new")
        folder = os.open(tmp_path, os.O_RDONLY)
        leases._take_away(folder, "one.held", "old")
        os.close(folder)
        assert os.readlink(tmp_path / "one.held") == "new"
        assert tree(tmp_path) == ["one.held"]

    def test_one_whose_making_was_answered_too_late(self, tmp_path, monkeypatch):
        """NFS: the first answer is lost, and the second attempt finds our own link."""
        make = os.symlink

        def twice(target, path, dir_fd=None):
            make(target, path, dir_fd=dir_fd)
            raise FileExistsError

        monkeypatch.setattr(os, "symlink", twice)
        with leases.lease(str(tmp_path / "one")):
            pass
        assert tree(tmp_path) == []


def test_both_where_other_hosts_write(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "is_local", lambda path: False)
    with leases.lease(str(tmp_path / "one")):
        assert tree(tmp_path) == ["one", "one.held"]


def test_which_filesystems_are_local(tmp_path):
    assert leases.is_local(str(tmp_path))
    assert leases.is_local("/dev/shm")
    assert not leases.is_local("/proc/self")
