"""Bring an image from its registry into the store, unpacked and ready to run."""

from __future__ import annotations

import contextlib
import functools
import math

from udocker.errors import BadReplyError, StoreError, UnpackError, VerificationError
from udocker.files import beating, store_errors
from udocker.model.moment import now
from udocker.model.oci import Descriptor, ImageConfig, Manifest, Platform
from udocker.model.reference import Digest, Reference
from udocker.model.value import value
from udocker.ops.registries import open_registry
from udocker.ops.space import check_space, keep_limit, used
from udocker.store.images import ImageRecord
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO, TypeVar

    from udocker.model.image import BlobSink, Layer
    from udocker.ops.session import Session
    from udocker.registry.remote import Registry
    from udocker.registry.resolve import RemoteImage
    from udocker.report import Reporter
    from udocker.store.arrivals import Arrivals
    from udocker.store.blobs import Blobs
    from udocker.unpack.tree import Builder

    T = TypeVar("T")

_CHUNK = 1 << 20  # bytes
_MAX_WORKERS = 8  # threads that unpack; each has about a megabyte, and files open


@value
class StoredLayer:
    """A layer whose compressed bytes are in the store."""

    blobs: Blobs
    descriptor: Descriptor
    diff_id: Digest

    def open(self) -> BinaryIO:
        return self.blobs.open(self.descriptor)


@value
class ArrivingLayer:
    """A layer whose compressed bytes are on their way into the store, or there."""

    arrivals: Arrivals
    stored: StoredLayer

    @property
    def descriptor(self) -> Descriptor:
        return self.stored.descriptor

    @property
    def diff_id(self) -> Digest:
        return self.stored.diff_id

    def open(self) -> BinaryIO:
        if self.descriptor.digest in self.arrivals:
            return self.arrivals.open(self.descriptor)
        return self.stored.open()


@value
class Source:
    """An image that is not here yet: what is done with it, for messages; its documents, verified;
    and ``download(missing, sink, check)``, which brings layers into sinks.

    ``check`` is to be called at least once a second; it, and ``download``, raise UdockerError.
    ``whole``: also layers whose tree is here already are brought.
    """

    doing: str
    manifest: Manifest
    config: ImageConfig
    download: Callable[
        [Sequence[Descriptor], Callable[[Descriptor], BlobSink], Callable[[], None]], None
    ]
    whole: bool = False


def pull(
    session: Session,
    reference: Reference,
    platform: Platform | None = None,
    *,
    whole: bool = False,
    missing: bool = False,
) -> ImageRecord:
    """Fetch ``reference`` for ``platform`` (None: this host's) and unpack it.

    Layers that are here are not fetched, a tree that is here is not unpacked again and needs no
    layers unless ``whole`` (they are for ``save`` and ``commit``), and nothing is visible before
    all of it is verified. Several processes pulling one image take turns: the
    first does the work, the others find it done. ``missing``: what has come since it was looked for
    will do, without a question to the registry. Raises UdockerError.
    """
    wanted = platform or native_platform(session)
    report = session.report
    begun = now()
    waited = False

    def waiting() -> None:
        nonlocal waited
        waited = True
        report.info(f"another udocker is pulling {reference}: waiting for it")

    name = f"pull {reference.canonical} {wanted}"
    with _turn(session, name, waiting, reference), session.store.pulling():
        since = "" if missing else begun
        known = _pulled_since(session, reference, wanted, since) if waited or missing else None
        if known is not None and not (whole and lacks_layers(session, known)):
            return known
        registry = open_registry(session)
        documents = functools.partial(_document, session)
        remote = registry.resolve(reference, wanted, documents)
        check_layers(remote.manifest, remote.config, str(reference))
        if not wanted.accepts(remote.config.platform):
            report.warn(f"{reference} is made for {remote.config.platform}, not for {wanted}")
        known = _known(session, reference, remote)
        blobs = session.store.blobs
        if known is not None and (not whole or all(map(blobs.has, remote.manifest.layers))):
            report.info(f"{reference} is up to date ({known.config.short})")
            used(session, known)
            return known
        record = _fetch(session, registry, reference, remote, whole)
    keep_limit(session, record)
    return record


@contextlib.contextmanager
def _turn(
    session: Session, name: str, waiting: Callable[[], None], reference: Reference
) -> Iterator[None]:
    """Raises StoreError where another process takes longer than anybody should wait."""
    patience = session.config.pull_wait
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(session.store.lease(name, waiting, patience or math.inf))
        except StoreError as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise
            raise StoreError(
                f"{reference}: another udocker has been pulling it for {patience} seconds",
                hint="see whether that goes on; UDOCKER_PULL_WAIT=SECONDS waits longer",
            ) from error
        yield


def _pulled_since(
    session: Session, reference: Reference, wanted: Platform, begun: str
) -> ImageRecord | None:
    """What another process has pulled while this one waited: the registry need not be asked."""
    with session.store.references():
        try:
            known = session.store.images.own(reference)
        except StoreError:  # it is damaged, and will be replaced
            return None
        is_new = known is not None and known.created > begun
        if known is None or not is_new or not session.store.trees.has(known.chain_id):
            return None
        return known if wanted.accepts(Platform.parse(known.platform)) else None


def lacks_layers(session: Session, record: ImageRecord) -> bool:
    """Whether what ``save`` needs besides the tree is not all there. Raises StoreError."""
    blobs = session.store.blobs
    manifest = Manifest.parse(blobs.read(record.manifest), "", record.reference)
    return not all(map(blobs.has, manifest.layers))


def _document(session: Session, digest: Digest) -> bytes | None:
    """A manifest or a configuration that is here, and sound."""
    if digest.algorithm != "sha256":
        return None
    try:
        return session.store.blobs.read(digest)
    except (StoreError, VerificationError):
        return None


def _known(session: Session, reference: Reference, remote: RemoteImage) -> ImageRecord | None:
    """The record of what ``remote`` is, if all of it is here; a damaged document is mended."""
    store = session.store
    with store.references(), store_errors("storing the image"):
        try:
            known = store.images.get(reference)
        except StoreError:  # it is damaged, and will be replaced
            return None
        if known is None or known.manifest != remote.manifest.digest:
            return None
        if not store.trees.has(known.chain_id):
            return None
        if store.images.own(reference) is None:
            return known
        store.blobs.put(remote.config.raw)
        store.blobs.put(remote.manifest.raw)
        return known


def native_platform(session: Session) -> Platform:
    """The platform whose programs this host runs by itself."""
    return Platform.parse(f"linux/{session.host.architecture}")


def install(
    session: Session,
    reference: Reference,
    manifest: Manifest,
    config: ImageConfig,
    layers: Sequence[Layer],
    *,
    index: Digest | None = None,
) -> ImageRecord:
    """Unpack ``layers`` unless their tree is here, then make the image visible by its name."""
    check_layers(manifest, config, str(reference))
    record = ImageRecord(
        reference=reference.canonical,
        manifest=manifest.digest,
        index=index,
        platform=str(config.platform),
        config=config.digest,
        chain_id=config.chain_id,
        created=now(),
    )
    while True:
        ensure_tree(session, config, layers)
        with session.store.references():
            # Another process may have removed the tree while no image referred to it.
            if session.store.trees.has(config.chain_id):
                with store_errors("storing the image"):
                    session.store.blobs.put(config.raw)
                    session.store.blobs.put(manifest.raw)
                session.store.images.put(reference, record)
                return record


def ensure_tree(
    session: Session,
    config: ImageConfig,
    layers: Sequence[Layer],
    report: Reporter | None = None,
) -> str:
    """The root of the image's unpacked tree, unpacked now if it is not here.

    ``report`` is told of the progress in place of the session's. Raises UnpackError,
    VerificationError, StoreError; then nothing is left behind.
    """
    trees = session.store.trees
    chain_id = config.chain_id
    if not trees.has(chain_id):
        with session.store.lease(f"tree {chain_id}"):
            if not trees.has(chain_id):
                _unpack(session, chain_id, layers, report or session.report)
    return trees.root(chain_id)


def _unpack(
    session: Session,
    chain_id: Digest,
    layers: Sequence[Layer],
    report: Reporter,
    fetch: Callable[[Builder], None] | None = None,
) -> None:
    """Build the tree; ``fetch`` brings meanwhile what the layers wait for."""
    with store_errors("unpacking the image"), session.store.temporary() as directory:
        unpack_into(session, layers, directory, report, session.config.readable_trees, fetch=fetch)
        session.store.trees.publish(directory, chain_id)


def unpack_into(
    session: Session,
    layers: Sequence[Layer],
    directory: str,
    report: Reporter,
    readable: bool,
    *,
    fetch: Callable[[Builder], None] | None = None,
) -> None:
    """Make a tree in ``directory``, which is empty. Raises as ``ensure_tree``, and OSError.

    ``readable``: other users may read all of it. ``fetch`` brings meanwhile what is not here.
    """
    from udocker.ops.limits import unpack_limits
    from udocker.unpack.readable import open_to_all
    from udocker.unpack.tree import Builder

    total = sum(layer.descriptor.size for layer in layers)
    task = report.task("unpacking", total)
    limits = unpack_limits(session.config, total)
    with beating(directory):
        with Builder(layers, directory, limits, task.advance) as builder:
            builder.start(_workers(len(layers), fetch is not None))
            if fetch is not None:
                fetch(builder)
            builder.finish()
        if readable:
            open_to_all(directory, limits)
    task.done()


def _workers(layers: int, coming: bool) -> int:
    """How many threads unpack; none where one would only wait for the other."""
    import os

    wanted = min(len(os.sched_getaffinity(0)), layers, _MAX_WORKERS)
    return wanted if wanted > 1 or coming else 0


def _fetch_and_unpack(
    session: Session,
    chain_id: Digest,
    layers: Sequence[StoredLayer],
    missing: Sequence[Descriptor],
    download: Callable[[Callable[[Descriptor], BlobSink], Callable[[], None]], None],
) -> None:
    """Bring the layers that are missing, and unpack them as they come."""
    from udocker.store.arrivals import Arrivals

    arrivals = Arrivals(session.store.blobs, missing)

    def fetch(builder: Builder) -> None:
        try:
            download(arrivals.sink, lambda: _go_on(builder, arrivals))
        finally:
            arrivals.close()

    with session.store.lease(f"tree {chain_id}"):
        if session.store.trees.has(chain_id):
            return
        coming = [ArrivingLayer(arrivals, layer) for layer in layers]
        try:
            _unpack(session, chain_id, coming, session.report, fetch)
        except (VerificationError, UnpackError):
            # What was read before a fetch began again may be to blame, and not the blobs.
            again = any(arrivals.was_begun_again(each.digest) for each in missing)
            if not again or not all(map(session.store.blobs.has, missing)):
                raise


def _go_on(builder: Builder, arrivals: Arrivals) -> None:
    """Raise what ended the unpacking, so that it ends the download; not while that may show that
    the bytes were to blame, and not the layer."""
    failed = builder.failure()
    if failed is None:
        return
    error, layer = failed
    if layer is not None and isinstance(error, (UnpackError, VerificationError)):
        digest = layer.descriptor.digest
        if arrivals.was_begun_again(digest):
            return
        if type(error) is UnpackError and not arrivals.is_proven(digest):
            return
    raise error


def _fetch(
    session: Session,
    registry: Registry,
    reference: Reference,
    remote: RemoteImage,
    whole: bool,
) -> ImageRecord:
    index = None if remote.digest == remote.manifest.digest else remote.digest

    def finish(layers: Sequence[StoredLayer]) -> ImageRecord:
        return install(session, reference, remote.manifest, remote.config, layers, index=index)

    download = functools.partial(registry.download, reference)
    source = Source(f"pulling {reference}", remote.manifest, remote.config, download, whole)
    record = bring(session, source, finish)
    session.report.info(f"pulled {reference} ({record.config.short}, {record.platform})")
    return record


def bring(session: Session, source: Source, finish: Callable[[Sequence[StoredLayer]], T]) -> T:
    """Bring what is missing of an image, unpack it, and do ``finish`` with its layers.

    ``finish`` makes the tree where that is still missing. Raises UdockerError.
    """
    blobs, manifest, config = session.store.blobs, source.manifest, source.config
    unique = {layer.digest: layer for layer in manifest.layers}
    layers = [
        StoredLayer(blobs, descriptor, diff_id)
        for descriptor, diff_id in zip(manifest.layers, config.diff_ids)
    ]
    mended = False
    while True:
        missing = [layer for layer in unique.values() if not blobs.has(layer)]
        if missing and not session.store.trees.has(config.chain_id):
            check_space(session, source.doing, missing, manifest.layers)
        try:
            if missing and not session.store.trees.has(config.chain_id):
                download = functools.partial(source.download, missing)
                _fetch_and_unpack(session, config.chain_id, layers, missing, download)
                missing = []
            elif missing and source.whole:
                check_space(session, source.doing, missing, ())
                source.download(missing, blobs.sink, lambda: None)
                missing = []
            return finish(layers)
        except (VerificationError, UnpackError):
            # A damaged one may have ended the fetch of others.
            here = [layer for layer in unique.values() if blobs.has(layer)]
            if mended or not _remove_damaged(blobs, here):
                raise
            mended = True
        except StoreError:
            # Another process may have removed an image that had layers in common with ours.
            if all(blobs.has(layer) for layer in unique.values() if layer not in missing):
                raise


def _remove_damaged(blobs: Blobs, layers: Iterable[Descriptor]) -> bool:
    """Remove the layers that are no longer what they were when they came; whether some were."""
    damaged = [layer.digest for layer in layers if not is_sound(blobs, layer)]
    for digest in damaged:
        blobs.remove(digest)
    return bool(damaged)


def is_sound(blobs: Blobs, layer: Descriptor) -> bool:
    """Whether the blob is here, and is what its digest says."""
    try:
        with contextlib.closing(blobs.open(layer)) as stream:
            while stream.read(_CHUNK):
                pass
    except (VerificationError, StoreError):
        return False
    return True


def check_layers(manifest: Manifest, config: ImageConfig, name: str) -> None:
    """Raise BadReplyError where ``name`` is not an image that can be run."""
    if not manifest.layers:
        raise BadReplyError(f"{name} has no layers: it is not an image that can be run")
    if len(manifest.layers) != len(config.diff_ids):
        raise BadReplyError(
            f"{name}: its manifest has {counted(len(manifest.layers), 'layers')}, "
            f"its configuration {len(config.diff_ids)}"
        )
