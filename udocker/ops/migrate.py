"""Take over a store of udocker 1.3: what is there is read, and made once more here."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tarfile

from udocker.errors import UdockerError
from udocker.files import store_errors
from udocker.model.reference import Digest, Reference
from udocker.model.value import value
from udocker.ops import old_store, protect
from udocker.ops.importing import import_clone
from udocker.ops.load import load
from udocker.store import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.ops.old_store import OldContainer, OldImage
    from udocker.ops.session import Session

FROM = "udocker.migrated-from"  # the label of a container that was one of 1.3's
_PATCHED = "its programs were changed for mode {}: udocker 1.3 setup --execmode=P1 undoes that"
_WRONG = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)


@value
class Migrated:
    """What came over, what was here already, and what could not come and why."""

    moved: tuple[str, ...]
    kept: tuple[str, ...]
    failed: tuple[str, ...]


def migrate(session: Session, top: str, dry: bool = False) -> Migrated:
    """Take over all images and containers of the store ``top``, one after the other."""
    images = (
        (f"image {image.name}", functools.partial(_image, session, top, image, dry))
        for image in old_store.images(top)
    )
    here = known(session)
    containers = (
        (
            f"container {(*each.names, each.id)[0]}",
            functools.partial(_container, session, each, here, dry),
        )
        for each in old_store.containers(top)
    )
    moved: list[str] = []
    kept: list[str] = []
    failed: list[str] = []
    for what, step in (*images, *containers):
        try:
            (moved if step() else kept).append(what)
        except UdockerError as error:
            failed.append(f"{what}: {error.message}")
        except _WRONG as error:
            failed.append(f"{what}: its description is damaged ({error})")
    return Migrated(tuple(moved), tuple(kept), tuple(failed))


def known(session: Session) -> set[str]:
    """The ids that containers here had in 1.3."""
    found = (said.read(each.path).labels for each in session.store.containers.sound())
    return {text for labels in found for key, text in labels if key == FROM}


def _image(session: Session, top: str, image: OldImage, dry: bool) -> bool:
    """False: an image of that name is here."""
    reference = Reference.parse(image.name, session.config.registry)
    if is_here(session, image):
        return False
    if dry:
        return True
    with session.store.temporary() as directory:
        if image.is_v2:
            _as_layout(top, image, directory)
        else:
            _as_archive(session, top, image, directory)
        load(session, directory, reference)
    if image.is_protected:
        protect.protect(session, reference.canonical)
    return True


def is_here(session: Session, image: OldImage) -> bool:
    """Whether an image of that name is in the store."""
    try:
        reference = Reference.parse(image.name, session.config.registry)
    except UdockerError:
        return False
    return session.store.images.get(reference) is not None


def _as_layout(top: str, image: OldImage, directory: str) -> None:
    """An OCI image layout of the image's own files."""
    with open(f"{image.path}/manifest", "rb") as stream:
        raw = stream.read()
    manifest = json.loads(raw)
    digest = Digest.of(raw)
    media = manifest.get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    index = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": media, "digest": str(digest), "size": len(raw)}],
    }
    with store_errors("reading the store of udocker 1.3"):
        os.makedirs(f"{directory}/blobs/sha256")
        _write(f"{directory}/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _write(f"{directory}/index.json", json.dumps(index).encode())
        _write(f"{directory}/blobs/sha256/{digest.hex}", raw)
        for part in (manifest["config"], *manifest["layers"]):
            each = Digest.parse(part["digest"])
            place = f"{directory}/blobs/sha256/{each.hex}"
            if not os.path.exists(place):
                _bring(old_store.blob(top, str(each)), place)


def _as_archive(session: Session, top: str, image: OldImage, directory: str) -> None:
    """An archive as Docker's, of an image that was pulled from a v1 registry or loaded."""
    layers = old_store.v1_layers(top, image)
    config = old_store.v1_config(top, image)
    names = [f"{number}.tar" for number in range(len(layers))]
    with store_errors("reading the store of udocker 1.3"):
        for name, path in zip(names, layers):
            _bring(path, f"{directory}/{name}")
        diff_ids = [str(_diff_id(f"{directory}/{name}")) for name in names]
        config = {
            "architecture": _architecture(session),
            "os": "linux",
            **{key: config[key] for key in _CONFIG_KEYS if config.get(key)},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        _write(f"{directory}/config.json", json.dumps(config).encode())
        entry = {"Config": "config.json", "RepoTags": None, "Layers": names}
        _write(f"{directory}/manifest.json", json.dumps([entry]).encode())


_CONFIG_KEYS = ("architecture", "os", "variant", "created", "author", "config")


def _architecture(session: Session) -> str:
    from udocker.ops.pull import native_platform

    return native_platform(session).architecture


def _diff_id(path: str) -> Digest:
    """The digest of a layer without its compression."""
    import hashlib

    from udocker.unpack.compression import Source
    from udocker.unpack.outer import unpacked

    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in unpacked(Source(stream, lambda count: None, path)):
            found.update(chunk)
    return Digest("sha256", found.hexdigest())


def _bring(source: str, target: str) -> None:
    """A copy; the same file under another name where that can be."""
    import shutil

    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(content)


def _container(session: Session, container: OldContainer, here: set[str], dry: bool) -> bool:
    """False: it came over before."""
    if container.id in here:
        return False
    _check(container)
    if dry:
        return True
    containers = session.store.containers
    with session.store.temporary() as directory:
        path = f"{directory}/container.tar"
        with store_errors("reading the store of udocker 1.3"):
            _archive(container, path)
        made = import_clone(session, path, None)
    with contextlib.suppress(OSError):
        said.write(made.path, said.Said(labels=((FROM, container.id),)))
    for name in container.names:
        try:
            containers.add_name(made, name)
        except UdockerError as error:
            session.report.warn(f"container {made.short_id} is not called {name}: {error.message}")
    if container.is_protected:
        protect.protect(session, made.id)
    return True


def _check(container: OldContainer) -> None:
    if not os.path.isdir(container.root):
        raise UdockerError("it has no ROOT")
    if os.path.exists(f"{container.path}/patch.time"):
        raise UdockerError(_PATCHED.format(container.mode or "F3"))


def _archive(container: OldContainer, path: str) -> None:
    """As ``export --clone`` of udocker 1.3 writes it, without what its modes did to the files."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        document = old_store.document(f"{container.path}/container.json")
        document.setdefault("rootfs", {"type": "layers", "diff_ids": []})
        document.setdefault("os", "linux")
        _add(archive, "container.json", json.dumps(document).encode())
        _add(archive, "imagerepo.name", _image_name(container).encode())
        if container.mode:
            _add(archive, "execmode", container.mode.encode())
        undo = _Undo(container)
        archive.add(container.root, "ROOT", filter=undo)
        if undo.loader:
            archive.add(f"{container.path}/ld.so.orig", undo.loader)


def _image_name(container: OldContainer) -> str:
    try:
        return Reference.parse(container.image).canonical
    except UdockerError:
        return "imported"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    import io

    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


class _Undo:
    """Members as they were before the modes of 1.3 changed them."""

    def __init__(self, container: OldContainer) -> None:
        self._path = container.path
        root = old_store.text(f"{container.path}/root.path") or os.path.realpath(container.root)
        self._roots = {root.rstrip("/"), os.path.realpath(container.root)}
        loader = old_store.text(f"{container.path}/ld.so.path").lstrip("/")
        has_original = os.path.exists(f"{container.path}/ld.so.orig")
        self.loader = f"ROOT/{loader}" if loader and has_original else ""

    def __call__(self, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = member.name
        if name in ("ROOT/.bind_host_files", self.loader) or member.isdev():
            return None
        if member.issym():
            return self._link(member)
        return member

    def _link(self, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if member.linkname.startswith("/.bind_host_files/"):
            return None  # a run shows the host's own
        for root in self._roots:  # F modes wrote it before absolute links
            if member.linkname.startswith(f"{root}/"):
                member.linkname = member.linkname[len(root) :]
        return member
