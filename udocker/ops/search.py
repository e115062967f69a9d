"""Look for images in a registry."""

from __future__ import annotations

from udocker.errors import BadReference, UsageError
from udocker.model.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.ops.session import Session
    from udocker.registry.search import Found

_HUB, _INDEX = "docker.io", "https://hub.docker.com"


def search(session: Session, term: str, limit: int, registry: str, index: str) -> list[Found]:
    """At most ``limit`` repositories of ``registry`` that fit ``term``; the best first.

    ``index`` is the URL of an index like Docker Hub's, to be asked instead; empty: none. A term
    like ``quay.io/name`` names its registry. Raises UdockerError.
    """
    from udocker.ops.registries import open_registry

    host, slash, rest = term.partition("/")
    if slash and not index and ("." in host or ":" in host or host == "localhost"):
        registry, term = host, rest
    if not term.strip():
        raise UsageError("search: nothing to search for", hint="udocker search debian")
    if not index and registry != _HUB:
        server = Reference.parse("name", registry).registry
        if server != _HUB:
            return open_registry(session).search(server, term, limit)
    host, slash, path = (index or _INDEX).rpartition("://")[2].rstrip("/").partition("/")
    try:
        server = Reference.parse("name", host).registry
    except BadReference as error:
        raise UsageError(f"not the URL of an index: {index!r}", hint=f"--index={_INDEX}") from error
    return open_registry(session).search_index(server, slash + path, term, limit)


def list_tags(session: Session, reference: Reference) -> list[str]:
    """The tags of the repository that ``reference`` names. Raises UdockerError."""
    from udocker.ops.registries import open_registry

    return open_registry(session).tags(reference)
