"""A store as udocker 1.3 leaves it, made by hand, is taken over; nothing in it changes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.commands import Udocker
from builders.sessions import session
from udocker.model.reference import Reference
from udocker.ops import old_store, protect
from udocker.ops.migrate import migrate
from udocker.store import said

if TYPE_CHECKING:
    from typing import Any

    from builders.sessions import TestSession

UUID = "6d2c4ae0-6f43-3b24-9c47-0a9f1c2b3d4e"
OTHER = "11111111-2222-3333-4444-555555555555"
PATCHED = "99999999-2222-3333-4444-555555555555"
CONFIG = {"Env": ["A=1"], "Cmd": ["/hello"], "Labels": None}


def layer(files: dict[str, bytes], compress: str = "gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compress}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


class Old:
    """The directory that UDOCKER_DIR named."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for name in ("bin", "lib", "doc", "layers", "repos", "containers"):
            (top / name).mkdir(parents=True)
        (top / "lib" / "VERSION").write_text("1.2.11")

    def tag(self, name: str, tag: str, version: str, protected: bool = False) -> Path:
        path = self.top / "repos" / name / tag
        path.mkdir(parents=True)
        (path / "TAG").write_text(f"{path.parent}:{tag}")
        (path / version).write_text("")
        if protected:
            (path / "PROTECT").write_text("")
        return path

    def put(self, tag: Path, name: str, content: bytes) -> None:
        (self.top / "layers" / name).write_bytes(content)
        depth = len(tag.relative_to(self.top).parts)
        (tag / name).symlink_to("/".join([*[".."] * depth, "layers", name]))

    def v2(self, name: str, tag: str, files: dict[str, bytes], **more: Any) -> None:
        path = self.tag(name, tag, "v2", **more)
        blob = layer(files)
        diff_id = digest(gzip.decompress(blob))
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": CONFIG,
                "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            }
        ).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": digest(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(blob),
                    "digest": digest(blob),
                }
            ],
        }
        (path / "manifest").write_text(json.dumps(manifest))
        self.put(path, digest(config), config)
        self.put(path, digest(blob), blob)

    def v1(self, name: str, tag: str, layers: list[bytes]) -> None:
        """As 1.3's load and import write it; the ancestry has the top layer first."""
        path = self.tag(name, tag, "v1")
        identities = [hashlib.sha256(raw).hexdigest() for raw in layers]
        (path / "ancestry").write_text(json.dumps(identities[::-1]))
        config = {"architecture": "amd64", "os": "linux", "config": CONFIG, "id": "x"}
        for identity, raw in zip(identities, layers):
            self.put(path, f"{identity}.layer", raw)
            self.put(path, f"{identity}.json", json.dumps(config).encode())
        if identities:
            (path / "container.json").symlink_to(f"{identities[-1]}.json")

    def container(self, uuid: str, names: tuple[str, ...], image: str, mode: str = "") -> Path:
        path = self.top / "containers" / uuid
        (path / "ROOT" / "etc").mkdir(parents=True)
        (path / "ROOT" / "hello").write_bytes(b"#!/bin/sh\n")
        (path / "ROOT" / "hello").chmod(0o755)
        (path / "ROOT" / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (path / "root.path").write_text(str(path / "ROOT"))
        (path / "imagerepo.name").write_text(image)
        config = {"architecture": "amd64", "os": "linux", "config": CONFIG}
        (path / "container.json").write_text(json.dumps(config))
        if mode:
            (path / "execmode").write_text(mode)
        for name in names:
            (path.parent / name).symlink_to(path)
        return path


@pytest.fixture
def old(tmp_path: Path) -> Old:
    return Old(tmp_path / "old")


@pytest.fixture
def here(tmp_path: Path) -> TestSession:
    return session(tmp_path / "store")


def state(top: Path) -> list[tuple[str, int, int, bytes]]:
    """All that is in a directory: path, mode, time, content."""
    found = []
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.readlink(path).encode()
        elif path.is_file():
            content = path.read_bytes()
        found.append((str(path), status.st_mode, status.st_mtime_ns, content))
    return found


def fill(old: Old) -> None:
    old.v2("library/deb", "12", {"hello": b"v2"}, protected=True)
    old.v2("quay.io/some/where", "latest", {"hello": b"other"})
    old.v1("loaded", "1", [layer({"a": b"1"}, ""), layer({"b": b"2"}, "gz")])
    path = old.container(UUID, ("box", "b:ad"), "library/deb:12", "F1")
    (path / "PROTECT").write_text("")
    (path / "ROOT" / "link").symlink_to(f"{path}/ROOT/hello")  # as its F modes write it
    (path / "ROOT" / "plain").symlink_to("/hello")
    (path / "ld.so.path").write_text("/lib/ld.so")
    (path / "ROOT" / "lib").mkdir()
    (path / "ROOT" / "lib" / "ld.so").write_bytes(b"changed")
    (path / "ld.so.orig").write_bytes(b"original")
    other = old.container(OTHER, (), "nonsense name", "R1")
    (other / "ROOT" / ".bind_host_files").mkdir()
    (other / "ROOT" / "etc" / "group").symlink_to("/.bind_host_files/#etc#group")


def test_all_of_a_store(old: Old, here: TestSession) -> None:
    fill(old)
    before = state(old.top)
    planned = migrate(here, str(old.top), dry=True)
    assert not Path(here.store.topdir, "images").exists()
    done = migrate(here, str(old.top))
    assert planned.moved == done.moved
    assert done.failed == done.kept == ()
    assert done.moved == (
        "image library/deb:12",
        "image loaded:1",
        "image quay.io/some/where:latest",
        "container " + OTHER,
        "container b:ad",
    )
    assert state(old.top) == before
    images = {record.reference: record for record in here.store.images.all()}
    assert list(images) == [
        "docker.io/library/deb:12",
        "docker.io/library/loaded:1",
        "quay.io/some/where:latest",
    ]
    assert protect.is_image_protected(here, images["docker.io/library/deb:12"])
    root = Path(here.store.trees.root(images["docker.io/library/loaded:1"].chain_id))
    assert ((root / "a").read_text(), (root / "b").read_text()) == ("1", "2")
    manifest = (old.top / "repos/library/deb/12/manifest").read_bytes()
    assert str(images["docker.io/library/deb:12"].manifest) == digest(manifest)
    box = here.store.containers.get("box")
    assert (box.image, box.mode) == ("docker.io/library/deb:12", "F1")
    assert dict(box.config.labels) == {}
    assert box.config.cmd == ("/hello",)
    assert protect.is_protected(box)
    assert os.readlink(f"{box.tree}/link") == "/hello"
    assert os.readlink(f"{box.tree}/plain") == "/hello"
    assert Path(box.tree, "lib", "ld.so").read_bytes() == b"original"
    assert here.report.warnings[0].startswith(f"container {box.short_id} is not called b:ad")
    other = next(each for each in here.store.containers.all() if each.id != box.id)
    assert sorted(os.listdir(other.tree)) == ["etc", "hello"]
    assert os.listdir(f"{other.tree}/etc") == ["passwd"]
    assert dict(said.read(other.path).labels) == {"udocker.migrated-from": OTHER}
    again = migrate(here, str(old.top))
    assert again.kept == done.moved
    assert again.moved == again.failed == ()


def test_in_the_same_directory(tmp_path: Path) -> None:
    old = Old(tmp_path / "old")
    fill(old)
    before = state(old.top)
    made = session(old.top)
    assert migrate(made, made.store.topdir).failed == ()
    kept = [entry for entry in state(old.top) if entry[0] in {path for path, *_ in before}]
    assert [(path, content) for path, _, _, content in kept] == [
        (path, content) for path, _, _, content in before
    ]
    assert made.store.images.get(Reference.parse("deb:12")) is not None


def test_what_is_damaged_does_not_keep_the_rest_away(old: Old, here: TestSession) -> None:
    old.v2("good", "1", {"hello": b"v2"})
    old.v2("bad", "1", {"hello": b"v2 too"})
    manifest = json.loads((old.top / "repos/bad/1/manifest").read_text())
    (old.top / "layers" / manifest["layers"][0]["digest"]).write_bytes(b"altered")
    old.v2("half", "1", {"hello": b"half"})
    (old.top / "repos/half/1/manifest").write_text("{")
    old.v2("NoName", "1", {"hello": b"upper"})
    old.v1("empty", "1", [])
    patched = old.container(PATCHED, ("patched",), "good:1", "F3")
    (patched / "patch.time").write_text("1")
    rootless = old.container(OTHER, ("rootless",), "good:1")
    (rootless / "ROOT").rename(rootless / "elsewhere")
    done = migrate(here, str(old.top))
    assert done.moved == ("image good:1",)
    failed = dict(text.split(": ", 1) for text in sorted(done.failed))
    assert "setup --execmode=P1 undoes that" in failed["container patched"]
    assert failed["container rootless"] == "it has no ROOT"
    assert len(done.failed) == 6
    assert here.store.containers.ids() == []
    assert [record.reference for record in here.store.images.all()] == ["docker.io/library/good:1"]


def test_links_of_the_store_lead_nowhere_else(old: Old, here: TestSession, tmp_path: Path) -> None:
    """A store may be anybody's: names in it are only names of its own files."""
    (tmp_path / "secret.layer").write_bytes(layer({"secret": b"x"}))
    path = old.tag("evil", "1", "v1")
    (path / "ancestry").write_text(json.dumps(["../../secret"]))
    (path / "container.json").write_text("{}")
    assert len(migrate(here, str(old.top)).failed) == 1


def test_nothing_is_there(tmp_path: Path, here: TestSession) -> None:
    assert not old_store.is_there(str(tmp_path))
    done = migrate(here, str(tmp_path / "nowhere"))
    assert done.moved == done.kept == done.failed == ()


def test_lists_show_what_is_left(tmp_path: Path) -> None:
    udocker = Udocker(tmp_path)
    fill(Old(udocker.store_path))
    ended = udocker("ps")
    assert [line.split() for line in ended.out.splitlines()[1:]] == [
        [OTHER[:12], "1.3", "-", "-", "-", "nonsense", "name"],
        [UUID[:12], "1.3", "-", "-", "b:ad,box", "library/deb:12"],
    ]
    assert "udocker migrate" in ended.err
    ended = udocker("images")
    names = [line.split()[0] for line in ended.out.splitlines()[1:]]
    assert names == ["library/deb:12", "loaded:1", "quay.io/some/where:latest"]
    assert udocker("migrate", "--dry-run").out.count("Would migrate: ") == 5
    assert udocker("migrate").out.count("Migrated: ") == 5
    for words in (("ps",), ("images", "--digests")):
        ended = udocker(*words)
        assert (ended.err, "1.3" in ended.out) == ("", False)
    assert udocker("migrate").out.count("Here already: ") == 5
    assert udocker("migrate", str(tmp_path)).out.startswith("There is nothing of udocker 1.3 in")
    assert udocker("rmi", "deb:12").code == 125
