"""Containers: an upper directory over an image's tree, or a directory of their own."""

from __future__ import annotations

import contextlib
import os
import re
import stat

from udocker import files, leases, makers
from udocker.errors import (
    ContainerInUse,
    ContainerNotFound,
    NameInUse,
    StoreError,
    UsageError,
)
from udocker.files import store_errors
from udocker.model.container import RANGES, UNION, Container
from udocker.model.value import replace
from udocker.store import closed, record, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ID = re.compile(r"[0-9a-f]{32}")
_PREFIX = re.compile(r"[0-9a-f]{1,32}")


def remove_container(path: str) -> None:
    """Remove the directory of a container, or of anything else. Raises OSError, StoreError."""
    if os.path.exists(f"{path}/{RANGES}"):
        from udocker import away

        away.come_home(path)  # what is not this user's could not be removed
    files.remove_tree(path)


class Containers:
    """``containers/<id>/`` with container.json, config.json and the files; ``names/<name>``.

    A name is a symbolic link to an id: making one is atomic, so two containers cannot have it.
    """

    def __init__(self, topdir: str) -> None:
        self._directory = f"{topdir}/containers"
        self._names = f"{topdir}/names"
        self._lock = f"{topdir}/locks/names"
        self._temporary = f"{topdir}/tmp"

    def path(self, identity: str) -> str:
        return f"{self._directory}/{identity}"

    def create(
        self,
        directory: str,
        container: Container,
        name: str | None,
        remove: bool = False,
    ) -> Container:
        """Make ``container`` from ``directory``, which is renamed into place.

        It is empty, or has what another container wrote (``upper``) or has of files (``ROOT``).
        What is missing of these ``make_ready`` makes.

        ``remove``: a sweep may remove it once nobody holds it. Raises NameInUse, UsageError,
        StoreError; then nothing is visible.
        """
        with store_errors("creating the container"):
            if remove:
                files.write_atomic(f"{directory}/{users.REMOVE}", makers.mark().encode())
            files.write_atomic(f"{directory}/config.json", container.config.raw)
            record.write(f"{directory}/container.json", container)
            os.makedirs(self._directory, exist_ok=True)
            with self._naming():
                if name is not None:
                    self._claim(name, container.id)
                os.rename(directory, self.path(container.id))
        return replace(container, names=(name,) if name is not None else ())

    @contextlib.contextmanager
    def lease(self, container: Container) -> Iterator[None]:
        """Only one process at a time changes a container's form. Raises StoreError."""
        with contextlib.ExitStack() as stack:
            with store_errors("using the container"):
                stack.enter_context(leases.lease(f"{container.path}/lock"))
            yield

    def make_ready(self, container: Container) -> None:
        """Make the directories that a run needs: a container that never ran has none.

        Raises ContainerNotFound where another process has removed it meanwhile, StoreError.
        """
        if container.form == UNION and not os.path.isdir(container.path):
            raise _removed(container)
        closed.restore(container.path)
        if container.form == UNION:
            with store_errors("using the container"):
                # In this order: where there is a work directory, an upper that is missing is lost.
                # The upper is what programs see as the root, whatever the umask is.
                shown = stat.S_IRWXU
                with contextlib.suppress(FileNotFoundError):
                    shown |= stat.S_IMODE(os.stat(container.tree).st_mode)
                for path, mode in (
                    (container.upper, shown),
                    (container.work, 0o700),
                    (container.root, 0o755),
                ):
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(path, mode)
                        os.chmod(path, mode)

    def hold(self, container: Container) -> None:
        """Keep sweeps away from a container of ``remove`` until this process ends.

        Raises StoreError.
        """
        # Another process that runs it holds it already, and removes it.
        with store_errors("using the container"), contextlib.suppress(BlockingIOError):
            files.lock_entry(container.path)
            if os.path.exists(f"{container.path}/{users.REMOVE}"):
                mark = makers.mark().encode()
                files.write_atomic(f"{container.path}/{users.REMOVE}", mark, parents=False)

    def enter(
        self,
        container: Container,
        kind: str = users.RUNS,
        mode: str = "",
        description: str = "",
    ) -> None:
        """Let others see that this process, or the program it becomes, uses the container.

        How: see ``users``.
        Raises ContainerNotFound where another process has removed it meanwhile.
        """
        users.enter(container.path, kind, mode, description)
        if not os.path.isdir(container.path):
            raise _removed(container)

    def is_used(self, identity: str, runs: Callable[[str], bool] = lambda path: False) -> bool:
        """Whether ``remove`` would refuse."""
        try:
            users.check_unused(self.path(identity), identity[:12], runs)
        except ContainerInUse:
            return True
        return False

    def left(self) -> list[str]:
        """The ids of containers of ``remove`` whose processes are gone."""
        return [identity for identity in self._ids() if users.is_left(self.path(identity))]

    def sweep(self) -> None:
        """Remove what ``left`` lists. Never fails."""
        for identity in self.left():
            with contextlib.suppress(OSError, StoreError, ContainerNotFound):
                self.delete(identity)

    def all(self) -> list[Container]:
        """Every container, the newest first."""
        ids = self._ids()
        names = self.names(ids)
        known = record.Known()
        found = []
        for identity in ids:
            container = self._read(identity, names.get(identity, ()), known)
            if container is not None:
                found.append(container)
        return sorted(found, key=lambda container: container.created, reverse=True)

    def sound(self, damaged: Callable[[StoreError], None] = lambda error: None) -> list[Container]:
        """As ``all``, without those whose record is damaged, of which ``damaged`` is told."""
        ids = self._ids()
        names = self.names(ids)
        known = record.Known()
        read = (self.read(identity, names.get(identity, ()), known, damaged) for identity in ids)
        found = [container for container in read if container is not None]
        return sorted(found, key=lambda container: container.created, reverse=True)

    def read(
        self,
        identity: str,
        names: tuple[str, ...],
        known: record.Known,
        damaged: Callable[[StoreError], None],
    ) -> Container | None:
        """One of ``ids`` by its record; None where it is gone, or ``damaged`` is told why."""
        try:
            container = self._read(identity, names, known)
            if container is None and os.path.isdir(self.path(identity)):
                raise record.damage(self.path(identity), identity)
        except StoreError as error:
            damaged(error)
            return None
        return container

    def called(self) -> list[tuple[str, str]]:
        """Every container, damaged or not: its id, and a name or the beginning of the id."""
        names = self._names_by_id()
        return [(identity, names.get(identity, (identity[:12],))[0]) for identity in self._ids()]

    def ids(self) -> list[str]:
        """All ids, also of containers that are damaged."""
        return self._ids()

    def names(self, ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The names that each of ``ids``, all there are, has."""
        return self._names_by_id(frozenset(ids))

    def damaged(self) -> list[str]:
        """The ids of containers whose record cannot be read: nobody knows what they need."""
        sound = {container.id for container in self.sound()}
        return [identity for identity in self._ids() if identity not in sound]

    def dangling(self) -> list[str]:
        """Names whose container is gone."""
        try:
            names = sorted(os.listdir(self._names))
        except FileNotFoundError:
            return []
        return [name for name in names if not name.startswith(".") and not self._owner(name)]

    def is_dangling(self, name: str) -> bool:
        """Whether the container of a name is gone, and not just coming or going. Raises OSError."""
        with self._naming():
            return os.path.lexists(f"{self._names}/{name}") and self._owner(name) is None

    def remove_dangling(self, name: str) -> None:
        """Remove a name unless a container has it. Raises StoreError."""
        with store_errors("removing the name"), self._naming():
            if self._owner(name) is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._names}/{name}")

    def find(self, text: str, least: int = 1) -> Container | None:
        """The container with that name, id, or unambiguous beginning of an id.

        ``least``: digits that a beginning must have, where ``text`` may be an image as well.
        """
        identity = self._resolve(text, least)
        if identity is None:
            return None
        return self._read(identity, self._names_of(identity))

    def get(self, text: str) -> Container:
        """As ``find``; raises ContainerNotFound."""
        container = self.find(text)
        if container is None:
            raise ContainerNotFound(f"no such container: {text}", hint="udocker ps lists them")
        return container

    def update(self, container: Container) -> None:
        """Write what has changed of a container. Raises StoreError."""
        with store_errors("changing the container"):
            record.write(f"{container.path}/container.json", container)

    def remove(
        self, text: str, force: bool = False, runs: Callable[[str], bool] = lambda path: False
    ) -> None:
        """Remove the container that ``text`` means, also one whose record is damaged.

        ``force``: also one that is in use. ``runs`` tells whether something that no mark tells of
        runs in the container at a path. Raises ContainerInUse, ContainerNotFound, StoreError.
        """
        identity = self._resolve(text, 1)
        if identity is None or not os.path.isdir(self.path(identity)):
            raise ContainerNotFound(f"no such container: {text}", hint="udocker ps lists them")
        if not force:
            users.check_unused(self.path(identity), text, runs)
        self.delete(identity, force)

    def delete(self, identity: str, force: bool = True) -> None:
        """Remove a container, its names and everything it wrote.

        Raises ContainerInUse unless ``force``, ContainerNotFound, StoreError.
        """
        with store_errors("removing the container"):
            if os.path.exists(f"{self.path(identity)}/{RANGES}"):
                from udocker import away

                away.check(self.path(identity))  # before anything is taken away
            os.makedirs(self._temporary, exist_ok=True)
            aside = f"{self._temporary}/{files.temporary_name()}"
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):  # on a full disk things can go without it
                    stack.enter_context(self._naming())
                self._take_away(identity, aside, force)
            remove_container(aside)

    def _take_away(self, identity: str, aside: str, force: bool) -> None:
        names = self._names_of(identity)
        try:
            os.rename(self.path(identity), aside)
        except FileNotFoundError:
            raise ContainerNotFound(
                f"no such container: {identity[:12]}", hint="udocker ps lists them"
            ) from None
        if not force:
            try:
                users.check_unused(aside, identity[:12])  # it may have begun just now
            except ContainerInUse:
                os.rename(aside, self.path(identity))
                raise
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._names}/{name}")

    def check_name(self, name: str) -> None:
        """Raise NameInUse or UsageError unless a container can be given ``name``."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"not a container name: {name!r}", hint="letters, digits, and then also _ . -"
            )
        if _ID.fullmatch(name):
            raise UsageError(f"not a container name: {name!r}", hint="it looks like a container id")
        owner = self._owner(name)
        if owner is not None:
            raise NameInUse(
                f"the name {name!r} is taken by container {owner[:12]}",
                hint=f"udocker rm {name}, or choose another name",
            )

    def add_name(self, container: Container, name: str) -> None:
        """Give one more name. Raises NameInUse, UsageError, StoreError."""
        with store_errors("naming the container"), self._naming():
            self._claim(name, container.id)

    def remove_name(self, name: str) -> None:
        """Raises ContainerNotFound, StoreError."""
        self._check_taken(name)
        with store_errors("removing the name"):
            os.unlink(f"{self._names}/{name}")

    def rename(self, old: str, new: str) -> None:
        """Replace a name. Raises ContainerNotFound, NameInUse, UsageError, StoreError."""
        self._check_taken(old)
        with store_errors("renaming the container"), self._naming():
            self.check_name(new)
            os.rename(f"{self._names}/{old}", f"{self._names}/{new}")

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Only one process at a time gives names, or removes a container. Raises OSError."""
        os.makedirs(os.path.dirname(self._lock), exist_ok=True)
        with leases.lease(self._lock):
            yield

    def _check_taken(self, name: str) -> None:
        if not _NAME.fullmatch(name) or self._owner(name) is None:
            raise ContainerNotFound(f"no container has the name {name!r}", hint="udocker ps")

    def _claim(self, name: str, identity: str) -> None:
        """Under the lease: a name whose container is gone is free."""
        self.check_name(name)
        os.makedirs(self._names, exist_ok=True)
        os.makedirs(self._temporary, exist_ok=True)
        temporary = f"{self._temporary}/{files.temporary_name()}"
        os.symlink(identity, temporary)
        try:
            os.rename(temporary, f"{self._names}/{name}")
        except OSError:
            os.unlink(temporary)
            raise

    def _owner(self, name: str, ids: Collection[str] | None = None) -> str | None:
        try:
            identity = os.readlink(f"{self._names}/{name}")
        except OSError:
            return None
        if ids is not None and identity in ids:
            return identity
        alive = _ID.fullmatch(identity) and os.path.isdir(self.path(identity))
        return identity if alive else None

    def _resolve(self, text: str, least: int) -> str | None:
        if _NAME.fullmatch(text):
            owner = self._owner(text)
            if owner is not None:
                return owner
        if _ID.fullmatch(text):
            return text
        if len(text) < least or not _PREFIX.fullmatch(text):
            return None
        matches = [identity for identity in self._ids() if identity.startswith(text)]
        if len(matches) > 1:
            raise ContainerNotFound(
                f"{text} is the beginning of several container ids", hint="give more digits of it"
            )
        return matches[0] if matches else None

    def _ids(self) -> list[str]:
        try:
            return [name for name in sorted(os.listdir(self._directory)) if _ID.fullmatch(name)]
        except FileNotFoundError:
            return []

    def _names_by_id(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, ...]]:
        """``ids``: of all containers, where they are known; else each name is looked up."""
        names: dict[str, tuple[str, ...]] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._names)):
                owner = self._owner(name, ids)
                if owner is not None and not name.startswith("."):
                    names[owner] = (*names.get(owner, ()), name)
        return names

    def _names_of(self, identity: str) -> tuple[str, ...]:
        return self._names_by_id().get(identity, ())

    def _read(
        self,
        identity: str,
        names: tuple[str, ...],
        known: record.Known | None = None,
    ) -> Container | None:
        return record.read(self.path(identity), identity, names, known)


def _removed(container: Container) -> ContainerNotFound:
    return ContainerNotFound(
        f"container {container.short_id} has just been removed", hint="udocker ps lists them"
    )
