"""Blobs: proven on the way in, whole or absent, whatever the disk does."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from builders.processes import SMALL_DISK, needs_namespaces, python
from udocker.errors import StoreError, StoreUnwritableError, VerificationError
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.store.blobs import Blobs

DATA = b"the bytes of a layer" * 1000


def described(data: bytes = DATA, *, size: int | None = None) -> Descriptor:
    return Descriptor("application/octet-stream", Digest.of(data), size or len(data))


def leftovers(store: Path) -> list[str]:
    """The files of the store, but for locks."""
    return [str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()]


def test_what_is_written_can_be_read_by_its_digest(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    descriptor = described()
    assert not blobs.has(descriptor)
    sink = blobs.sink(descriptor)
    for start in range(0, len(DATA), 999):
        sink.write(DATA[start : start + 999], start)
    assert not blobs.has(descriptor)
    sink.commit()
    assert blobs.has(descriptor)
    assert blobs.read(descriptor.digest) == DATA
    with blobs.open(descriptor) as stream:
        assert stream.read() == DATA
    assert leftovers(store_path) == [f"blobs/sha256/{descriptor.digest.hex}"]
    assert list(blobs.all()) == [descriptor.digest]


def test_an_empty_blob_is_a_blob(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    descriptor = described(b"")
    blobs.sink(descriptor).commit()
    assert blobs.read(descriptor.digest) == b""


def test_sha512_is_checked_with_sha512(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    right = Descriptor("", Digest("sha512", hashlib.sha512(DATA).hexdigest()), len(DATA))
    sink = blobs.sink(right)
    sink.write(DATA, 0)
    sink.commit()
    assert Path(blobs.path(right.digest)).read_bytes() == DATA
    sink = blobs.sink(right)
    sink.write(b"x" * len(DATA), 0)
    with pytest.raises(VerificationError, match="does not match its digest"):
        sink.commit()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"X" + DATA[1:], "does not match its digest"),
        (DATA[:-1], f"has {len(DATA) - 1} bytes, its manifest gives {len(DATA)}"),
        (b"", f"has 0 bytes, its manifest gives {len(DATA)}"),
    ],
)
def test_other_bytes_leave_nothing(store_path: Path, written: bytes, message: str) -> None:
    blobs = Blobs(str(store_path))
    sink = blobs.sink(described())
    sink.write(written, 0)
    with pytest.raises(VerificationError, match=message):
        sink.commit()
    assert leftovers(store_path) == []


def test_too_many_bytes_are_refused_before_they_are_stored(store_path: Path) -> None:
    sink = Blobs(str(store_path)).sink(described())
    sink.write(DATA, 0)
    with pytest.raises(VerificationError, match=f"its manifest says: {len(DATA)} bytes"):
        sink.write(b"!", len(DATA))
    sink.abort()
    assert leftovers(store_path) == []


def test_abort_forgets_and_may_follow_a_commit(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    sink = blobs.sink(described())
    sink.write(DATA, 0)
    sink.abort()
    assert leftovers(store_path) == []
    sink = blobs.sink(described())
    sink.write(DATA, 0)
    sink.commit()
    sink.abort()
    assert blobs.has(described())


def test_two_sinks_of_one_blob_both_end_well(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    first, second = blobs.sink(described()), blobs.sink(described())
    for sink in (first, second):
        sink.write(DATA, 0)
    first.commit()
    second.commit()
    assert blobs.read(described().digest) == DATA
    assert len(leftovers(store_path)) == 1


def test_a_sweep_leaves_a_sink_in_use_alone(store_path: Path) -> None:
    sink = Blobs(str(store_path)).sink(described())
    sink.write(DATA, 0)
    [name] = leftovers(store_path)
    os.utime(store_path / name, (0, 0))
    os.utime((store_path / name).parent, (0, 0))
    code = "import sys; from udocker.store.partial import sweep; sweep(sys.argv[1])"
    python(code, store_path / "partial")
    assert leftovers(store_path) == [name]
    sink.commit()
    assert Blobs(str(store_path)).has(described())


def test_has_wants_the_size_that_is_described(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    digest = blobs.put(DATA)
    assert blobs.has(described())
    os.truncate(blobs.path(digest), 5)
    assert not blobs.has(described())


def test_damage_on_disk_is_found_when_it_is_read(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    digest = blobs.put(DATA)
    Path(blobs.path(digest)).write_bytes(DATA[:-1] + b"X")
    with pytest.raises(VerificationError, match=f"{digest} is damaged"):
        blobs.read(digest)
    with blobs.open(described()) as stream, pytest.raises(VerificationError):
        stream.read()


def test_put_repairs_a_damaged_blob(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    digest = blobs.put(DATA)
    Path(blobs.path(digest)).write_bytes(b"")
    assert blobs.put(DATA) == digest
    assert blobs.read(digest) == DATA


def test_a_missing_blob_is_a_store_error(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    with pytest.raises(StoreError, match="reading the store: No such file"):
        blobs.read(Digest.of(b"never stored"))
    with pytest.raises(StoreError, match="reading the store: No such file"):
        blobs.open(described())
    blobs.remove(Digest.of(b"never stored"))
    assert list(blobs.all()) == []


def test_remove_takes_one_blob(store_path: Path) -> None:
    blobs = Blobs(str(store_path))
    one, other = blobs.put(b"one"), blobs.put(b"other")
    blobs.remove(one)
    assert list(blobs.all()) == [other]


def test_a_store_that_may_not_be_written(store_path: Path) -> None:
    store_path.mkdir(mode=0o500)
    with pytest.raises(StoreUnwritableError, match="storing a layer: Permission denied"):
        Blobs(str(store_path)).sink(described())


@needs_namespaces
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        SMALL_DISK
        + """
from udocker.errors import NoSpaceError
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest
from udocker.store.blobs import Blobs
data = b"x" * 300_000
sink = Blobs(sys.argv[1]).sink(Descriptor("", Digest.of(data), len(data)))
try:
    for start in range(0, len(data), 1000):
        sink.write(data[start : start + 1000], start)
    sink.commit()
except NoSpaceError as error:
    print(error.message)
    print(error.hint)
    sink.abort()
print([n for _, _, names in os.walk(sys.argv[1]) for n in names])
"""
    )
    message, hint, left = python(code, tmp_path, 65536).stdout.splitlines()
    assert message.startswith("storing a layer: No space left on device: ")
    assert str(tmp_path) in message
    assert "udocker rmi" in hint
    assert left == "[]"


def test_whether_bytes_are_what_their_name_says(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    digest = blobs.put(b"x" * 3_000_000)
    assert blobs.is_sound(digest)
    with open(blobs.path(digest), "r+b") as stream:
        stream.seek(2_900_000)
        stream.write(b"y")
    assert not blobs.is_sound(digest)
    os.unlink(blobs.path(digest))
    with pytest.raises(StoreError, match="reading the store: No such file"):
        blobs.is_sound(digest)
