"""One directory that holds everything: see docs/architecture.md, "The store"."""

from __future__ import annotations

import contextlib
import math
import os

from udocker import files, leases
from udocker.files import store_errors
from udocker.model.sha256 import sha256_hex
from udocker.store import partial
from udocker.store.blobs import Blobs
from udocker.store.containers import Containers, remove_container
from udocker.store.images import Images
from udocker.store.trees import Trees
from udocker.store.volumes import Volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Clearing:
    """Things that are out of sight, and not deleted yet: that may take long."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._aside: list[str] = []

    def take(self, path: str) -> None:
        """Raises StoreError."""
        aside = f"{self._store.topdir}/tmp/{files.temporary_name()}"
        with store_errors("removing what is not needed"), contextlib.suppress(FileNotFoundError):
            os.rename(path, aside)
            self._aside.append(aside)

    def finish(self) -> None:
        """Raises StoreError."""
        with store_errors("removing what is not needed"):
            for path in self._aside:
                remove_container(path)


class Store:
    """The parts of the store at ``topdir``. Making one touches nothing on disk.

    ``repos``: stores in which images, trees and blobs are looked for that are missing here, in
    that order. They are only read.
    """

    topdir: str
    blobs: Blobs
    images: Images
    trees: Trees
    containers: Containers
    volumes: Volumes

    def __init__(self, topdir: str, repos: Sequence[str] = ()) -> None:
        self.topdir = topdir
        others = [Store(path) for path in dict.fromkeys(repos) if path != topdir]
        self.blobs = Blobs(topdir, [other.blobs for other in others])
        images = [other.images for other in others]
        self.images = Images(f"{topdir}/images", f"{topdir}/tmp", images)
        self.trees = Trees(f"{topdir}/trees", [other.trees for other in others])
        self.containers = Containers(topdir)
        self.volumes = Volumes(topdir, self.temporary)

    @contextlib.contextmanager
    def lease(
        self,
        name: str,
        waiting: Callable[[], None] | None = None,
        patience: float = math.inf,
    ) -> Iterator[None]:
        """Only one process at a time does ``name``; see ``leases.lease``. Raises StoreError."""
        hexadecimal = sha256_hex(name.encode("utf-8", "surrogateescape"))
        with contextlib.ExitStack() as stack:
            with store_errors("using the store"):
                os.makedirs(f"{self.topdir}/locks", exist_ok=True)
                path = f"{self.topdir}/locks/{hexadecimal}"
                stack.enter_context(leases.lease(path, waiting, patience=patience))
            yield

    @contextlib.contextmanager
    def temporary(self) -> Iterator[str]:
        """A new directory under ``tmp``; what is not renamed away is removed at the end.

        What killed processes left there is removed too. Raises StoreError, also for an OSError
        of the block.
        """
        parent = f"{self.topdir}/tmp"
        path = f"{parent}/{files.temporary_name()}"
        with store_errors("using the store"):
            os.makedirs(parent, exist_ok=True)
            self.sweep()
            os.mkdir(path, 0o700)
            lock = files.lock_entry(path)
        try:
            with store_errors("writing to the store"):
                yield path
        finally:
            with contextlib.suppress(OSError):
                files.remove_tree(path)
            if lock is not None:
                os.close(lock)

    @contextlib.contextmanager
    def pulling(self) -> Iterator[None]:
        """What comes while the block runs is not taken for garbage. Raises StoreError."""
        from udocker.store.gc import pulling

        with pulling(f"{self.topdir}/tmp"):
            yield

    @contextlib.contextmanager
    def clearing(self) -> Iterator[Clearing]:
        """Take things out of sight in the block, and delete them after it. Raises StoreError."""
        clearing = Clearing(self)
        with store_errors("using the store"):
            os.makedirs(f"{self.topdir}/tmp", exist_ok=True)
        self.sweep()
        try:
            yield clearing
        finally:
            clearing.finish()

    def sweep(self) -> None:
        """Remove what processes left that are gone. Never fails."""
        files.sweep(f"{self.topdir}/tmp", remove_container)
        partial.sweep(f"{self.topdir}/{partial.FOLDER}")
        self.containers.sweep()

    @contextlib.contextmanager
    def references(self) -> Iterator[None]:
        """Hold while something that refers to a tree or blob appears, or an unreferred one goes."""
        with self.lease("references"):
            yield
