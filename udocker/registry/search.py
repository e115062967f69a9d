"""What a registry has: names that fit a term, and tags.

Docker Hub's index: GET /v2/search/repositories/ of hub.docker.com. Other registries: the old
/v1/search where they have it, as quay.io does, else the catalogue and the lists of tags of the
distribution specification, which come in pages (Link, RFC 8288).
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode, urljoin, urlsplit

from udocker.errors import BadReplyError, NotFoundError
from udocker.model.value import value
from udocker.registry.address import host_of, origin
from udocker.registry.replies import failure, no_such_image, not_a_registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from udocker.registry.api import Api
    from udocker.registry.mirrors import Place
    from udocker.registry.replies import Reply

_PAGE = 1000  # entries of a page of the catalogue or of tags
_HUB_PAGE = 100
_MAX_PAGES = 1000
_NEXT = re.compile(r"""<([^>]*)>\s*;[^,]*\brel\s*=\s*"?next\b""", re.IGNORECASE)
_JSON = "application/json"


@value
class Found:
    """A repository that fits a search."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False


class Search:
    """Asks one registry, or an index. All methods raise RegistryError."""

    def __init__(self, api: Api, place: Place) -> None:
        self._api = api
        self._place = place

    def index(self, path: str, term: str, limit: int) -> list[Found]:
        """At most ``limit`` answers of an index like Docker Hub's, which is below ``path``."""
        found: list[Found] = []
        size = min(limit, _HUB_PAGE)
        for number in range(1, _MAX_PAGES + 1):
            query = urlencode({"query": term, "page_size": size, "page": number})
            reply = self._get(f"{path}/v2/search/repositories/?{query}")
            if reply.status == 404 and number > 1:
                break
            data = self._object(reply, "the index")
            found += _results(data, reply, ("repo_name", "short_description"))
            if len(found) >= limit or not data.get("next") or not data.get("results"):
                break
        return found[:limit]

    def repositories(self, term: str, limit: int) -> list[Found]:
        """At most ``limit`` repositories whose names hold ``term``."""
        query = urlencode({"q": term, "n": limit})
        reply = self._get(f"/v1/search?{query}")
        if reply.status == 200 and not reply.is_html:
            data = self._object(reply, "the search")
            return _results(data, reply, ("name", "description"))[:limit]
        found = []
        for name in self._pages("/v2/_catalog", "repositories"):
            if term.lower() in name.lower():
                found.append(Found(name))
            if len(found) == limit:
                break
        return found

    def tags(self) -> Iterator[str]:
        """The tags of the place's repository."""
        return self._pages(f"/v2/{self._place.repository}/tags/list", "tags")

    def _pages(self, path: str, key: str) -> Iterator[str]:
        """The texts in the list ``key`` of all pages."""
        rest = f"{path}?n={_PAGE}"
        seen: set[str] = set()
        while rest:
            if rest in seen or len(seen) == _MAX_PAGES:
                raise BadReplyError(f"{self._place.registry} does not come to an end of its list")
            seen.add(rest)
            reply = self._get(rest)
            for text in self._object(reply, str(self._place)).get(key) or ():
                if isinstance(text, str) and text.isprintable():
                    yield text
            rest = self._next(reply)

    def _next(self, reply: Reply) -> str:
        """Path and query of the next page; empty at the last. It is on the same server."""
        match = _NEXT.search(reply.headers.get("link", ""))
        if match is None:
            return ""
        url = urljoin(reply.url, match[1])
        base = self._api.endpoint(self._place).url
        if origin(url) != origin(base):
            raise BadReplyError(f"{reply.host} continues its list at {host_of(url)}")
        parts = urlsplit(url)
        return f"{parts.path}?{parts.query}"

    def _get(self, rest: str) -> Reply:
        """The reply to a GET of ``rest``, a path and a query."""
        return self._api.get(self._place, lambda endpoint: endpoint.url + rest, _JSON)

    def _object(self, reply: Reply, what: str) -> dict[str, Any]:
        if reply.is_html:
            raise not_a_registry(reply.host, f"an HTML page, status {reply.status}")
        if reply.status == 404 and self._place.repository:
            raise no_such_image(reply, what, self._place.registry)
        if reply.status == 404:
            raise NotFoundError(
                f"{self._place.registry} has no search and no catalogue",
                hint="its web site may have a search",
            )
        if reply.status != 200:
            raise failure(reply, what, self._place.registry)
        try:
            data = json.loads(reply.body)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise BadReplyError(f"{reply.host} does not answer with a JSON object")
        return data


def _results(data: dict[str, Any], reply: Reply, keys: tuple[str, str]) -> list[Found]:
    """The entries of ``results``; ``keys`` are those of the name and the description."""
    entries = data.get("results")
    if not isinstance(entries, list):
        raise BadReplyError(f"{reply.host} answers without results")
    found = []
    for entry in entries:
        name = entry.get(keys[0]) if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name.isprintable():
            continue
        said, stars = entry.get(keys[1]), entry.get("star_count")
        description = " ".join(said.split()) if isinstance(said, str) else ""
        count = stars if isinstance(stars, int) else 0
        found.append(Found(name, description, count, entry.get("is_official") is True))
    return found
