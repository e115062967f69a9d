"""Containers: an upper directory over an image's tree, or a directory of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re

from udocker import files, leases
from udocker.errors import (
    BadReference,
    BadReplyError,
    ContainerNotFound,
    NameInUse,
    StoreError,
    UsageError,
)
from udocker.files import store_errors
from udocker.model.container import UNION, Container
from udocker.model.oci import ImageConfig
from udocker.model.reference import Digest
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ID = re.compile(r"[0-9a-f]{32}")
_REMOVE = "remove-after-run"
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, BadReference, BadReplyError)
_PREFIX = re.compile(r"[0-9a-f]{1,32}")


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
        self, directory: str, container: Container, name: str | None, remove: bool = False
    ) -> Container:
        """Make ``container`` from the empty ``directory``, which is renamed into place.

        ``remove``: a sweep may remove it once nobody holds it. Raises NameInUse, UsageError,
        StoreError; then nothing is visible.
        """
        with store_errors("creating the container"):
            if container.form == UNION:
                os.mkdir(f"{directory}/upper", 0o755)
                os.mkdir(f"{directory}/work", 0o700)
                os.mkdir(f"{directory}/ROOT", 0o755)
            if remove:
                files.write_atomic(f"{directory}/{_REMOVE}", b"")
            files.write_atomic(f"{directory}/config.json", container.config.raw)
            files.write_atomic(f"{directory}/container.json", _encode(container))
            os.makedirs(self._directory, exist_ok=True)
            with leases.lease(self._lock):
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

    def hold(self, container: Container) -> None:
        """Keep sweeps away from a container of ``remove`` until this process ends.

        Raises StoreError.
        """
        # Another process that runs it holds it already, and removes it.
        with store_errors("using the container"), contextlib.suppress(BlockingIOError):
            files.lock_entry(container.path)

    def sweep(self) -> None:
        """Remove the containers of ``remove`` whose processes are gone. Never fails."""
        for identity in self._ids():
            path = self.path(identity)
            with contextlib.suppress(OSError, StoreError):
                if os.path.exists(f"{path}/{_REMOVE}") and files.is_left_behind(path):
                    self.delete(identity)

    def all(self) -> list[Container]:
        """Every container, the newest first."""
        names = self._names_by_id()
        found = []
        for identity in self._ids():
            container = self._read(identity, names.get(identity, ()))
            if container is not None:
                found.append(container)
        return sorted(found, key=lambda container: container.created, reverse=True)

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
            files.write_atomic(f"{container.path}/container.json", _encode(container))

    def remove(self, text: str) -> None:
        """Remove the container that ``text`` means, also one whose record is damaged.

        Raises ContainerNotFound, StoreError.
        """
        identity = self._resolve(text, 1)
        if identity is None or not os.path.isdir(self.path(identity)):
            raise ContainerNotFound(f"no such container: {text}", hint="udocker ps lists them")
        self.delete(identity)

    def delete(self, identity: str) -> None:
        """Remove a container, its names and everything it wrote. Raises StoreError."""
        with store_errors("removing the container"):
            names = self._names_of(identity)
            os.makedirs(self._temporary, exist_ok=True)
            aside = f"{self._temporary}/{files.temporary_name()}"
            os.rename(self.path(identity), aside)
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._names}/{name}")
            files.remove_tree(aside)

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
        with store_errors("naming the container"), leases.lease(self._lock):
            self._claim(name, container.id)

    def remove_name(self, name: str) -> None:
        """Raises ContainerNotFound, StoreError."""
        self._check_taken(name)
        with store_errors("removing the name"):
            os.unlink(f"{self._names}/{name}")

    def rename(self, old: str, new: str) -> None:
        """Replace a name. Raises ContainerNotFound, NameInUse, UsageError, StoreError."""
        self._check_taken(old)
        with store_errors("renaming the container"), leases.lease(self._lock):
            self.check_name(new)
            os.rename(f"{self._names}/{old}", f"{self._names}/{new}")

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

    def _owner(self, name: str) -> str | None:
        try:
            identity = os.readlink(f"{self._names}/{name}")
        except OSError:
            return None
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

    def _names_by_id(self) -> dict[str, tuple[str, ...]]:
        names: dict[str, tuple[str, ...]] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._names)):
                owner = self._owner(name)
                if owner is not None and not name.startswith("."):
                    names[owner] = (*names.get(owner, ()), name)
        return names

    def _names_of(self, identity: str) -> tuple[str, ...]:
        return self._names_by_id().get(identity, ())

    def _read(self, identity: str, names: tuple[str, ...]) -> Container | None:
        path = self.path(identity)
        try:
            with open(f"{path}/container.json", "rb") as stream:
                data = json.loads(stream.read())
            with open(f"{path}/config.json", "rb") as stream:
                config = ImageConfig.parse(stream.read(), f"container {identity[:12]}")
            return Container(
                id=identity,
                path=path,
                image=data["image"],
                manifest=Digest.parse(data["manifest"]),
                tree=data["tree"],
                config=config,
                created=data["created"],
                form=data["form"],
                mode=data["mode"],
                names=names,
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise files.translate(error, "reading the container") from error
        except _DAMAGE as error:
            raise StoreError(
                f"container {identity[:12]} is damaged: {path}/container.json",
                hint=f"udocker rm {identity[:12]}",
            ) from error


def _encode(container: Container) -> bytes:
    data = {
        "image": container.image,
        "manifest": str(container.manifest),
        "tree": container.tree,
        "created": container.created,
        "form": container.form,
        "mode": container.mode,
    }
    return (json.dumps(data, indent=2, sort_keys=True) + "\n").encode()
