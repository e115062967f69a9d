"""Named volumes: directories of the store that outlive containers."""

from __future__ import annotations

import json
import os

from udocker import files
from udocker.errors import StoreError, UdockerError
from udocker.files import store_errors
from udocker.model.moment import now
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

_RECORD = "volume.json"


class VolumeNotFound(UdockerError):
    """No such volume in the store."""


@value
class StoredVolume:
    """A volume, and where its files are."""

    name: str
    path: str  # absolute; the files themselves
    created: str  # ISO 8601, UTC
    labels: tuple[tuple[str, str], ...] = ()


class Volumes:
    """``volumes/<name>/`` with volume.json and _data.

    ``temporary`` gives a directory in which something is made before it is renamed into place.
    """

    def __init__(self, topdir: str, temporary: Callable[[], AbstractContextManager[str]]) -> None:
        self._directory = f"{topdir}/volumes"
        self._temporary = temporary

    def find(self, name: str) -> StoredVolume | None:
        """The volume of that name; None: there is none. Raises StoreError."""
        path = f"{self._directory}/{name}"
        try:
            with open(f"{path}/{_RECORD}", "rb") as stream:
                data = json.loads(stream.read())
            labels = tuple((str(key), str(text)) for key, text in data["labels"].items())
            return StoredVolume(name, f"{path}/_data", str(data["created"]), labels)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise files.translate(error, "reading the volume") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"the record of volume {name} is damaged: {path}/{_RECORD}",
                hint=f"its files are in {path}/_data; udocker volume rm {name} removes them",
            ) from error

    def get(self, name: str) -> StoredVolume:
        """As ``find``; raises VolumeNotFound."""
        found = self.find(name)
        if found is None:
            raise VolumeNotFound(f"no such volume: {name}", hint="udocker volume ls lists them")
        return found

    def create(self, name: str, labels: tuple[tuple[str, str], ...] = ()) -> StoredVolume:
        """A new, empty volume, or the one that is there. Raises StoreError."""
        found = self.find(name)
        if found is not None:
            return found
        record = {"created": now(), "labels": dict(labels)}
        with self._temporary() as directory, store_errors("making the volume"):
            os.mkdir(f"{directory}/_data")
            os.chmod(f"{directory}/_data", 0o755)
            text = json.dumps(record, indent=2, sort_keys=True) + "\n"
            files.write_atomic(f"{directory}/{_RECORD}", text.encode())
            os.makedirs(self._directory, exist_ok=True)
            try:
                os.rename(directory, f"{self._directory}/{name}")
            except OSError:
                if self.find(name) is None:  # else another process was faster
                    raise
        return self.get(name)

    def fill(self, volume: StoredVolume, source: str) -> None:
        """Copy what is in ``source`` into an empty volume, all at once. Raises StoreError."""
        import shutil

        with self._temporary() as directory, store_errors("filling the volume"):
            made = f"{directory}/_data"
            try:
                shutil.copytree(source, made, symlinks=True)
            except shutil.Error as error:
                raise StoreError(
                    f"cannot copy what the image has to volume {volume.name}: {error.args[0][0][2]}"
                ) from error
            if not os.listdir(volume.path):
                os.rename(made, volume.path)  # fails if it is not empty any more

    def names(self) -> list[str]:
        """All of them, damaged or not."""
        try:
            return sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []

    def all(self) -> list[StoredVolume]:
        """Every volume, by name. Raises StoreError."""
        found = (self.find(name) for name in self.names())
        return [volume for volume in found if volume is not None]

    def remove(self, name: str) -> None:
        """With all files. Raises VolumeNotFound, StoreError."""
        path = f"{self._directory}/{name}"
        if not os.path.isdir(path):
            raise VolumeNotFound(f"no such volume: {name}", hint="udocker volume ls lists them")
        with self._temporary() as directory, store_errors("removing the volume"):
            os.rename(path, f"{directory}/gone")
            files.remove_tree(f"{directory}/gone")
