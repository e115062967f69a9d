"""Blobs that come in pieces, in any order, and by several processes one after another."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udocker.errors import NoSpaceError, VerificationError
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.store import partial
from udocker.store.blobs import Blobs
from udocker.store.sink import FileSink

SIZE = 5_000_000
DATA = random.Random(1).randbytes(SIZE)
BLOB = Descriptor("", Digest.of(DATA), SIZE)

# Another process brings ranges of the data, and is killed.
_KILLED = """
import os, random, signal, sys
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.store.blobs import Blobs
data = random.Random(1).randbytes(5_000_000)
sink = Blobs(sys.argv[1]).sink(Descriptor("", Digest.of(data), len(data)))
for text in sys.argv[3:]:
    start, end = map(int, text.split("-"))
    for at in range(start, end, 100_000):
        sink.write(data[at : min(at + 100_000, end)], at)
print(flush=True)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


@pytest.fixture
def blobs(store_path: Path) -> Blobs:
    return Blobs(str(store_path))


def run(blobs: Blobs, end: str, *ranges: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _KILLED, os.path.dirname(blobs.partial), end, *ranges]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "\n"
    return process


def killed(blobs: Blobs, *ranges: str) -> None:
    process = run(blobs, "kill", *ranges)
    assert process.wait(20) == -signal.SIGKILL
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()


def complete(sink: FileSink) -> int:
    """Bring what is missing; how much that was."""
    brought = sum(sink.write(DATA[start:end], start) for start, end in sink.missing())
    sink.commit()
    return brought


def left(blobs: Blobs) -> list[str]:
    return sorted(os.listdir(blobs.partial)) if os.path.isdir(blobs.partial) else []


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 1000)), max_size=8))
def test_any_order(tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int]]) -> None:
    blobs = Blobs(str(tmp_path_factory.mktemp("store")))
    data = DATA[:1000]
    sink = blobs.sink(Descriptor("", Digest.of(data), len(data)))
    brought = sum(sink.write(data[start:end], start) for start, end in pieces)
    for start, end in sink.missing():
        brought += sink.write(data[start:end], start)
    sink.commit()
    assert brought == 1000
    assert blobs.read(Digest.of(data)) == data
    assert left(blobs) == []


def test_who_comes_after_a_killed_process_goes_on(blobs: Blobs) -> None:
    killed(blobs, "0-1500000", "3000000-4500000")
    assert len(left(blobs)) == 1
    sink = blobs.sink(BLOB)
    missing = sum(end - start for start, end in sink.missing())
    assert 2_000_000 <= missing <= 3_100_000  # all but the last megabyte is known to be there
    assert complete(sink) == missing
    assert blobs.is_sound(BLOB.digest)
    assert left(blobs) == []


def test_what_is_left_is_kept_for_the_next(blobs: Blobs) -> None:
    sink = blobs.sink(BLOB)
    sink.write(DATA[:1000], 0)
    sink.leave(KeyboardInterrupt())
    sink.abort()  # too late
    # It is of this process, which goes on: another sink of it does not take what may be in use.
    other = blobs.sink(BLOB)
    assert other.missing() == [(0, SIZE)]
    other.abort()
    [name] = left(blobs)
    os.rename(f"{blobs.partial}/{name}", f"{blobs.partial}/{of_nobody(name)}")
    sink = blobs.sink(BLOB)
    assert sink.missing() == [(1000, SIZE)]
    assert complete(sink) == SIZE - 1000


def of_nobody(name: str) -> str:
    """The same name, with the mark of a process that is gone."""
    parts = name.rsplit("-", 2)
    return f"{parts[0]}-{2**22 + 1}-{parts[2]}"


def test_nothing_that_came_leaves_nothing(blobs: Blobs) -> None:
    blobs.sink(BLOB).leave()
    assert left(blobs) == []


def test_a_full_disk_is_not_filled_with_what_is_left(blobs: Blobs) -> None:
    sink = blobs.sink(BLOB)
    sink.write(DATA, 0)
    sink.leave(NoSpaceError("storing a layer: No space left on device"))
    assert left(blobs) == []


def test_a_process_at_work_keeps_what_it_has(blobs: Blobs) -> None:
    process = run(blobs, "wait", "0-2500000")
    sink = blobs.sink(BLOB)
    assert sink.missing() == [(0, SIZE)]
    assert complete(sink) == SIZE
    assert len(left(blobs)) == 1
    process.communicate("")


def test_of_several_that_are_left_each_is_taken_once(blobs: Blobs) -> None:
    killed(blobs, "0-2500000")
    first, second = blobs.sink(BLOB), blobs.sink(BLOB)
    assert [len(sink.missing()) for sink in (first, second)] == [1, 1]
    assert first.missing() != second.missing() == [(0, SIZE)]
    complete(first)
    complete(second)
    assert left(blobs) == []


def test_the_blob_that_came_takes_what_is_left_of_others_along(blobs: Blobs) -> None:
    sink = blobs.sink(BLOB)
    killed(blobs, "0-2500000")
    complete(sink)
    assert left(blobs) == []


@pytest.mark.parametrize(
    ("damage", "known"),
    [
        (b"", True),
        (b"17", True),  # of a line that was being written
        (b"17 23", True),
        (b"x 23\n", False),
        (b"5 3\n", False),
        (b"-5 3\n", False),
        (b"0 5000001\n", False),
        (b"1 2 3\n", False),
        (b"\xff\n", False),
    ],
)
def test_a_map_that_is_cut_off_or_wrong(blobs: Blobs, damage: bytes, known: bool) -> None:
    killed(blobs, "0-2500000")
    [name] = left(blobs)
    with open(f"{blobs.partial}/{name}/map", "ab") as stream:
        stream.write(damage)
    sink = blobs.sink(BLOB)
    assert (sink.missing() != [(0, SIZE)]) == known
    complete(sink)
    assert left(blobs) == []


def test_a_map_of_more_than_there_is(blobs: Blobs) -> None:
    killed(blobs, "0-2500000")
    [name] = left(blobs)
    os.truncate(f"{blobs.partial}/{name}/data", 1_000_000)
    assert blobs.sink(BLOB).missing() == [(0, SIZE)]


@pytest.mark.parametrize("name", ["map", "data"])
def test_a_part_of_what_is_left_is_gone(blobs: Blobs, name: str) -> None:
    killed(blobs, "0-2500000")
    os.unlink(f"{blobs.partial}/{left(blobs)[0]}/{name}")
    assert complete(blobs.sink(BLOB)) == SIZE


def test_other_bytes_in_what_is_left_do_not_become_the_blob(blobs: Blobs) -> None:
    killed(blobs, "0-2500000")
    with open(f"{blobs.partial}/{left(blobs)[0]}/data", "r+b") as stream:
        stream.write(b"other")
    sink = blobs.sink(BLOB)
    with pytest.raises(VerificationError, match="does not match its digest"):
        complete(sink)
    assert left(blobs) == []
    assert not blobs.has(BLOB)


def test_what_nobody_comes_back_for_goes(blobs: Blobs) -> None:
    killed(blobs, "0-2500000")
    partial.sweep(blobs.partial)
    [name] = left(blobs)
    week = time.time() - 8 * 86400
    os.utime(f"{blobs.partial}/{name}", (week, week))
    partial.sweep(blobs.partial)
    assert left(blobs) == []


def test_another_digest_is_another_matter(blobs: Blobs) -> None:
    killed(blobs, "0-2500000")
    data = b"something else"
    sink = blobs.sink(Descriptor("", Digest.of(data), len(data)))
    assert sink.missing() == [(0, len(data))]
    sink.abort()
    assert len(left(blobs)) == 1
