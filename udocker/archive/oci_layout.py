"""Images in an OCI image layout: a directory of blobs named by their digests.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

from udocker.archive.files import INCOMPLETE, Directory, document, reading
from udocker.errors import (
    BadReplyError,
    ImageNotFound,
    NoMatchingPlatform,
    VerificationError,
)
from udocker.model.oci import INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX, ImageConfig, Index, Manifest
from udocker.model.value import value
from udocker.verified import VerifiedReader
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, BinaryIO

    from udocker.archive.files import Files
    from udocker.model.oci import Descriptor, Platform
    from udocker.model.reference import Digest

_DOCUMENT_LIMIT = 4 << 20  # bytes, as registries limit manifests
_EMPTY = "application/vnd.oci.empty.v1+json"
_NESTING_LIMIT = 4  # indexes within indexes; one is usual
# The second is often just a tag.
_REFERENCE_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@value
class LayoutLayer:
    """A layer whose compressed bytes lie in a layout."""

    layout: OciLayout
    descriptor: Descriptor
    diff_id: Digest

    def open(self) -> BinaryIO:
        """The compressed bytes; reading to their end proves the digest or raises
        VerificationError."""
        return self.layout.open(self.descriptor)


@value
class LayoutImage:
    """An Image of a layout."""

    layout: OciLayout
    manifest: Manifest
    config: ImageConfig

    def layers(self) -> tuple[LayoutLayer, ...]:
        pairs = zip(self.manifest.layers, self.config.diff_ids)
        return tuple(LayoutLayer(self.layout, layer, diff_id) for layer, diff_id in pairs)


class OciLayout:
    """The layout in the directory ``path``, or in ``files``.

    Nothing is read before it is asked for. A layout may come from anywhere: nothing outside of it
    is read.
    """

    def __init__(self, path: str, files: Files | None = None) -> None:
        self._path = path
        self._files = files or Directory(path)

    def names(self) -> tuple[str, ...]:
        """The reference names in index.json, in its order. Raises as ``image`` does."""
        found = [name for _, names in self._entries() for name in names[:1]]
        return tuple(dict.fromkeys(found))

    def image(
        self, reference_name: str | None = None, platform: Platform | None = None
    ) -> LayoutImage:
        """The first image with that name for that platform; None: any name, any platform.

        A name is what index.json calls an image, often just a tag. Raises ImageNotFound,
        NoMatchingPlatform, BadReplyError for a document that is not what the specification
        says, VerificationError and HostileArchiveError.
        """
        named = [e for e, names in self._entries() if reference_name in (None, *names)]
        return self._choose(named, reference_name, platform, lenient=False)

    def images(
        self, platform: Platform, lenient: bool = False
    ) -> tuple[tuple[tuple[str, ...], LayoutImage], ...]:
        """Every image for that platform, once, with its names; it may have none.

        ``lenient``: where there is but one platform it serves any. Raises as ``image`` does.
        """
        groups: dict[str, list[Descriptor]] = {}
        for entry, names in self._entries():
            groups.setdefault(names[0] if names else "", []).append(entry)
        found: dict[Digest, tuple[tuple[str, ...], LayoutImage]] = {}
        for name, entries in groups.items():
            # Of those without a name nobody knows whether they are one image.
            for alike in [entries] if name else [[entry] for entry in entries]:
                try:
                    image = self._choose(alike, name or None, platform, lenient)
                except ImageNotFound:  # signatures, charts and whatever else people keep so
                    continue
                names, _ = found.get(image.manifest.digest, ((), image))
                found[image.manifest.digest] = ((*names, name) if name else names, image)
        if not found:
            raise ImageNotFound(f"no image in {self._path}")
        return tuple(found.values())

    def _choose(
        self,
        entries: Sequence[Descriptor],
        name: str | None,
        platform: Platform | None,
        lenient: bool,
    ) -> LayoutImage:
        offered: dict[str, Descriptor] = {}
        absent: list[Descriptor] = []
        for entry in self._manifests(entries, 0, set()):
            told = entry.platform
            # One platform may have been saved of many.
            if not self._files.has(_path(entry)):
                absent.append(entry)
                continue
            if platform is None or told is None or platform.accepts(told):
                image = self._image(entry)
                if image is None:
                    continue
                # Often no descriptor tells the platform; the configuration always does.
                told = told or image.config.platform
                if platform is None or platform.accepts(told):
                    return image
            offered.setdefault(str(told), entry)
        if lenient and len(offered) == 1:
            only = self._image(*offered.values())
            if only is not None:
                return only
        what = f"{name or 'image'} in {self._path}"
        if offered:
            raise NoMatchingPlatform(
                f"no {what} for {platform}", hint=f"there is {', '.join(offered)}"
            )
        if absent:
            where = f"{self._path}/{_path(absent[0])}"
            raise BadReplyError(f"{where} is missing", hint=INCOMPLETE)
        there = ", ".join(self.names()[:10])
        raise ImageNotFound(f"no {what}", hint=f"there is {there}" if there else None)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """The blob's bytes; reading to their end proves the digest.

        Raises VerificationError, BadReplyError for a blob that is not there, and
        HostileArchiveError for one that is not a file.
        """
        stream, size = self._files.open(_path(descriptor))
        if size != descriptor.size:
            stream.close()
            raise VerificationError(
                f"{self._where(descriptor)} has {counted(size, 'bytes')}, not {descriptor.size}",
                hint=INCOMPLETE,
            )
        return VerifiedReader(stream, descriptor)

    def _entries(self) -> list[tuple[Descriptor, tuple[str, ...]]]:
        """The descriptors of index.json, and the names that it gives each."""
        where = f"{self._path}/index.json"
        self._check_version()
        raw = document(self._files, "index.json", _DOCUMENT_LIMIT)
        index = Index.parse(raw, OCI_INDEX, where)
        annotated = _json(raw, where)["manifests"]
        return [(entry, _names(data)) for entry, data in zip(index.manifests, annotated)]

    def _check_version(self) -> None:
        where = f"{self._path}/oci-layout"
        try:
            raw = document(self._files, "oci-layout", _DOCUMENT_LIMIT)
        except BadReplyError as error:
            raise ImageNotFound(
                f"not an OCI image layout: {error.message}",
                hint="a layout is a directory with oci-layout, index.json and blobs in it",
            ) from error
        data = _json(raw, where)
        version = data.get("imageLayoutVersion") if isinstance(data, dict) else None
        if not isinstance(version, str) or version.partition(".")[0] != "1":
            raise BadReplyError(f"{where}: not a known layout version: {str(version)[:40]!r}")

    def _manifests(
        self, entries: Sequence[Descriptor], depth: int, seen: set[Digest]
    ) -> Iterator[Descriptor]:
        """The image manifests under ``entries``, each once.

        Other content is passed over, as the specification asks, and so are attestations, whose
        platform is "unknown".
        """
        if depth > _NESTING_LIMIT:
            raise BadReplyError(f"{self._path}: its indexes are nested too deep")
        for entry in entries:
            if entry.digest in seen or (entry.platform and entry.platform.os == "unknown"):
                continue
            seen.add(entry.digest)
            if entry.media_type in MANIFEST_TYPES:
                yield entry
            elif entry.media_type in INDEX_TYPES:
                index = Index.parse(self._blob(entry), entry.media_type, self._where(entry))
                yield from self._manifests(index.manifests, depth + 1, seen)

    def _image(self, entry: Descriptor) -> LayoutImage | None:
        """None for what is no image: manifest.md, "Guidelines for Artifact Usage"."""
        where = self._where(entry)
        manifest = Manifest.parse(self._blob(entry), entry.media_type, where)
        if manifest.config.media_type == _EMPTY:
            return None
        config = ImageConfig.parse(self._blob(manifest.config), self._where(manifest.config))
        layers, diff_ids = len(manifest.layers), len(config.diff_ids)
        if layers != diff_ids:
            raise BadReplyError(
                f"{where} has {counted(layers, 'layers')}, its configuration {diff_ids}"
            )
        return LayoutImage(self, manifest, config)

    def _where(self, descriptor: Descriptor) -> str:
        return f"{descriptor.digest} in {self._path}"

    def _blob(self, descriptor: Descriptor) -> bytes:
        """A document, whole and verified."""
        where = self._where(descriptor)
        if descriptor.size > _DOCUMENT_LIMIT:
            raise BadReplyError(f"{where} is too large for a document: {descriptor.size} bytes")
        with self.open(descriptor) as stream, reading(where):
            return stream.read()


def _path(descriptor: Descriptor) -> str:
    """Where a layout has a blob."""
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.hex}"


def _names(entry: Any) -> tuple[str, ...]:
    """The names in the annotations of an entry of index.json."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return ()
    found = (annotations.get(key) for key in _REFERENCE_NAMES)
    return tuple(name for name in found if isinstance(name, str) and name)


def _json(raw: bytes, where: str) -> Any:
    import json

    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadReplyError(f"not JSON: {where}") from error
