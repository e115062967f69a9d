"""What the store takes: every byte and inode once, as du(1) has it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from builders.hosts import host
from builders.sessions import TestSession
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import Directory, File, Same, grow
from udocker.model.reference import Reference
from udocker.ops.create import create
from udocker.ops.df import space
from udocker.store.usage import Usage

TABLE = {"file": File(b"x" * 100_000), "same": Same("file"), "dir/inner": b"1"}


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host(), max_store_bytes=5)


def du(path: str, *options: str) -> int:
    words = ["du", "-s", *options, path]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def test_all_is_counted_once(session: TestSession) -> None:
    add_image(session.store, "one", TABLE, layer=b"shared")
    add_image(session.store, "two", TABLE, layer=b"shared", run={"Cmd": ["x"]})
    add_image(session.store, "other", {"big": File(b"y" * 300_000)}, layer=b"other")
    made = create(session, Reference.parse("other"), name="box", pull="never")
    session.store.containers.make_ready(made)
    grow(Path(made.upper), {"new": File(b"z" * 50_000)})
    found = space(session)
    top = session.store.topdir
    assert found.total.bytes == du(top, "--block-size=1")
    assert found.total.entries == du(top, "--inodes")
    assert found.unread == 0
    for kind in found.kinds[:-1]:
        if os.path.exists(f"{top}/{kind.name}"):
            assert kind.used.bytes == du(f"{top}/{kind.name}", "--block-size=1")
    assert {kind.name: kind.count for kind in found.kinds} == {
        "blobs": 8,
        "trees": 2,
        "containers": 1,
        "patched": 0,
        "other": 0,
    }
    images = {image.name: image for image in found.images}
    one, two, other = (images[f"{name}:latest"] for name in ("one", "two", "other"))
    assert one.own is not None
    assert one.used.bytes == two.used.bytes > 100_000 > one.own.bytes > 0
    assert other.own == other.used
    assert other.used.bytes > 300_000
    [box] = found.containers
    assert box.name == "box"
    assert box.used.bytes == du(made.path, "--block-size=1") > 50_000
    assert found.as_json()["limit"] == 5


def test_what_may_not_be_read_is_told(session: TestSession) -> None:
    record = add_image(session.store, "one", {"dir": Directory(0)})
    if os.access(f"{session.store.trees.root(record.chain_id)}/dir", os.R_OK):
        pytest.skip("host: this user may read everything")
    assert space(session).unread == 1


def test_a_store_that_is_not_there(session: TestSession) -> None:
    found = space(session)
    assert found.total == Usage()
    assert found.free.bytes > 0
    assert not os.path.exists(session.store.topdir)
