"""What does not fit is not fetched; a store with a limit loses what was unused the longest."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from builders.hosts import host
from builders.sessions import TestSession
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import File
from udocker.errors import NoSpaceError
from udocker.model.oci import Descriptor
from udocker.model.reference import Digest, Reference
from udocker.ops.create import create
from udocker.ops.df import space
from udocker.ops.fsck import check
from udocker.ops.space import check_space, keep_limit
from udocker.store.images import ImageRecord

SIZE = 1_000_000


def layer(size: int) -> Descriptor:
    return Descriptor("", Digest.of(b"x"), size)


class Disk:
    """What os.statvfs gives."""

    f_frsize = 4096
    f_bavail = 1000
    f_files = 100
    f_favail = 20


@pytest.fixture
def session(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestSession:
    return make_session(store_path, host())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> type[Disk]:
    monkeypatch.setattr(os, "statvfs", lambda path: Disk)
    return Disk


@pytest.mark.usefixtures("disk")
def test_bytes(session: TestSession) -> None:
    check_space(session, "x", [], [layer(1_000_000)])
    check_space(session, "x", [layer(1_000_000)], [layer(1_000_000)])
    assert session.report.warnings == []
    check_space(session, "x", [layer(1_000_000)], [layer(1_100_000)])
    assert session.report.warnings == [
        "x: it may not fit: it will need about 4300000 bytes, 4096000 are free"
    ]
    with pytest.raises(NoSpaceError, match="needs more than 4100000 bytes, 4096000 are") as caught:
        check_space(session, "x", [layer(2_000_000)], [layer(2_000_000), layer(100_000)])
    assert "free some space" in str(caught.value.hint)


def test_inodes(session: TestSession, disk: type[Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    check_space(session, "x", [layer(1)] * 12, [layer(1)] * 12)
    with pytest.raises(NoSpaceError, match="needs more than 21 inodes, 20 are free"):
        check_space(session, "x", [layer(1)] * 13, [layer(1)] * 13)
    monkeypatch.setattr(disk, "f_files", 0)  # as btrfs has it
    check_space(session, "x", [layer(1)] * 13, [layer(1)] * 13)


# The limit


class Limited:
    """A session whose store may have ``count`` images of about SIZE bytes."""

    def __init__(self, path: Path, count: int) -> None:
        self.session = make_session(path, host(), max_store_bytes=count * SIZE + 500_000)
        self._hour = time.time() - 90_000

    def add(self, name: str) -> ImageRecord:
        table = {"file": File(name.encode() * (SIZE // len(name)))}
        record = add_image(self.session.store, name, table, layer=name.encode())
        self._hour += 3600
        place = self.session.store.images.path(Reference.parse(name))
        os.utime(place, (self._hour, self._hour))
        return record

    @property
    def names(self) -> list[str]:
        return [r.reference.rpartition("/")[2] for r in self.session.store.images.all()]


def test_the_longest_unused_goes_first(store_path: Path) -> None:
    limited = Limited(store_path, 3)
    for name in ("aa", "bb", "cc"):
        limited.add(name)
    keep_limit(limited.session, limited.add("dd"))
    assert limited.names == ["bb:latest", "cc:latest", "dd:latest"]
    create(limited.session, Reference.parse("bb"), name="x", pull="never")
    limited.session.store.containers.delete(limited.session.store.containers.get("x").id)
    place = limited.session.store.images.path(Reference.parse("bb"))
    assert time.time() - os.stat(place).st_mtime < 60
    keep_limit(limited.session, limited.add("ee"))
    assert limited.names == ["bb:latest", "dd:latest", "ee:latest"]
    assert space(limited.session).total.bytes <= limited.session.config.max_store_bytes
    assert len(limited.session.report.infos) == 2
    assert limited.session.report.warnings == []
    assert check(limited.session, quick=True).counts[2] == ("trees", 3)


def test_what_is_used_or_new_stays(store_path: Path) -> None:
    limited = Limited(store_path, 1)
    limited.add("aa")
    create(limited.session, Reference.parse("aa"), pull="never")
    limited.add("bb")
    fresh = limited.session.store.images.path(Reference.parse("bb"))
    os.utime(fresh)
    limited.add("cc")
    kept = limited.add("dd")
    keep_limit(limited.session, kept)
    assert limited.names == ["aa:latest", "bb:latest", "dd:latest"]
    [warning] = limited.session.report.warnings
    assert "more than max_store_bytes = 1500000" in warning


def test_without_a_limit_nothing_goes(session: TestSession) -> None:
    record = add_image(session.store, "one", {"file": b"x"})
    place = session.store.images.path(Reference.parse("one"))
    os.utime(place, (0, 0))
    keep_limit(session, record)
    assert [r.reference for r in session.store.images.all()] == [record.reference]
