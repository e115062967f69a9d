"""Images and containers of archives."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders.hosts import host
from builders.sessions import TestSession
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import Directory, File, Link, Same, Whiteout, contents, grow
from udocker.errors import NameInUse, UdockerError, UnpackError, UsageError
from udocker.model.oci import Platform
from udocker.model.reference import Reference
from udocker.model.request import DeviceOptions
from udocker.ops.commit import Note, commit
from udocker.ops.create import create, private_copy
from udocker.ops.export import diff, export
from udocker.ops.fsck import check
from udocker.ops.importing import import_clone, import_container, import_image
from udocker.ops.prune import prune

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = {"etc/conf": b"conf", "etc/gone": b"", "one": b"1", "two": Same("one"), "l": Link("etc")}
INDEX = '{"version": 1}\n{"path": "etc/conf", "gid": 42, "mode": 416}\n'
RUN = {"Cmd": ["/x"], "Env": ["A=1"]}


@pytest.fixture
def session(store_path: Path) -> TestSession:
    made = make_session(store_path, host())
    record = add_image(made.store, "quay.io/a/test:1", TABLE, RUN, layer=b"x")
    Path(made.store.trees.path(record.chain_id), "index.jsonl").write_text(INDEX)
    box = create(made, Reference.parse("quay.io/a/test:1"), name="box", pull="never")
    grow(Path(box.upper), {"etc/gone": Whiteout(), "new": File(b"new", 0o700), "d": Directory()})
    os.setxattr(f"{box.upper}/new", "user.overlay.owner", b"3:4:4711")
    made.store.containers.update(replace_mode(made, "F3"))
    return made


def replace_mode(session: TestSession, mode: str) -> Any:
    from udocker.model.value import replace

    devices = DeviceOptions(gpus=("all",), devices=("/dev/fuse",))
    return replace(session.store.containers.get("box"), mode=mode, devices=devices)


@pytest.fixture
def other(tmp_path: Path) -> TestSession:
    return make_session(tmp_path / "other", host())


def members(path: Path) -> dict[str, tuple[object, ...]]:
    with tarfile.open(path) as archive:
        return {
            each.name: (
                each.type,
                each.mode,
                each.uid,
                each.gid,
                each.size,
                each.mtime,
                each.linkname,
            )
            for each in archive
        }


def archive(path: Path, *entries: tuple[str, dict[str, Any], bytes]) -> str:
    """Members by hand: name, fields, content."""
    with tarfile.open(path, "w") as stream:
        for name, fields, content in entries:
            info = tarfile.TarInfo(name)
            for key, each in {"size": len(content), **fields}.items():
                setattr(info, key, each)
            stream.addfile(info, io.BytesIO(content))
    return str(path)


def assert_untouched(session: TestSession) -> None:
    store = session.store
    assert store.containers.all() == []
    assert [*store.images.all(), *store.trees.all(), *store.blobs.all()] == []
    assert os.listdir(f"{store.topdir}/tmp") == []


# Clones


@pytest.mark.parametrize("plain", [False, True])
def test_a_container_in_another_store(
    session: TestSession, other: TestSession, tmp_path: Path, plain: bool
) -> None:
    if plain:
        private_copy(session, session.store.containers.get("box"))
    export(session, "box", str(tmp_path / "one.tar"), clone=True)
    made = import_clone(other, str(tmp_path / "one.tar"), "again")
    box = session.store.containers.get("box")
    assert (made.image, made.manifest, made.mode) == (box.image, box.manifest, "F3")
    assert made.devices == box.devices == DeviceOptions(gpus=("all",), devices=("/dev/fuse",))
    assert (made.config.cmd, made.config.env) == (("/x",), ("A=1",))
    assert made.id != box.id
    assert other.store.containers.get("again").id == made.id
    assert diff(other, "again") == []
    assert not os.path.exists(f"{made.tree}/etc/gone")
    export(other, "again", str(tmp_path / "two.tar"), clone=True)
    one, two = members(tmp_path / "one.tar"), members(tmp_path / "two.tar")
    for found in (one, two):  # they tell of the name and of the new digest of the layers
        assert list(found)[:4] == ["udocker.json", "container.json", "imagerepo.name", "execmode"]
        del found["udocker.json"], found["container.json"]
        del found["ROOT"]  # whose time is that of the new upper directory
    assert one == two
    assert one["ROOT/new"][1:4] == (0o4711, 3, 4)
    assert one["ROOT/etc/conf"][1:4] == (0o640, 0, 42)
    assert one["ROOT/two"][-1] == "ROOT/one"
    prune(other)
    assert check(other).problems == ()
    assert os.path.exists(f"{made.tree}/new")


def test_what_udocker_1_3_wrote(other: TestSession, tmp_path: Path) -> None:
    config = {"architecture": "amd64", "config": {"Cmd": ["y"]}, "rootfs": {"diff_ids": []}}
    source = archive(
        tmp_path / "old.tar",
        ("./", {"type": tarfile.DIRTYPE, "mode": 0o755}, b""),
        ("./ROOT/", {"type": tarfile.DIRTYPE, "mode": 0o755, "uid": 1000}, b""),
        ("./ROOT/bin/sh", {"mode": 0o755, "uid": 1000, "gid": 1000}, b"#!"),
        ("./ROOT/bin/ash", {"type": tarfile.LNKTYPE, "linkname": "./ROOT/bin/sh"}, b""),
        ("./ld.lib.dirs", {}, b"/lib"),
        ("./container.json", {}, json.dumps(config).encode()),
        ("./imagerepo.name", {}, b"busybox:1.2"),
        ("./execmode", {}, b"P1"),
    )
    made = import_clone(other, source, None)
    assert (made.image, made.mode) == ("docker.io/library/busybox:1.2", "P1")
    assert made.config.cmd == ("y",)
    assert sorted(contents(Path(made.tree))) == ["bin", "bin/ash", "bin/sh"]
    # Files of whoever ran it, and not of a user 1000 of the image.
    index = Path(made.tree).parent / "index.jsonl"
    assert "1000" not in index.read_text()


SOUND = ("container.json", {}, b'{"rootfs": {"diff_ids": []}}')
SHELL = ("ROOT/sh", {}, b"#!")


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ((SHELL,), "not an archive of export --clone: it has no container.json"),
        ((("container.json", {}, b"{"), SHELL), "description of the container is damaged"),
        ((SOUND, ("udocker.json", {}, b"[]"), SHELL), "description of the container is damaged"),
        ((SOUND, ("udocker.json", {}, b'{"version": 9}'), SHELL), "is of version 9"),
        (
            (SOUND, ("udocker.json", {}, b'{"version": 1, "devices": {"gpus": "all"}}'), SHELL),
            "description of the container is damaged",
        ),
        ((SOUND, ("imagerepo.name", {}, b"../../x"), SHELL), "not a registry host"),
        ((SOUND, ("execmode", {}, b"../x"), SHELL), "is damaged"),
        ((SOUND, ("execmode", {}, b"\xff"), SHELL), "is damaged"),
        ((SOUND, ("ROOT/../../x", {}, b"")), "leads out of the image"),
        ((SOUND, ("../ROOT/x", {}, b"")), "leads out of the image"),
        (
            (SOUND, ("ROOT/x", {"type": tarfile.LNKTYPE, "linkname": "container.json"}, b"")),
            "leads out of 'ROOT'",
        ),
        (
            (SOUND, ("ROOT/x", {"type": tarfile.LNKTYPE, "linkname": "ROOT/../../y"}, b"")),
            "leads out of the image",
        ),
        ((SOUND, ("ROOT", {"type": tarfile.SYMTYPE, "linkname": "/"}, b"")), "has no name"),
        ((("container.json", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, b""), SHELL),
         "it has no container.json"),
    ],
)  # fmt: skip
def test_clones_that_are_refused(
    other: TestSession, tmp_path: Path, entries: Any, text: str
) -> None:
    source = archive(tmp_path / "bad.tar", *entries)
    with pytest.raises(UnpackError) as caught:
        import_clone(other, source, "name")
    assert caught.value.message.startswith(f"{source}: ")
    assert text in caught.value.message
    assert_untouched(other)


def test_links_do_not_lead_out(other: TestSession, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    source = archive(
        tmp_path / "bad.tar",
        SOUND,
        ("ROOT/out", {"type": tarfile.SYMTYPE, "linkname": str(tmp_path / "victim")}, b""),
        ("ROOT/out/x", {}, b"written"),
    )
    made = import_clone(other, source, None)
    assert os.listdir(tmp_path / "victim") == []
    assert Path(f"{made.tree}{tmp_path}/victim/x").read_bytes() == b"written"


def test_a_name_that_is_taken(session: TestSession, tmp_path: Path) -> None:
    with pytest.raises(NameInUse):
        import_clone(session, "/none", "box")


# Images, and containers of plain archives


def test_an_image(session: TestSession, other: TestSession, tmp_path: Path) -> None:
    export(session, "box", str(tmp_path / "one.tar"))
    (tmp_path / "one.tgz").write_bytes(gzip.compress((tmp_path / "one.tar").read_bytes()))
    arm = Platform.parse("linux/arm64")
    record = import_image(
        other,
        str(tmp_path / "one.tgz"),
        "new:1",
        changes=["CMD x"],
        note=Note("why"),
        platform=arm,
    )
    document = json.loads(other.store.blobs.read(record.config))
    assert document["config"] == {"Cmd": ["/bin/sh", "-c", "x"]}
    assert document["history"][0]["comment"] == "why"
    assert record.platform.startswith("linux/arm64")
    assert check(other).problems == ()
    made = create(other, Reference.parse("new:1"), pull="never", name="two")
    export(other, "two", str(tmp_path / "two.tar"))
    assert members(tmp_path / "one.tar") == members(tmp_path / "two.tar")
    # The same files as a container: the tree is there.
    again = import_container(other, str(tmp_path / "one.tar"), "imported", "three")
    assert again.tree == made.tree


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_what_people_compress_with(
    session: TestSession,
    other: TestSession,
    tmp_path: Path,
    compress: Callable[[bytes], bytes],
) -> None:
    export(session, "box", str(tmp_path / "one.tar"))
    (tmp_path / "packed").write_bytes(compress((tmp_path / "one.tar").read_bytes()))
    made = import_container(other, str(tmp_path / "packed"), "imported", None)
    plain = import_container(other, str(tmp_path / "one.tar"), "imported", None)
    assert (Path(made.tree) / "new").read_bytes() == b"new"
    assert made.tree == plain.tree


def test_from_stdin(
    session: TestSession, other: TestSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(session, "box", str(tmp_path / "one.tar"))
    with open(tmp_path / "one.tar", encoding="latin-1") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        made = import_container(other, "-", "imported", None)
    assert (Path(made.tree) / "new").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "there is nothing in it"),
        (b"not a tar" * 100, "wrong checksum"),
        (gzip.compress(b"x" * 2000, mtime=0)[:-12], "gzip data"),
        (b"\xfd7zXZ\0" + bytes(600), "xz data is damaged"),
        (lzma.compress(b"x" * 2000)[:-12], "xz data"),
        (bz2.compress(b"x" * 2000)[:-12], "bzip2 data"),
    ],
)
def test_archives_that_are_none(
    other: TestSession, tmp_path: Path, content: bytes, text: str
) -> None:
    source = tmp_path / "bad"
    source.write_bytes(content)
    for make in (
        lambda: import_image(other, str(source), "new"),
        lambda: import_container(other, str(source), "new", None),
        lambda: import_clone(other, str(source), None),
    ):
        with pytest.raises(UnpackError, match=text) as caught:
            make()
        assert caught.value.hint
        assert_untouched(other)


def test_files_that_cannot_be_read(other: TestSession, tmp_path: Path) -> None:
    for source in (str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(UdockerError, match=f"cannot read {source}: "):
            import_image(other, source, "new")
    with pytest.raises(UsageError):
        import_image(other, "x", "new", changes=["RUN x"])
    with pytest.raises(UsageError):
        import_image(other, "x", "UPPER")
    assert_untouched(other)


def test_too_much(tmp_path: Path) -> None:
    session = make_session(tmp_path / "other", host(), max_unpacked_bytes=1000)
    source = archive(tmp_path / "big.tar", ("x", {}, bytes(2000)))
    with pytest.raises(UnpackError, match="more than 1000 bytes"):
        import_image(session, source, "new")
    assert_untouched(session)


def test_it_is_not_committed_over_the_image_that_it_was_made_of(
    session: TestSession, tmp_path: Path
) -> None:
    export(session, "box", str(tmp_path / "one.tar"), clone=True)
    made = import_clone(session, str(tmp_path / "one.tar"), "again")
    grow(Path(made.upper), {"later": b""})
    record = commit(session, "again", "committed")
    # The image has the same manifest and as many layers: but not the files of this container.
    assert "one layer with all files" in session.report.warnings[-1]
    wanted = {*contents(Path(made.tree)), "later"}
    assert set(contents(Path(session.store.trees.root(record.chain_id)))) == wanted
