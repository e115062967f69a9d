"""Stores of others: what they have is used where it lies, and nothing is written there."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.processes import python
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import grow
from fakes.registry import FakeRegistry, directory, make_image, make_layer
from udocker.errors import ImageNotFound, StoreUnwritableError
from udocker.model.reference import Reference
from udocker.ops.create import create, private_copy
from udocker.ops.fsck import check
from udocker.ops.images import get_image, list_images, remove_image
from udocker.ops.prune import prune
from udocker.ops.pull import pull
from udocker.ops.target import with_tree
from udocker.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.sessions import TestSession

TABLE = {"etc/passwd": b"root:x:0:0::/:/bin/sh\n"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A store with one image, which may not be written."""
    path = tmp_path / "site"
    add_image(Store(str(path)), "tool", TABLE, layer=b"site")
    shut(path)
    yield path
    reopen(tmp_path)  # for whoever removes it


def reopen(path: Path) -> None:
    path.chmod(0o755)
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            reopen(entry)


def shut(path: Path) -> None:
    for folder, _, _ in os.walk(path, topdown=False):
        os.chmod(folder, 0o555)


@pytest.fixture
def session(store_path: Path, site: Path) -> TestSession:
    return make_session(store_path, host(), repos=("/nonexistent", str(site), str(store_path)))


def state(path: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names, "."):
            status = os.lstat(f"{folder}/{name}")
            found[f"{folder}/{name}"] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return found


def test_an_image_is_used_where_it_lies(session: TestSession, site: Path) -> None:
    before = state(site)
    [listed] = list_images(session)
    assert listed.name == "tool:latest"
    assert get_image(session, listed.record.config.hex[:12]) == listed.record
    made = create(session, Reference.parse("tool"), pull="never")
    assert made.tree == f"{site}/trees/sha256/{listed.record.chain_id.hex}/root"
    copied = private_copy(session, made)
    assert (Path(copied.root) / "etc/passwd").read_bytes() == TABLE["etc/passwd"]
    assert state(site) == before
    assert list(session.store.images.all()) == list(session.store.trees.all()) == []
    assert not os.path.exists(f"{session.store.topdir}/blobs")


def test_what_is_ours_goes_first(session: TestSession) -> None:
    own = add_image(session.store, "tool", layer=b"own")
    assert get_image(session, "tool") == own
    assert [image.record for image in list_images(session)] == [own]
    assert session.store.trees.root(own.chain_id).startswith(session.store.topdir)


def test_it_cannot_be_removed_from_here(session: TestSession, site: Path) -> None:
    for options in ({}, {"force": True}):
        with pytest.raises(StoreUnwritableError, match="is in a store that is only read") as caught:
            remove_image(session, "tool", **options)
    assert "--repo" in str(caught.value.hint)
    own = add_image(session.store, "tool", TABLE, layer=b"site")
    assert remove_image(session, "tool") == [
        "Untagged: docker.io/library/tool:latest",
        *([f"Deleted: {own.chain_id}"] if session.store.trees.is_here(own.chain_id) else []),
    ]
    assert [image.name for image in list_images(session)] == ["tool:latest"]  # the site's


def test_prune_and_fsck_look_at_our_own_only(session: TestSession, site: Path) -> None:
    create(session, Reference.parse("tool"), name="box", pull="never")
    before = state(site)
    assert prune(session).removed == ()
    checked = check(session, repair=True)
    assert checked.problems == ()
    assert dict(checked.counts) == {"blobs": 0, "images": 0, "trees": 0, "containers": 1}
    assert state(site) == before


def test_what_is_damaged_or_shut_there_is_as_if_it_were_not(
    session: TestSession, site: Path
) -> None:
    path = site / "images/docker.io/library/tool/_tags/latest"
    path.chmod(0o644)
    path.write_bytes(b"{")
    assert list_images(session) == []
    with pytest.raises(ImageNotFound):
        get_image(session, "tool")
    (site / "images").chmod(0)
    assert list_images(session) == []


def test_a_tree_that_may_not_be_read_is_not_used(session: TestSession, site: Path) -> None:
    record = get_image(session, "tool")
    assert session.store.trees.has(record.chain_id)
    os.chmod(session.store.trees.root(record.chain_id), 0o311)
    assert not session.store.trees.has(record.chain_id)
    (site / "trees").chmod(0)
    assert not session.store.trees.has(record.chain_id)


class TestPulling:
    @pytest.fixture
    def registry(self) -> Iterator[FakeRegistry]:
        with FakeRegistry() as fake:
            yield fake

    def test_only_what_the_site_lacks(
        self, registry: FakeRegistry, tmp_path: Path, store_path: Path
    ) -> None:
        base = make_layer({"base": b"1"})
        one = make_image(registry, "test/one", "latest", [base])
        two = make_image(registry, "test/two", "latest", [base, make_layer({"more": b"2"})])
        site = tmp_path / "site"
        reference = Reference.parse(f"{registry.host}/test/one")
        pull(make_session(site, host()), reference)
        shut(site)
        before = state(site)
        session = make_session(store_path, host(), repos=(str(site),))
        pull(session, reference)
        assert "is up to date" in session.report.infos[-1]
        assert not (store_path / "images").exists()
        count = len(registry.requests(one.layers[0]["digest"]))
        record = pull(session, Reference.parse(f"{registry.host}/test/two"))
        assert len(registry.requests(one.layers[0]["digest"])) == count
        assert len(registry.requests(two.layers[1]["digest"])) == 1
        root = Path(session.store.trees.root(record.chain_id))
        assert sorted(os.listdir(root)) == ["base", "more"]
        assert str(root).startswith(str(store_path))
        assert state(site) == before
        assert check(session).problems == ()
        reopen(site)

    def test_a_tree_that_others_may_read_whole(
        self, registry: FakeRegistry, store_path: Path
    ) -> None:
        """It is so for fsck too, whatever the settings are then; a copy has the image's modes."""
        made = make_layer({"root": directory(0o700), "root/key": b"secret"})
        make_image(registry, "test/one", "latest", [made])
        session = make_session(store_path, host(), readable_trees=True)
        record = pull(session, Reference.parse(f"{registry.host}/test/one"))
        root = Path(session.store.trees.root(record.chain_id))
        assert stat.S_IMODE((root / "root").stat().st_mode) == 0o755
        for other in (session, make_session(store_path, host())):
            assert check(other).problems == ()
        container = create(session, Reference.parse(f"{registry.host}/test/one"), pull="never")
        copy = Path(private_copy(session, container).root)
        assert stat.S_IMODE((copy / "root").stat().st_mode) == 0o700

    def test_another_name_for_a_tree_of_the_site(
        self, registry: FakeRegistry, tmp_path: Path, store_path: Path
    ) -> None:
        layers = [make_layer({"base": b"1"})]
        make_image(registry, "test/one", "latest", layers, {"Cmd": ["1"]})
        made = make_image(registry, "test/two", "latest", layers, {"Cmd": ["2"]})
        site = tmp_path / "site"
        pull(make_session(site, host()), Reference.parse(f"{registry.host}/test/one"))
        session = make_session(store_path, host(), repos=(str(site),))
        count = len(registry.requests(made.layers[0]["digest"]))
        record = pull(session, Reference.parse(f"{registry.host}/test/two"))
        assert len(registry.requests(made.layers[0]["digest"])) == count
        assert session.store.trees.root(record.chain_id).startswith(str(site))
        assert not (store_path / "trees").exists()
        container = create(session, Reference.parse(f"{registry.host}/test/two"), pull="never")
        # The site's store is gone: a pull brings what is needed, and the container has it.
        site.rename(tmp_path / "away")
        assert with_tree(session, container) == container
        pull(session, Reference.parse(f"{registry.host}/test/two"))
        assert (Path(with_tree(session, container).tree) / "base").read_bytes() == b"1"
        assert session.store.containers.get(container.id).tree.startswith(str(store_path))


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o077, 0o700), (0o027, 0o750)])
def test_who_may_read_a_tree_says_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    code = """
import os, sys
os.umask(int(sys.argv[2]))
from pathlib import Path
from builders.stores import add_image
from udocker.store.store import Store
add_image(Store(sys.argv[1]), "tool", {"file": b""})
"""
    python(code, tmp_path / "store", umask)
    [tree] = (tmp_path / "store/trees/sha256").iterdir()
    for path in (tree, tree.parent, tree.parent.parent):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    for blob in (tmp_path / "store/blobs/sha256").iterdir():
        assert stat.S_IMODE(blob.stat().st_mode) == mode & 0o666


def test_containers_are_private_all_the_same(session: TestSession) -> None:
    made = create(session, Reference.parse("tool"), pull="never")
    grow(Path(made.upper), {"secret": b""})
    assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o700


def test_who_removes_it_first_leaves_no_wrong_word(
    store_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another udocker removes the image between two looks of this one."""
    session = make_session(store_path, host(), repos=(str(site), str(store_path)))
    add_image(session.store, "other", TABLE, layer=b"own")
    images = session.store.images
    look = images.get

    def found_and_gone(reference: Reference) -> object:
        record = look(reference)
        images.remove(reference)
        return record

    monkeypatch.setattr(images, "get", found_and_gone)
    with pytest.raises(ImageNotFound, match="no such image: other"):
        remove_image(session, "other")
