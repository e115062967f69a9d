"""What a registry's reply means: its own words, how long to wait, which error it is."""

from __future__ import annotations

import re

from udocker.errors import (
    BadReplyError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
)
from udocker.model.value import value
from udocker.registry.address import host_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from udocker.errors import RegistryError

REDIRECTS = (301, 302, 303, 307, 308)
TOO_MANY_REQUESTS = 429
LONGEST_WAIT = 30  # seconds that a Retry-After may ask for; more is the user's decision
_QUOTE_LENGTH = 200
_NEEDS_LOGIN = "check the name; private images need a login: udocker login"


@value
class Reply:
    """A status, headers (names in lower case) and a body; ``url`` is what was asked."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    secrets: tuple[str, ...] = ()  # what was sent, so that it is not quoted back

    def __repr__(self) -> str:
        return f"Reply({host_of(self.url)!r}, {self.status}, {len(self.body)} bytes)"

    @property
    def host(self) -> str:
        return host_of(self.url)

    @property
    def content_type(self) -> str:
        """The media type, lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_html(self) -> bool:
        return self.content_type in ("text/html", "application/xhtml+xml")

    @property
    def has_registry_error(self) -> bool:
        """Whether the body is the error JSON of the distribution specification."""
        return bool(_errors(self.body))


def quoted(reply: Reply) -> str:
    """What the registry says, as ``" (…)"`` to append to a message; empty when it says nothing.

    One line of at most 200 characters without control characters or the secrets that were sent.
    """
    text = "; ".join(filter(None, map(_error_text, _errors(reply.body))))
    for secret in filter(None, reply.secrets):
        text = text.replace(secret, "…")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(text) > _QUOTE_LENGTH:
        text = text[: _QUOTE_LENGTH - 1] + "…"
    return f" ({text})" if text else ""


def _errors(body: bytes) -> list[object]:
    import json

    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if not isinstance(data, dict):
        return []
    errors = data.get("errors")
    if isinstance(errors, list):
        return errors
    # The token services of Docker Hub and of OAuth 2 say it in their own ways.
    said = data.get("details") or data.get("error_description") or data.get("error")
    return [{"message": said}] if isinstance(said, str) else []


def _error_text(error: object) -> str:
    if not isinstance(error, dict):
        return ""
    parts = (error.get("code"), error.get("message"))
    return ": ".join(part for part in parts if isinstance(part, str) and part)


def retry_after(reply: Reply, now: Callable[[], float] | None = None) -> float | None:
    """Seconds that the Retry-After header asks to wait, None without one (RFC 9110, 10.2.3).

    ``now`` gives the time of day in seconds since 1970 for a header that holds a date.
    """
    import email.utils
    import time

    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, moment - (now or time.time)())


def patience(reply: Reply, tries: int, most: int, delay: float) -> float | None:
    """Seconds after which the request is worth another try, None when it is not.

    ``tries`` of ``most`` have been made; ``delay`` is the wait when the server asks for none.
    """
    if tries >= most:
        return None
    asked = retry_after(reply)
    if asked is not None and asked > LONGEST_WAIT:
        asked = None
    if reply.status == TOO_MANY_REQUESTS:
        return asked
    if reply.status == 408 or (reply.status >= 500 and reply.status != 501):
        return delay if asked is None else max(delay, asked)
    return None


def failure(reply: Reply, subject: str, registry: str, login: bool = False) -> RegistryError:
    """The error that ``reply``, which is not what was asked for, is to the user.

    ``subject`` is the image, ``registry`` where it was asked; ``login`` says that the user's
    credentials were used.
    """
    where = registry if reply.host == registry else f"{registry}, at {reply.host}"
    if reply.status == 401:
        return unauthorized(f"{subject}: not authorized by {where}{quoted(reply)}", login, registry)
    if reply.status == 403:
        return ForbiddenError(
            f"{subject}: access refused by {where}{quoted(reply)}", hint=_NEEDS_LOGIN
        )
    if reply.status in (404, 410):
        return NotFoundError(f"{subject}: not found in {where}{quoted(reply)}", hint=_NEEDS_LOGIN)
    if reply.status == TOO_MANY_REQUESTS:
        return _rate_limited(reply, subject)
    if reply.status >= 500:
        return ServerError(
            f"{subject}: {where} failed with status {reply.status}{quoted(reply)}",
            hint="the fault is the registry's: try again later",
        )
    return BadReplyError(f"{subject}: unexpected status {reply.status} of {where}{quoted(reply)}")


def no_such_image(reply: Reply, subject: str, registry: str) -> NotFoundError:
    return NotFoundError(
        f"{subject}: no such image or tag in {registry}{quoted(reply)}", hint=_NEEDS_LOGIN
    )


def not_a_registry(host: str, what: str) -> BadReplyError:
    """``what`` was met where a registry should be."""
    return BadReplyError(
        f"{host} does not answer as a registry: {what}",
        hint="check the host name; a login page of the network or a proxy may be in the way",
    )


def unauthorized(message: str, login: bool, registry: str) -> UnauthorizedError:
    """``login``: the user's credentials were used and did not help."""
    again = f"log in to {registry} again; this user may not be allowed to read the image"
    return UnauthorizedError(message, hint=again if login else _NEEDS_LOGIN)


class LoginWithheld(UnauthorizedError):
    """There is a login, and it was not sent to where the registry wants it."""


def foreign_realm(subject: str, registry: str, realm_host: str) -> LoginWithheld:
    return LoginWithheld(
        f"{subject}: {registry} wants its login sent to {realm_host}, which is another site",
        hint=f"if {realm_host} gives out the tokens for {registry}: "
        f"UDOCKER_TOKEN_SERVICES={realm_host}; the login was not sent",
    )


def limit_left(reply: Reply) -> str:
    """What the registry says of its limit, as Docker Hub does; empty when it says nothing.

    Headers: https://docs.docker.com/docker-hub/usage/pulls/.
    """
    left = _Quota.parse(reply.headers.get("ratelimit-remaining", ""))
    if left is None:
        return ""
    most = _Quota.parse(reply.headers.get("ratelimit-limit", ""))
    of = f" of {most.requests}" if most is not None else ""
    within = f" in {_duration(left.seconds)}" if left.seconds else ""
    return f"{reply.host} has {left.requests}{of} pulls left{within}{_counted_for(reply)}"


@value
class _Quota:
    """``100;w=21600``: requests, and the seconds they are for (0: not said)."""

    requests: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> _Quota | None:
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:;\s*w=(\d{1,9})\s*)?", text, re.ASCII)
        return cls(int(match[1]), int(match[2] or 0)) if match else None


def _counted_for(reply: Reply) -> str:
    """Whose limit it is: an address shares it with all who are behind it."""
    source = reply.headers.get("docker-ratelimit-source", "").strip()
    if not re.fullmatch(r"[0-9A-Za-z.:_-]{1,64}", source):
        return ""
    is_address = ":" in source or source.replace(".", "").isdigit()
    return f" for the address {source}" if is_address else " for your user"


def _rate_limited(reply: Reply, subject: str) -> RateLimitedError:
    wait = retry_after(reply)
    whose = _counted_for(reply)
    most = _Quota.parse(reply.headers.get("ratelimit-limit", ""))
    if most is not None and most.seconds:
        whose = f" ({most.requests} in {_duration(most.seconds)}{whose})"
    when = "" if wait is None else f"; it allows the next request in {_duration(wait)}"
    return RateLimitedError(
        f"{subject}: the request limit of {reply.host}{whose} is used up{when}{quoted(reply)}",
        hint="wait, or log in (udocker login): limits are higher for known users",
    )


def _duration(seconds: float) -> str:
    """In words, rounded up."""
    whole = int(-(-seconds // 1))
    if whole <= 120:
        return f"{whole} s"
    minutes = -(-whole // 60)
    return f"{minutes} min" if minutes <= 120 else f"{-(-minutes // 60)} h"
