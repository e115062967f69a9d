"""Archives of containers, their clones, and containers with copies of their own."""

from __future__ import annotations

import errno
import gc
import os
import stat
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.sessions import TestSession
from builders.sessions import session as make_session
from builders.stores import add_image
from builders.trees import Directory, File, Link, Same, Whiteout, contents, grow
from udocker.errors import ContainerNotFound, NameInUse, NoSpaceError, StoreError
from udocker.files import lock_entry, remove_tree
from udocker.model.container import PLAIN, Container
from udocker.model.reference import Reference
from udocker.ops.clone import clone
from udocker.ops.create import create, private_copy
from udocker.ops.export import diff, entries_of, export, reading
from udocker.store.closed import Opener

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX = """{"version": 1}
{"path": "etc/shadow", "gid": 42, "mode": 416}
{"path": "second", "mode": 2541, "xattrs": {"security.capability": "AQI="}}
{"path": "var", "uid": 7}
{"path": "null", "type": "char", "major": 1, "minor": 3}
"""


@pytest.fixture
def session(store_path: Path) -> TestSession:
    made = make_session(store_path, host())
    table = {
        "etc/shadow": File(b"secret", 0o640),
        "etc/gone": b"",
        "program": File(b"#!", 0o755),
        "second": Same("program"),
        "var/x": b"1",
        "link": Link("/etc"),
    }
    record = add_image(made.store, "test", table, layer=b"x")
    Path(made.store.trees.path(record.chain_id), "index.jsonl").write_text(INDEX)
    return made


@pytest.fixture
def box(session: TestSession) -> Container:
    made = create(session, Reference.parse("test"), name="box", pull="never")
    table = {
        "etc/shadow": File(b"changed", 0o640),
        "etc/gone": Whiteout(),
        "new": File(b"new", 0),
        "var": Directory(0o755),
        "mine": File(b"mine", 0o600),
    }
    grow(Path(made.upper), table)
    os.setxattr(f"{made.upper}/mine", "user.overlay.owner", b"3:4:4711")
    os.setxattr(f"{made.upper}/mine", "user.note", b"\xff")
    return made


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return {info.name: info for info in archive}


def test_the_archive(session: TestSession, box: Container, tmp_path: Path) -> None:
    target = tmp_path / "out.tar"
    export(session, "box", str(target))
    found = members(target)
    assert list(found) == [
        "etc",
        "etc/shadow",
        "link",
        "mine",
        "new",
        "program",
        "second",
        "var",
        "var/x",
    ]
    owners = {name: (each.uid, each.gid, oct(each.mode)) for name, each in found.items()}
    assert owners["etc/shadow"] == (0, 42, "0o640")  # of the image, whose mode it still has
    assert owners["program"] == (0, 0, "0o4755")
    assert owners["var"] == (7, 0, "0o755")
    assert owners["mine"] == (3, 4, "0o4711")
    assert owners["new"] == (0, 0, "0o0")
    assert found["second"].linkname == "program"
    assert found["link"].linkname == "/etc"
    assert found["program"].pax_headers["SCHILY.xattr.security.capability"] == "\x01\x02"
    assert found["mine"].pax_headers["SCHILY.xattr.user.note"] == "\udcff"
    with tarfile.open(target) as archive:
        for name, data in (("etc/shadow", b"changed"), ("new", b"new"), ("var/x", b"1")):
            stream = archive.extractfile(name)
            assert stream is not None
            assert stream.read() == data
    assert found["mine"].mtime == pytest.approx(os.stat(f"{box.upper}/mine").st_mtime, abs=1e-5)
    assert stat.S_IMODE(os.stat(f"{box.upper}/new").st_mode) == 0
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


def test_a_copy_gives_the_same_archive(
    session: TestSession, box: Container, tmp_path: Path
) -> None:
    export(session, "box", str(tmp_path / "one"))
    private_copy(session, box)
    export(session, "box", str(tmp_path / "two"))
    one, two = members(tmp_path / "one"), members(tmp_path / "two")
    # What N1 has copied up has no owner of its own, and a copy of that has root.
    for name in ("program", "second", "mine", "var", "new"):
        for field in ("uid", "gid", "mode", "size", "type"):
            assert getattr(one[name], field) == getattr(two[name], field), (name, field)
    assert set(one) == set(two)


def test_a_file_that_cannot_be_written(
    session: TestSession, box: Container, tmp_path: Path
) -> None:
    for target, why in (
        (tmp_path / "no/such", "No such file or directory"),
        (tmp_path, "Is a dir"),
    ):
        with pytest.raises(StoreError) as caught:
            export(session, "box", str(target))
        assert caught.value.message.startswith(f"exporting the container to {target}: {why}")
        assert ".tmp" not in caught.value.message
        assert "-o FILE" in str(caught.value.hint)
    export(session, "box", os.devnull)
    assert not list(tmp_path.glob("*.tmp"))
    with pytest.raises(ContainerNotFound):
        export(session, "none", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_diff(session: TestSession, box: Container) -> None:
    wanted = [
        ("C", "/etc"),
        ("D", "/etc/gone"),
        ("C", "/etc/shadow"),
        ("A", "/mine"),
        ("A", "/new"),
    ]
    assert diff(session, "box") == wanted
    private_copy(session, box)
    assert diff(session, "box") == wanted


# What programs closed to themselves

CLOSED = {
    "shut/in/file": File(b"kept", 0),
    "shut/in": Directory(0o300),
    "shut": Directory(0),
    "etc/shadow": File(b"changed", 0),
    "etc": Directory(0o111),
}


@pytest.fixture
def shut(session: TestSession) -> Iterator[Container]:
    made = create(session, Reference.parse("test"), name="shut", pull="never")
    grow(Path(made.upper), CLOSED)
    yield made
    remove_tree(f"{session.store.topdir}/containers")


def left(container: Container) -> dict[str, tuple[int, int]]:
    """Mode and time of what can be reached."""
    top = container.root if container.form == PLAIN else container.upper
    found = {name: os.lstat(f"{top}/{name}") for name in ("shut", "etc", "etc/shadow")}
    return {name: (stat.S_IMODE(each.st_mode), each.st_mtime_ns) for name, each in found.items()}


@pytest.mark.parametrize("copy", [False, True])
def test_what_is_closed_to_its_owner(
    session: TestSession, shut: Container, tmp_path: Path, copy: bool
) -> None:
    container = private_copy(session, shut) if copy else shut
    before = left(container)
    assert diff(session, "shut") == [
        ("C", "/etc"),
        ("C", "/etc/shadow"),
        ("A", "/shut"),
        ("A", "/shut/in"),
        ("A", "/shut/in/file"),
    ]
    export(session, "shut", str(tmp_path / "out.tar"))
    found = members(tmp_path / "out.tar")
    names = ("shut", "shut/in", "shut/in/file", "etc", "etc/shadow", "etc/gone")
    assert [found[name].mode for name in names] == [0, 0o300, 0, 0o111, 0, 0o644]
    with tarfile.open(tmp_path / "out.tar") as archive:
        for name, data in (("shut/in/file", b"kept"), ("etc/shadow", b"changed")):
            stream = archive.extractfile(name)
            assert stream is not None
            assert stream.read() == data
    assert left(container) == before
    assert not os.path.exists(f"{container.path}/opened")


def test_attributes_of_a_closed_file(session: TestSession, shut: Container, tmp_path: Path) -> None:
    path = Path(shut.upper, "note")
    path.write_bytes(b"")
    os.setxattr(path, "user.note", b"text")
    path.chmod(0)
    export(session, "shut", str(tmp_path / "out.tar"))
    headers = members(tmp_path / "out.tar")["note"].pax_headers
    assert headers["SCHILY.xattr.user.note"] == "text"


def killed(container: Container) -> None:
    """As a process leaves it that was killed while it read."""
    child = os.fork()
    if child == 0:
        try:
            with Opener(container.path) as opener:
                list(entries_of(container, opener))
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert left(container)["shut"][0] == 0o500


def test_modes_come_back_with_the_next_use(session: TestSession, shut: Container) -> None:
    before = left(shut)
    killed(shut)
    made = clone(session, "shut")
    assert left(shut) == before == left(made)
    killed(shut)
    session.store.containers.make_ready(shut)
    assert left(shut) == before
    killed(shut)
    assert left(private_copy(session, shut)) == before


def test_one_reads_at_a_time(session: TestSession, shut: Container) -> None:
    """Another would see other modes, and directories that are closed again before it is through."""
    with reading(session, shut), pytest.raises(BlockingIOError):
        lock_entry(f"{shut.path}/lock")


def test_a_store_that_cannot_be_written(session: TestSession, shut: Container) -> None:
    os.chmod(shut.path, 0o500)
    assert ("A", "/shut/in/file") in diff(session, "shut")


def test_an_archive_that_failed_gets_no_end(
    session: TestSession, box: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    monkeypatch.setattr("os.pread", fail)
    with pytest.raises(StoreError, match="broken"):
        export(session, "box", str(tmp_path / "out.tar"))
    monkeypatch.undo()
    gc.collect()
    assert unraisable == []
    assert not (tmp_path / "out.tar").exists()


# Clones


def test_a_clone(session: TestSession, box: Container) -> None:
    made = clone(session, "box", "second")
    assert made.id != box.id
    assert session.store.containers.get("second").id == made.id
    assert made.tree == box.tree
    assert diff(session, "second") == diff(session, "box")
    for name in ("mine", "var", "new", "etc"):
        one, two = os.lstat(f"{box.upper}/{name}"), os.lstat(f"{made.upper}/{name}")
        assert (one.st_mode, one.st_mtime_ns) == (two.st_mode, two.st_mtime_ns)
    assert os.getxattr(f"{made.upper}/mine", "user.overlay.owner") == b"3:4:4711"
    (Path(made.upper) / "mine").write_bytes(b"other")
    assert (Path(box.upper) / "mine").read_bytes() == b"mine"
    assert os.listdir(f"{session.store.topdir}/tmp") == []


def test_an_opaque_directory_is_one_in_the_clone(session: TestSession, box: Container) -> None:
    grow(Path(box.upper), {"etc": Directory(opaque=True)})
    made = clone(session, "box")
    assert os.getxattr(f"{made.upper}/etc", "user.overlay.opaque") == b"y"
    assert made.names == ()


def test_a_clone_of_a_container_with_a_copy(session: TestSession, box: Container) -> None:
    plain = private_copy(session, box)
    made = clone(session, "box")
    assert made.form == PLAIN
    assert contents(Path(made.root)) == contents(Path(plain.root))


def test_clones_that_cannot_be(session: TestSession, box: Container) -> None:
    with pytest.raises(ContainerNotFound):
        clone(session, "none")
    with pytest.raises(NameInUse):
        clone(session, "box", "box")
    os.rename(box.tree, f"{box.tree}.away")
    with pytest.raises(StoreError, match="are gone from the store"):
        clone(session, "box")
    assert [each.id for each in session.store.containers.all()] == [box.id]
    assert os.listdir(f"{session.store.topdir}/tmp") == []


def test_a_container_with_its_own_copy(
    session: TestSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(session, Reference.parse("test"), pull="never", copy=True)
    assert made.form == PLAIN
    assert (Path(made.root) / "etc/shadow").read_bytes() == b"secret"

    def fail(*_: object) -> None:
        raise NoSpaceError("full")

    monkeypatch.setattr("udocker.store.copy.copy_container", fail)
    with pytest.raises(NoSpaceError):
        create(session, Reference.parse("test"), pull="never", copy=True)
    assert [each.id for each in session.store.containers.all()] == [made.id]
