"""Archives of images, written by hand: as docker, podman and skopeo do, and as they never do."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile
from typing import TYPE_CHECKING

import zstandard

from udocker.model.oci import DOCKER_LAYER, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from udocker.model.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
PACKERS = {
    "plain": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstandard.ZstdCompressor().compress,
    "xz": lzma.compress,
}


def tar(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """A tar of ``files`` and symbolic ``links``, in this order."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            add(archive, name, data)
        for name, target in (links or {}).items():
            add(archive, name, kind=tarfile.SYMTYPE, link=target)
    return stream.getvalue()


def add(
    archive: tarfile.TarFile,
    name: str,
    data: bytes = b"",
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, 0o755
    member.size = len(data) if kind == tarfile.REGTYPE else 0
    archive.addfile(member, io.BytesIO(data))


class Image:
    """An image of layers that are tars; ``packing`` says how they are compressed in archives."""

    def __init__(
        self,
        *layers: bytes,
        packing: str = "plain",
        architecture: str = "amd64",
        run: dict[str, Any] | None = None,
    ) -> None:
        self.plain = layers or (tar({"etc/motd": b"hello\n"}),)
        self.layers = [PACKERS[packing](layer) for layer in self.plain]
        self.packing = packing
        self.platform = {"os": "linux", "architecture": architecture}
        document = {
            **self.platform,
            "config": run or {},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(each)) for each in self.plain]},
        }
        self.config = json.dumps(document).encode()

    @property
    def id(self) -> Digest:
        return Digest.of(self.config)


def docker_files(*images: tuple[Image, Sequence[str]]) -> dict[str, bytes]:
    """The files of what docker wrote before 25."""
    files: dict[str, bytes] = {}
    entries = []
    for image, names in images:
        paths = []
        for plain, packed in zip(image.plain, image.layers):
            paths.append(f"{Digest.of(plain).hex}/layer.tar")
            files[paths[-1]] = packed
        files[f"{image.id.hex}.json"] = image.config
        entries.append({"Config": f"{image.id.hex}.json", "RepoTags": list(names), "Layers": paths})
    files["manifest.json"] = json.dumps(entries).encode()
    return files


class Layout:
    """The files of an OCI image layout."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        self.entries: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = Digest.of(data)
        self.files[f"blobs/sha256/{digest.hex}"] = data
        return {"mediaType": media_type, "digest": str(digest), "size": len(data), **more}

    def image(self, image: Image) -> dict[str, Any]:
        """Add an image; the descriptor of its manifest."""
        ending = "" if image.packing == "plain" else f"+{image.packing}"
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.blob(image.config, OCI_CONFIG),
            "layers": [self.blob(layer, OCI_LAYER + ending) for layer in image.layers],
        }
        return self.document(manifest, OCI_MANIFEST, platform=image.platform)

    def document(self, content: object, media_type: str, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(content).encode(), media_type, **more)

    def tag(self, descriptor: dict[str, Any], **annotations: str) -> Layout:
        self.entries.append({**descriptor, "annotations": annotations})
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.entries}
        self.files["index.json"] = json.dumps(index).encode()
        return self

    def add(self, image: Image, name: str | None = None) -> Layout:
        return self.tag(self.image(image), **({NAME: name} if name else {}))

    def write(self, top: Path) -> Path:
        for name, data in self.files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return top


def docker_25_files(image: Image, name: str) -> dict[str, bytes]:
    """What docker has written since 25: a layout, and manifest.json beside it."""
    layout = Layout()
    tag = name.rpartition(":")[2]
    layout.tag(layout.image(image), **{NAME: tag, FULL_NAME: f"docker.io/library/{name}"})
    entry = {
        "Config": f"blobs/sha256/{image.id.hex}",
        "RepoTags": [name],
        "Layers": [f"blobs/sha256/{Digest.of(layer).hex}" for layer in image.layers],
        "LayerSources": {
            str(Digest.of(layer)): {"mediaType": DOCKER_LAYER} for layer in image.layers
        },
    }
    return {**layout.files, "manifest.json": json.dumps([entry]).encode()}
