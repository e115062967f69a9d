"""One blob into one repository: looked for, mounted from another repository, or sent.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md, "Push".
"""

from __future__ import annotations

import re
import time

from udocker.errors import BadReplyError, ForbiddenError, UnauthorizedError, UnreachableError
from udocker.model.value import value
from udocker.registry.address import redirect_target
from udocker.registry.http import Content, Request
from udocker.registry.replies import REDIRECTS, failure, patience, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.errors import RegistryError
    from udocker.registry.address import Endpoint
    from udocker.registry.api import Api
    from udocker.registry.mirrors import Place
    from udocker.registry.outgoing import Source
    from udocker.registry.replies import Reply

THERE, MOUNTED, SENT = "there", "mounted", "sent"
SMALL = 4 << 20  # bytes of a blob that goes in one PUT
PIECE = 4 << 20  # bytes; ghcr.io takes no larger ones
_TAKEN = re.compile(r"(?:bytes=)?0-(\d{1,19})", re.ASCII)
_BYTES = ("Content-Type", "application/octet-stream")


@value
class Repository:
    """Where a push goes."""

    api: Api
    place: Place

    @property
    def endpoint(self) -> Endpoint:
        return self.api.endpoint(self.place)

    def url(self, rest: str) -> str:
        return f"{self.endpoint.url}/v2/{self.place.repository}/{rest}"

    def scope(self, source: str = "") -> str:
        """What tokens are for: to push here and, where ``source`` is one, to pull from there.

        https://distribution.github.io/distribution/spec/auth/scope/
        """
        own = f"repository:{self.place.repository}:pull,push"
        return f"{own} repository:{source}:pull" if source else own

    def send(self, request: Request, source: str = "") -> Reply:
        """Raises RegistryError, also for a 401 and 403."""
        return self.api.send(self.place, lambda endpoint: request, scope=self.scope(source))

    def failure(self, reply: Reply, subject: str) -> RegistryError:
        """The error that ``reply`` is to who pushes ``subject``."""
        registry = self.place.registry
        if reply.status == 405:
            return BadReplyError(
                f"{subject}: {registry} takes no pushes, status 405{quoted(reply)}",
                hint="it may be read-only: push to another registry, or ask its administrators",
            )
        if reply.status == 413:
            return BadReplyError(
                f"{subject}: {registry} takes nothing so large, status 413{quoted(reply)}",
                hint="the limit is the registry's, or that of a proxy before it",
            )
        return failure(reply, subject, registry)


class _Interrupted(Exception):
    """The upload may go on after ``wait`` seconds."""

    def __init__(self, cause: RegistryError, wait: float = 0.0) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.wait = wait


class _Lost(_Interrupted):
    """The registry has forgotten the upload: another one may succeed."""


class Upload:
    """Brings the blob of ``source`` into ``repository``.

    A large one goes in one PATCH, as Docker sends it: not all registries put pieces together, or
    they take small ones only. Once the line has broken, or that was too large, pieces are tried.

    ``check`` is called before each request.
    """

    def __init__(self, repository: Repository, source: Source, check: Callable[[], None]) -> None:
        self._repository = repository
        self._settings = repository.api.settings
        self._source = source
        self._blob = source.blob
        self._check = check
        self._url = ""  # of the upload; empty: none has begun
        self._piece = PIECE
        self._in_pieces = False

    def run(self, other: str = "") -> str:
        """Look for the blob, then in the repository ``other`` of the registry, then send it.

        What of these was enough. Raises RegistryError, and what reading the blob raises.
        """
        if self._is_there():
            found = THERE
        elif other and self._mount(other):
            found = MOUNTED
        else:
            self._send_patiently()
            found = SENT
        self._source.complete()
        return found

    def _is_there(self) -> bool:
        reply = self._request("HEAD", self._repository.url(f"blobs/{self._blob.digest}"))
        if reply.status == 429 or reply.status >= 500:
            raise self._failure(reply)
        return reply.status == 200 or reply.status in REDIRECTS

    def _mount(self, other: str) -> bool:
        """Whether the registry takes it from ``other``; if not, it may have begun an upload."""
        query = f"mount={self._blob.digest}&from={other}"
        url = self._repository.url(f"blobs/uploads/?{query}")
        self._check()
        try:
            reply = self._repository.send(Request(url, method="POST"), other)
        except (UnauthorizedError, ForbiddenError):
            return False  # of the other, perhaps; if not, this will be said once more
        if reply.status == 202:
            self._move(reply)
        return reply.status == 201

    def _send_patiently(self) -> None:
        tries = 1
        while True:
            try:
                if not self._url:
                    self._begin()
                self._send()
                return
            except _Interrupted as error:
                if tries >= self._settings.tries:
                    raise error.cause from error
                self._rest(error, tries)
                tries += 1
            self._url = ""
            if self._is_there():  # it was complete when the reply was lost
                return

    def _begin(self) -> None:
        reply = self._request("POST", self._repository.url("blobs/uploads/"))
        if reply.status != 202:
            raise self._failure(reply)
        self._move(reply)

    def _send(self) -> None:
        if self._blob.size <= SMALL:
            self._finish(self._source.content(0, self._blob.size))
            return
        at, tries = 0, 1
        while at < self._blob.size:
            try:
                at = self._patch(at)
                tries = 1
            except _Lost:
                raise
            except _Interrupted as error:
                self._in_pieces = True
                if tries >= self._settings.tries:
                    raise
                self._rest(error, tries)
                have = self._ask(error)
                tries = 1 if have > at else tries + 1
                at = have
        self._finish(Content.of(b""))

    def _patch(self, at: int) -> int:
        """Send bytes from ``at`` on; how many the registry has then."""
        end = min(at + self._piece, self._blob.size) if self._in_pieces else self._blob.size
        span = () if (at, end) == (0, self._blob.size) else (("Content-Range", f"{at}-{end - 1}"),)
        reply = self._put_bytes("PATCH", self._url, self._source.content(at, end), *span)
        if reply.status in (201, 202, 204):
            if reply.headers.get("location"):
                self._move(reply)
            told = _range_end(reply)
            # Some registries do not count well: only a number that can be right is believed.
            return told if at < told < end else end
        if reply.status == 416:
            raise _Interrupted(self._failure(reply))
        if reply.status == 413 and not self._in_pieces:
            self._in_pieces = True
            raise _Lost(self._failure(reply))
        if reply.status == 404 or (reply.status == 400 and self._in_pieces):
            self._in_pieces = not self._in_pieces
            raise _Lost(self._failure(reply))
        raise self._passing(reply)

    def _ask(self, why: _Interrupted) -> int:
        """How many bytes the registry has. Raises _Lost."""
        try:
            reply = self._request("GET", self._url)
        except UnreachableError as error:
            raise _Lost(error) from error
        have = _range_end(reply)
        if reply.status not in (200, 204) or not 0 <= have <= self._blob.size:
            raise _Lost(why.cause)
        if reply.headers.get("location"):
            self._move(reply)
        return have

    def _finish(self, content: Content) -> None:
        """Send the last bytes, and what all of them are to be."""
        joint = "&" if "?" in self._url else "?"
        url = f"{self._url}{joint}digest={self._blob.digest}"
        reply = self._put_bytes("PUT", url, content)
        if reply.status in (404, 416):
            raise _Lost(self._failure(reply))
        if reply.status not in (200, 201, 204):
            raise self._passing(reply)

    def _put_bytes(
        self, method: str, url: str, content: Content, *headers: tuple[str, str]
    ) -> Reply:
        """Raises _Interrupted where it is not known what has become of them."""
        self._check()
        request = Request(url, (_BYTES, *headers), method=method, content=content, only_once=True)
        try:
            return self._repository.send(request)
        except UnreachableError as error:
            raise _Interrupted(error) from error

    def _passing(self, reply: Reply) -> Exception:
        """What to raise for ``reply``: it may pass."""
        error = self._failure(reply)
        wait = patience(reply, 1, self._settings.tries, 0.0)
        return error if wait is None else _Interrupted(error, wait)

    def _rest(self, error: _Interrupted, tries: int) -> None:
        self._repository.api.report.debug(f"{error.cause}: trying again")
        time.sleep(max(error.wait, self._settings.delay(tries)))

    def _request(self, method: str, url: str) -> Reply:
        self._check()
        return self._repository.send(Request(url, method=method))

    def _move(self, reply: Reply) -> None:
        """Go on where ``reply`` says, which may be another host: nobody is logged in there."""
        location = reply.headers.get("location", "")
        if not location:
            raise BadReplyError(f"{reply.host} begins an upload and does not say where")
        allow_http = self._repository.endpoint.plain_http_allowed
        self._url = redirect_target(reply.url, location, allow_http)
        least = reply.headers.get("oci-chunk-min-length", "")
        if least.isascii() and least.isdigit():
            self._piece = max(PIECE, int(least[:12]))

    def _failure(self, reply: Reply) -> RegistryError:
        what = f"pushing {self._blob.digest.short} to {self._repository.place}"
        return self._repository.failure(reply, what)


def _range_end(reply: Reply) -> int:
    """How many bytes the Range header says are there; -1 where it says nothing."""
    match = _TAKEN.fullmatch(reply.headers.get("range", "").strip())
    if match is None:
        return -1
    return 0 if match[1] == "0" else int(match[1]) + 1  # "0-0" is said of nothing
