"""Remove from the store what nothing needs, and nothing that may be in use: on any host."""

from __future__ import annotations

import contextlib
import os

from udocker.errors import StoreError, UdockerError
from udocker.files import store_errors
from udocker.model.value import value
from udocker.store import gc
from udocker.store.containers import remove_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from udocker.model.reference import Digest
    from udocker.ops.session import Session
    from udocker.store.gc import Doomed
    from udocker.store.store import Clearing


@value
class Pruned:
    """What was removed, or would be; ``bytes`` on disk."""

    removed: tuple[Doomed, ...]
    dry: bool

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.removed)

    def as_json(self) -> dict[str, object]:
        return {
            "removed": [
                {"kind": each.kind, "name": each.name, "bytes": each.bytes} for each in self.removed
            ],
            "bytes": self.bytes,
            "dryRun": self.dry,
        }


def prune(session: Session, dry: bool = False) -> Pruned:
    """Remove what nothing needs; with ``dry`` only say what.

    What may not be removed does not keep the rest from it. Raises StoreError in the end.
    """
    if not os.path.isdir(session.store.topdir):
        return Pruned((), dry)
    work = _Work(session, dry)
    work.remove(gc.leftovers(session.store), remove_container)
    work.remove(gc.containers(session.store), work.container)
    work.remove(gc.names(session.store), work.name)
    work.objects()
    work.remove(gc.owners(session.store), os.unlink)
    work.remove(gc.patched(session.store, _roots(session)), os.unlink)
    work.remove(gc.locks(session.store), gc.remove_lock)
    if work.failure is not None:
        raise work.failure
    return Pruned(tuple(work.removed), dry)


class _Work:
    """One after another; the first failure is kept for the end."""

    def __init__(self, session: Session, dry: bool) -> None:
        self._session = session
        self._store = session.store
        self._dry = dry
        self.removed: list[Doomed] = []
        self.failure: StoreError | None = None

    def remove(self, found: Iterable[Doomed], how: Callable[[str], None]) -> None:
        with self._going_on():
            for doomed in found:
                with self._going_on():
                    if not self._dry:
                        with contextlib.suppress(FileNotFoundError), store_errors("pruning"):
                            how(doomed.path)
                    self.removed.append(doomed)

    def container(self, path: str) -> None:
        self._store.containers.delete(os.path.basename(path), force=False)

    def name(self, path: str) -> None:
        self._store.containers.remove_dangling(os.path.basename(path))

    def objects(self) -> None:
        """Trees and blobs: while they are looked for nothing can begin to refer to them."""
        with self._going_on(), self._clearing() as away, self._references():
            doomed = list(self._doomed())
            self.removed += doomed
            for each in doomed:
                if away is not None:
                    away.take(each.path)

    def _doomed(self) -> Iterator[Doomed]:
        from udocker.ops.images import wanted_trees

        session, store = self._session, self._store
        try:
            records = list(store.images.all())
            trees = wanted_trees(session, records)
        except StoreError as error:
            # Nobody knows what it refers to: nothing is surely free.
            session.report.warn(f"no trees and blobs are removed: {error.message}")
            return
        yield from gc.trees(store, trees)
        blobs = self._wanted_blobs()
        if blobs is not None:
            yield from gc.blobs(store, blobs)

    def _wanted_blobs(self) -> set[Digest] | None:
        from udocker.ops.images import blobs_of

        found: set[Digest] = set()
        for record in self._store.images.all():
            try:
                found |= blobs_of(self._session, record)
            except UdockerError as error:
                self._session.report.warn(f"no blobs are removed: {error.message}")
                return None
        return found

    def _clearing(self) -> AbstractContextManager[Clearing | None]:
        return contextlib.nullcontext() if self._dry else self._store.clearing()

    def _references(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self._dry else self._store.references()

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except UdockerError as error:
            if not isinstance(error, StoreError):
                return  # somebody began to use it
            self.failure = self.failure or error


def _roots(session: Session) -> list[str]:
    """The directories whose files may have patched copies."""
    store = session.store
    containers = store.containers.sound()
    roots = [store.trees.root(chain_id) for chain_id in store.trees.all()]
    roots += [container.tree for container in containers]
    for container in containers:
        roots += [container.upper, container.root]
    return sorted(set(roots))
