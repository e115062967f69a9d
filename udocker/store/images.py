"""References to images: which manifest a name means here."""

from __future__ import annotations

import contextlib
import json
import os

from udocker import files
from udocker.errors import BadReference, StoreError
from udocker.files import store_errors, translate
from udocker.model.reference import Digest, Reference
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@value
class ImageRecord:
    """An image in the store."""

    reference: str  # canonical
    manifest: Digest
    index: Digest | None  # of the index it was chosen from
    platform: str
    config: Digest  # the image id
    chain_id: Digest  # names its tree
    created: str  # when it came here: ISO 8601, UTC


class Images:
    """``images/<registry>/<repository>/_tags/<tag>`` or ``_digests/<hex>``, one file a reference.

    No part of a repository may begin with an underscore, so the two never meet. What is missing is
    looked for in ``others``, which are only read.
    """

    def __init__(self, directory: str, temporary: str = "", others: Sequence[Images] = ()) -> None:
        self._others = tuple(others)
        self._directory = directory
        self._temporary = temporary

    def get(self, reference: Reference) -> ImageRecord | None:
        """What ``reference`` means. Raises StoreError when the record is damaged."""
        own = self.own(reference)
        return self.elsewhere(reference) if own is None else own

    def own(self, reference: Reference) -> ImageRecord | None:
        """As ``get``, in this store alone."""
        return self._read(self.path(reference))

    def elsewhere(self, reference: Reference) -> ImageRecord | None:
        """As ``get``, in the other stores alone."""
        for other in self._others:
            with contextlib.suppress(StoreError):  # as if it were not there
                record = other.get(reference)
                if record is not None:
                    return record
        return None

    def put(self, reference: Reference, record: ImageRecord) -> None:
        """Make ``reference`` mean ``record``. Raises StoreError."""
        data = {
            "reference": record.reference,
            "manifest": str(record.manifest),
            "index": str(record.index) if record.index else None,
            "platform": record.platform,
            "config": str(record.config),
            "chainId": str(record.chain_id),
            "created": record.created,
        }
        with store_errors("storing the image"):
            text = json.dumps(data, indent=2, sort_keys=True) + "\n"
            files.write_atomic(self.path(reference), text.encode(), aside=self._temporary)

    def remove(self, reference: Reference) -> bool:
        """Forget ``reference``; False when it was not known. Raises StoreError."""
        path = self.path(reference)
        with store_errors("removing the image"):
            try:
                os.unlink(path)
            except FileNotFoundError:
                return False
        self._remove_empty(os.path.dirname(path))
        return True

    def all(self) -> Iterator[ImageRecord]:
        """Every image of this store, by name. Raises StoreError when a record is damaged."""
        for path in self.paths():
            record = self._read(path)
            if record is not None:
                yield record

    def sound(
        self, damaged: Callable[[StoreError], None] = lambda error: None
    ) -> Iterator[ImageRecord]:
        """As ``all``, without those whose record is damaged, of which ``damaged`` is told."""
        for path in self.paths():
            try:
                record = self._read(path)
            except StoreError as error:
                damaged(error)
            else:
                if record is not None:
                    yield record

    def everywhere(
        self, damaged: Callable[[StoreError], None] = lambda error: None
    ) -> Iterator[ImageRecord]:
        """Every image that ``get`` finds: first those of this store, of which ``sound`` tells."""
        seen = set()
        for record in self.sound(damaged):
            seen.add(record.reference)
            yield record
        for other in self._others:
            with contextlib.suppress(StoreError):
                for record in other.all():
                    if record.reference not in seen:
                        seen.add(record.reference)
                        yield record

    def paths(self) -> Iterator[str]:
        """The files of all records, readable or not. Raises StoreError."""
        for folder, folders, names in os.walk(self._directory, onerror=_refuse):
            folders.sort()
            if os.path.basename(folder) in ("_tags", "_digests"):
                # A tag begins with no dot; what is being written does.
                yield from (f"{folder}/{name}" for name in sorted(names) if name[0] != ".")

    def read(self, path: str) -> ImageRecord | None:
        """The record in a file of ``paths``; None when it is gone. Raises StoreError."""
        return self._read(path)

    def path(self, reference: Reference) -> str:
        """The file that says what ``reference`` means."""
        if reference.digest is not None:
            last = f"_digests/{reference.digest.algorithm}-{reference.digest.hex}"
        else:
            last = f"_tags/{reference.tag}"
        return f"{self._directory}/{reference.registry}/{reference.repository}/{last}"

    def _remove_empty(self, folder: str) -> None:
        with contextlib.suppress(OSError):
            while folder != self._directory:
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    def _read(self, path: str) -> ImageRecord | None:
        try:
            with store_errors("reading the store"), open(path, "rb") as stream:
                data = json.loads(stream.read())
            return ImageRecord(
                reference=data["reference"],
                manifest=Digest.parse(data["manifest"]),
                index=Digest.parse(data["index"]) if data["index"] else None,
                platform=data["platform"],
                config=Digest.parse(data["config"]),
                chain_id=Digest.parse(data["chainId"]),
                created=data["created"],
            )
        except StoreError as error:
            if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
                return None
            raise
        except (ValueError, KeyError, TypeError, AttributeError, BadReference) as error:
            raise StoreError(
                f"the image record {path} is damaged", hint="remove that file and pull again"
            ) from error


def _refuse(error: OSError) -> None:
    """Not to list what cannot be read would say that it is not there."""
    if not isinstance(error, FileNotFoundError):
        raise translate(error, "reading the store") from error
