"""Images from files: archives of docker, podman and skopeo, and OCI image layouts."""

from __future__ import annotations

import contextlib
import functools
import os
import re

from udocker.errors import (
    BadReference,
    BadReplyError,
    ImageNotFound,
    NoMatchingPlatform,
    UdockerError,
    UsageError,
    VerificationError,
)
from udocker.model.place import DOCKER_ARCHIVE, OCI, OCI_ARCHIVE
from udocker.model.reference import Reference
from udocker.model.value import replace, value
from udocker.ops import archives, pull
from udocker.ops.space import keep_limit, used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Union

    from udocker.archive.docker_archive import ListedImage
    from udocker.archive.files import Files
    from udocker.archive.oci_layout import LayoutImage
    from udocker.model.image import BlobSink
    from udocker.model.oci import Descriptor, Platform
    from udocker.model.place import Place
    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord

    Archived = Union[ListedImage, LayoutImage]

_CHUNK = 1 << 20
_SHOWN = 100  # characters of a name that the archive gives
_ENDINGS = re.compile(r"(\.(tar|tgz|tzst|txz|tbz2|gz|zst|xz|bz2|oci|docker))+$")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@value
class _Found:
    """An image, and what it is to be called here."""

    image: Archived
    references: tuple[Reference, ...]


def load(
    session: Session, path: str, name: Reference | None = None, platform: Platform | None = None
) -> list[ImageRecord]:
    """Bring every image of the archive ``path`` ("-": standard input) into the store, unpacked.

    ``name``: what the only image is to be called, and not as the archive calls it. Nothing is
    visible before all of it is verified. One record for each name. Raises UdockerError.
    """
    if name is not None and name.digest is not None:
        raise UsageError(
            f"a name with a digest cannot be given: {name}", hint=name.canonical.partition("@")[0]
        )
    with archives.opened(session, path) as files:
        images = _images(session, files, "", platform)
        if name is None:
            found = _named(session, images, path)
        elif len(images) == 1:
            found = [_Found(images[0][1], (name,))]
        else:
            raise UsageError(
                f"{files.name} has {len(images)} images, and one name was given: {name}",
                hint=_choice(images),
            )
        return _bring(session, files, found, platform)


def load_one(
    session: Session, place: Place, platform: Platform | None = None, *, dry: bool = False
) -> Reference:
    """Bring the image at ``place`` into the store unless it is there; its name.

    ``dry``: only look what it would be called. Raises UdockerError.
    """
    place = _with_colons(place)
    with archives.opened(session, place.path) as files:
        found = _only(session, files, place, platform)
        if not dry:
            _bring(session, files, [found], platform)
        return found.references[0]


def _with_colons(place: Place) -> Place:
    """A path may have colons where it is there."""
    whole = f"{place.path}:{place.name}"
    if place.name and not os.path.lexists(place.path) and os.path.lexists(whole):
        return replace(place, path=whole, name="")
    return place


def _only(session: Session, files: Files, place: Place, platform: Platform | None) -> _Found:
    images = _images(session, files, place.kind, platform)
    images = [images[number] for number in _matching(images, place)]
    if len(images) == 1:
        [found] = _named(session, images, place.path, place.name)
        return found
    if images:
        raise UsageError(f"{place} has {len(images)} images", hint=_choice(images, place))
    everything = _images(session, files, place.kind, platform)
    raise ImageNotFound(f"no such image: {place}", hint=_choice(everything, place))


def _matching(images: Sequence[tuple[tuple[str, ...], Archived]], place: Place) -> list[int]:
    """The numbers of the images that ``place`` may mean."""
    numbers = range(len(images))
    wanted = place.name
    if not wanted:
        return list(numbers)
    if wanted.startswith("@") and wanted[1:].isdigit():
        return [number for number in numbers if number == int(wanted[1:])]
    return [n for n in numbers if any(_is_same(wanted, name) for name in images[n][0])]


def _is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    with contextlib.suppress(BadReference):
        return Reference.parse(one).canonical == Reference.parse(other).canonical
    return False


def _choice(images: Sequence[tuple[tuple[str, ...], Archived]], place: Place | None = None) -> str:
    """The images to choose from, for a hint."""
    before = f"{place.kind}:{place.path}:" if place else ""
    names = [names[0][:_SHOWN] if names else f"@{n}" for n, (names, _) in enumerate(images[:10])]
    return f"{'one of ' if before else 'without it; there is '}" + ", ".join(
        f"{before}{name}" for name in names
    )


def _images(
    session: Session, files: Files, kind: str, platform: Platform | None
) -> list[tuple[tuple[str, ...], Archived]]:
    """All images of the archive with the names that it gives them."""
    from udocker.archive import docker_archive
    from udocker.archive.oci_layout import OciLayout

    has_list = files.has(docker_archive.LIST)
    has_layout = files.has("oci-layout") and files.has("index.json")
    if kind in (OCI, OCI_ARCHIVE) or has_layout:
        wanted = platform or pull.native_platform(session)
        layout = OciLayout(files.name, files)
        found = layout.images(wanted, lenient=platform is None)
        told = _names_by_id(files) if has_list and has_layout else {}
        return [(_better(names, told.get(str(i.config.digest), ())), i) for names, i in found]
    if has_list:
        of_docker = docker_archive.images(files)
        if platform is not None:
            of_docker = _for_platform(of_docker, platform, files.name)
        return [(image.names, image) for image in of_docker]
    if files.has("repositories"):
        raise BadReplyError(
            f"{files.name} was written by a Docker older than 1.10",
            hint="load it with Docker and save it again",
        )
    raise ImageNotFound(
        f"{files.name} is no archive of images: it has neither manifest.json nor index.json",
        hint="udocker import FILE NAME makes an image of the files of a root",
    )


def _for_platform(
    images: tuple[ListedImage, ...], platform: Platform, name: str
) -> tuple[ListedImage, ...]:
    found = tuple(image for image in images if platform.accepts(image.config.platform))
    if not found:
        there = ", ".join(dict.fromkeys(str(image.config.platform) for image in images))
        raise NoMatchingPlatform(f"no image in {name} for {platform}", hint=f"there is {there}")
    return found


def _names_by_id(files: Files) -> dict[str, tuple[str, ...]]:
    """The names in manifest.json, by image ids: some programs give the layout tags alone."""
    from udocker.archive import docker_archive

    with contextlib.suppress(UdockerError):
        return {str(i.config.digest): i.names for i in docker_archive.images(files)}
    return {}


def _better(names: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return names if any(map(_is_full, names)) else others or names


def _is_full(name: str) -> bool:
    """Whether it is a name, and not only a tag."""
    return "/" in name or ":" in name


def _named(
    session: Session,
    images: Sequence[tuple[tuple[str, ...], Archived]],
    path: str,
    wanted: str = "",
) -> list[_Found]:
    """What the images are to be called. Raises UdockerError where that is not known."""
    found = []
    taken: set[str] = set()
    for told, image in images:
        names = told
        if wanted and not wanted.startswith("@"):
            names = tuple(name for name in told if _is_same(wanted, name))
        references = _references(session, names, path)
        for reference in references:
            if reference.canonical in taken:
                raise BadReplyError(
                    f"{archives.shown(path)} has two images that are called {reference.canonical}",
                    hint=f"udocker pull {DOCKER_ARCHIVE}:{path}:@0 takes the first",
                )
            taken.add(reference.canonical)
        found.append(_Found(image, references))
    return found


def _references(session: Session, names: tuple[str, ...], path: str) -> tuple[Reference, ...]:
    found: dict[str, Reference] = {}
    for name in names or ("latest",):
        try:
            reference = _reference(name, path)
        except BadReference as error:
            session.report.warn(f"{archives.shown(path)}: {name!r} is left out: {error.message}")
        else:
            found[reference.canonical] = reference
    if not found:
        raise UdockerError(
            f"the image in {archives.shown(path)} has no name that can be used",
            hint="give it one: udocker load -i FILE NAME",
        )
    return tuple(found.values())


def _reference(name: str, path: str) -> Reference:
    """The reference of a name in an archive; of a tag, with the archive's own name."""
    if _is_full(name):
        reference = Reference.parse(name)
        if reference.digest is not None:
            raise BadReference(f"a name with a digest: {name!r}")
        return reference
    if path == archives.STDIN:
        raise BadReference(f"only a tag: {name!r}")
    base = os.path.basename(os.path.abspath(path)).lower()
    stem = _NOT_IN_NAMES.sub("-", _ENDINGS.sub("", base)).strip("-")
    return Reference.parse(f"localhost/{stem or 'image'}:{name}")


def _bring(
    session: Session, files: Files, images: Sequence[_Found], platform: Platform | None
) -> list[ImageRecord]:
    """Unpack all images, then make all of them visible."""
    native = platform or pull.native_platform(session)
    records: list[ImageRecord] = []
    new = []
    with session.store.pulling():
        for one in images:
            known = _known(session, one)
            records += known
            if not known:
                _warn_of_platform(session, one, native)
                source = _source(files, one)
                pull.check_layers(source.manifest, source.config, one.references[0].canonical)
                tree = functools.partial(pull.ensure_tree, session, source.config)
                pull.bring(session, source, tree)
                new.append((one.references, source))
        for references, source in new:
            for reference in references:
                put = functools.partial(
                    pull.install, session, reference, source.manifest, source.config
                )
                records.append(pull.bring(session, source, put))
    for record in records:
        used(session, record)
        keep_limit(session, record)
    return records


def _warn_of_platform(session: Session, one: _Found, native: Platform) -> None:
    made_for = one.image.config.platform
    if not native.accepts(made_for):
        name = one.references[0].canonical
        session.report.warn(f"{name} is made for {made_for}, not for {native}")


def _known(session: Session, one: _Found) -> list[ImageRecord]:
    """The records of an image that is here by all its names, with its files; else none."""
    from udocker.errors import StoreError

    store = session.store
    found = []
    with store.references():
        for reference in one.references:
            try:
                record = store.images.get(reference)
            except StoreError:  # it is damaged, and will be replaced
                return []
            if record is None or record.config != one.image.config.digest:
                return []
            found.append(record)
        here = store.trees.has(one.image.config.chain_id)
        return found if here and _is_whole(session, found[0]) else []


def _is_whole(session: Session, record: ImageRecord) -> bool:
    """Whether its blobs are here, so that it can be saved."""
    from udocker.model.oci import Manifest

    with contextlib.suppress(UdockerError):
        blobs = session.store.blobs
        manifest = Manifest.parse(blobs.read(record.manifest), "", record.reference)
        return all(map(blobs.has, (manifest.config, *manifest.layers)))
    return False


def _source(files: Files, one: _Found) -> pull.Source:
    from udocker.archive.docker_archive import ListedImage

    image = one.image.image() if isinstance(one.image, ListedImage) else one.image
    layers = {layer.descriptor.digest: layer for layer in image.layers()}

    def download(
        missing: Sequence[Descriptor],
        sink_for: Callable[[Descriptor], BlobSink],
        check: Callable[[], None],
    ) -> None:
        for descriptor in missing:
            sink, at = sink_for(descriptor), 0
            try:
                with _naming(files), contextlib.closing(layers[descriptor.digest].open()) as stream:
                    while data := stream.read(_CHUNK):
                        sink.write(data, at)
                        at += len(data)
                        check()
                sink.commit()
            except BaseException:
                sink.abort()
                raise

    doing = f"loading {files.name}"
    return pull.Source(doing, image.manifest, image.config, download, whole=True)


@contextlib.contextmanager
def _naming(files: Files) -> Iterator[None]:
    try:
        yield
    except VerificationError as error:
        text = f"{files.name}: {error.message}"
        raise VerificationError(text, hint="make the archive again, or copy it again") from error
    except OSError as error:
        raise UdockerError(f"cannot read {files.name}: {error.strerror or error}") from error
