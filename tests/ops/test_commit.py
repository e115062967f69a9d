"""Images made of what containers changed."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from builders.hosts import host
from builders.sessions import TestSession
from builders.sessions import session as make_session
from builders.trees import Directory, File, Link, Same, Whiteout, contents, grow
from fakes.registry import Entry, make_layer
from udocker.errors import BadReference, ContainerNotFound, StoreError, UsageError
from udocker.files import remove_tree
from udocker.model.container import Container
from udocker.model.oci import DOCKER_MANIFEST, OCI_LAYER, OCI_MANIFEST, ImageConfig, Manifest
from udocker.model.reference import Digest, Reference
from udocker.ops.clone import clone
from udocker.ops.commit import Note, commit
from udocker.ops.create import create, private_copy
from udocker.ops.export import diff
from udocker.ops.fsck import check
from udocker.ops.images import remove_image
from udocker.ops.prune import prune
from udocker.ops.pull import StoredLayer, install
from udocker.store.images import ImageRecord

BASE: dict[str, Entry | bytes] = {
    "etc": Entry(kind=tarfile.DIRTYPE, mode=0o755),
    "etc/conf": Entry(b"conf", mode=0o640, gid=42),
    "etc/gone": b"gone",
    "opt": Entry(kind=tarfile.DIRTYPE, mode=0o755),
    "opt/a": b"a",
    "opt/b": b"b",
    "one": b"linked",
    "two": Entry(kind=tarfile.LNKTYPE, target="one"),
    "su": Entry(b"#!", mode=0o4755),
    "became": Entry(kind=tarfile.DIRTYPE, mode=0o755),
    "became/x": b"x",
}
UPPER = {
    "etc/conf": File(b"changed", 0o640),
    "etc/gone": Whiteout(),
    "opt/b": b"new b",
    "opt": Directory(opaque=True),
    "became": b"now a file",
    "new/deep/file": File(b"new", 0o600),
    "new/same": Same("new/deep/file"),
    "new/link": Link("../etc"),
}


def add(session: TestSession, name: str = "test", docker: bool = False, **more: Any) -> ImageRecord:
    """A real image of one layer, as a pull leaves it."""
    data = make_layer(BASE)
    digest = session.store.blobs.put(data)
    diff_id = Digest.of(gzip.decompress(data))
    document = {
        "architecture": "amd64",
        "os": "linux",
        "container": "of the build",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
        **more,
    }
    config = ImageConfig.parse(json.dumps(document).encode(), "test")
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    layer = {"mediaType": f"{OCI_LAYER}+gzip", "digest": str(digest), "size": len(data)}
    described = {"mediaType": "x", "digest": str(config.digest), "size": len(config.raw)}
    raw = {"schemaVersion": 2, "mediaType": media_type, "config": described, "layers": [layer]}
    manifest = Manifest.parse(json.dumps(raw).encode(), media_type, "test")
    layers = [StoredLayer(session.store.blobs, manifest.layers[0], diff_id)]
    return install(session, Reference.parse(name), manifest, config, layers)


@pytest.fixture
def session(store_path: Path) -> TestSession:
    made = make_session(store_path, host())
    add(made)
    return made


@pytest.fixture
def box(session: TestSession) -> Container:
    made = create(session, Reference.parse("test"), name="box", pull="never")
    grow(Path(made.upper), UPPER)
    os.setxattr(f"{made.upper}/new", "user.overlay.owner", b"3:4:2775")
    os.setxattr(f"{made.upper}/new/deep/file", "user.note", b"\xff\0")
    os.utime(f"{made.upper}/new/deep/file", ns=(1, 5_123_456_789))
    return made


def layer_of(session: TestSession, record: ImageRecord) -> dict[str, tarfile.TarInfo]:
    """The uppermost layer."""
    manifest = Manifest.parse(session.store.blobs.read(record.manifest), "", "test")
    data = gzip.decompress(session.store.blobs.read(manifest.layers[-1].digest))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: info for info in archive}


def config_of(session: TestSession, record: ImageRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(session.store.blobs.read(record.config))
    return found


def files(session: TestSession, record: ImageRecord) -> dict[str, tuple[object, ...]]:
    return contents(Path(session.store.trees.root(record.chain_id)))


def assert_sound(session: TestSession) -> None:
    assert check(session).problems == ()


def test_what_is_closed_to_its_owner(session: TestSession, box: Container) -> None:
    table = {"shut/in/file": File(b"kept", 0), "shut/in": Directory(0o300), "shut": Directory(0)}
    grow(Path(box.upper), table)
    record = commit(session, "box", "new:1")
    found = layer_of(session, record)
    names = ("shut", "shut/in", "shut/in/file")
    assert [found[name].mode for name in names] == [0, 0o300, 0]
    assert files(session, record)["shut/in/file"][2] == b"kept"
    assert os.lstat(f"{box.upper}/shut").st_mode == stat.S_IFDIR
    assert_sound(session)
    remove_tree(box.upper)


def test_the_layer_is_what_changed(session: TestSession, box: Container) -> None:
    record = commit(session, "box", "new:1")
    found = layer_of(session, record)
    assert list(found) == [
        "became",
        "etc",
        "etc/conf",
        "etc/.wh.gone",
        "new",
        "new/deep",
        "new/deep/file",
        "new/link",
        "new/same",
        "opt",
        "opt/.wh.a",
        "opt/b",
    ]
    assert (found["new"].uid, found["new"].gid, found["new"].mode) == (3, 4, 0o2775)
    assert (found["etc/conf"].gid, found["etc/conf"].mode) == (42, 0o640)
    assert found["new/same"].linkname == "new/deep/file"
    assert found["new/deep/file"].pax_headers["mtime"] == "5.123456789"
    assert found["new/deep/file"].pax_headers["SCHILY.xattr.user.note"] == "\udcff\0"


def test_the_files_are_those_of_the_container(session: TestSession, box: Container) -> None:
    record = commit(session, "box", "new:1")
    root = Path(session.store.trees.root(record.chain_id))
    copy = Path(private_copy(session, box).root)
    wanted = {**contents(copy), "new": ("directory", "0o775")}  # whose owner says so
    assert contents(root) == wanted
    assert os.getxattr(root / "new/deep/file", "user.note") == b"\xff\0"
    assert os.stat(root / "new/same").st_ino == os.stat(root / "new/deep/file").st_ino
    assert os.stat(root / "one").st_ino == os.stat(root / "two").st_ino
    # fsck unpacks all of the layers and compares, the index of owners and modes included.
    assert_sound(session)
    made = create(session, Reference.parse("new:1"), pull="never")
    assert diff(session, made.id) == []


def test_layers_below_are_not_unpacked(
    session: TestSession, box: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(
        StoredLayer,
        "open",
        lambda self: opened.append(self.descriptor.digest)
        or self.blobs.open(self.descriptor),
    )  # fmt: skip
    record = commit(session, "box", "new:1")
    manifest = Manifest.parse(session.store.blobs.read(record.manifest), "", "test")
    assert opened == [manifest.layers[-1].digest]


def test_the_same_changes_make_the_same_layer(session: TestSession, box: Container) -> None:
    clone(session, "box", "second")
    one, two = commit(session, "box", "new:1"), commit(session, "second", "new:2")
    assert one.chain_id == two.chain_id
    private_copy(session, session.store.containers.get("second"))
    assert files(session, commit(session, "second", "new:3")) == files(session, one)


def test_the_configuration(session: TestSession, box: Container) -> None:
    record = commit(
        session,
        "box",
        "quay.io/a/b:1",
        ["ENV PATH=/x:$PATH", "CMD y"],
        Note("what I did", "Ann <a@b>"),
    )
    found = config_of(session, record)
    assert found["config"] == {"Cmd": ["/bin/sh", "-c", "y"], "Env": ["PATH=/x:/bin"]}
    assert found["author"] == "Ann <a@b>"
    assert "container" not in found
    assert len(found["rootfs"]["diff_ids"]) == len(found["history"]) == 2
    last = found["history"][-1]
    assert (last["comment"], last["author"]) == ("what I did", "Ann <a@b>")
    assert last["created"] == found["created"]
    assert record.reference == "quay.io/a/b:1"


def test_an_image_of_docker_stays_one(store_path: Path) -> None:
    session = make_session(store_path, host())
    add(
        session,
        docker=True,
        history=[{"created_by": "a"}, {"created_by": "b", "empty_layer": True}],
    )
    made = create(session, Reference.parse("test"), pull="never")
    grow(Path(made.upper), {"new": b""})
    record = commit(session, made.id, "new")
    manifest = json.loads(session.store.blobs.read(record.manifest))
    assert manifest["mediaType"] == DOCKER_MANIFEST
    assert manifest["layers"][-1]["mediaType"].endswith("docker.image.rootfs.diff.tar.gzip")
    assert [each["created_by"] for each in config_of(session, record)["history"]] == [
        "a",
        "b",
        "udocker commit",
    ]


def test_nothing_changed(session: TestSession) -> None:
    old = create(session, Reference.parse("test"), name="box", pull="never")
    record = commit(session, "box", "new", ["USER x"])
    found = config_of(session, record)
    assert found["rootfs"] == json.loads(old.config.raw)["rootfs"]
    assert found["history"][-1]["empty_layer"] is True
    assert record.chain_id == old.config.chain_id
    assert_sound(session)


def test_a_name_that_was_there_means_the_new_image(session: TestSession, box: Container) -> None:
    record = commit(session, "box", "test")
    assert session.store.images.get(Reference.parse("test")) == record
    assert files(session, record)["new/deep/file"][-1] == b"new"
    # The old tree stays as long as the container is there.
    prune(session)
    assert diff(session, "box")
    assert_sound(session)


def test_rmi_and_prune_know_it(session: TestSession, box: Container) -> None:
    record = commit(session, "box", "new")
    prune(session)
    assert_sound(session)
    remove_image(session, "test")
    remove_image(session, "new")
    session.store.containers.remove("box")
    prune(session)
    assert not session.store.trees.has(record.chain_id)
    assert list(session.store.blobs.all()) == []
    assert os.listdir(f"{session.store.topdir}/tmp") == []


def test_without_the_layers_there_is_one_with_all_files(
    session: TestSession, box: Container
) -> None:
    wanted = files(session, commit(session, "box", "new:1"))
    remove_image(session, "new:1")
    remove_image(session, "test")
    record = commit(session, "box", "new:2")
    assert "one layer with all files" in session.report.warnings[-1]
    assert len(config_of(session, record)["rootfs"]["diff_ids"]) == 1
    assert files(session, record) == wanted
    assert layer_of(session, record)["su"].mode == 0o4755
    assert_sound(session)


def test_one_name_of_a_file_brings_the_others(session: TestSession) -> None:
    made = create(session, Reference.parse("test"), name="box", pull="never")
    tree = Path(made.tree)
    path = Path(made.upper, "opt/a")
    grow(Path(made.upper), {"opt/a": b"a", "opt/z": Same("opt/a")})
    status = os.stat(tree / "opt/a")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = layer_of(session, commit(session, "box", "new"))
    assert list(found) == ["opt", "opt/a", "opt/z"]
    assert found["opt/z"].linkname == "opt/a"


def test_holes_stay_holes(session: TestSession) -> None:
    made = create(session, Reference.parse("test"), name="box", pull="never")
    session.store.containers.make_ready(made)
    for name, pieces in (("empty", ()), ("two", (3 << 30, 5 << 40)), ("end", (0,))):
        with open(f"{made.upper}/{name}", "wb") as stream:
            for position in pieces:
                stream.seek(position)
                stream.write(b"data" * 2000)
            stream.truncate(6 << 40)
    record = commit(session, "box", "new")
    found = layer_of(session, record)
    assert found["two"].size == 6 << 40
    root = Path(session.store.trees.root(record.chain_id))
    with open(root / "two", "rb") as stream:
        for position in (3 << 30, 5 << 40):
            stream.seek(position)
            assert stream.read(8001) == b"data" * 2000 + b"\0"
    for name in ("empty", "two", "end"):
        status = os.stat(root / name)
        assert status.st_size == 6 << 40
        assert status.st_blocks * 512 < 1 << 20
    assert_sound(session)


def test_names_that_mean_something_else_are_left_out(session: TestSession, box: Container) -> None:
    grow(Path(box.upper), {"etc/.wh.conf": b"", ".wh.d/x": b"", "bad\udcff\n": b""})
    found = layer_of(session, commit(session, "box", "new"))
    assert "etc/conf" in found
    assert "bad\udcff\n" in found
    assert not [name for name in found if ".wh.conf" in name or ".wh.d" in name]
    told = [text.split()[0] for text in session.report.warnings]
    assert told == ["/.wh.d", "/.wh.d/x", "/etc/.wh.conf"]
    assert_sound(session)


def test_owners_that_no_system_has_are_not_believed(session: TestSession, box: Container) -> None:
    for name, text in (("became", b"-1:0"), ("new", b"0:4294967295"), ("new/deep", b"1:2:77777")):
        os.setxattr(f"{box.upper}/{name}", "user.overlay.owner", text)
    found = layer_of(session, commit(session, "box", "new"))
    assert {(found[n].uid, found[n].gid) for n in ("became", "new", "new/deep")} == {(0, 0)}


def test_commits_that_cannot_be(session: TestSession, box: Container) -> None:
    before = sorted(map(str, session.store.blobs.all()))
    digest = f"new@sha256:{'0' * 64}"
    bad: list[tuple[type[Exception], tuple[Any, ...]]] = [
        (ContainerNotFound, ("none", "new")),
        (BadReference, ("box", "UPPER")),
        (BadReference, ("box", digest)),
        (UsageError, ("box", "new", ["RUN x"])),
        (UsageError, ("box", "new", [], Note("\udcff"))),
    ]
    for kind, words in bad:
        with pytest.raises(kind):
            commit(session, *words)
    os.rename(box.tree, f"{box.tree}.away")
    with pytest.raises(StoreError, match="are gone from the store"):
        commit(session, "box", "new")
    assert sorted(map(str, session.store.blobs.all())) == before
    assert os.listdir(f"{session.store.topdir}/tmp") == []


def test_a_container_in_use_is_warned_of(session: TestSession, box: Container) -> None:
    session.store.containers.enter(box)
    commit(session, "box", "new")
    assert "is in use: what it writes meanwhile may be missing" in session.report.warnings[0]


def test_the_root_has_the_mode_of_the_image_whatever_the_umask(session: TestSession) -> None:
    old = os.umask(0o077)
    try:
        made = create(session, Reference.parse("test"), name="box", pull="never")
    finally:
        os.umask(old)
    grow(Path(made.upper), {"new": b""})
    assert list(layer_of(session, commit(session, "box", "new"))) == ["new"]


def test_trees_that_others_may_read(store_path: Path) -> None:
    session = make_session(store_path, host(), readable_trees=True)
    add(session)
    made = create(session, Reference.parse("test"), name="box", pull="never")
    grow(Path(made.upper), {"secret": File(b"", 0o600)})
    record = commit(session, "box", "new")
    root = Path(session.store.trees.root(record.chain_id))
    assert [os.stat(root / name).st_mode & 0o777 for name in ("secret", "etc/conf")] == [0o644] * 2
    assert_sound(session)
