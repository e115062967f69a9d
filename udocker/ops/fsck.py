"""Whether everything in the store is what it should be, and putting right what can be.

Trees are compared with what their layers unpack to now, where these are in the store. No container
is ever removed, and nothing under one that runs is changed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os

from udocker.errors import (
    BadReference,
    BadReplyError,
    NoSpaceError,
    StoreError,
    UdockerError,
    UnpackError,
    VerificationError,
)
from udocker.files import store_errors
from udocker.model.oci import Descriptor, ImageConfig, Manifest
from udocker.model.reference import Digest, Reference
from udocker.model.value import replace, value
from udocker.ops.findings import Finding, Problem
from udocker.ops.fsck_containers import examine
from udocker.ops.pull import StoredLayer, unpack_into
from udocker.report import QuietReporter
from udocker.store.compare import differences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from udocker.ops.session import Session
    from udocker.store.images import ImageRecord

    T = TypeVar("T")

_CHUNK = 1 << 20
_SHOWN = 3  # differences of one tree
_REMOVE = "remove it"
_UNPACK = "unpack it again"
_DAMAGE = (StoreError, VerificationError, BadReplyError, BadReference)


@value
class Checked:
    """What came of it: how many of each kind were looked at, and what is wrong."""

    counts: tuple[tuple[str, int], ...]
    problems: tuple[Problem, ...]

    @property
    def left(self) -> int:
        """How many problems are still there."""
        return sum(not problem.cured for problem in self.problems)

    def as_json(self) -> dict[str, object]:
        return {
            "checked": dict(self.counts),
            "problems": [problem.as_json() for problem in self.problems],
            "left": self.left,
        }


def check(session: Session, repair: bool = False, quick: bool = False) -> Checked:
    """Look at every object; ``quick``: not at the contents of layers and trees.

    Others may go on meanwhile: what they remove or bring is no damage. Raises StoreError where
    something cannot be looked at.
    """
    return _Check(session, repair, quick).run()


def verify(session: Session, text: str) -> Checked:
    """Look at all that the image ``text`` is made of: each blob, and its tree.

    Raises ImageNotFound, and StoreError where something cannot be looked at.
    """
    from udocker.ops.images import get_image

    return _Check(session, repair=False, quick=False).run_image(get_image(session, text))


class _BrokenImageError(Exception):
    """An image that can only be pulled again; ``name`` as far as it is known."""

    def __init__(self, text: str, name: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.name = name


class _Check:
    def __init__(self, session: Session, repair: bool, quick: bool) -> None:
        self._session = session
        self._store = session.store
        self._repair = repair
        self._quick = quick
        self._problems: list[Problem] = []
        self._counts: dict[str, int] = {}
        self._damaged: set[Digest] = set()  # blobs
        # Chain id -> what its tree can be unpacked from
        self._layers: dict[Digest, tuple[StoredLayer, ...]] = {}

    def run(self) -> Checked:
        store = self._store
        for digest in self._counted("blobs", store.blobs.all()):
            self._look(functools.partial(self._blob, digest))
        for path in self._counted("images", store.images.paths()):
            self._look(functools.partial(self._image, path))
        for chain_id in self._counted("trees", store.trees.all()):
            self._whole_tree(chain_id)
        for identity in self._counted("containers", store.containers.ids()):
            self._look(functools.partial(examine, self._session, identity))
        for name in store.containers.dangling():
            self._look(functools.partial(self._name, name))
        return Checked(tuple(self._counts.items()), tuple(self._problems))

    def run_image(self, record: ImageRecord) -> Checked:
        """Look at one image, which may be in a store of others."""
        blobs = self._counted("blobs", self._blobs_of(record))
        for descriptor in blobs:
            self._look(functools.partial(self._bytes, descriptor))
        trees = self._store.trees
        if not self._problems and trees.is_here(record.chain_id):
            path = self._store.images.path(Reference.parse(record.reference))
            self._look(functools.partial(self._image, path))
            self._counted("trees", [record.chain_id])
            self._whole_tree(record.chain_id)
        elif not trees.has(record.chain_id):
            cure = f"udocker pull {record.reference}"
            self._note(Finding("image", record.reference, "its files are gone", cure))
        return Checked(tuple(self._counts.items()), tuple(self._problems))

    def _blobs_of(self, record: ImageRecord) -> list[Descriptor]:
        """As far as its manifest tells."""
        try:
            raw = self._store.blobs.read(record.manifest)
            manifest = Manifest.parse(raw, "", record.reference)
        except _DAMAGE:
            self._note(
                Finding(
                    *("image", record.reference, "its manifest is missing or damaged"),
                    f"udocker pull {record.reference}",
                )
            )
            return []
        return [Descriptor("", record.manifest, len(raw)), manifest.config, *manifest.layers]

    def _bytes(self, descriptor: Descriptor) -> Finding | None:
        """Read a blob wherever it is."""
        name, cure = str(descriptor.digest), "udocker pull of an image that has it"
        try:
            with self._store.blobs.open(descriptor) as stream:
                while stream.read(_CHUNK):
                    pass
        except VerificationError:
            return Finding("blob", name, "its bytes are not what its name says", cure)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return Finding("blob", name, "is missing", cure)
            raise
        return None

    def _whole_tree(self, chain_id: Digest) -> None:
        is_sound = self._look(functools.partial(self._tree, chain_id))
        if is_sound and not self._quick and chain_id in self._layers:
            self._compare(chain_id)

    def _counted(self, kind: str, found: Iterable[T]) -> list[T]:
        listed = list(found)
        self._counts[kind] = len(listed)
        return listed

    def _look(self, question: Callable[[], Finding | None]) -> bool:
        """Ask, and once more after each cure; whether nothing is wrong in the end."""
        while True:
            with self._store.references():  # nothing appears or goes in between
                finding = question()
            if finding is None:
                return True
            if not self._note(finding):
                return False

    def _note(self, finding: Finding) -> bool:
        """Note what is wrong, cure it where that is wanted and possible; whether it was."""
        problem = Problem(finding.kind, finding.name, finding.text, finding.cure)
        if self._repair and finding.act is not None:
            try:
                with store_errors("repairing the store"):
                    finding.act()
                problem = replace(problem, cured=True)
            except UdockerError as error:
                problem = replace(problem, text=f"{problem.text}; not repaired: {error.message}")
        self._problems.append(problem)
        return problem.cured

    def _blob(self, digest: Digest) -> Finding | None:
        blobs = self._store.blobs
        path = blobs.path(digest)
        if self._quick or not os.path.exists(path) or blobs.is_sound(digest):
            return None
        self._damaged.add(digest)

        def remove() -> None:
            blobs.remove(digest)

        return Finding("blob", str(digest), "its bytes are not what its name says", _REMOVE, remove)

    def _image(self, path: str) -> Finding | None:
        try:
            return self._incomplete(path)
        except _BrokenImageError as error:
            name = os.path.relpath(path, f"{self._store.topdir}/images")
            cure = f"forget it; udocker pull {error.name or name} brings it back"
            return Finding("image", name, error.text, cure, lambda: self._forget(path))

    def _incomplete(self, path: str) -> Finding | None:
        record = self._record(path)
        if record is None:
            return None
        name, store = record.reference, self._store
        try:
            manifest = Manifest.parse(store.blobs.read(record.manifest), "", name)
        except _DAMAGE:
            raise _BrokenImageError("its manifest is missing or damaged", name) from None
        try:
            config = ImageConfig.parse(store.blobs.read(record.config), name)
        except _DAMAGE:
            return self._configless(record)
        told = (manifest.config.digest, config.chain_id, len(manifest.layers))
        if told != (record.config, record.chain_id, len(config.diff_ids)):
            raise _BrokenImageError("its documents do not fit together", name)
        if self._are_here(manifest):
            self._layers[record.chain_id] = tuple(
                StoredLayer(store.blobs, descriptor, diff_id)
                for descriptor, diff_id in zip(manifest.layers, config.diff_ids)
            )
        return None if store.trees.has(record.chain_id) else self._treeless(record)

    def _record(self, path: str) -> ImageRecord | None:
        try:
            record = self._store.images.read(path)
            if record is None:
                return None
            reference = Reference.parse(record.reference)
        except _DAMAGE:
            raise _BrokenImageError("its record is damaged") from None
        if self._store.images.path(reference) != path:
            raise _BrokenImageError(f"its record is that of {record.reference}")
        return record

    def _configless(self, record: ImageRecord) -> Finding:
        text = "its configuration is missing or damaged"
        for container in self._store.containers.sound():
            if container.config.digest == record.config:
                put = functools.partial(self._store.blobs.put, container.config.raw)
                return Finding("image", record.reference, text, "take it from a container", put)
        raise _BrokenImageError(text, record.reference)

    def _treeless(self, record: ImageRecord) -> Finding:
        text = "its files are gone"
        if record.chain_id not in self._layers:
            raise _BrokenImageError(text, record.reference)

        def unpack() -> None:
            self._unpack(record.chain_id)

        return Finding("image", record.reference, text, _UNPACK, unpack)

    def _are_here(self, manifest: Manifest) -> bool:
        blobs = self._store.blobs
        return all(blobs.has(each) and each.digest not in self._damaged for each in manifest.layers)

    def _forget(self, path: str) -> None:
        with self._store.references(), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _tree(self, chain_id: Digest) -> Finding | None:
        """What is wrong as far as it shows without the layers."""
        if not os.path.isdir(self._store.trees.path(chain_id)):
            return None
        text = self._fault(chain_id)
        return self._bad_tree(chain_id, text, lambda: self._unpack(chain_id)) if text else None

    def _fault(self, chain_id: Digest) -> str:
        from udocker.unpack import index

        trees = self._store.trees
        if not trees.is_here(chain_id):
            return "its root is missing"
        root = os.fsencode(trees.root(chain_id))
        try:
            for path, record in index.read(f"{trees.path(chain_id)}/{index.NAME}"):
                if record.device is None and not os.path.lexists(os.path.join(root, path)):
                    return f"/{os.fsdecode(path)}: is missing"
        except FileNotFoundError:
            return "its index is missing"
        except UnpackError:
            return "its index is damaged"
        return ""

    def _bad_tree(self, chain_id: Digest, text: str, unpack: Callable[[], object]) -> Finding:
        name = str(chain_id)
        if chain_id in self._layers:
            return Finding("tree", name, text, _UNPACK, unpack)
        if self._users(chain_id):
            return Finding("tree", name, text, "none here: its layers are not in the store")
        cure = "remove it and its images; udocker pull brings them back"
        return Finding("tree", name, text, cure, lambda: self._give_up(chain_id))

    def _compare(self, chain_id: Digest) -> None:
        """Compare the tree with a new one of the same layers."""
        from udocker.unpack import index

        path = self._store.trees.path(chain_id)
        with self._store.temporary() as directory:
            self._fill(directory, chain_id)
            try:
                found = [
                    *itertools.islice(differences(f"{path}/root", f"{directory}/root"), _SHOWN),
                    *_other_index(path, directory, index.NAME),
                ]
            except OSError as error:
                if not os.path.isdir(path):
                    return  # somebody has removed it
                found = [f"{error.filename}: {error.strerror}"]
            if found and os.path.isdir(path):
                text = "; ".join(found)
                self._note(
                    self._bad_tree(chain_id, text, lambda: self._replace(directory, chain_id))
                )

    def _unpack(self, chain_id: Digest) -> None:
        with self._store.temporary() as directory:
            self._fill(directory, chain_id)
            self._replace(directory, chain_id)

    def _fill(self, directory: str, chain_id: Digest) -> None:
        from udocker.unpack.readable import is_open

        try:
            with store_errors("unpacking the image to compare it"):
                layers = self._layers[chain_id]
                readable = is_open(self._store.trees.path(chain_id))
                unpack_into(self._session, layers, directory, QuietReporter(), readable)
        except NoSpaceError as error:
            raise NoSpaceError(error.message, hint="udocker fsck --quick needs no space") from error

    def _replace(self, directory: str, chain_id: Digest) -> None:
        from udocker.ops.containers import is_used

        with self._store.references():
            for identity in self._users(chain_id):
                if is_used(self._session, identity):
                    raise StoreError(f"container {identity[:12]} is running on it")
            self._store.trees.replace(directory, chain_id)

    def _users(self, chain_id: Digest) -> list[str]:
        """Containers that have the tree; one whose record is damaged may have any."""
        containers, root = self._store.containers, self._store.trees.root(chain_id)
        users = [found.id for found in containers.sound() if found.tree == root]
        return users + containers.damaged()

    def _give_up(self, chain_id: Digest) -> None:
        with self._store.clearing() as away, self._store.references():
            if self._users(chain_id):
                raise StoreError("a container has it")
            for path in list(self._store.images.paths()):
                with contextlib.suppress(StoreError):
                    record = self._store.images.read(path)
                    if record is not None and record.chain_id == chain_id:
                        os.unlink(path)
            away.take(self._store.trees.path(chain_id))

    def _name(self, name: str) -> Finding | None:
        with store_errors("looking at the names"):
            if not self._store.containers.is_dangling(name):
                return None

        def remove() -> None:
            self._store.containers.remove_dangling(name)

        return Finding("name", name, "its container is gone", _REMOVE, remove)


def _other_index(one: str, other: str, name: str) -> list[str]:
    with open(f"{one}/{name}", "rb") as first, open(f"{other}/{name}", "rb") as second:
        return [] if first.read() == second.read() else [f"{name}: is not that of the layers"]
