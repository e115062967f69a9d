from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from udocker import files, makers
from udocker.errors import NoSpaceError, StoreError, StoreUnwritableError


def tree(path):
    """What is in a directory, names only."""
    return sorted(os.listdir(path))


def run(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **options,
    )


class TestUniqueName:
    def test_form(self):
        names = {files.unique_name() for _ in range(100)}
        assert len(names) == 100
        assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)


class TestTemporaryName:
    def test_names_its_maker(self):
        one, two = files.temporary_name(), files.temporary_name()
        assert one != two
        assert makers.found_in(one) == makers.mark()


class TestWriteAtomic:
    def test_new_file_with_parents(self, tmp_path):
        path = tmp_path / "a" / "b" / "c"
        files.write_atomic(str(path), b"one")
        assert path.read_bytes() == b"one"
        assert tree(path.parent) == ["c"]

    def test_replaces(self, tmp_path):
        path = tmp_path / "f"
        files.write_atomic(str(path), b"one")
        files.write_atomic(str(path), b"")
        assert path.read_bytes() == b""
        assert tree(tmp_path) == ["f"]

    @pytest.mark.parametrize("mode", [0o600, 0o640])
    def test_mode(self, tmp_path, mode):
        old = os.umask(0o022)
        try:
            files.write_atomic(str(tmp_path / "f"), b"x", mode)
        finally:
            os.umask(old)
        assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode

    def test_longest_name(self, tmp_path):
        path = tmp_path / ("n" * 255)
        files.write_atomic(str(path), b"x")
        assert tree(tmp_path) == [path.name]

    def test_reader_keeps_what_it_opened(self, tmp_path):
        path = tmp_path / "f"
        files.write_atomic(str(path), b"old")
        with path.open("rb") as reader:
            files.write_atomic(str(path), b"new")
            assert reader.read() == b"old"

    def test_replaces_a_link_and_not_what_it_names(self, tmp_path):
        (tmp_path / "target").write_bytes(b"target")
        (tmp_path / "link").symlink_to("target")
        files.write_atomic(str(tmp_path / "link"), b"new")
        assert (tmp_path / "target").read_bytes() == b"target"
        assert not (tmp_path / "link").is_symlink()

    def test_a_directory_in_the_way(self, tmp_path):
        (tmp_path / "d").mkdir()
        with pytest.raises(OSError, match="d"):
            files.write_atomic(str(tmp_path / "d"), b"x")
        assert tree(tmp_path) == ["d"]

    def test_a_file_among_the_parents(self, tmp_path):
        (tmp_path / "f").write_bytes(b"")
        with pytest.raises(OSError, match="f"):
            files.write_atomic(str(tmp_path / "f" / "g"), b"x")

    def test_no_room(self, tmp_path):
        path = tmp_path / "f"
        files.write_atomic(str(path), b"old")
        code = (
            "import resource, signal, sys; from udocker import files\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
            "try: files.write_atomic(sys.argv[1], b'n' * 100_000)\n"
            "except OSError as error: print(error.errno)"
        )
        output, _ = run(code, path).communicate()
        assert int(output) == errno.EFBIG
        assert path.read_bytes() == b"old"
        assert tree(tmp_path) == ["f"]

    def test_writers_at_once_leave_one_whole_file(self, tmp_path):
        path = tmp_path / "f"
        written = [bytes([number]) * 50_000 for number in range(8)]
        threads = [
            threading.Thread(target=files.write_atomic, args=(str(path), data)) for data in written
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert path.read_bytes() in written
        assert tree(tmp_path) == ["f"]


def deep_tree(path, depth):
    """``depth`` directories, one in the other, with a file in the last."""
    path.mkdir()
    current = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=current)
        inner = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=current))
    os.close(current)


class TestRemoveTree:
    def test_missing(self, tmp_path):
        files.remove_tree(str(tmp_path / "no"))
        files.remove_tree(str(tmp_path / "no" / "no"))

    def test_file(self, tmp_path):
        (tmp_path / "f").write_bytes(b"x")
        files.remove_tree(str(tmp_path / "f"))
        assert tree(tmp_path) == []

    def test_everything_in_it(self, tmp_path):
        root = tmp_path / "root"
        (root / "a" / "b").mkdir(parents=True)
        (root / "a" / "f").write_bytes(b"x")
        (root / "a" / "dangling").symlink_to("nowhere")
        (root / "loop").symlink_to(".")
        os.mkfifo(root / "fifo")
        (root / "\udcff").write_bytes(b"x")
        files.remove_tree(str(root))
        assert tree(tmp_path) == []

    def test_links_are_not_followed(self, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir(mode=0o750)
        (outside / "kept").write_bytes(b"x")
        mode = outside.stat().st_mode
        root = tmp_path / "root"
        root.mkdir()
        (root / "link").symlink_to(outside)
        (root / "file").symlink_to(outside / "kept")
        files.remove_tree(str(root))
        (tmp_path / "link").symlink_to(outside)
        files.remove_tree(str(tmp_path / "link"))
        assert tree(tmp_path) == ["outside"]
        assert tree(outside) == ["kept"]
        assert outside.stat().st_mode == mode

    @pytest.mark.parametrize("mode", [0o000, 0o100, 0o400, 0o500, 0o200, 0o300, 0o600])
    def test_directories_without_permission(self, tmp_path, mode):
        root = tmp_path / "root"
        inner = root / "a" / "b"
        inner.mkdir(parents=True)
        (inner / "f").write_bytes(b"x")
        (inner / "f").chmod(0)
        for path in (inner, inner.parent, root):
            path.chmod(mode)
        files.remove_tree(str(root))
        assert tree(tmp_path) == []

    @pytest.mark.parametrize("depth", [63, 64, 65, 200, 3000])
    def test_any_depth(self, tmp_path, depth):
        # 3000 is beyond the usual limits on recursion, on open files and on the length of a path.
        deep_tree(tmp_path / "root", depth)
        files.remove_tree(str(tmp_path / "root"))
        assert tree(tmp_path) == []

    def test_depth_without_permission(self, tmp_path):
        deep_tree(tmp_path / "root", 70)
        path = str(tmp_path / "root") + "/d" * 70
        while path != str(tmp_path):
            os.chmod(path, 0)
            path = os.path.dirname(path)
        files.remove_tree(str(tmp_path / "root"))
        assert tree(tmp_path) == []

    def test_many_removers(self, tmp_path):
        root = tmp_path / "root"
        for number in range(40):
            (root / str(number) / "x").mkdir(parents=True)
            (root / str(number) / "f").write_bytes(b"")
        code = (
            "import sys; from udocker import files\n"
            "sys.stdin.read(1); files.remove_tree(sys.argv[1])"
        )
        processes = [run(code, root) for _ in range(4)]
        for process in processes:
            process.stdin.write(b"x")
            process.stdin.flush()
        for process in processes:
            process.communicate()
        assert [process.returncode for process in processes] == [0, 0, 0, 0]
        assert tree(tmp_path) == []

    def test_what_may_not_be_removed(self, tmp_path):
        with pytest.raises(OSError, match="proc"):
            files.remove_tree("/proc/sys/kernel/ostype")

    def test_no_descriptor_stays_open(self, tmp_path):
        before = tree("/proc/self/fd")
        deep_tree(tmp_path / "root", 100)
        files.remove_tree(str(tmp_path / "root"))
        assert tree("/proc/self/fd") == before


class TestStoreErrors:
    @pytest.mark.parametrize(
        ("number", "kind", "hint"),
        [
            (errno.ENOSPC, NoSpaceError, "udocker rmi"),
            (errno.EDQUOT, NoSpaceError, "UDOCKER_DIR"),
            (errno.EACCES, StoreUnwritableError, "--repo"),
            (errno.EPERM, StoreUnwritableError, "--repo"),
            (errno.EROFS, StoreUnwritableError, "--repo"),
            (errno.EIO, StoreError, None),
            (errno.ENOTDIR, StoreError, None),
        ],
    )
    def test_translation(self, number, kind, hint):
        with pytest.raises(StoreError) as caught, files.store_errors("storing a layer"):
            raise OSError(number, os.strerror(number), "/s/blob")
        error = caught.value
        assert type(error) is kind
        assert error.message == f"storing a layer: {os.strerror(number)}: /s/blob"
        assert (hint in error.hint) if hint else error.hint is None
        assert isinstance(error.__cause__, OSError)
        assert error.exit_code == 125

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (OSError(errno.EIO, "Input/output error"), "reading: Input/output error"),
            (OSError("odd"), "reading: odd"),
            (ConnectionResetError(errno.ECONNRESET, "reset"), "reading: reset"),
        ],
    )
    def test_errors_without_a_path(self, error, message):
        with pytest.raises(StoreError) as caught, files.store_errors("reading"):
            raise error
        assert caught.value.message == message

    def test_a_real_one(self, tmp_path):
        with pytest.raises(StoreError) as caught, files.store_errors("reading"):
            (tmp_path / "no").read_bytes()
        assert caught.value.message == f"reading: No such file or directory: {tmp_path}/no"

    @pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), NoSpaceError("full")])
    def test_others_pass(self, error):
        with pytest.raises(type(error)) as caught, files.store_errors("reading"):
            raise error
        assert caught.value is error

    def test_no_error(self):
        with files.store_errors("reading"):
            pass


class TestOlderThan:
    def test_ages(self, tmp_path):
        path = tmp_path / "f"
        path.write_bytes(b"")
        os.utime(path, (1000, 1000))
        assert files.older_than(str(path), 3600)
        path.touch()
        assert not files.older_than(str(path), 3600)
        assert not files.older_than(str(tmp_path / "no"), 0)

    def test_a_link_is_its_own_age(self, tmp_path):
        (tmp_path / "f").write_bytes(b"")
        os.utime(tmp_path / "f", (1000, 1000))
        (tmp_path / "link").symlink_to("f")
        assert not files.older_than(str(tmp_path / "link"), 3600)


class TestSweep:
    def old(self, path):
        os.utime(path, (1000, 1000), follow_symlinks=False)

    def test_takes_what_nobody_holds(self, tmp_path):
        (tmp_path / "directory" / "inner").mkdir(parents=True)
        (tmp_path / "file").write_bytes(b"x")
        (tmp_path / "link").symlink_to("file")
        for name in ("directory", "file", "link"):
            self.old(tmp_path / name)
        (tmp_path / "young").mkdir()
        files.sweep(str(tmp_path))
        assert tree(tmp_path) == ["young"]

    def test_leaves_what_is_held(self, tmp_path):
        (tmp_path / "held").mkdir()
        self.old(tmp_path / "held")
        lock = files.lock_entry(str(tmp_path / "held"))
        files.sweep(str(tmp_path))
        assert tree(tmp_path) == ["held"]
        os.close(lock)
        files.sweep(str(tmp_path))
        assert tree(tmp_path) == []

    def test_a_killed_holder_holds_nothing(self, tmp_path):
        (tmp_path / "held").mkdir()
        code = (
            "import sys; from udocker import files\nfiles.lock_entry(sys.argv[1])\n"
            "print('held', flush=True); sys.stdin.read(1)"
        )
        with run(code, tmp_path / "held") as holder:
            assert holder.stdout.readline() == b"held\n"
            self.old(tmp_path / "held")
            files.sweep(str(tmp_path))
            assert tree(tmp_path) == ["held"]
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        files.sweep(str(tmp_path))
        assert tree(tmp_path) == []

    def test_takes_at_once_what_a_dead_process_made(self, tmp_path):
        code = "from udocker import files; print(files.temporary_name())"
        with run(code) as maker:
            name = maker.stdout.read().decode().strip()
        (tmp_path / name).mkdir()
        (tmp_path / files.temporary_name()).mkdir()
        files.sweep(str(tmp_path))
        assert len(tree(tmp_path)) == 1
        assert makers.mark() in tree(tmp_path)[0]

    def test_leaves_what_a_living_process_made_however_old(self, tmp_path):
        name = files.temporary_name()
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.link").symlink_to("x")
        self.old(tmp_path / name)
        self.old(tmp_path / f"{name}.link")
        files.sweep(str(tmp_path))
        assert len(tree(tmp_path)) == 2

    @pytest.mark.parametrize(("age", "stays"), [(30, True), (1800, True), (4000, False)])
    def test_what_another_host_made_goes_when_it_is_silent(self, tmp_path, age, stays):
        """A lock that is free says nothing there."""
        mark = makers.mark()
        path = tmp_path / f"{'0' * 32}.{'f' * 12}{mark[12:]}"
        path.mkdir()
        moment = time.time() - age
        os.utime(path, (moment, moment))
        files.sweep(str(tmp_path))
        assert path.exists() is stays

    def test_no_directory(self, tmp_path):
        files.sweep(str(tmp_path / "no"))

    def test_a_second_lock(self, tmp_path):
        (tmp_path / "f").write_bytes(b"")
        lock = files.lock_entry(str(tmp_path / "f"))
        with pytest.raises(BlockingIOError):
            files.lock_entry(str(tmp_path / "f"))
        os.close(lock)


class TestBeating:
    def test_touches_until_the_end(self, tmp_path):
        path = tmp_path / "link"
        path.symlink_to("nowhere")
        os.utime(path, (1000, 1000), follow_symlinks=False)
        before = threads()
        with files.beating(str(path), 0.01):
            deadline = time.monotonic() + 30
            while path.lstat().st_mtime == 1000 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert path.lstat().st_mtime > 1000
        assert set(threads()) <= set(before)

    def test_what_is_gone_does_not_matter(self, tmp_path):
        before = threads()
        with files.beating(str(tmp_path / "no"), 0.001):
            assert set(threads()) - set(before)
            time.sleep(0.02)
        assert set(threads()) <= set(before)


def threads():
    return tree("/proc/self/task")
