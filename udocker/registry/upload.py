"""One blob into one repository: looked for, mounted from another repository, or sent.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md, "Push".
"""

from __future__ import annotations

import contextlib
import re
import time

from udocker.errors import BadReplyError, ForbiddenError, UnauthorizedError, UnreachableError
from udocker.model.value import value
from udocker.registry.address import redirect_target
from udocker.registry.http import Request
from udocker.registry.replies import REDIRECTS, failure, patience, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from udocker.errors import RegistryError
    from udocker.model.oci import Descriptor
    from udocker.registry.address import Endpoint
    from udocker.registry.api import Api
    from udocker.registry.mirrors import Place
    from udocker.registry.replies import Reply

THERE, MOUNTED, SENT = "there", "mounted", "sent"
CHUNK = 8 << 20  # bytes of a request: what is lost with a connection, and held in memory
_LARGEST_CHUNK = 64 << 20  # that a registry may ask for
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
    """Brings ``blob`` into ``repository``.

    ``open_blob`` gives its bytes, and proves them when they are read to the end. ``advance`` is
    told of bytes that are there, ``check`` is called before each request.
    """

    def __init__(
        self,
        repository: Repository,
        blob: Descriptor,
        open_blob: Callable[[Descriptor], BinaryIO],
        advance: Callable[[int], None],
        check: Callable[[], None],
    ) -> None:
        self._repository = repository
        self._settings = repository.api.settings
        self._blob = blob
        self._open = open_blob
        self._advance = advance
        self._check = check
        self._url = ""  # of the upload; empty: none has begun
        self._chunk = CHUNK
        self._told = 0  # bytes

    def run(self, source: str = "") -> str:
        """Look for the blob, then in the repository ``source`` of the registry, then send it.

        What of these was enough. Raises RegistryError, and what reading the blob raises.
        """
        if self._is_there():
            found = THERE
        elif source and self._mount(source):
            found = MOUNTED
        else:
            self._send_patiently()
            found = SENT
        self._tell(self._blob.size)
        return found

    def _is_there(self) -> bool:
        reply = self._request("HEAD", self._repository.url(f"blobs/{self._blob.digest}"))
        if reply.status == 429 or reply.status >= 500:
            raise self._failure(reply)
        return reply.status == 200 or reply.status in REDIRECTS

    def _mount(self, source: str) -> bool:
        """Whether the registry takes it from ``source``; if not, it may have begun an upload."""
        query = f"mount={self._blob.digest}&from={source}"
        url = self._repository.url(f"blobs/uploads/?{query}")
        self._check()
        try:
            reply = self._repository.send(Request(url, method="POST"), source)
        except (UnauthorizedError, ForbiddenError):
            return False  # of the source, perhaps; if not, this will be said once more
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
        with contextlib.closing(self._open(self._blob)) as stream:
            if self._blob.size <= self._chunk:
                self._finish(stream.read())
                return
            sent = 0
            while sent < self._blob.size:
                data = stream.read(self._chunk)
                self._send_chunk(sent, data)
                sent += len(data)
                self._tell(sent)
        self._finish(b"")

    def _send_chunk(self, start: int, data: bytes) -> None:
        done, tries = 0, 1
        while done < len(data):
            rest = data[done:]
            try:
                taken = self._patch(start + done, rest)
            except _Lost:
                raise
            except _Interrupted as error:
                if tries >= self._settings.tries:
                    raise
                self._rest(error, tries)
                taken = self._ask(start + done, len(rest), error)
            tries = 1 if taken else tries + 1
            done += taken

    def _patch(self, start: int, data: bytes) -> int:
        """How many of the bytes, which belong at ``start``, the registry has taken."""
        span = ("Content-Range", f"{start}-{start + len(data) - 1}")
        reply = self._put_bytes("PATCH", self._url, data, span)
        if reply.status in (201, 202, 204):
            if reply.headers.get("location"):
                self._move(reply)
            return self._taken(reply, start, len(data))
        if reply.status == 416:
            raise _Interrupted(self._failure(reply))
        raise self._passing(reply, (400, 404))

    def _ask(self, start: int, length: int, why: _Interrupted) -> int:
        """How many of ``length`` bytes from ``start`` on the registry has. Raises _Lost."""
        try:
            reply = self._request("GET", self._url)
        except UnreachableError as error:
            raise _Lost(error) from error
        if reply.status not in (200, 204) or "range" not in reply.headers:
            raise _Lost(why.cause)
        if reply.headers.get("location"):
            self._move(reply)
        return self._taken(reply, start, length)

    def _taken(self, reply: Reply, start: int, length: int) -> int:
        text = reply.headers.get("range", "").strip()
        if not text:
            return length
        match = _TAKEN.fullmatch(text)
        # Registries say "0-0" of nothing.
        end = 0 if match is None or match[1] == "0" else int(match[1]) + 1
        if not start <= end <= start + length:
            raise _Lost(BadReplyError(f"{self._what}: {reply.host} has lost what was sent"))
        return end - start

    def _finish(self, data: bytes) -> None:
        """Send the last bytes, and what all of them are to be."""
        joint = "&" if "?" in self._url else "?"
        reply = self._put_bytes("PUT", f"{self._url}{joint}digest={self._blob.digest}", data)
        if reply.status not in (200, 201, 204):
            raise self._passing(reply, (404, 416))

    def _put_bytes(self, method: str, url: str, data: bytes, *headers: tuple[str, str]) -> Reply:
        """Raises _Interrupted where it is not known what has become of them."""
        self._check()
        request = Request(url, (_BYTES, *headers), method=method, body=data, only_once=True)
        try:
            return self._repository.send(request)
        except UnreachableError as error:
            raise _Interrupted(error) from error

    def _passing(self, reply: Reply, lost: tuple[int, ...]) -> Exception:
        """What to raise for ``reply``; ``lost``: the statuses by which an upload is forgotten."""
        error = self._failure(reply)
        if reply.status in lost:
            return _Lost(error)
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
            self._chunk = max(CHUNK, min(int(least[:12]), _LARGEST_CHUNK))

    def _tell(self, have: int) -> None:
        """Bytes that are sent once more are told of once."""
        if have > self._told:
            self._advance(have - self._told)
            self._told = have

    @property
    def _what(self) -> str:
        return f"pushing {self._blob.digest.short} to {self._repository.place}"

    def _failure(self, reply: Reply) -> RegistryError:
        return self._repository.failure(reply, self._what)
