"""What a name stands for in one registry, every document of it verified."""

from __future__ import annotations

from udocker.errors import BadReplyError, NoMatchingPlatform, VerificationError
from udocker.model.oci import INDEX_TYPES, ImageConfig, Index, Manifest
from udocker.model.reference import Digest
from udocker.model.value import value
from udocker.registry.documents import ACCEPT, parse_document, verify, verify_header
from udocker.registry.http import DOCUMENT_LIMIT
from udocker.registry.replies import failure, no_such_image, not_a_registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from udocker.model.oci import Descriptor, Platform
    from udocker.model.reference import Reference
    from udocker.registry.api import Api
    from udocker.registry.documents import Document
    from udocker.registry.mirrors import Place
    from udocker.registry.replies import Reply

_MAX_DEPTH = 3  # of indexes in indexes
_MAX_NESTED = 8  # indexes of one image that are looked into


@value
class RemoteImage:
    """What a reference stands for now."""

    manifest: Manifest
    config: ImageConfig  # its platform is the image's own word
    digest: Digest  # of the document that the reference names: an index or the manifest


class Documents:
    """Manifests and indexes of ``reference``'s repository at one place."""

    def __init__(self, api: Api, place: Place, reference: Reference) -> None:
        self._api = api
        self._place = place
        self._reference = reference

    def fetch(self, selector: str, digest: Digest | None, what: str) -> Reply:
        """The reply with what ``selector`` means, verified. Raises RegistryError,
        VerificationError."""
        reply = self._api.get(
            self._place,
            lambda endpoint: endpoint.manifest(self._place.repository, selector),
            ACCEPT,
        )
        if reply.status == 404:
            self._check_is_registry(reply)
            raise no_such_image(reply, what, self._place.registry)
        if reply.is_html:
            raise not_a_registry(reply.host, f"an HTML page, status {reply.status}")
        if reply.status != 200:
            raise failure(reply, str(self._reference), self._place.registry)
        verify_header(reply, what)
        if digest is not None:
            verify(reply.body, digest, what)
        return reply

    def _check_is_registry(self, missing: Reply) -> None:
        """Tell a missing image from a server that is no registry at all."""
        if missing.has_registry_error:
            return
        answer = self._api.ping(self._place)
        if answer.status not in (200, 401):
            raise not_a_registry(answer.host, f"status {answer.status} at /v2/")


class Resolver:
    """Looks up ``reference`` for ``platform`` at one place.

    ``known`` gives documents that need not be fetched: verified bytes by digest, or None. What
    the reference itself names is always asked for.
    """

    def __init__(
        self,
        api: Api,
        place: Place,
        reference: Reference,
        platform: Platform,
        known: Callable[[Digest], bytes | None] = lambda digest: None,
    ) -> None:
        self._api = api
        self._documents = Documents(api, place, reference)
        self._place = place
        self._reference = reference
        self._platform = platform
        self._known = known

    def resolve(self) -> RemoteImage:
        """See ``Registry.resolve``."""
        reference = self._reference
        top = self._fetch(reference.selector, reference.digest, str(reference))
        manifest = self._manifest_for(top)
        config = self._config(manifest)
        if config.platform.os != "linux":
            raise NoMatchingPlatform(
                f"{reference} is an image for {config.platform}, not for {self._platform}",
                hint="only linux images can be run",
            )
        return RemoteImage(manifest, config, Digest.of(top.raw))

    def manifest(self) -> Manifest:
        """The manifest for the platform; an only one, whatever it is for. Raises as ``resolve``."""
        reference = self._reference
        top = self._fetch(reference.selector, reference.digest, str(reference))
        return self._manifest_for(top)

    def _fetch(self, selector: str, digest: Digest | None, what: str) -> Document:
        reply = self._documents.fetch(selector, digest, what)
        return parse_document(reply.body, reply.content_type, what)

    def _manifest_for(self, top: Document) -> Manifest:
        if isinstance(top, Manifest):
            return top
        search = _Search(self._entry, self._platform)
        found = search.within(top)
        if found is None:
            offered = ", ".join(dict.fromkeys(search.offered)) or "none"
            raise NoMatchingPlatform(
                f"{self._reference} is not made for {self._platform}; "
                f"platforms on offer: {offered}",
                hint="choose one of them with --platform" if search.offered else None,
            )
        return found

    def _entry(self, entry: Descriptor) -> Document:
        """The document that an index names."""
        what = f"manifest {entry.digest.short} of {self._reference}"
        _check_size(entry, what)
        raw = self._known(entry.digest)
        if raw is None:
            document = self._fetch(str(entry.digest), entry.digest, what)
        else:
            document = parse_document(raw, entry.media_type, what)
        _verify_size(document.raw, entry, what)
        return document

    def _config(self, manifest: Manifest) -> ImageConfig:
        wanted = manifest.config
        what = f"configuration {wanted.digest.short} of {self._reference}"
        _check_size(wanted, what)
        raw = self._known(wanted.digest)
        if raw is None:
            raw = self._fetch_config(wanted, what)
        _verify_size(raw, wanted, what)
        return ImageConfig.parse(raw, what)

    def _fetch_config(self, wanted: Descriptor, what: str) -> bytes:
        reply = self._api.get(
            self._place, lambda endpoint: endpoint.blob(self._place.repository, wanted.digest)
        )
        if reply.status != 200:
            raise failure(reply, what, self._place.registry)
        if reply.is_html and len(reply.body) != wanted.size:
            raise not_a_registry(reply.host, f"an HTML page, status {reply.status}")
        _verify_size(reply.body, wanted, what)
        verify(reply.body, wanted.digest, what)
        return reply.body


class _Search:
    """Looks for a platform in an index and in the indexes that it holds."""

    def __init__(self, fetch: Callable[[Descriptor], Document], platform: Platform) -> None:
        self._fetch = fetch
        self._platform = platform
        self._left = _MAX_NESTED
        self.offered: list[str] = []

    def within(self, index: Index, depth: int = 1) -> Manifest | None:
        self.offered += index.platforms()
        for entry in self._promising(index):
            document = self._fetch(entry)
            if isinstance(document, Manifest):
                return document
            self._left -= 1
            if depth >= _MAX_DEPTH or self._left < 0:
                raise BadReplyError("the image's indexes are nested too deep")
            found = self.within(document, depth + 1)
            if found is not None:
                return found
        return None

    def _promising(self, index: Index) -> Iterator[Descriptor]:
        """The entry for the platform, else the indexes that do not say what they hold."""
        selected = index.select(self._platform)
        if selected is not None:
            yield selected
            return
        for entry in index.manifests:
            if entry.platform is None and entry.media_type in INDEX_TYPES:
                yield entry


def _check_size(descriptor: Descriptor, what: str) -> None:
    if descriptor.size > DOCUMENT_LIMIT:
        raise BadReplyError(
            f"{what} is {descriptor.size} bytes; {DOCUMENT_LIMIT} bytes are allowed"
        )


def _verify_size(raw: bytes, descriptor: Descriptor, what: str) -> None:
    if len(raw) != descriptor.size:
        raise VerificationError(f"{what} is {len(raw)} bytes long, not {descriptor.size}")
