from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from udocker.archive.oci_layout import OciLayout
from udocker.errors import (
    BadReplyError,
    HostileArchiveError,
    ImageNotFound,
    NoMatchingPlatform,
    UdockerError,
    VerificationError,
)
from udocker.model.oci import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from udocker.model.oci import Platform as PlatformOf
from udocker.model.reference import Digest

if TYPE_CHECKING:
    from udocker.model.image import Image

AMD64 = PlatformOf.parse("linux/amd64")
ARM64 = PlatformOf.parse("linux/arm64")
NAME = "org.opencontainers.image.ref.name"
LIMIT = 4 << 20


class Maker:
    """Writes a layout by hand."""

    def __init__(self, path):
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def file(self, digest):
        algorithm, _, name = str(digest).partition(":")
        return self.path / "blobs" / algorithm / name

    def blob(self, data, media_type="", **more):
        """Write a blob; the descriptor that names it."""
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        digest = Digest.of(raw)
        self.file(digest).write_bytes(raw)
        return {"mediaType": media_type, "digest": str(digest), "size": len(raw), **more}

    def manifest(self, platform="linux/amd64", layers=(b"one", b"two"), told=False, **more):
        """Write an image; the descriptor of its manifest."""
        names = dict(zip(("os", "architecture", "variant"), platform.split("/")))
        diff_ids = [str(Digest.of(b"plain " + layer)) for layer in layers]
        config = {**names, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(config, OCI_CONFIG),
            "layers": [self.blob(layer, OCI_LAYER) for layer in layers],
        }
        if told:
            more["platform"] = names
        return self.blob(manifest, more.pop("media_type", OCI_MANIFEST), **more)

    def index(self, *entries):
        return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}

    def write(self, *entries):
        """Write index.json; the layout."""
        (self.path / "index.json").write_text(json.dumps(self.index(*entries)))
        return OciLayout(str(self.path))


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path / "layout")


def named(name, descriptor):
    return {**descriptor, "annotations": {NAME: name}}


def contents(image):
    return [layer.open().read() for layer in image.layers()]


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


class TestImage:
    def test_one_image(self, maker):
        entry = maker.manifest()
        image: Image = maker.write(entry).image()
        assert str(image.manifest.digest) == entry["digest"]
        assert image.manifest.media_type == OCI_MANIFEST
        assert image.config.platform == AMD64
        assert image.config.digest == image.manifest.config.digest
        assert [layer.descriptor for layer in image.layers()] == list(image.manifest.layers)
        assert [layer.diff_id for layer in image.layers()] == list(image.config.diff_ids)
        assert contents(image) == [b"one", b"two"]
        assert contents(image) == [b"one", b"two"]

    def test_bytes_are_kept(self, maker):
        entry = maker.manifest()
        image = maker.write(entry).image()
        assert image.manifest.raw == maker.file(entry["digest"]).read_bytes()

    def test_docker_media_types(self, maker):
        image = maker.write(maker.manifest(media_type=DOCKER_MANIFEST)).image(platform=AMD64)
        assert image.manifest.media_type == DOCKER_MANIFEST

    def test_no_layers(self, maker):
        assert maker.write(maker.manifest(layers=())).image().layers() == ()

    def test_nothing_is_left_open(self, maker):
        layout = maker.write(maker.manifest())
        before = descriptors()
        layer = layout.image().layers()[0]
        assert descriptors() == before
        with layer.open() as stream:
            assert len(descriptors()) == len(before) + 1
            stream.read(1)
        assert descriptors() == before

    def test_the_layout_may_be_reached_by_a_link(self, maker, tmp_path):
        maker.write(maker.manifest())
        (tmp_path / "link").symlink_to(maker.path)
        assert contents(OciLayout(str(tmp_path / "link")).image()) == [b"one", b"two"]


class TestNames:
    def test_by_name(self, maker):
        layout = maker.write(
            named("1.0", maker.manifest(layers=(b"a",))),
            named("2.0", maker.manifest(layers=(b"b",))),
        )
        assert layout.names() == ("1.0", "2.0")
        assert contents(layout.image("2.0")) == [b"b"]
        assert contents(layout.image("1.0")) == [b"a"]
        assert contents(layout.image()) == [b"a"]

    def test_no_such_name(self, maker):
        layout = maker.write(named("1.0", maker.manifest()), maker.manifest())
        with pytest.raises(ImageNotFound, match=r"no 3\.0 in ") as caught:
            layout.image("3.0")
        assert caught.value.hint == "there is 1.0"

    def test_name_of_containerd(self, maker):
        both = {NAME: "latest", "io.containerd.image.name": "docker.io/library/a:latest"}
        layout = maker.write({**maker.manifest(), "annotations": both})
        assert layout.names() == ("docker.io/library/a:latest",)
        for name in both.values():
            assert contents(layout.image(name)) == [b"one", b"two"]

    def test_one_name_for_two_platforms(self, maker):
        layout = maker.write(
            named("1.0", maker.manifest("linux/amd64")), named("1.0", maker.manifest("linux/arm64"))
        )
        assert layout.names() == ("1.0",)
        assert layout.image("1.0", ARM64).config.platform == ARM64

    @pytest.mark.parametrize("annotations", [None, [], "x", {NAME: 5}, {NAME: None}, {NAME: ""}])
    def test_odd_annotations_name_nothing(self, maker, annotations):
        layout = maker.write({**maker.manifest(), "annotations": annotations})
        assert layout.names() == ()
        assert contents(layout.image()) == [b"one", b"two"]
        for name in ("x", "5", "", "None"):
            with pytest.raises(ImageNotFound):
                layout.image(name)

    def test_empty(self, maker):
        layout = maker.write()
        assert layout.names() == ()
        with pytest.raises(ImageNotFound, match="no image in ") as caught:
            layout.image(platform=AMD64)
        assert caught.value.hint is None


class TestPlatforms:
    @pytest.mark.parametrize("told", [True, False])
    def test_manifests_side_by_side(self, maker, told):
        layout = maker.write(
            maker.manifest("linux/amd64", (b"x86",), told),
            maker.manifest("linux/arm64/v8", (b"arm",), told),
        )
        assert contents(layout.image(platform=ARM64)) == [b"arm"]
        assert contents(layout.image(platform=AMD64)) == [b"x86"]

    @pytest.mark.parametrize("told", [True, False])
    def test_none_matches(self, maker, told):
        layout = maker.write(
            maker.manifest("linux/amd64", told=told), maker.manifest("linux/s390x", told=told)
        )
        with pytest.raises(NoMatchingPlatform, match="for linux/arm64") as caught:
            layout.image(platform=ARM64)
        assert caught.value.hint == "there is linux/amd64, linux/s390x"

    def test_an_index_in_the_index(self, maker):
        images = (
            maker.manifest("linux/amd64", (b"x86",), True),
            maker.manifest("linux/arm64", (b"arm",), True),
        )
        layout = maker.write(named("1.0", maker.blob(maker.index(*images), OCI_INDEX)))
        assert contents(layout.image("1.0", ARM64)) == [b"arm"]
        assert contents(layout.image("1.0")) == [b"x86"]

    def test_images_of_other_platforms_may_be_absent(self, maker):
        other = maker.manifest("linux/amd64", told=True)
        maker.file(other["digest"]).unlink()
        wanted = maker.manifest("linux/arm64", (b"arm",), told=True)
        layout = maker.write(maker.blob(maker.index(other, wanted), OCI_INDEX))
        assert contents(layout.image(platform=ARM64)) == [b"arm"]

    def test_attestations_and_other_content_are_passed_over(self, maker):
        layout = maker.write(
            maker.manifest("unknown/unknown", told=True),
            maker.blob(b"<xml/>", "application/xml"),
            maker.blob(b"{}", ""),
            maker.manifest("linux/arm64", (b"arm",)),
        )
        assert contents(layout.image()) == [b"arm"]

    def test_indexes_too_deep(self, maker):
        entry = maker.manifest()
        for _ in range(4):
            entry = maker.blob(maker.index(entry), OCI_INDEX)
        assert maker.write(entry).image()
        entry = maker.blob(maker.index(entry), OCI_INDEX)
        with pytest.raises(BadReplyError, match="nested too deep"):
            maker.write(entry).image()

    def test_repeated_indexes_cost_nothing(self, maker):
        # Read one by one these would be 10 ** 4 manifests.
        entry = maker.manifest("linux/amd64")
        for _ in range(4):
            entry = maker.blob(maker.index(*[entry] * 10), OCI_INDEX)
        maker.write(entry)
        opened = []

        class Counting(OciLayout):
            def open(self, descriptor):
                opened.append(descriptor)
                return super().open(descriptor)

        with pytest.raises(NoMatchingPlatform):
            Counting(str(maker.path)).image(platform=ARM64)
        assert len(opened) == 6


class TestLayout:
    @pytest.mark.parametrize("missing", ["", "oci-layout"])
    def test_not_a_layout(self, maker, missing):
        maker.write(maker.manifest())
        path = maker.path / missing
        path.rename(maker.path.parent / "elsewhere")
        with pytest.raises(ImageNotFound, match=r"not an OCI image layout: .*missing"):
            OciLayout(str(maker.path)).image()
        with pytest.raises(ImageNotFound):
            OciLayout(str(maker.path)).names()

    def test_a_file(self, tmp_path):
        (tmp_path / "f").write_bytes(b"")
        with pytest.raises(UdockerError, match="f/oci-layout: Not a directory"):
            OciLayout(str(tmp_path / "f")).image()

    @pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "1"])
    def test_versions(self, maker, version):
        layout = maker.write(maker.manifest())
        (maker.path / "oci-layout").write_text(json.dumps({"imageLayoutVersion": version}))
        assert layout.image()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{}",
            "[]",
            "null",
            '"1.0.0"',
            '{"imageLayoutVersion": 1}',
            '{"imageLayoutVersion": "2.0.0"}',
            '{"imageLayoutVersion": "10.0.0"}',
            '{"imageLayoutVersion": "' + "9" * 100_000 + '"}',
            "[" * 100_000,
        ],
    )
    def test_bad_versions(self, maker, text):
        layout = maker.write(maker.manifest())
        (maker.path / "oci-layout").write_text(text)
        with pytest.raises(BadReplyError, match="oci-layout") as caught:
            layout.image()
        assert len(caught.value.message) < 500

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "{}",
            "[" * 100_000,
            '{"manifests": 5}',
            '{"manifests": [5]}',
            '{"manifests": [{}]}',
            '{"manifests": [{"digest": "sha256:../../../etc/passwd", "size": 5}]}',
            '{"manifests": [{"digest": "../sha256:' + "a" * 64 + '", "size": 5}]}',
        ],
    )
    def test_broken_index(self, maker, text):
        layout = maker.write()
        (maker.path / "index.json").write_text(text)
        with pytest.raises(BadReplyError, match=r"index\.json"):
            layout.image()

    def test_missing_index(self, maker):
        layout = maker.write()
        (maker.path / "index.json").unlink()
        with pytest.raises(BadReplyError, match=r"index\.json is missing"):
            layout.image()

    @pytest.mark.parametrize("name", ["index.json", "oci-layout"])
    def test_endless_documents(self, maker, name):
        layout = maker.write(maker.manifest())
        with (maker.path / name).open("ab") as stream:
            stream.truncate(64 << 20)  # a hole
        with pytest.raises(UdockerError, match="too large"):
            layout.image()

    def test_documents_of_the_largest_size(self, maker):
        layout = maker.write(maker.manifest())
        index = maker.path / "index.json"
        index.write_bytes(index.read_bytes().ljust(LIMIT))
        assert layout.image()
        index.write_bytes(index.read_bytes().ljust(LIMIT + 1))
        with pytest.raises(BadReplyError, match="too large"):
            layout.image()

    def test_unreadable(self, maker):
        if os.geteuid() == 0:
            pytest.skip("host: root may read everything")
        layout = maker.write(maker.manifest())
        (maker.path / "index.json").chmod(0)
        with pytest.raises(UdockerError, match=r"cannot read .*index\.json: Permission denied"):
            layout.image()


def parts(maker, entry):
    """The descriptors of an image: manifest, configuration, first layer."""
    manifest = json.loads(maker.file(entry["digest"]).read_bytes())
    return {"manifest": entry, "config": manifest["config"], "layer": manifest["layers"][0]}


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
class TestBlobs:
    def spoiled(self, maker, part, spoil):
        """Read an image after ``spoil(file)`` was called with the file of one of its parts."""
        entry = maker.manifest()
        layout = maker.write(entry)
        file = maker.file(parts(maker, entry)[part]["digest"])
        spoil(file)
        return contents(layout.image())

    def test_missing(self, maker, part):
        with pytest.raises(BadReplyError, match=r"sha256/.* is missing") as caught:
            self.spoiled(maker, part, lambda file: file.unlink())
        assert "incomplete" in caught.value.hint

    def test_short(self, maker, part):
        with pytest.raises(VerificationError, match=r"sha256:.* has \d+ bytes, not \d+"):
            self.spoiled(maker, part, lambda file: file.write_bytes(file.read_bytes()[:-1]))

    def test_long(self, maker, part):
        with pytest.raises(VerificationError, match=r"has \d+ bytes, not \d+"):
            self.spoiled(maker, part, lambda file: file.write_bytes(file.read_bytes() + b" "))

    def test_changed(self, maker, part):
        def spoil(file):
            data = file.read_bytes()
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

        with pytest.raises(VerificationError, match=r"sha256:.* is damaged"):
            self.spoiled(maker, part, spoil)

    def test_a_link(self, maker, part):
        def spoil(file):
            outside = maker.path.parent / "outside"
            file.rename(outside)
            file.symlink_to(outside)

        with pytest.raises(HostileArchiveError, match="symbolic link") as caught:
            self.spoiled(maker, part, spoil)
        assert "cp -rL" in caught.value.hint

    def test_a_pipe(self, maker, part):
        def spoil(file):
            file.unlink()
            os.mkfifo(file)

        with pytest.raises(HostileArchiveError, match="wrong file type"):
            self.spoiled(maker, part, spoil)

    def test_a_directory(self, maker, part):
        def spoil(file):
            file.unlink()
            file.mkdir()

        with pytest.raises(HostileArchiveError, match="wrong file type"):
            self.spoiled(maker, part, spoil)

    def test_the_directory_is_a_link(self, maker, part):
        def spoil(file):
            file.parent.rename(maker.path.parent / "outside")
            file.parent.symlink_to(maker.path.parent / "outside")

        with pytest.raises(HostileArchiveError, match="sha256 is a symbolic link"):
            self.spoiled(maker, part, spoil)

    def test_no_descriptor_is_left_open(self, maker, part):
        before = descriptors()
        for spoil in (lambda file: file.unlink(), lambda file: file.write_bytes(b"")):
            with pytest.raises(UdockerError):
                self.spoiled(maker, part, spoil)
        assert descriptors() == before


class TestTricks:
    @pytest.mark.parametrize("name", ["index.json", "oci-layout", "blobs"])
    def test_links(self, maker, name):
        layout = maker.write(maker.manifest())
        path = maker.path / name
        path.rename(maker.path.parent / "outside")
        path.symlink_to(maker.path.parent / "outside")
        with pytest.raises(HostileArchiveError, match=f"{name} is a symbolic link"):
            layout.image()

    @pytest.mark.parametrize("name", ["index.json", "oci-layout"])
    def test_pipes(self, maker, name):
        layout = maker.write(maker.manifest())
        (maker.path / name).unlink()
        os.mkfifo(maker.path / name)
        with pytest.raises(HostileArchiveError, match="wrong file type"):
            layout.image()

    def test_a_large_document_is_not_read(self, maker):
        entry = maker.manifest()
        config = parts(maker, entry)["config"]
        manifest = json.loads(maker.file(entry["digest"]).read_bytes())
        with maker.file(config["digest"]).open("ab") as stream:
            stream.truncate(64 << 20)
        manifest["config"]["size"] = 64 << 20
        layout = maker.write(maker.blob(manifest, OCI_MANIFEST))
        with pytest.raises(BadReplyError, match="too large for a document: 67108864"):
            layout.image()

    def test_layers_are_no_documents(self, maker):
        layer = os.urandom(1 << 20) * 5
        image = maker.write(maker.manifest(layers=(layer,))).image()
        with image.layers()[0].open() as stream:
            assert stream.read(10) == layer[:10]
            assert stream.read() == layer[10:]

    def test_layers_that_the_configuration_does_not_know(self, maker):
        entry = maker.manifest()
        manifest = json.loads(maker.file(entry["digest"]).read_bytes())
        manifest["layers"].pop()
        with pytest.raises(BadReplyError, match="has 1 layer, its configuration 2"):
            maker.write(maker.blob(manifest, OCI_MANIFEST)).image()

    def test_something_else_as_configuration(self, maker):
        other = {"config": maker.blob({}, "application/x"), "layers": []}
        with pytest.raises(BadReplyError, match="rootfs is missing"):
            maker.write(maker.blob(other, OCI_MANIFEST)).image()

    def test_a_manifest_that_is_not_one(self, maker):
        with pytest.raises(BadReplyError, match="not an image manifest"):
            maker.write(maker.blob(maker.index(), OCI_MANIFEST)).image()
        with pytest.raises(BadReplyError, match="not an image index"):
            maker.write(maker.blob({"layers": []}, OCI_INDEX)).image()

    def test_sha512(self, maker):
        import hashlib

        entry = maker.manifest()
        manifest = json.loads(maker.file(entry["digest"]).read_bytes())
        (maker.path / "blobs" / "sha512").mkdir()
        for layer, data in zip(manifest["layers"], (b"one", b"two")):
            layer["digest"] = f"sha512:{hashlib.sha512(data).hexdigest()}"
            maker.file(layer["digest"]).write_bytes(data)
        image = maker.write(maker.blob(manifest, OCI_MANIFEST)).image()
        assert contents(image) == [b"one", b"two"]
        maker.file(manifest["layers"][0]["digest"]).write_bytes(b"eno")
        with pytest.raises(VerificationError, match="sha512:"):
            contents(image)
