"""Pruning: what nothing needs goes, and the rest stays; what is not known is left alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.processes import python
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import Directory, grow
from udocker.errors import StoreError
from udocker.model.reference import Digest, Reference
from udocker.ops.create import create
from udocker.ops.embedded import chain_id
from udocker.ops.images import remove_image
from udocker.ops.prune import prune
from udocker.store.usage import measure

if TYPE_CHECKING:
    from builders.sessions import TestSession


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host())


def orphans(session: TestSession) -> None:
    """Everything that can go, beside an image with a container and one without."""
    top = Path(session.store.topdir)
    add_image(session.store, "used", {"file": b"x" * 9000}, layer=b"used")
    add_image(session.store, "kept", layer=b"kept")
    create(session, Reference.parse("used"), name="box", pull="never")
    gone = add_image(session.store, "gone", {"file": b"x" * 9000}, layer=b"gone")
    session.store.images.remove(Reference.parse("gone"))
    left = python("from udocker import files; print(files.temporary_name())").stdout.strip()
    grow(top / "tmp", {f"{left}/file": b"x" * 9000})
    os.symlink("f" * 32, top / "names/lost")
    assert gone is not None
    time.sleep(1.1)


def everything(session: TestSession) -> list[str]:
    found = []
    for folder, folders, names in os.walk(session.store.topdir):
        found += [f"{folder}/{name}" for name in (*folders, *names)]
    return sorted(found)


def test_what_nothing_needs_goes_and_nothing_else(session: TestSession) -> None:
    orphans(session)
    before = measure(session.store.topdir).bytes
    pruned = prune(session)
    kinds = sorted(doomed.kind for doomed in pruned.removed)
    assert kinds == ["blob", "blob", "blob", "leftover", "name", "tree"]
    after = measure(session.store.topdir).bytes
    assert pruned.bytes >= 18_000
    # Directories do not shrink with what is in them on every filesystem.
    assert abs(before - after - pruned.bytes) <= 8192
    assert [image.reference for image in session.store.images.all()] == [
        "docker.io/library/kept:latest",
        "docker.io/library/used:latest",
    ]
    container = session.store.containers.get("box")
    assert (Path(container.tree) / "file").read_bytes() == b"x" * 9000
    assert prune(session).removed == ()


def test_a_dry_run_says_the_same_and_does_nothing(session: TestSession) -> None:
    orphans(session)
    before = everything(session)
    told = prune(session, dry=True)
    assert everything(session) == before
    done = prune(session)
    assert told.as_json() == {**done.as_json(), "dryRun": True}


def test_a_container_keeps_the_tree_of_an_image_that_is_gone(session: TestSession) -> None:
    record = add_image(session.store, "used", {"file": b""}, layer=b"used")
    create(session, Reference.parse("used"), name="box", pull="never")
    remove_image(session, "used")
    time.sleep(1.1)
    assert prune(session).removed == ()
    session.store.containers.remove("box")
    assert [doomed.name for doomed in prune(session).removed] == [str(record.chain_id)]


def test_the_image_that_comes_with_udocker_stays(session: TestSession) -> None:
    own = chain_id()
    if own is None:
        pytest.skip("this checkout has no image built into it")
    with session.store.temporary() as directory:
        os.mkdir(f"{directory}/root")
        session.store.trees.publish(directory, own)
    time.sleep(1.1)
    assert prune(session).removed == ()


@pytest.mark.parametrize("damage", ["container", "record", "manifest"])
def test_what_is_not_known_is_left_alone(session: TestSession, damage: str) -> None:
    orphans(session)
    store = session.store
    used = store.images.get(Reference.parse("used"))
    assert used is not None
    broken = {
        "container": f"{store.containers.get('box').path}/container.json",
        "record": f"{store.topdir}/images/docker.io/library/used/_tags/latest",
        "manifest": store.blobs.path(used.manifest),
    }
    Path(broken[damage]).write_bytes(b"{")
    pruned = prune(session)
    kinds = {doomed.kind for doomed in pruned.removed}
    assert "blob" not in kinds
    assert ("tree" in kinds) is (damage == "manifest")
    assert len(session.report.warnings) == 1
    assert store.trees.has(used.chain_id)


def test_what_cannot_be_removed_is_told_after_the_rest_is_done(session: TestSession) -> None:
    orphans(session)
    Path(session.store.topdir, "names").chmod(0o500)
    with pytest.raises(StoreError, match="removing the name: Permission denied"):
        prune(session)
    Path(session.store.topdir, "names").chmod(0o700)
    assert [doomed.kind for doomed in prune(session).removed] == ["name"]


def test_a_container_that_another_process_has_removed_just_now(
    session: TestSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphans(session)
    containers = type(session.store.containers)
    monkeypatch.setattr(containers, "left", lambda self: ["f" * 32])
    assert prune(session).bytes > 0


def test_no_store(session: TestSession) -> None:
    assert prune(session).as_json() == {"removed": [], "bytes": 0, "dryRun": False}
    assert not os.path.exists(session.store.topdir)


def test_a_tree_without_permission_bits(session: TestSession) -> None:
    with session.store.temporary() as directory:
        grow(Path(directory) / "root", {"in/file": b"", "in": Directory(0)})
        session.store.trees.publish(directory, Digest("sha256", "a" * 64))
    time.sleep(1.1)
    assert len(prune(session).removed) == 1
    assert list(session.store.trees.all()) == []
