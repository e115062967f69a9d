"""Images from archives: all of each, verified, or nothing; and what others may have put in."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from builders.archives import (
    NAME,
    PACKERS,
    Image,
    Layout,
    add,
    docker_25_files,
    docker_files,
    tar,
)
from builders.hosts import host
from builders.sessions import session as make_session
from udocker.errors import (
    ArchiveLimitError,
    BadReplyError,
    HostileArchiveError,
    ImageNotFound,
    NoMatchingPlatform,
    UdockerError,
    UnpackError,
    UsageError,
    VerificationError,
)
from udocker.model.oci import OCI_INDEX, OCI_MANIFEST, Manifest, Platform
from udocker.model.place import Place
from udocker.model.reference import Digest, Reference
from udocker.ops.load import load, load_one

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builders.sessions import TestSession
    from udocker.store.images import ImageRecord

NATIVE = Platform.parse("linux/amd64")
TWO = (tar({"a": b"1", "etc/b": b"2"}), tar({"a": b"3", "etc/.wh.b": b""}))


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host())


def write(tmp_path: Path, files: Mapping[str, bytes], name: str = "some.tar") -> str:
    path = tmp_path / name
    path.write_bytes(tar(files))
    return str(path)


def names(records: list[ImageRecord]) -> list[str]:
    return [Reference.parse(record.reference).spelled for record in records]


def root(session: TestSession, record: ImageRecord) -> dict[str, bytes]:
    top = session.store.trees.root(record.chain_id)
    paths = [Path(folder) / name for folder, _, found in os.walk(top) for name in found]
    return {str(path.relative_to(top)): path.read_bytes() for path in paths}


def nothing_is_visible(session: TestSession) -> bool:
    store = session.store
    left = os.listdir(f"{store.topdir}/tmp") if os.path.isdir(f"{store.topdir}/tmp") else []
    return not list(store.images.all()) and not list(store.trees.all()) and left == []


def refused(session: TestSession, path: str, error: type[UdockerError], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        load(session, path)
    assert type(caught.value) is error
    assert path in caught.value.message
    assert nothing_is_visible(session)


@pytest.mark.parametrize("outer", ["plain", "gzip", "zstd", "xz"])
@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
def test_every_layout_and_compression(
    session: TestSession, tmp_path: Path, packing: str, outer: str
) -> None:
    image = Image(*TWO, packing=packing)
    archives = {
        "docker": docker_files((image, ["box:1"])),
        "docker25": docker_25_files(image, "box:1"),
        "oci": Layout().add(image, "docker.io/library/box:1").files,
    }
    for kind, files in archives.items():
        path = tmp_path / f"{kind}.tar"
        path.write_bytes(PACKERS[outer](tar(files)))
        [record] = load(session, str(path), Reference.parse(kind))
        assert record.config == image.id, kind
        assert root(session, record) == {"a": b"3"}
        manifest = Manifest.parse(session.store.blobs.read(record.manifest), "", kind)
        # The bytes of the layers are kept as they were.
        assert [d.digest for d in manifest.layers] == [Digest.of(each) for each in image.layers]
        assert all(map(session.store.blobs.has, manifest.layers))
        assert names(load(session, str(path))) == ["box:1"]
    assert os.listdir(f"{session.store.topdir}/tmp") == []


def test_manifests_of_layouts_are_kept(session: TestSession, tmp_path: Path) -> None:
    layout = Layout()
    descriptor = layout.image(Image(packing="gzip"))
    layout.tag(descriptor, **{NAME: "a/b:1"})
    [record] = load(session, str(layout.write(tmp_path / "layout")))
    assert str(record.manifest) == descriptor["digest"]
    assert names([record]) == ["a/b:1"]


def test_by_a_pipe(session: TestSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, docker_files((Image(), ["box:1"])))
    reading, writing = os.pipe()
    with open(path, "rb") as archive:
        data = archive.read()
    assert len(data) < 65536
    os.write(writing, data)
    os.close(writing)
    with open(reading, "rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        assert names(load(session, "-")) == ["box:1"]


@pytest.mark.parametrize("skipped", [0, 512])
def test_by_a_redirection(
    session: TestSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skipped: int
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\1" * skipped + tar(docker_files((Image(), ["box:1"]))))
    with path.open("rb") as stream:
        stream.seek(skipped)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        assert names(load(session, "-")) == ["box:1"]


class TestNames:
    def test_all_of_all_images(self, session: TestSession, tmp_path: Path) -> None:
        one, two = Image(tar({"1": b""})), Image(tar({"2": b""}))
        path = write(tmp_path, docker_files((one, ["b:1", "q.io/c:2"]), (two, ["a:1"])))
        records = load(session, path)
        assert names(records) == ["b:1", "q.io/c:2", "a:1"]
        assert [record.config for record in records] == [one.id, one.id, two.id]
        for record in records:
            assert session.store.images.get(Reference.parse(record.reference)) == record

    def test_one_that_is_given(self, session: TestSession, tmp_path: Path) -> None:
        path = write(tmp_path, docker_files((Image(), ["b:1", "c:2"])))
        assert names(load(session, path, Reference.parse("mine"))) == ["mine:latest"]
        assert len(list(session.store.images.all())) == 1

    def test_one_for_several(self, session: TestSession, tmp_path: Path) -> None:
        path = write(tmp_path, docker_files((Image(), ["b:1"]), (Image(), [])))
        with pytest.raises(UsageError, match="2 images, and one name") as caught:
            load(session, path, Reference.parse("mine"))
        assert caught.value.hint == "without it; there is b:1, @1"

    def test_one_with_a_digest(self, session: TestSession, tmp_path: Path) -> None:
        path = write(tmp_path, docker_files((Image(), ["b:1"])))
        with pytest.raises(UsageError, match="digest"):
            load(session, path, Reference.parse(f"mine@{Image().id}"))

    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("My image_1.tar.gz", "localhost/my-image-1:latest"),
            ("box.tar", "localhost/box:latest"),
            ("-._.tar", "localhost/image:latest"),
        ],
    )
    def test_none(self, session: TestSession, tmp_path: Path, file: str, name: str) -> None:
        assert names(load(session, write(tmp_path, docker_files((Image(), [])), file))) == [name]

    def test_none_and_no_file(
        self, session: TestSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open(write(tmp_path, docker_files((Image(), []))), "rb") as stream:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
            with pytest.raises(UdockerError, match="no name that can be used"):
                load(session, "-")

    def test_none_of_two(self, session: TestSession, tmp_path: Path) -> None:
        one, two = Image(tar({"1": b""})), Image(tar({"2": b""}))
        path = write(tmp_path, docker_files((one, []), (two, [])))
        refused(session, path, BadReplyError, "two images that are called localhost/some:latest")
        place = Place.parse(f"docker-archive:{path}:@1")
        assert place is not None
        assert load_one(session, place).spelled == "localhost/some:latest"
        [record] = session.store.images.all()
        assert record.config == two.id

    def test_a_tag_alone(self, session: TestSession, tmp_path: Path) -> None:
        layout = Layout().add(Image(), "v1").write(tmp_path / "Layout")
        assert names(load(session, str(layout))) == ["localhost/layout:v1"]

    def test_a_tag_alone_beside_a_list(self, session: TestSession, tmp_path: Path) -> None:
        """As some builders write it: the whole name is in manifest.json."""
        files = {**Layout().add(Image(), "v1").files, **docker_files((Image(), ["a/b:v1"]))}
        assert names(load(session, write(tmp_path, files))) == ["a/b:v1"]

    @pytest.mark.parametrize("name", ["../../x:1", "a b:1", f"x@sha256:{'0' * 64}", "UP:1", ":"])
    def test_bad_ones_are_left_out(self, session: TestSession, tmp_path: Path, name: str) -> None:
        path = write(tmp_path, docker_files((Image(), [name, "b:1"])))
        assert names(load(session, path)) == ["b:1"]
        assert [name in text for text in session.report.warnings] == [True]

    def test_only_bad_ones(self, session: TestSession, tmp_path: Path) -> None:
        path = write(tmp_path, docker_files((Image(), ["../../x:1"])))
        refused(session, path, UdockerError, "no name that can be used")

    def test_an_image_that_is_here_has_another_name_now(
        self, session: TestSession, tmp_path: Path
    ) -> None:
        old, new = Image(tar({"1": b""})), Image(tar({"2": b""}))
        load(session, write(tmp_path, docker_files((old, ["b:1"]))))
        [record] = load(session, write(tmp_path, docker_files((new, ["b:1"]))))
        assert record.config == new.id
        assert session.store.images.get(Reference.parse("b:1")) == record


class TestPlatforms:
    def layout(self) -> Layout:
        layout = Layout()
        images = [layout.image(Image(architecture=name)) for name in ("arm64", "amd64")]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": images}
        return layout.tag(layout.document(index, OCI_INDEX), **{NAME: "a:1"})

    def test_the_hosts_own(self, session: TestSession, tmp_path: Path) -> None:
        [record] = load(session, write(tmp_path, self.layout().files))
        assert record.platform == "linux/amd64"

    def test_another(self, session: TestSession, tmp_path: Path) -> None:
        path = write(tmp_path, self.layout().files)
        [record] = load(session, path, platform=Platform.parse("linux/arm64"))
        assert record.platform == "linux/arm64"
        with pytest.raises(NoMatchingPlatform):
            load(session, path, platform=Platform.parse("linux/riscv64"))

    @pytest.mark.parametrize("write_files", [docker_files, None])
    def test_an_only_one(
        self,
        session: TestSession,
        tmp_path: Path,
        write_files: Callable[..., dict[str, bytes]] | None,
    ) -> None:
        image = Image(architecture="arm64")
        files = write_files((image, ["a:1"])) if write_files else Layout().add(image, "a:1").files
        path = write(tmp_path, files)
        with pytest.raises(NoMatchingPlatform):
            load(session, path, platform=NATIVE)
        [record] = load(session, path)
        assert record.platform == "linux/arm64"
        assert ["is made for linux/arm64" in text for text in session.report.warnings] == [True]

    @pytest.mark.parametrize("saved", ["arm64", "amd64"])
    def test_saved_of_many(self, session: TestSession, tmp_path: Path, saved: str) -> None:
        """containerd keeps the index of all platforms, and has the blobs of one."""
        layout = self.layout()
        layouts = {}
        for name in ("arm64", "amd64"):
            layouts[name] = Layout()
            layouts[name].image(Image(architecture=name))
        other = layouts["amd64" if saved == "arm64" else "arm64"]
        for name in set(other.files) - set(layouts[saved].files):
            del layout.files[name]
        [record] = load(session, write(tmp_path, layout.files))
        assert record.platform == f"linux/{saved}"


class TestOtherContent:
    """Layouts hold other things beside images."""

    def layout(self) -> Layout:
        layout = Layout()
        empty = layout.blob(b"{}", "application/vnd.oci.empty.v1+json")
        artifact = {"schemaVersion": 2, "config": empty, "layers": [empty]}
        layout.tag(layout.document(artifact, OCI_MANIFEST), **{NAME: "signature:1"})
        layout.tag(layout.document({}, "text/json"))
        return layout

    def test_beside_an_image(self, session: TestSession, tmp_path: Path) -> None:
        layout = self.layout().add(Image(), "a:1")
        assert names(load(session, write(tmp_path, layout.files))) == ["a:1"]

    def test_alone(self, session: TestSession, tmp_path: Path) -> None:
        refused(session, write(tmp_path, self.layout().files), ImageNotFound, "no image in")


class TestLinks:
    """podman and skopeo, and Docker before 25, link layers that are alike."""

    def archive(self, tmp_path: Path, kind: bytes, target: str) -> str:
        files = docker_files((Image(), ["a:1"]))
        [layer] = (name for name in files if name.endswith("layer.tar"))
        path = tmp_path / "links.tar"
        with tarfile.open(path, "w") as archive:
            add(archive, "other/layer.tar", files.pop(layer))
            add(archive, layer, kind=kind, link=target)
            for name, data in files.items():
                add(archive, name, data)
        return str(path)

    @pytest.mark.parametrize(
        ("kind", "target"),
        [
            (tarfile.SYMTYPE, "../other/layer.tar"),
            (tarfile.SYMTYPE, "/other/layer.tar"),
            (tarfile.LNKTYPE, "other/layer.tar"),
            (tarfile.LNKTYPE, "./other//layer.tar"),
        ],
    )
    def test_inside(self, session: TestSession, tmp_path: Path, kind: bytes, target: str) -> None:
        [record] = load(session, self.archive(tmp_path, kind, target))
        assert root(session, record) == {"etc/motd": b"hello\n"}

    @pytest.mark.parametrize(
        ("kind", "target", "error", "text"),
        [
            (tarfile.SYMTYPE, "../../etc/passwd", HostileArchiveError, "leads out"),
            (tarfile.LNKTYPE, "../etc/passwd", HostileArchiveError, "leads out"),
            (tarfile.SYMTYPE, "/etc/passwd", BadReplyError, "missing"),
            (tarfile.SYMTYPE, "layer.tar", HostileArchiveError, "circle"),
            (tarfile.SYMTYPE, "..", BadReplyError, "missing"),
            (tarfile.CHRTYPE, "", HostileArchiveError, "wrong file type"),
            (tarfile.FIFOTYPE, "", HostileArchiveError, "wrong file type"),
            (tarfile.DIRTYPE, "", BadReplyError, "missing"),
        ],
    )
    def test_elsewhere(
        self,
        session: TestSession,
        tmp_path: Path,
        kind: bytes,
        target: str,
        error: type[UdockerError],
        text: str,
    ) -> None:
        refused(session, self.archive(tmp_path, kind, target), error, text)

    def test_in_a_directory(self, session: TestSession, tmp_path: Path) -> None:
        layout = Layout().add(Image(), "a:1").write(tmp_path / "layout")
        index = layout / "index.json"
        index.rename(tmp_path / "elsewhere")
        index.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(HostileArchiveError, match="symbolic link"):
            load(session, str(layout))


class TestHostile:
    """What is wrong is named, and nothing is left of it."""

    def manifest(self, **changes: object) -> dict[str, bytes]:
        files = docker_files((Image(), ["a:1"]))
        [entry] = json.loads(files["manifest.json"])
        files["manifest.json"] = json.dumps([{**entry, **changes}]).encode()
        return files

    @pytest.mark.parametrize(
        ("changes", "error", "text"),
        [
            ({"Config": "../../etc/passwd"}, HostileArchiveError, "leads out"),
            ({"Config": "/etc/passwd"}, BadReplyError, "missing"),
            ({"Config": "a\0b"}, HostileArchiveError, "leads out"),
            ({"Config": ""}, BadReplyError, "without a Config"),
            ({"Config": 7}, BadReplyError, "without a Config"),
            ({"Layers": ["../x"]}, HostileArchiveError, "leads out"),
            ({"Layers": ["x"]}, BadReplyError, "missing"),
            ({"Layers": ["y" * 100_000]}, BadReplyError, "/y{200}… is missing"),
            ({"Layers": []}, BadReplyError, "0 layers"),
            ({"Layers": "x"}, BadReplyError, "not a list of strings"),
            ({"Layers": [7]}, BadReplyError, "not a list of strings"),
            ({"RepoTags": [None]}, BadReplyError, "not a list of strings"),
        ],
    )
    def test_the_list(
        self,
        session: TestSession,
        tmp_path: Path,
        changes: dict[str, object],
        error: type[UdockerError],
        text: str,
    ) -> None:
        refused(session, write(tmp_path, self.manifest(**changes)), error, text)

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"{}", "not a list"),
            (b"[]", "not a list"),
            (b"[7]", "not a list"),
            (b" " * (4 << 20) + b"[]", "too large"),
        ],
    )
    def test_what_is_no_list(
        self, session: TestSession, tmp_path: Path, content: bytes, text: str
    ) -> None:
        files = {**docker_files((Image(), ["a:1"])), "manifest.json": content}
        refused(session, write(tmp_path, files), BadReplyError, text)

    @pytest.mark.parametrize("packing", ["plain", "gzip"])
    def test_another_layer(self, session: TestSession, tmp_path: Path, packing: str) -> None:
        files = docker_files((Image(), ["a:1"]))
        [layer] = (name for name in files if name.endswith("layer.tar"))
        files[layer] = PACKERS[packing](tar({"etc/motd": b"jello\n"}))
        with pytest.raises(VerificationError):
            load(session, write(tmp_path, files))
        assert nothing_is_visible(session)

    def test_another_configuration(self, session: TestSession, tmp_path: Path) -> None:
        files = docker_files((Image(), ["a:1"]))
        [config] = (name for name in files if name.endswith(f"{Image().id.hex}.json"))
        files[config] = files[config] + b" "
        refused(session, write(tmp_path, files), VerificationError, "is damaged")

    def test_layers_that_udocker_1_3_left_out(self, session: TestSession, tmp_path: Path) -> None:
        """It lists a layer only once in all of the archive."""
        one, two = Image(tar({"1": b""})), Image(tar({"1": b""}), tar({"2": b""}), tar({"2": b""}))
        files = docker_files((one, ["a:1"]), (two, ["b:1"]))
        entries = json.loads(files["manifest.json"])
        entries[1]["Layers"] = entries[1]["Layers"][1:2]
        files["manifest.json"] = json.dumps(entries).encode()
        assert [record.config for record in load(session, write(tmp_path, files))] == [
            one.id,
            two.id,
        ]
        files["manifest.json"] = json.dumps(entries[1:]).encode()
        with pytest.raises(BadReplyError, match="1 layers, its configuration 3"):
            load(session, write(tmp_path, files))

    def test_the_second_of_two(self, session: TestSession, tmp_path: Path) -> None:
        """The first is not visible, either."""
        files = docker_files((Image(), ["a:1"]), (Image(tar({"x": b"1"})), ["b:1"]))
        [layer] = (name for name, data in files.items() if data == tar({"x": b"1"}))
        files[layer] = tar({"x": b"2"})
        with pytest.raises(VerificationError):
            load(session, write(tmp_path, files))
        assert not list(session.store.images.all())

    @pytest.mark.parametrize("change", [-1, 1])
    def test_a_lying_size(self, session: TestSession, tmp_path: Path, change: int) -> None:
        layout = Layout()
        descriptor = layout.image(Image())
        layout.tag({**descriptor, "size": descriptor["size"] + change}, **{NAME: "a:1"})
        refused(session, write(tmp_path, layout.files), VerificationError, "bytes, not")

    def test_a_name_that_is_there_twice(self, session: TestSession, tmp_path: Path) -> None:
        path = tmp_path / "twice.tar"
        with tarfile.open(path, "w") as archive:
            for files in (docker_files((Image(), ["a:1"])), docker_files((Image(), ["b:1"]))):
                for name, data in files.items():
                    add(archive, f"./{name}" if "b:1" in str(data) else name, data)
        refused(session, str(path), HostileArchiveError, "manifest.json is there more than once")

    def test_a_name_that_leads_out(self, session: TestSession, tmp_path: Path) -> None:
        files = {**docker_files((Image(), ["a:1"])), "../../evil": b""}
        refused(session, write(tmp_path, files), HostileArchiveError, "leads out")
        assert not (tmp_path.parent / "evil").exists()

    def test_a_long_name(self, session: TestSession, tmp_path: Path) -> None:
        files = {**docker_files((Image(), ["a:1"])), "x" * 1025: b""}
        refused(session, write(tmp_path, files), ArchiveLimitError, "too long")

    def test_many_members(self, session: TestSession, tmp_path: Path) -> None:
        files = {**{str(n): b"" for n in range(65_537)}, **docker_files((Image(), ["a:1"]))}
        refused(session, write(tmp_path, files), ArchiveLimitError, "more than 65536 members")

    def test_a_sparse_member(self, session: TestSession, tmp_path: Path) -> None:
        path = tmp_path / "sparse.tar"
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            member = tarfile.TarInfo("manifest.json")
            member.pax_headers = {"GNU.sparse.size": "1", "GNU.sparse.map": "0,1"}
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        path.write_bytes(stream.getvalue())
        refused(session, str(path), UnpackError, "sparse member")

    @pytest.mark.parametrize("cut", [100, 700, 3000])
    @pytest.mark.parametrize("outer", ["plain", "gzip", "xz", "zstd"])
    def test_cut_short(self, session: TestSession, tmp_path: Path, cut: int, outer: str) -> None:
        path = tmp_path / "short.tar"
        data = tar(docker_files((Image(tar({"x": os.urandom(9000)})), ["a:1"])))
        path.write_bytes(PACKERS[outer](data)[:cut])
        with pytest.raises((UnpackError, ImageNotFound)):
            load(session, str(path))
        assert nothing_is_visible(session)

    def test_an_extension_header_that_never_ends(
        self, session: TestSession, tmp_path: Path
    ) -> None:
        member = tarfile.TarInfo("x")
        member.type, member.size = b"x", 1 << 32
        path = tmp_path / "huge.tar"
        path.write_bytes(member.tobuf(tarfile.USTAR_FORMAT))
        os.truncate(path, 1 << 33)  # a hole
        refused(session, str(path), ArchiveLimitError, "extension header")

    @pytest.mark.parametrize("outer", ["gzip", "xz", "zstd"])
    def test_a_bomb_around(
        self, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: str
    ) -> None:
        monkeypatch.setattr("udocker.unpack.limits._HEADERS", 0)  # a gigabyte
        session = make_session(store_path, host(), max_unpacked_bytes=1 << 20)
        path = tmp_path / "bomb.tar"
        files = {**docker_files((Image(), ["a:1"])), "zeros": bytes(2 << 20)}
        path.write_bytes(PACKERS[outer](tar(files)))
        refused(session, str(path), ArchiveLimitError, "longer than 2097152 bytes")

    def test_a_bomb_in_a_layer(self, store_path: Path, tmp_path: Path) -> None:
        session = make_session(store_path, host(), max_unpacked_bytes=100_000)
        image = Image(tar({"zeros": bytes(200_000)}), packing="gzip")
        with pytest.raises(ArchiveLimitError, match="100000"):
            load(session, write(tmp_path, docker_files((image, ["a:1"]))))
        assert nothing_is_visible(session)


def test_damaged_anywhere(store_path: Path, tmp_path: Path) -> None:
    """It is refused, or what is loaded is what was saved."""
    images = (Image(*TWO, packing="gzip"), Image())
    seeds = (
        tar(docker_files((images[0], ["a:1"]), (images[1], ["b:1"]))),
        tar(docker_25_files(images[0], "a:1")),
        tar(Layout().add(images[1], "a:1").files),
        *(PACKERS[name](tar(docker_files((images[1], ["a:1"])))) for name in ("gzip", "xz")),
    )
    random = Random(1)
    path = tmp_path / "damaged.tar"
    outcomes = []
    for number in range(150):
        data = bytearray(random.choice(seeds))
        for _ in range(random.choice((1, 4))):
            at = random.randrange(len(data))
            part = data[random.randrange(len(data)) :][: random.choice((1, 512))]
            cut = random.choice((0, 1, 512))
            data[at : at + cut] = random.choice((bytes(part), bytes([random.randrange(256)]), b""))
        path.write_bytes(data)
        session = make_session(store_path / str(number), host(), max_unpacked_bytes=1 << 20)
        try:
            loaded = {record.config for record in load(session, str(path))}
            assert loaded <= {image.id for image in images}
        except UdockerError:
            loaded = set()
            assert not list(session.store.images.all())
            top = session.store.topdir
            assert not os.path.isdir(f"{top}/tmp") or not os.listdir(f"{top}/tmp")
        outcomes.append(bool(loaded))
    assert True in outcomes
    assert False in outcomes


class TestOthers:
    """What is no archive of images is said to be what it is."""

    def test_a_root(self, session: TestSession, tmp_path: Path) -> None:
        path = write(tmp_path, {"bin/sh": b"", "etc/passwd": b""})
        with pytest.raises(ImageNotFound, match="no archive of images") as caught:
            load(session, path)
        assert caught.value.hint is not None
        assert "udocker import" in caught.value.hint

    def test_an_old_docker(self, session: TestSession, tmp_path: Path) -> None:
        refused(session, write(tmp_path, {"repositories": b"{}"}), BadReplyError, "older than 1.10")

    def test_text(self, session: TestSession, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("text\n" * 1000)
        refused(session, str(tmp_path / "text"), UnpackError, "not a tar archive")

    def test_nothing(self, session: TestSession, tmp_path: Path) -> None:
        with pytest.raises(ImageNotFound, match="no such file"):
            load(session, str(tmp_path / "nothing"))
        (tmp_path / "empty").mkdir()
        with pytest.raises(ImageNotFound, match="no archive of images"):
            load(session, str(tmp_path / "empty"))


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("oci:dir", Place("oci", "dir")),
            ("oci:/a/b:v1", Place("oci", "/a/b", "v1")),
            ("oci-archive:f.tar:q.io/a:1", Place("oci-archive", "f.tar", "q.io/a:1")),
            ("docker-archive:f:@1", Place("docker-archive", "f", "@1")),
            ("debian:12", None),
            ("oci", None),
            ("docker.io/library/oci:1", None),
        ],
    )
    def test_spelling(self, text: str, place: Place | None) -> None:
        assert Place.parse(text) == place
        assert place is None or str(place) == text

    @pytest.mark.parametrize("text", ["oci:", "oci::x", "docker-archive:-"])
    def test_no_file(self, text: str) -> None:
        with pytest.raises(UsageError, match="names no file"):
            Place.parse(text)

    def test_one_of_several(self, session: TestSession, tmp_path: Path) -> None:
        one, two = Image(tar({"1": b""})), Image(tar({"2": b""}))
        path = write(tmp_path, docker_files((one, ["a:1"]), (two, ["b:1", "b:2"])), "f:o.tar")
        assert load_one(session, Place("docker-archive", path, "docker.io/b:2")).spelled == "b:2"
        [record] = session.store.images.all()
        assert record.config == two.id
        with pytest.raises(UsageError, match="has 2 images") as caught:
            load_one(session, Place("docker-archive", path))
        assert caught.value.hint == f"one of docker-archive:{path}:a:1, docker-archive:{path}:b:1"
        with pytest.raises(ImageNotFound, match="no such image"):
            load_one(session, Place("docker-archive", path, "c:1"))
        with pytest.raises(ImageNotFound, match="no such image"):
            load_one(session, Place("docker-archive", path, "@2"))
        parsed = Place.parse(f"docker-archive:{path}")
        assert parsed is not None
        assert parsed.name == "o.tar"  # the path is there, colon and all
        with pytest.raises(UsageError, match="has 2 images"):
            load_one(session, parsed)

    def test_a_dry_look(self, session: TestSession, tmp_path: Path) -> None:
        path = write(tmp_path, docker_files((Image(), ["a:1"])))
        assert load_one(session, Place("docker-archive", path), dry=True).spelled == "a:1"
        assert nothing_is_visible(session)

    def test_it_is_made_whole_again(self, session: TestSession, tmp_path: Path) -> None:
        """A container may have kept the tree of an image that was removed with its blobs."""
        path = write(tmp_path, docker_files((Image(), ["a:1"])))
        [record] = load(session, path)
        for digest in session.store.blobs.all():
            session.store.blobs.remove(digest)
        assert load(session, path)[0].config == record.config
        assert len(list(session.store.blobs.all())) == 3
