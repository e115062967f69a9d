"""The store as a whole: temporary directories, leases."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from builders.processes import SMALL_DISK, environment, needs_namespaces, python, race
from builders.trees import Directory, File, grow
from udocker.errors import NoSpaceError, StoreError, StoreUnwritableError
from udocker.store.store import Store

LEAVE = """
import sys
from udocker.store.store import Store
with Store(sys.argv[1]).temporary() as directory:
    print(directory, flush=True)
    input()
"""


@pytest.fixture
def store(store_path: Path) -> Store:
    return Store(str(store_path))


def test_making_one_touches_nothing(store_path: Path) -> None:
    Store(str(store_path))
    assert not store_path.exists()


def test_what_is_not_renamed_away_goes(store: Store, store_path: Path) -> None:
    with store.temporary() as directory:
        assert os.stat(directory).st_mode & 0o777 == 0o700
        grow(Path(directory), {"locked/file": File(b"", 0), "locked": Directory(0), "kept": b"1"})
        os.rename(f"{directory}/kept", store_path / "kept")
    assert os.listdir(store_path / "tmp") == []
    assert (store_path / "kept").read_bytes() == b"1"


def test_the_directory_itself_may_be_renamed_away(store: Store, store_path: Path) -> None:
    with store.temporary() as directory:
        grow(Path(directory), {"file": b"1"})
        os.rename(directory, store_path / "kept")
    assert (store_path / "kept/file").read_bytes() == b"1"
    assert os.listdir(store_path / "tmp") == []


def test_an_error_of_the_block_leaves_nothing_and_passes(store: Store, store_path: Path) -> None:
    def fail() -> None:
        with store.temporary() as directory:
            grow(Path(directory), {"file": b""})
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert os.listdir(store_path / "tmp") == []


def test_an_oserror_of_the_block_becomes_a_store_error(store: Store) -> None:
    with (
        pytest.raises(NoSpaceError, match=r"writing to the store: No space left.*: /some/file"),
        store.temporary(),
    ):
        raise OSError(28, "No space left on device", "/some/file")


def test_a_store_that_may_not_be_written(store: Store, store_path: Path) -> None:
    store_path.mkdir(mode=0o500)
    with (
        pytest.raises(StoreUnwritableError, match="using the store: Permission denied") as caught,
        store.temporary(),
    ):
        pass
    assert "UDOCKER_DIR" in str(caught.value.hint)
    with pytest.raises(StoreUnwritableError), store.lease("x"):
        pass


def test_a_file_where_the_store_should_be(store: Store, store_path: Path) -> None:
    store_path.write_bytes(b"")
    with pytest.raises(StoreError, match="using the store: Not a directory"), store.temporary():
        pass


def test_what_killed_processes_left_is_swept_and_what_is_in_use_is_not(
    store: Store, store_path: Path
) -> None:
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", LEAVE, str(store_path)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    places = []
    for maker in makers:
        assert maker.stdout is not None
        places.append(maker.stdout.readline().strip())
    killed, alive = makers
    killed.kill()
    killed.communicate()
    for place in places:
        grow(Path(place), {"locked/file": File(b"", 0), "locked": Directory(0)})
        os.utime(place, (0, 0))
    with store.temporary():
        assert not os.path.exists(places[0])
        assert os.path.exists(places[1])
    alive.communicate("\n")
    assert os.listdir(store_path / "tmp") == []


def test_what_is_cleared_is_gone_from_sight_at_once_and_then_from_the_disk(
    store: Store, store_path: Path
) -> None:
    grow(store_path, {"a/locked/in/file": File(b"", 0), "a/locked": Directory(0), "b": b""})
    with store.clearing() as away:
        for name in ("a", "b", "missing"):
            away.take(f"{store_path}/{name}")
        assert sorted(os.listdir(store_path)) == ["tmp"]
        assert len(os.listdir(store_path / "tmp")) == 2
    assert os.listdir(store_path / "tmp") == []


def test_what_was_just_left_is_not_swept_yet(store: Store, store_path: Path) -> None:
    grow(store_path / "tmp", {"young/file": b""})
    with store.temporary():
        assert (store_path / "tmp/young/file").exists()


def test_a_lease_is_for_one_process_and_one_name(store: Store, store_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from udocker.store.store import Store
store, counter = Store(sys.argv[1]), Path(sys.argv[2])
go()
for _ in range(50):
    with store.lease("pull docker.io/library/debian:12 linux/amd64"):
        counter.write_text(str(int(counter.read_text()) + 1))
"""
    counter = store_path.parent / "counter"
    counter.write_text("0")
    ended = race(code, 3, store_path, counter)
    assert [process.returncode for process in ended] == [0] * 3, ended
    assert counter.read_text() == "150"
    with store.lease("one"), store.lease("two"), store.lease("\udcff"), store.references():
        pass


def test_one_that_waits_is_told(store: Store, store_path: Path) -> None:
    code = """
import sys
from udocker.store.store import Store
with Store(sys.argv[1]).lease("work"):
    print("held", flush=True)
    input()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store_path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    told = []

    def waiting() -> None:
        told.append("waiting")
        holder.communicate("\n")

    with store.lease("work", waiting):
        assert told == ["waiting"]


@needs_namespaces
def test_no_room_even_for_a_directory(tmp_path: Path) -> None:
    code = (
        SMALL_DISK
        + """
from udocker.errors import NoSpaceError
from udocker.store.store import Store
store = Store(sys.argv[1])
try:
    with store.temporary() as directory:
        for number in range(1000):
            os.mkdir(f"{directory}/{number}")
            with open(f"{directory}/{number}/file", "w") as stream:
                stream.write("x" * 5000)
except NoSpaceError as error:
    print(error.message)
print(os.listdir(sys.argv[1] + "/tmp"))
"""
    )
    message, left = python(code, tmp_path, 65536).stdout.splitlines()
    assert message.startswith("writing to the store: No space left on device")
    assert left == "[]"
