"""Who asks: tokens, and the flows that earn them.

A flow is a generator: it yields Requests and is sent their Replies, so it does no I/O itself.
Bearer: https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/.
"""

from __future__ import annotations

import json
import re
import threading
import time
from urllib.parse import urlencode, urlsplit, urlunsplit

from udocker.errors import BadReplyError, UnauthorizedError
from udocker.model.value import value
from udocker.registry.address import host_of, origin, same_site
from udocker.registry.challenge import parse_challenges
from udocker.registry.http import Request
from udocker.registry.replies import failure, foreign_realm, quoted, unauthorized

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Optional

    from udocker.errors import RegistryError
    from udocker.registry.address import Endpoint
    from udocker.registry.challenge import Challenge
    from udocker.registry.credential import Credential
    from udocker.registry.replies import Reply

_CLIENT = "udocker"
_LIFETIME = 60  # seconds, of a token that does not say
_LONGEST_LIFETIME = 24 * 3600
_TOKEN = re.compile(r"[!-~]+")  # what may stand in a header


@value
class Access:
    """What a grant is for: ``repository`` at ``url``; or, if empty, to log in.

    ``trusts`` tells of a host of another site whether it may be sent the login for a token.
    """

    endpoint: Endpoint
    url: str  # any URL of the server that asks
    repository: str
    scope: str = ""  # of a token, with blanks between several; empty: what the server names
    trusts: Callable[[str], bool] = lambda host: False

    @property
    def subject(self) -> str:
        """What a refusal is about, for a message."""
        registry = self.endpoint.registry
        return f"{registry}/{self.repository}" if self.repository else registry


@value
class Grant:
    """An Authorization header; good for ``seconds`` (None: always)."""

    header: str
    seconds: float | None = None
    login: bool = False  # the user's credentials earned it
    withheld: str = ""  # the token service they were not sent to, being of another site

    def __repr__(self) -> str:
        return f"Grant({self.header.partition(' ')[0]} …)"


if TYPE_CHECKING:
    Flow = Generator[Request, Reply, Grant]
    Source = Callable[[], Optional[Credential]]


def authorize(header: str, access: Access, credential: Source) -> Flow:
    """Earn what the WWW-Authenticate ``header`` asks for.

    Raises UnauthorizedError and other RegistryErrors, and what ``credential`` raises.
    """
    challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
    if "bearer" in challenges:
        return (yield from _bearer(challenges["bearer"], access, credential()))
    registry = access.endpoint.registry
    known = credential() if "basic" in challenges else None
    if known is not None and known.user:
        return Grant(known.basic, login=True)
    wants = f"{access.subject}: {host_of(access.url)} wants a login"
    if challenges and "basic" not in challenges:
        schemes = ", ".join(sorted(challenges))
        raise UnauthorizedError(f"{wants} by {schemes}, which udocker cannot do")
    raise unauthorized(wants, False, registry)


def _bearer(challenge: Challenge, access: Access, credential: Credential | None) -> Flow:
    realm = challenge.get("realm")
    _check_realm(realm, access)
    own_site = same_site(origin(realm)[1], origin(access.url)[1]) or access.trusts(host_of(realm))
    used = credential if own_site else None
    reply = yield _token_request(realm, challenge, access, used)
    withheld = "" if own_site or credential is None else host_of(realm)
    if reply.status == 200:
        header, seconds = _token(reply)
        return Grant(header, seconds, used is not None, withheld)
    registry = access.endpoint.registry
    if withheld:
        raise foreign_realm(access.subject, registry, withheld)
    if reply.status in (400, 401):
        refusal = "refuses the user name and password" if used else "wants a login"
        raise unauthorized(
            f"{access.subject}: {host_of(realm)} {refusal}{quoted(reply)}",
            used is not None,
            registry,
        )
    raise failure(reply, access.subject, registry, used is not None)


def _check_realm(realm: str, access: Access) -> None:
    """Secrets go to the realm: it must be as well protected as the registry is."""
    asking = host_of(access.url)
    if not realm.lower().startswith(("https://", "http://")):
        raise BadReplyError(f"{asking} asks for a token and names no URL to get it from")
    scheme = origin(realm)[0]
    if "@" in urlsplit(realm).netloc:
        raise BadReplyError(f"{asking} names a token service with a password in its URL")
    if scheme != "https" and not access.endpoint.plain_http_allowed:
        raise BadReplyError(
            f"{asking} wants tokens fetched over plain http from {host_of(realm)}",
            hint="if you trust the network: --insecure",
        )


def _token_request(
    realm: str, challenge: Challenge, access: Access, credential: Credential | None
) -> Request:
    scope = access.scope or challenge.get("scope")
    if access.repository:
        scope = scope or f"repository:{access.repository}:pull"
    service = challenge.get("service")
    asked = [("service", service)] if service else []
    if credential is not None and credential.identity_token:
        secret = credential.identity_token
        asked += [
            *([("scope", scope)] if scope else []),
            ("grant_type", "refresh_token"),
            ("client_id", _CLIENT),
            ("refresh_token", secret),
        ]
        return Request(realm, form=urlencode(asked), secrets=(secret,))
    asked += [("scope", each) for each in scope.split()]
    parts = urlsplit(realm)
    query = "&".join(filter(None, (parts.query, urlencode(asked))))
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
    if credential is None:
        return Request(url)
    basic = credential.basic
    secrets = (basic.partition(" ")[2], credential.password)
    return Request(url, (("Authorization", basic),), secrets=secrets)


def _token(reply: Reply) -> tuple[str, float]:
    """The Authorization header that the token service grants, and its lifetime in seconds."""
    try:
        data = json.loads(reply.body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise BadReplyError(f"the token service {reply.host} does not answer with a JSON object")
    token = data.get("token") or data.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise BadReplyError(f"the token service {reply.host} gives no usable token")
    seconds = data.get("expires_in")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        seconds = _LIFETIME
    return f"Bearer {token}", float(min(seconds, _LONGEST_LIFETIME))


class Gate:
    """The grant for one repository at one server: earned when it is asked for, then kept.

    Several threads may ask. ``ask`` carries out the requests of a flow; ``clock`` counts seconds.
    """

    def __init__(
        self,
        access: Access,
        credential: Source,
        ask: Callable[[Request], Reply],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self._credential = credential
        self._ask = ask
        self._clock = clock
        self._challenge = ""
        self._grant: Grant | None = None
        self._expires = 0.0
        self._lock = threading.RLock()

    def header(self) -> str:
        """The Authorization header to send now; empty as long as the server wants none.

        A token past its life is replaced. Raises RegistryError.
        """
        with self._lock:
            if self._grant is None:
                return ""
            if self._grant.seconds is not None and self._clock() >= self._expires:
                self._earn()
            return self._grant.header

    def challenged(self, reply: Reply, sent: str) -> None:
        """Answer the 401 ``reply`` to a request that carried the header ``sent``.

        Raises RegistryError when there is no way to.
        """
        with self._lock:
            if self._grant is not None and self._grant.header != sent:
                return  # another request has renewed it meanwhile
            if sent and self._grant is not None and self._grant.seconds is None:
                raise self.refused(reply)
            self._challenge = reply.headers.get("www-authenticate", "")
            self._earn()

    @property
    def is_withheld(self) -> bool:
        """Whether there is a login that the token service did not get, being of another site."""
        return self._grant is not None and bool(self._grant.withheld)

    def refused(self, reply: Reply) -> RegistryError:
        """The error for a ``reply`` that came in spite of the grant."""
        registry = self._access.endpoint.registry
        grant = self._grant
        withheld = grant.withheld if grant is not None else ""
        if withheld and (reply.status in (401, 403) or not self._access.repository):
            return foreign_realm(self._access.subject, registry, withheld)
        return failure(reply, self._access.subject, registry, grant is not None and grant.login)

    def _earn(self) -> None:
        flow = authorize(self._challenge, self._access, self._credential)
        try:
            request = next(flow)
            while True:
                request = flow.send(self._ask(request))
        except StopIteration as end:
            grant: Grant = end.value
        self._expires = self._clock() + (grant.seconds or 0.0)
        self._grant = grant
