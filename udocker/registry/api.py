"""Asking a registry: which scheme it speaks, who we are to it, redirects, patience."""

from __future__ import annotations

import threading
import time

from udocker.errors import BadReplyError, UnreachableError
from udocker.model.value import replace
from udocker.registry.address import candidates, host_of, origin, plain, redirect_target
from udocker.registry.auth import Access, Gate
from udocker.registry.certificates import Certificates
from udocker.registry.http import (
    DOCUMENT_LIMIT,
    ConnectionDropped,
    Http,
    NotTls,
    Request,
    Stalled,
)
from udocker.registry.replies import (
    REDIRECTS,
    TOO_MANY_REQUESTS,
    failure,
    limit_left,
    not_a_registry,
    patience,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.registry.address import Endpoint
    from udocker.registry.credential import Credential
    from udocker.registry.http import Settings
    from udocker.registry.logins import Logins
    from udocker.registry.mirrors import Place
    from udocker.registry.replies import Reply
    from udocker.report import Reporter

MAX_REDIRECTS = 5
_TRIES_IN_SILENCE = 2  # each takes the whole of ``stall_timeout``
# What Go's and nginx's servers say to plain http on a TLS port.
_TLS_WANTED = (b"HTTP request to an HTTPS server", b"HTTP request was sent to HTTPS port")
_TRY_TLS = "udocker speaks plain http to this machine; --insecure makes it try https first"


class Api:
    """The registries of one invocation, and what has been learnt of them so far."""

    def __init__(self, settings: Settings, logins: Logins, report: Reporter) -> None:
        self.settings = settings
        self.report = report
        self._logins = logins
        self.certificates = Certificates(settings.ca_bundle, settings.certificate_folders, report)
        self._http = Http(settings, self.certificates)
        self._endpoints: dict[tuple[str, bool], Endpoint] = {}
        self._gates: dict[tuple[str, str, int, str, str], Gate] = {}
        self._making = threading.Lock()

    def close(self) -> None:
        """Close the connections that are kept open; the next request opens new ones."""
        self._http.close()
        self.certificates.close()

    def endpoint(self, place: Place) -> Endpoint:
        """How ``place`` is reached; asks it unless that is known. Raises RegistryError."""
        if self._key(place) not in self._endpoints:
            self.ping(place)
        return self._endpoints[self._key(place)]

    def ping(self, place: Place) -> Reply:
        """The reply to a GET of ``/v2/`` without credentials."""
        return self._reach(
            place, lambda endpoint: self._patiently(endpoint, Request(endpoint.ping))
        )

    def get(
        self,
        place: Place,
        url_at: Callable[[Endpoint], str],
        accept: str = "*/*",
        limit: int = DOCUMENT_LIMIT,
    ) -> Reply:
        """The reply to a GET of ``url_at(endpoint)``, with a login, redirects followed.

        Its status is no redirect and not 401. Raises RegistryError.
        """
        return self.send(
            place, lambda endpoint: get_request(url_at(endpoint), accept, ""), limit=limit
        )

    def send(
        self,
        place: Place,
        request_at: Callable[[Endpoint], Request],
        *,
        scope: str = "",
        limit: int = DOCUMENT_LIMIT,
    ) -> Reply:
        """The reply to ``request_at(endpoint)``, with a login whose token is for ``scope``.

        Redirects are followed as far as ``_followed`` says. Raises RegistryError, also for a 401
        and 403; ConnectionDropped where the request is one to be made once only.
        """

        def attempt(endpoint: Endpoint) -> Reply:
            request = request_at(endpoint)
            for _ in range(MAX_REDIRECTS + 1):
                reply = self._authorised(place, endpoint, request, scope, limit)
                if reply.status not in _followed(request.method):
                    return reply
                request = replace(request, url=self.next_url(endpoint, reply))
            raise too_many_redirects(endpoint)

        return self._reach(place, attempt)

    def check_login(self, server: Place, credential: Credential) -> bool:
        """Show ``credential`` to ``server``; False when that asks nobody who he is.

        Raises UnauthorizedError when it is refused, and other RegistryErrors.
        """
        reply = self.ping(server)
        endpoint = self.endpoint(server)
        if reply.is_html and reply.status == 200:
            raise not_a_registry(reply.host, "an HTML page, status 200")
        if reply.status == 200:
            return False
        if reply.status in (403, TOO_MANY_REQUESTS) or reply.status >= 500:
            raise failure(reply, f"login to {server}", server.registry)
        if reply.status != 401:
            raise not_a_registry(reply.host, f"status {reply.status} at /v2/")
        access = Access(endpoint, endpoint.ping, "", trusts=self.settings.trusts_with_logins)
        gate = Gate(access, lambda: credential, lambda ask: self._token(endpoint, ask))
        gate.challenged(reply, "")
        reply = self._patiently(endpoint, get_request(endpoint.ping, "*/*", gate.header()))
        if reply.status != 200 or gate.is_withheld:
            raise gate.refused(reply)
        return True

    def gate(self, place: Place, endpoint: Endpoint, url: str, scope: str = "") -> Gate:
        """Who we are at ``url``. The user's login is for the registry itself, nobody else."""
        with self._making:
            return self._gate(place, endpoint, url, scope)

    def _gate(self, place: Place, endpoint: Endpoint, url: str, scope: str) -> Gate:
        key = (*origin(url), place.repository, scope)
        if key not in self._gates:
            trusts = self.settings.trusts_with_logins
            access = Access(endpoint, url, place.repository, scope, trusts)
            own = origin(url) == origin(endpoint.url)

            def credential() -> Credential | None:
                if not own:
                    return None
                return self._logins.credential(endpoint.registry, place.repository)

            self._gates[key] = Gate(access, credential, lambda ask: self._token(endpoint, ask))
        return self._gates[key]

    def next_url(self, endpoint: Endpoint, reply: Reply) -> str:
        """Where the redirect ``reply`` leads. Raises BadReplyError."""
        location = reply.headers.get("location", "")
        return redirect_target(reply.url, location, endpoint.plain_http_allowed)

    def told(self, reply: Reply) -> Reply:
        """``reply``, after a line about it for those who debug."""
        self.report.debug(f"{reply.status} {plain(reply.url)}")
        left = limit_left(reply)
        if left:
            self.report.debug(left)
        return reply

    def wait(self, host: str, seconds: float) -> None:
        """Tell of a wait that the user will notice."""
        if seconds >= 2:
            self.report.info(f"{host} is busy: trying again in {seconds:.0f} s")

    def _reach(self, place: Place, attempt: Callable[[Endpoint], Reply]) -> Reply:
        """``attempt`` with the place's endpoint; before that is known, with each candidate."""
        key = self._key(place)
        if key in self._endpoints:
            return attempt(self._endpoints[key])
        *others, last = candidates(*key, self.certificates.has(place.registry))
        for endpoint in others:
            try:
                return attempt(endpoint)
            except (NotTls, ConnectionDropped):
                if key in self._endpoints:
                    raise
        try:
            return attempt(last)
        except ConnectionDropped as error:
            if key in self._endpoints or last.scheme != "http" or last.insecure:
                raise
            raise UnreachableError(f"{error.message}: it may speak https", hint=_TRY_TLS) from error

    def _key(self, place: Place) -> tuple[str, bool]:
        """The registry, and whether it may be insecure."""
        registry = place.registry
        return registry, place.insecure or self.settings.accepts_insecure(registry)

    def _authorised(
        self, place: Place, endpoint: Endpoint, request: Request, scope: str, limit: int
    ) -> Reply:
        gate = self.gate(place, endpoint, request.url, scope)
        sent = gate.header()
        reply = self._patiently(endpoint, request.authorised(sent), limit)
        if reply.status == 401:
            gate.challenged(reply, sent)
            reply = self._patiently(endpoint, request.authorised(gate.header()), limit)
        if reply.status in (401, 403):
            raise gate.refused(reply)
        return reply

    def _token(self, endpoint: Endpoint, request: Request) -> Reply:
        """Carry out a request of an auth flow; a redirect takes no secret elsewhere."""
        reply = self._patiently(endpoint, request)
        for _ in range(MAX_REDIRECTS):
            if reply.status not in REDIRECTS or request.form:
                return reply
            url = self.next_url(endpoint, reply)
            if origin(url) != origin(request.url):
                request = Request(url)
            else:
                request = Request(url, request.headers, secrets=request.secrets)
            reply = self._patiently(endpoint, request)
        return reply

    def _patiently(
        self, endpoint: Endpoint, request: Request, limit: int = DOCUMENT_LIMIT
    ) -> Reply:
        """One exchange, repeated while the trouble looks passing."""
        tries = self.settings.tries if request.only_once else 1
        while True:
            try:
                reply = self._exchange(endpoint, request, limit)
            except (ConnectionDropped, Stalled) as error:
                most = _TRIES_IN_SILENCE if isinstance(error, Stalled) else self.settings.tries
                if tries >= min(most, self.settings.tries):
                    raise
                wait: float | None = self.settings.delay(tries)
            else:
                wait = patience(reply, tries, self.settings.tries, self.settings.delay(tries))
                if wait is None:
                    return reply
                self.wait(reply.host, wait)
            time.sleep(wait or 0)
            tries += 1

    def _exchange(self, endpoint: Endpoint, request: Request, limit: int) -> Reply:
        reply = self._http.exchange(request, verify=not endpoint.insecure, limit=limit)
        self.told(reply)
        if reply.status == 400 and any(words in reply.body for words in _TLS_WANTED):
            raise UnreachableError(f"{host_of(request.url)} speaks https, not http", hint=_TRY_TLS)
        self._endpoints.setdefault((endpoint.registry, endpoint.insecure), endpoint)
        return reply


def get_request(url: str, accept: str, authorization: str) -> Request:
    return Request(url, (("Accept", accept),)).authorised(authorization)


def _followed(method: str) -> tuple[int, ...]:
    """The redirects after which the same request is made elsewhere (RFC 9110, 15.4).

    Of a HEAD the redirect is the answer: storage may have signed the URL for a GET only.
    """
    if method == "GET":
        return REDIRECTS
    return () if method == "HEAD" else (307, 308)


def too_many_redirects(endpoint: Endpoint) -> BadReplyError:
    return BadReplyError(f"{endpoint.registry} redirects more than {MAX_REDIRECTS} times")
