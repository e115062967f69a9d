"""An image into a registry: its layers, several at once, its configuration, its manifest last.

Of several platforms each image goes by its digest, and an index of them is what the tag means.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time

from udocker.errors import ForbiddenError, UnauthorizedError, VerificationError
from udocker.model.oci import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from udocker.model.reference import Digest
from udocker.registry.http import Content, Request
from udocker.registry.outgoing import Source
from udocker.registry.replies import LoginWithheld
from udocker.registry.upload import Repository, Upload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Union

    from udocker.model.oci import Descriptor, Manifest
    from udocker.registry.api import Api
    from udocker.registry.mirrors import Place
    from udocker.registry.outgoing import Outgoing

    Outcome = Union[str, BaseException]

THREAD = "push"  # what those that send layers are called
_LEAVE_TIME = 1.0  # seconds that they have to notice that it is over


class _Over(Exception):
    """Another thread has failed."""


class Publisher:
    """Pushes ``image`` to ``place``; ``advance`` is told of bytes that are there."""

    def __init__(
        self, api: Api, place: Place, image: Outgoing, advance: Callable[[int], None]
    ) -> None:
        self._repository = Repository(api, place)
        self._jobs = api.settings.jobs
        self._image = image
        self._advance = advance
        self._over = threading.Event()

    def run(self, name: str) -> list[str]:
        """Push all of it, and let ``name``, a tag or its digest, mean it; what was done for each
        blob.

        On a failure the registry has no new manifest. Raises RegistryError, and what reading a
        blob raises.
        """
        with _asking_for_login(self._repository):
            self._repository.api.endpoint(self._repository.place)
            done = [*self._parallel(self._image.layers), self._upload(self._image.manifest.config)]
            manifest = self._image.manifest
            _put_manifest(self._repository, name, manifest.raw, media_type(manifest))
        return done

    def _upload(self, blob: Descriptor) -> str:
        source = Source(blob, self._image.open, self._advance)
        with contextlib.closing(source):
            other = self._image.sources.get(blob.digest, "")
            return Upload(self._repository, source, self._check).run(other)

    def _check(self) -> None:
        if self._over.is_set():
            raise _Over

    def _parallel(self, blobs: Sequence[Descriptor]) -> list[str]:
        """``_upload`` of each; the first failure is raised and ends the others."""
        waiting: queue.SimpleQueue[Descriptor] = queue.SimpleQueue()
        ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        for blob in blobs:
            waiting.put(blob)
        # They may wait for a peer that is silent: what ends us must not wait for them.
        threads = [
            threading.Thread(target=self._work, args=(waiting, ended), name=THREAD, daemon=True)
            for _ in range(min(self._jobs, len(blobs)))
        ]
        for thread in threads:
            thread.start()
        try:
            return [_result(ended.get()) for _ in blobs]
        except BaseException:
            self._over.set()
            raise
        finally:
            end = time.monotonic() + _LEAVE_TIME
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))

    def _work(
        self, waiting: queue.SimpleQueue[Descriptor], ended: queue.SimpleQueue[Outcome]
    ) -> None:
        while True:
            try:
                blob = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                ended.put(self._upload(blob))
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                ended.put(error)
                return


def publish_index(api: Api, place: Place, raw: bytes, tag: str) -> None:
    """Let ``tag`` mean an index whose manifests are there. Raises RegistryError,
    VerificationError."""
    repository = Repository(api, place)
    with _asking_for_login(repository):
        _put_manifest(repository, tag, raw, OCI_INDEX)


@contextlib.contextmanager
def _asking_for_login(repository: Repository) -> Iterator[None]:
    """Who may not push is told how to become somebody who may."""
    try:
        yield
    except LoginWithheld:
        raise
    except (UnauthorizedError, ForbiddenError) as error:
        hint = f"udocker login {repository.place.registry}, as a user who may push to this name"
        raise type(error)(error.message, hint=hint) from error


def _put_manifest(repository: Repository, name: str, raw: bytes, kind: str) -> None:
    url = repository.url(f"manifests/{name}")
    request = Request(url, (("Content-Type", kind),), method="PUT", content=Content.of(raw))
    reply = repository.send(request)
    separator = "@" if ":" in name else ":"
    what = f"pushing the manifest of {repository.place}{separator}{name}"
    if reply.status not in (200, 201, 202, 204):
        raise repository.failure(reply, what)
    told, digest = reply.headers.get("docker-content-digest", "").strip(), Digest.of(raw)
    if told and told != str(digest):
        raise VerificationError(
            f"{what}: {reply.host} has stored another one than {digest}",
            hint="the registry, or a proxy before it, changes what is pushed",
        )


def media_type(manifest: Manifest) -> str:
    """What the manifest says of itself; one that says nothing is OCI's."""
    import json

    stated = json.loads(manifest.raw).get("mediaType")
    known = (OCI_MANIFEST, DOCKER_MANIFEST)
    return stated if stated in known else manifest.media_type or OCI_MANIFEST


def _result(outcome: Outcome) -> str:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
