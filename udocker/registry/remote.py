"""A registry as a source of images: names are resolved, documents verified, layers fetched."""

from __future__ import annotations

from udocker.errors import BadReplyError, NoMatchingPlatform, VerificationError
from udocker.model.oci import INDEX_TYPES, ImageConfig, Index, Manifest
from udocker.model.reference import Digest
from udocker.model.value import value
from udocker.registry.address import check_host
from udocker.registry.api import Api
from udocker.registry.documents import ACCEPT, parse_document, verify, verify_header
from udocker.registry.http import DOCUMENT_LIMIT
from udocker.registry.replies import failure, no_such_image, not_a_registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from udocker.model.image import BlobSink
    from udocker.model.oci import Descriptor, Platform
    from udocker.model.reference import Reference
    from udocker.registry.credential import Credential
    from udocker.registry.documents import Document
    from udocker.registry.http import Settings
    from udocker.registry.logins import Logins
    from udocker.registry.replies import Reply
    from udocker.report import Reporter

_MAX_DEPTH = 3  # of indexes in indexes
_MAX_NESTED = 8  # indexes of one image that are looked into


@value
class RemoteImage:
    """What a reference stands for now, every document of it verified."""

    manifest: Manifest
    config: ImageConfig  # its platform is the image's own word
    digest: Digest  # of the document that the reference names: an index or the manifest


class Registry:
    """All registries, through one client: each reference says which one it means."""

    def __init__(self, settings: Settings, logins: Logins, report: Reporter) -> None:
        self._api = Api(settings, logins, report)

    def check_login(self, registry: str, credential: Credential) -> bool:
        """Show ``credential`` to ``registry``; False when that asks nobody who he is.

        Raises UnauthorizedError when it is refused, and other RegistryErrors.
        """
        check_host(registry)
        try:
            return self._api.check_login(registry, credential)
        finally:
            self._api.close()

    def resolve(self, reference: Reference, platform: Platform) -> RemoteImage:
        """Fetch the manifest and the configuration that ``reference`` has for ``platform``.

        A reference to a single manifest gives that, whatever its architecture. Raises
        BadReference, RegistryError, VerificationError, NoMatchingPlatform.
        """
        check_host(reference.registry)
        try:
            top = self._fetch(reference, reference.selector, reference.digest, str(reference))
            manifest = self._manifest_for(reference, top, platform)
            config = self._config(reference, manifest)
        finally:
            self._api.close()
        if config.platform.os != "linux":
            raise NoMatchingPlatform(
                f"{reference} is an image for {config.platform}, not for {platform}",
                hint="only linux images can be run",
            )
        return RemoteImage(manifest, config, Digest.of(top.raw))

    def download(
        self,
        reference: Reference,
        descriptors: Sequence[Descriptor],
        sink_factory: Callable[[Descriptor], BlobSink],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Fetch blobs of ``reference``'s repository, several at once, each into a sink of its own.

        A sink is committed when its blob is complete. On a failure those that were committed
        stay and the others are aborted. ``check`` is called at least once a second. Raises
        RegistryError, VerificationError, and what a sink or ``check`` raises.
        """
        from udocker.registry.transfer import Transfer

        try:
            Transfer(self._api, reference, sink_factory, check).run(descriptors)
        finally:
            self._api.close()

    def _fetch(
        self, reference: Reference, selector: str, digest: Digest | None, what: str
    ) -> Document:
        reply = self._api.get(
            reference, lambda endpoint: endpoint.manifest(reference.repository, selector), ACCEPT
        )
        if reply.status == 404:
            self._check_is_registry(reference, reply)
            raise no_such_image(reply, what, reference.registry)
        self._check_document(reference, reply)
        verify_header(reply, what)
        if digest is not None:
            verify(reply.body, digest, what)
        return parse_document(reply.body, reply.content_type, what)

    def _check_is_registry(self, reference: Reference, missing: Reply) -> None:
        """Tell a missing image from a server that is no registry at all."""
        if missing.has_registry_error:
            return
        answer = self._api.ping(reference.registry)
        if answer.status not in (200, 401):
            raise not_a_registry(answer.host, f"status {answer.status} at /v2/")

    def _check_document(self, reference: Reference, reply: Reply) -> None:
        if reply.is_html:
            raise not_a_registry(reply.host, f"an HTML page, status {reply.status}")
        if reply.status != 200:
            raise failure(reply, str(reference), reference.registry)

    def _manifest_for(self, reference: Reference, top: Document, platform: Platform) -> Manifest:
        if isinstance(top, Manifest):
            return top
        search = _Search(lambda entry: self._entry(reference, entry), platform)
        found = search.within(top)
        if found is None:
            offered = ", ".join(dict.fromkeys(search.offered)) or "none"
            raise NoMatchingPlatform(
                f"{reference} is not made for {platform}; platforms on offer: {offered}",
                hint="choose one of them with --platform" if search.offered else None,
            )
        return found

    def _entry(self, reference: Reference, entry: Descriptor) -> Document:
        """The document that an index names."""
        what = f"manifest {entry.digest.short} of {reference}"
        _check_size(entry, what)
        document = self._fetch(reference, str(entry.digest), entry.digest, what)
        _verify_size(document.raw, entry, what)
        return document

    def _config(self, reference: Reference, manifest: Manifest) -> ImageConfig:
        wanted = manifest.config
        what = f"configuration {wanted.digest.short} of {reference}"
        _check_size(wanted, what)
        reply = self._api.get(
            reference, lambda endpoint: endpoint.blob(reference.repository, wanted.digest)
        )
        if reply.status != 200:
            raise failure(reply, what, reference.registry)
        if reply.is_html and len(reply.body) != wanted.size:
            raise not_a_registry(reply.host, f"an HTML page, status {reply.status}")
        _verify_size(reply.body, wanted, what)
        verify(reply.body, wanted.digest, what)
        return ImageConfig.parse(reply.body, what)


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
