"""Images and containers of archives of files: what export wrote, or any other tar."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys

from udocker.errors import ArchiveLimitError, UdockerError, UnpackError, UsageError
from udocker.files import beating, store_errors, unique_name
from udocker.model.container import Container
from udocker.model.moment import now
from udocker.model.oci import OCI_LAYER, Descriptor, ImageConfig
from udocker.model.reference import Digest
from udocker.model.value import value
from udocker.ops import cloning
from udocker.ops.commit import Note, manifest_of
from udocker.ops.layers import Compressor, NewLayer
from udocker.ops.limits import unpack_limits
from udocker.ops.pull import ensure_tree, install, native_platform
from udocker.ops.tag import new_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, BinaryIO

    from udocker.model.oci import Platform
    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord
    from udocker.unpack.compression import LayerStream
    from udocker.unpack.part import Part

_HINT = "give a tar archive, as it is or compressed by gzip, zstd, xz or bzip2"


@value
class _FileLayer:
    """A layer whose compressed bytes are in a file that is no blob yet."""

    path: str
    layer: NewLayer

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(f"{OCI_LAYER}+gzip", self.layer.digest, self.layer.size)

    @property
    def diff_id(self) -> Digest:
        return self.layer.diff_id

    def open(self) -> BinaryIO:
        from udocker.verified import VerifiedReader

        return VerifiedReader(open(self.path, "rb"), self.descriptor)


def import_image(
    session: Session,
    source: str,
    target: str,
    *,
    changes: Sequence[str] = (),
    note: Note | None = None,
    platform: Platform | None = None,
) -> ImageRecord:
    """Make an image ``target`` of one layer: the archive in the file ``source``, "-" for stdin.

    Raises UdockerError; then nothing is changed.
    """
    reference = new_name(session, target)
    document = _document(
        session, changes, note or Note(message=f"imported from {source}"), platform
    )
    with session.store.pulling(), spooled(session, source) as layer:
        config = _config(document, layer.diff_id)
        with naming(source):
            ensure_tree(session, config, [layer])
        with store_errors("storing the image"):
            session.store.blobs.adopt(layer.path, layer.layer.digest)
        manifest = manifest_of(config, None, layer.layer)
        return install(session, reference, manifest, config, [layer.layer.stored()])


def import_container(session: Session, source: str, image: str, name: str | None) -> Container:
    """Make a container of the files in the archive ``source``, whose image is called ``image``.

    Raises UdockerError; then nothing is changed.
    """
    reference = new_name(session, image)
    if name is not None:
        session.store.containers.check_name(name)
    document = _document(session, (), Note(), None)
    with session.store.pulling(), spooled(session, source) as layer:
        config = _config(document, layer.diff_id)
        with naming(source):
            ensure_tree(session, config, [layer])
        about = cloning.Description(reference.canonical, config.digest, "", {})
        return _container(session, config, about, name)


def import_clone(session: Session, source: str, name: str | None) -> Container:
    """Make the container once more that ``export --clone`` wrote to the file ``source``.

    Raises UdockerError; then nothing is changed.
    """
    if name is not None:
        session.store.containers.check_name(name)
    with session.store.pulling(), spooled(session, source) as layer:
        # Its files are those below ROOT: not the tree that the whole archive would be.
        diff_id = Digest.of(f"clone {layer.diff_id}".encode())
        with naming(source), session.store.temporary() as directory:
            kept = _unpack_part(session, layer, directory)
            about = cloning.described(kept)
            config = _config(about.config, diff_id)
            with store_errors("storing the container's files"):
                session.store.trees.publish(directory, config.chain_id)
        return _container(session, config, about, name)


def _unpack_part(session: Session, layer: _FileLayer, directory: str) -> dict[bytes, bytes]:
    """Unpack what is below ROOT; the files beside that tell of the container."""
    from udocker.unpack.part import Part
    from udocker.unpack.readable import open_to_all
    from udocker.unpack.tree import Builder

    limits = unpack_limits(session.config, layer.layer.size)
    parts: list[Part] = []

    def part(stream: LayerStream, most: int) -> Part:
        # What udocker 1.3 wrote belongs to whoever ran it, and not to anybody in the image.
        is_ours = functools.partial(_has, cloning.OWN)
        parts.append(Part(stream, most, cloning.TOP.encode(), cloning.NAMES, is_ours))
        return parts[-1]

    task = session.report.task("unpacking", layer.layer.size)
    with beating(directory):
        with Builder([layer], directory, limits, task.advance, archive=part) as builder:
            builder.finish()
        if session.config.readable_trees:
            open_to_all(directory, limits)
    task.done()
    return parts[-1].kept


def _has(name: bytes, part: Part) -> bool:
    return name in part.kept


def _container(
    session: Session, config: ImageConfig, about: cloning.Description, name: str | None
) -> Container:
    store = session.store
    identity = unique_name()
    with store.temporary() as directory, store.references():
        if not store.trees.has(config.chain_id):
            raise UdockerError("the new files were removed meanwhile", hint="import once more")
        made = Container(
            id=identity,
            path=store.containers.path(identity),
            image=about.image,
            manifest=about.manifest,
            tree=store.trees.root(config.chain_id),
            config=config,
            created=now(),
            mode=about.mode,
            devices=about.devices,
        )
        return store.containers.create(directory, made, name)


def _document(
    session: Session, changes: Sequence[str], note: Note, platform: Platform | None
) -> dict[str, Any]:
    from udocker.spec.instruction import apply

    note.check()
    wanted = platform or native_platform(session)
    moment = now().replace("+00:00", "Z")
    entry = {"created": moment, "created_by": "udocker import"}
    return {
        "architecture": wanted.architecture,
        "os": wanted.os,
        **({"variant": wanted.variant} if wanted.variant else {}),
        "created": moment,
        "config": apply({}, changes),
        "history": [{**entry, "comment": note.message} if note.message else entry],
    }


def _config(document: dict[str, Any], diff_id: Digest) -> ImageConfig:
    rootfs = {"type": "layers", "diff_ids": [str(diff_id)]}
    whole = {**document, "rootfs": rootfs}
    return ImageConfig.parse(json.dumps(whole, separators=(",", ":")).encode(), "the archive")


@contextlib.contextmanager
def spooled(session: Session, source: str) -> Iterator[_FileLayer]:
    """The archive as a layer in a file of the store while the block runs."""
    with _opened(source) as stream, session.store.temporary() as directory:
        path = f"{directory}/layer"
        with beating(directory):
            layer = _spool(session, stream, source, path)
        yield _FileLayer(path, layer)


def _spool(session: Session, stream: BinaryIO, source: str, path: str) -> NewLayer:
    from udocker.unpack.compression import Source
    from udocker.unpack.limits import Limits
    from udocker.unpack.outer import unpacked

    task = session.report.task("reading the archive", None)
    left = Limits(session.config.max_unpacked_bytes).max_archive_bytes
    with naming(source), open(path, "xb") as target:
        compressor = Compressor(target, task)
        size = 0
        for chunk in unpacked(Source(stream, lambda count: None, source)):
            size += compressor.write(chunk)
            if size > left:
                raise ArchiveLimitError(
                    "it is longer than what may be unpacked",
                    hint="if you trust it, raise the limit max_unpacked_bytes",
                )
        if not size:
            raise UnpackError("there is nothing in it", hint=_HINT)
        layer = compressor.finish(session.store.blobs)
    task.done()
    return layer


@contextlib.contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(
                "an archive is nothing that a terminal has", hint="… | udocker import -, or cp -"
            )
        yield sys.stdin.buffer
        return
    try:
        stream = open(source, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UdockerError(f"cannot read {source}: {error.strerror}", hint=_HINT) from error
    with stream:
        if os.path.isdir(source):
            raise UdockerError(f"cannot read {source}: Is a directory", hint=_HINT)
        yield stream


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Say of what is wrong with the archive where it came from. Raises UdockerError."""
    try:
        yield
    except UnpackError as error:
        hint = _HINT if error.hint is None or "image" in error.hint else error.hint
        what = "the archive on stdin" if source == "-" else source
        raise type(error)(f"{what}: {error.message}", hint=hint) from error
    except OSError as error:
        if error.filename == source:
            raise UdockerError(f"cannot read {source}: {error.strerror}", hint=_HINT) from error
        raise
