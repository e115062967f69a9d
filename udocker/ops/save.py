"""Images of the store as an archive that docker, podman and skopeo read."""

from __future__ import annotations

import contextlib
import os

from udocker.archive.writer import Saved, contents
from udocker.errors import StoreError, UsageError
from udocker.files import store_errors
from udocker.model.oci import ImageConfig, Manifest
from udocker.model.place import DOCKER_ARCHIVE, OCI_ARCHIVE
from udocker.model.reference import Reference
from udocker.model.value import replace
from udocker.ops import output
from udocker.ops.images import get_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from udocker.archive.writer import Contents
    from udocker.model.oci import Descriptor
    from udocker.model.reference import Digest
    from udocker.ops.session import Session
    from udocker.store.blobs import Blobs
    from udocker.store.images import ImageRecord

OCI_DIR = "oci-dir"
FORMATS = (DOCKER_ARCHIVE, OCI_ARCHIVE, OCI_DIR)
_BLOCK = 512  # of a tar
_CHUNK = 1 << 20
_DOING = "saving to"


def save(session: Session, texts: Sequence[str], target: str, form: str = DOCKER_ARCHIVE) -> None:
    """Write the images ``texts``, names or beginnings of ids, to ``target``; "-" is stdout.

    It appears when it is whole. The same images give the same bytes. Raises ImageNotFound,
    StoreError, VerificationError where a blob is damaged.
    """
    if form == OCI_DIR and target == output.STDOUT:
        raise UsageError(
            "a directory cannot be written to stdout", hint="-o DIR, or another format"
        )
    images = _images(session, texts)
    found = contents(images, with_list=form == DOCKER_ARCHIVE)
    for _, blob in found.blobs:
        if not session.store.blobs.has(blob):
            raise _missing(images, blob)
    task = session.report.task("saving", sum(blob.size for _, blob in found.blobs))
    writer = _Writer(session.store.blobs, task.advance)
    if form == OCI_DIR:
        with output.made(target, _DOING) as directory:
            writer.fill(directory, found)
    else:
        with output.written(target, _DOING) as stream:
            writer.archive(stream, found)
    task.done()


def _images(session: Session, texts: Sequence[str]) -> list[Saved]:
    """Each image once, with all names that it was asked for by."""
    found: dict[Digest, Saved] = {}
    for text in texts:
        record = get_image(session, text)
        image = found.get(record.manifest) or _image(session, record)
        names = {each.canonical: each for each in (*image.references, *_names(record))}
        found[record.manifest] = replace(image, references=tuple(names.values()))
    return list(found.values())


def _image(session: Session, record: ImageRecord) -> Saved:
    blobs = session.store.blobs
    manifest = Manifest.parse(blobs.read(record.manifest), "", record.reference)
    return Saved(manifest, ImageConfig.parse(blobs.read(record.config), record.reference), ())


def _names(record: ImageRecord) -> list[Reference]:
    """What other programs can call it: a tag, and no digest."""
    reference = Reference.parse(record.reference)
    return [replace(reference, digest=None)] if reference.tag else []


def _missing(images: Sequence[Saved], blob: Descriptor) -> StoreError:
    needs = next(
        image
        for image in images
        if blob.digest in (layer.digest for layer in image.manifest.layers)
    )
    names = [each.canonical for each in needs.references]
    name = names[0] if names else str(needs.config.digest)
    return StoreError(
        f"{name} cannot be saved: its layer {blob.digest} is not in the store, only its files",
        hint=f"udocker pull {names[0] if names else 'IMAGE'}, or load it again: either brings them",
    )


class _Writer:
    """Writes archives of what is in ``blobs``; ``advance`` is told of the bytes of layers."""

    def __init__(self, blobs: Blobs, advance: Callable[[int], None]) -> None:
        self._blobs = blobs
        self._advance = advance

    def archive(self, stream: BinaryIO, content: Contents) -> None:
        """Write a tar. Raises OSError, StoreError, VerificationError."""
        for path in content.directories:
            # skopeo, as an ordinary user, cannot make those that are not named.
            stream.write(_header(path, 0, is_directory=True))
        for path, data in content.documents:
            stream.write(_header(path, len(data)) + data + _padding(len(data)))
        for path, blob in content.blobs:
            stream.write(_header(path, blob.size))
            self._copy(blob, stream)
            stream.write(_padding(blob.size))
        stream.write(bytes(2 * _BLOCK))

    def fill(self, directory: str, content: Contents) -> None:
        """Write files below a directory. Raises as ``archive``."""
        for path, data in content.documents:
            with _create(directory, path) as stream:
                stream.write(data)
        for path, blob in content.blobs:
            with _create(directory, path) as stream:
                self._copy(blob, stream)

    def _copy(self, blob: Descriptor, stream: BinaryIO) -> None:
        with contextlib.closing(self._blobs.open(blob)) as source:
            while True:
                with store_errors("reading the store"):
                    data = source.read(_CHUNK)
                if not data:
                    return
                stream.write(data)
                self._advance(len(data))


def _create(directory: str, path: str) -> BinaryIO:
    place = f"{directory}/{path}"
    os.makedirs(os.path.dirname(place), exist_ok=True)
    return open(place, "xb")


def _header(path: str, size: int, is_directory: bool = False) -> bytes:
    """Of root's, and without a time: the same images give the same bytes."""
    import tarfile

    member = tarfile.TarInfo(path)
    member.size, member.mode = size, 0o644
    if is_directory:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
