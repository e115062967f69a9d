"""Registries as a source of images: names are resolved, layers fetched, mirrors tried first."""

from __future__ import annotations

import contextlib

from udocker.errors import NoMatchingPlatform, NotFoundError, RegistryError, VerificationError
from udocker.registry.address import check_host
from udocker.registry.api import Api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from udocker.errors import UdockerError
    from udocker.model.image import BlobSink
    from udocker.model.oci import Descriptor, Platform
    from udocker.model.reference import Digest, Reference
    from udocker.registry.credential import Credential
    from udocker.registry.http import Settings
    from udocker.registry.logins import Logins
    from udocker.registry.mirrors import Mirrors, Place
    from udocker.registry.outgoing import Outgoing
    from udocker.registry.resolve import RemoteImage
    from udocker.registry.search import Found, Search
    from udocker.report import Reporter


class Registry:
    """All registries, through one client: each reference says which one it means."""

    def __init__(
        self, settings: Settings, logins: Logins, mirrors: Mirrors, report: Reporter
    ) -> None:
        self._api = Api(settings, logins, report)
        self._mirrors = mirrors
        self._report = report
        self._last: dict[str, Sequence[Place]] = {}  # the places that are left, by reference

    def check_login(self, registry: str, credential: Credential) -> bool:
        """Show ``credential`` to ``registry``; False when that asks nobody who he is.

        Raises UnauthorizedError when it is refused, and other RegistryErrors.
        """
        check_host(registry)
        try:
            return self._api.check_login(self._mirrors.server(registry), credential)
        finally:
            self._api.close()

    def search(self, registry: str, term: str, limit: int) -> list[Found]:
        """At most ``limit`` repositories of ``registry`` that fit. Raises RegistryError."""
        with self._searching(self._mirrors.server(registry)) as search:
            return search.repositories(term, limit)

    def search_index(self, host: str, path: str, term: str, limit: int) -> list[Found]:
        """The same of an index like Docker Hub's, below ``path`` of ``host``."""
        with self._searching(self._mirrors.server(host)) as search:
            return search.index(path, term, limit)

    def tags(self, reference: Reference) -> list[str]:
        """The tags in ``reference``'s repository, from the registry itself and no mirror.

        Raises RegistryError.
        """
        with self._searching(self._mirrors.places(reference)[-1]) as search:
            return list(search.tags())

    @contextlib.contextmanager
    def _searching(self, place: Place) -> Iterator[Search]:
        from udocker.registry.search import Search

        check_host(place.registry)
        try:
            yield Search(self._api, place)
        finally:
            self._api.close()

    def push(
        self, reference: Reference, image: Outgoing, advance: Callable[[int], None]
    ) -> list[str]:
        """Make ``reference``, which has a tag, mean ``image`` in its registry.

        What was done for each blob: see ``Upload.run``. Blobs that are there are not sent; on a
        failure the registry has no new manifest. Raises BadReference, ConfigError, RegistryError,
        VerificationError, and what ``image.open`` raises.
        """
        from udocker.registry.push import Publisher

        place = self._mirrors.destination(reference)
        check_host(place.registry)
        try:
            return Publisher(self._api, place, image, advance).run(str(reference.tag))
        finally:
            self._api.close()

    def push_index(
        self,
        reference: Reference,
        images: Sequence[Outgoing],
        raw: bytes,
        advance: Callable[[int], None],
    ) -> list[str]:
        """Make ``reference``, which has a tag, mean the index ``raw`` of ``images``.

        As ``push``; on a failure the tag means what it meant.
        """
        from udocker.registry.push import Publisher, publish_index

        place = self._mirrors.destination(reference)
        check_host(place.registry)
        done: list[str] = []
        try:
            for image in images:
                digest = str(image.manifest.digest)
                done += Publisher(self._api, place, image, advance).run(digest)
            publish_index(self._api, place, raw, str(reference.tag))
        finally:
            self._api.close()
        return done

    def document(self, reference: Reference, platform: Platform | None = None) -> bytes:
        """What the registry itself, and no mirror, has by that name: an index, a manifest.

        With a ``platform`` the manifest for that. Raises BadReference, ConfigError,
        RegistryError, VerificationError, NoMatchingPlatform.
        """
        from udocker.registry.resolve import Documents, Resolver

        place = self._mirrors.places(reference)[-1]
        check_host(place.registry)
        try:
            if platform is not None:
                return Resolver(self._api, place, reference, platform).manifest().raw
            documents = Documents(self._api, place, reference)
            return documents.fetch(reference.selector, reference.digest, str(reference)).body
        finally:
            self._api.close()

    def resolve(
        self,
        reference: Reference,
        platform: Platform,
        known: Callable[[Digest], bytes | None] = lambda digest: None,
    ) -> RemoteImage:
        """Fetch the manifest and the configuration that ``reference`` has for ``platform``.

        A reference to a single manifest gives that, whatever its architecture. A mirror that has
        not what is asked for, or fails, is passed over. ``known`` gives documents that need not be
        fetched: verified bytes by digest, or None. Raises BadReference, ConfigError,
        RegistryError, VerificationError, NoMatchingPlatform.
        """
        places = self._mirrors.places(reference)
        try:
            for number, place in enumerate(places):
                try:
                    found = self._resolve_at(place, reference, platform, known)
                except (RegistryError, VerificationError, NoMatchingPlatform) as error:
                    if place is places[-1]:
                        raise
                    self._tell(place, error)
                else:
                    self._last[reference.canonical] = places[number:]
                    if place.registry != reference.registry:
                        self._report.info(f"{reference} comes from {place}")
                    return found
            raise AssertionError("there is always a place to ask")
        finally:
            self._api.close()

    def download(
        self,
        reference: Reference,
        descriptors: Sequence[Descriptor],
        sink_factory: Callable[[Descriptor], BlobSink],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Fetch blobs of ``reference``'s repository, several at once, each into a sink of its own.

        They are asked for where the image was found, and then at the places after that. A sink is
        committed when its blob is complete. On a failure those that were committed stay and the
        others are aborted. ``check`` is called at least once a second. Raises RegistryError,
        VerificationError, and what a sink or ``check`` raises.
        """
        from udocker.registry.transfer import Transfer

        places = self._last.get(reference.canonical) or self._mirrors.places(reference)
        try:
            Transfer(self._api, reference, places, sink_factory, check).run(descriptors)
        finally:
            self._api.close()

    def _resolve_at(
        self,
        place: Place,
        reference: Reference,
        platform: Platform,
        known: Callable[[Digest], bytes | None],
    ) -> RemoteImage:
        from udocker.registry.resolve import Resolver

        check_host(place.registry)
        return Resolver(self._api, place, reference, platform, known).resolve()

    def _tell(self, mirror: Place, error: UdockerError) -> None:
        """A mirror need not have everything; what else is wrong is worth a warning."""
        tell = self._report.info if isinstance(error, NotFoundError) else self._report.warn
        tell(f"mirror {mirror.registry}: {error.message}")
