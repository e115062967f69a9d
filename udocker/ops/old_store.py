"""A store of udocker 1.3, read: repos/, layers/ and containers/ as they lie there.

Nothing is written. Symbolic links of the store are taken by the names they end in: a store that was
moved is still read, and none leads out of it.
"""

from __future__ import annotations

import json
import os
import re

from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DOCUMENT_LIMIT = 4 << 20  # bytes
_V1_LAYER = ".layer"


@value
class OldImage:
    """An image: its name with the tag, and the directory of the tag."""

    name: str
    path: str
    is_protected: bool

    @property
    def is_v2(self) -> bool:
        return os.path.exists(f"{self.path}/manifest")


@value
class OldContainer:
    """A container, and its names."""

    id: str  # a UUID, with dashes
    path: str
    names: tuple[str, ...]
    image: str
    mode: str
    is_protected: bool

    @property
    def root(self) -> str:
        return f"{self.path}/ROOT"


def is_there(top: str) -> bool:
    """Whether ``top`` has a store of udocker 1.3."""
    return os.path.isdir(f"{top}/repos") and os.path.isdir(f"{top}/layers")


def images(top: str) -> Iterator[OldImage]:
    """All images, by name: directories with a TAG file."""
    repos = f"{top}/repos"
    for folder, folders, names in os.walk(repos):
        folders.sort()
        if "TAG" in names:
            repository, _, tag = os.path.relpath(folder, repos).rpartition("/")
            yield OldImage(f"{repository}:{tag}", folder, "PROTECT" in names)


def containers(top: str) -> Iterator[OldContainer]:
    """All containers: directories named by a UUID."""
    place = f"{top}/containers"
    try:
        entries = sorted(os.listdir(place))
    except OSError:
        return
    names: dict[str, list[str]] = {}
    for entry in entries:
        if os.path.islink(f"{place}/{entry}"):
            target = os.path.basename(os.readlink(f"{place}/{entry}"))
            names.setdefault(target, []).append(entry)
    for entry in entries:
        path = f"{place}/{entry}"
        if _UUID.fullmatch(entry) and os.path.isdir(path) and not os.path.islink(path):
            yield OldContainer(
                id=entry,
                path=path,
                names=tuple(names.get(entry, ())),
                image=text(f"{path}/imagerepo.name"),
                mode=text(f"{path}/execmode"),
                is_protected=os.path.exists(f"{path}/PROTECT"),
            )


def text(path: str) -> str:
    """A small file of one line; "" where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(_DOCUMENT_LIMIT).strip()
    except OSError:
        return ""


def document(path: str) -> Any:
    """A JSON document. Raises OSError, ValueError."""
    with open(path, "rb") as stream:
        return json.loads(stream.read(_DOCUMENT_LIMIT))


def blob(top: str, digest: str) -> str:
    """Where the blob lies that a v2 manifest names."""
    return f"{top}/layers/{os.path.basename(digest)}"


def v1_layers(top: str, image: OldImage) -> list[str]:
    """The layers of an image of the v1 form, the lowest first. Raises OSError, ValueError."""
    ancestry = document(f"{image.path}/ancestry")
    if not isinstance(ancestry, list):
        raise ValueError("its ancestry is not a list")
    found = []
    for identity in reversed(ancestry):
        path = f"{top}/layers/{os.path.basename(str(identity)).removesuffix(_V1_LAYER)}{_V1_LAYER}"
        if os.path.isfile(path):
            found.append(path)
    if not found:
        raise ValueError("it has no layers")
    return found


def v1_config(top: str, image: OldImage) -> dict[str, Any]:
    """The configuration of an image of the v1 form. Raises OSError, ValueError."""
    path = f"{image.path}/container.json"
    if not os.path.exists(path) and os.path.islink(path):
        path = f"{top}/layers/{os.path.basename(os.readlink(path))}"
    if not os.path.exists(path):
        ancestry = document(f"{image.path}/ancestry")
        path = f"{top}/layers/{os.path.basename(str(ancestry[0]))}.json"
    found = document(path)
    if not isinstance(found, dict):
        raise ValueError("its configuration is not an object")
    return found
