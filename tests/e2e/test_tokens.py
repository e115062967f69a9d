"""Debian's docker-registry with a token service: who gets in, and how long."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.proxy import FaultProxy
from fakes.registry import Fault
from fakes.tokens import TokenServer
from image_maker.registry import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.conftest import Result, Udocker

pytestmark = pytest.mark.e2e

_USER, _PASSWORD = "jane", "s3cret-pässword"
_PAIR = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
_IDENTITY = "identity-t0ken-of-jane"
_SMALL, _LARGE = "busybox", "debian:12"


class Site:
    """The command, before a registry that takes tokens only, and what the user is known by."""

    def __init__(self, udocker: Udocker, store: Path, tokens: TokenServer, registry: str) -> None:
        self._udocker = udocker
        self._store = store
        self.tokens = tokens
        self.registry = registry
        self.file = store.parent / "auth.json"
        self.env: dict[str, str] = {}

    def log_in(self, host: str, **entry: str) -> None:
        self.file.write_text(json.dumps({"auths": {host: entry}}))
        self.env["REGISTRY_AUTH_FILE"] = str(self.file)

    def __call__(self, *words: str, code: int = 0) -> Result:
        result = self._udocker(*words, check=False, env={"UDOCKER_JOBS": "1", **self.env})
        assert result.code == code, result
        for secret in (_PASSWORD, _PAIR, _IDENTITY, *self.tokens.granted):
            assert secret not in result.out + result.err
        return result

    def pulls(self, name: str, host: str = "") -> Result:
        result = self("--debug", "pull", f"{host or self.registry}/{name}")
        assert len(checks.images(self._udocker)) == len(checks.trees(self._store)) == 1
        assert checks.left(self._store) == []
        return result

    def fails(self, name: str, *parts: str, host: str = "") -> None:
        result = self("pull", f"{host or self.registry}/{name}", code=125)
        checks.is_told(result, 125, *parts)
        checks.is_empty(self._udocker, self._store)


@pytest.fixture(scope="module")
def served(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TokenServer, str]]:
    folder = tmp_path_factory.mktemp("tokens")
    with (
        TokenServer(folder, users={}) as tokens,
        serving(images / "registry", readonly=True, auth=tokens.registry_auth) as registry,
    ):
        yield tokens, registry


@pytest.fixture
def site(udocker: Udocker, store_path: Path, served: tuple[TokenServer, str]) -> Site:
    tokens, registry = served
    tokens.users, tokens.public = {_USER: _PASSWORD}, set()
    tokens.refused, tokens.identity_tokens = set(), {_IDENTITY}
    tokens.said = tokens.life = 300
    tokens.log.clear()
    return Site(udocker, store_path, tokens, registry)


def slow() -> Fault:
    """A second for each piece of the large layer, which come one after another."""
    return Fault(skip=1, pace=8_000_000)


# Who gets in


def test_anybody(site: Site) -> None:
    site.tokens.public = {_SMALL}
    site.pulls(_SMALL)
    (asked,) = site.tokens.log
    assert (asked.method, asked.authorization) == ("GET", None)
    assert asked.query["scope"] == [f"repository:{_SMALL}:pull"]


def test_a_password(site: Site) -> None:
    site.fails(_SMALL, "not authorized by", "need a login")
    site.tokens.log.clear()
    site.log_in(site.registry, auth=_PAIR)
    site.pulls(_SMALL)
    (asked,) = site.tokens.log
    assert (asked.method, asked.authorization) == ("GET", f"Basic {_PAIR}")


def test_an_identity_token(site: Site) -> None:
    site.log_in(site.registry, auth="", identitytoken=_IDENTITY)
    site.pulls(_SMALL)
    (asked,) = site.tokens.log
    assert (asked.method, asked.authorization) == ("POST", None)
    assert f"refresh_token={_IDENTITY}" in asked.body.decode()


def test_login_checks_the_password(site: Site, udocker: Udocker) -> None:
    words = ("login", "-u", _USER, "--password-stdin", site.registry)
    wrong = udocker(*words, check=False, input="wröng\n")
    checks.is_told(wrong, 125, "refuses the user name and password", "check both")
    udocker(*words, input=f"{_PASSWORD}\n")
    site.pulls(_SMALL)


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": base64.b64encode(f"{_USER}:wrong".encode()).decode()},
        {"auth": "", "identitytoken": "of-somebody-else"},
    ],
)
def test_a_login_that_is_wrong(site: Site, entry: dict[str, str]) -> None:
    site.log_in(site.registry, **entry)
    site.fails(_SMALL, "refuses the user name and password", "log in to")
    assert len(site.tokens.log) == 1  # a second try may lock the account


def test_a_scope_that_is_denied(site: Site) -> None:
    """The token service gives a token, and nothing is allowed by it."""
    site.tokens.refused = {_SMALL}
    site.log_in(site.registry, auth=_PAIR)
    site.fails(_SMALL, f"{_SMALL}: not authorized by {site.registry}", "may not be allowed")
    site.pulls("musl")


# How long


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("password", 2),
        ("password", 300),
        ("password", "soon"),
        ("identity token", 300),
        ("helper", 300),
    ],
)
def test_a_token_that_ends_in_mid_pull(
    site: Site, tmp_path: Path, *, said: object, way: str
) -> None:
    """The registry takes each for two seconds, whatever the token service says of it."""
    site.tokens.said, site.tokens.life = said, 2
    with FaultProxy(site.registry) as proxy:
        known(site, proxy.host, tmp_path, way)
        proxy.fault("/blobs/", slow())
        site.pulls(_LARGE, proxy.host)
        carried = {logged.authorization for logged in proxy.requests("/blobs/")}
    assert len(carried) > 1
    assert len(site.tokens.log) > 1
    assert len({(asked.method, asked.authorization, asked.body) for asked in site.tokens.log}) == 1


def known(site: Site, host: str, folder: Path, way: str) -> None:
    """The user is known to ``host`` by a password, by a token, or by a helper program."""
    if way == "password":
        site.log_in(host, auth=_PAIR)
    elif way == "identity token":
        site.log_in(host, auth="", identitytoken=_IDENTITY)
    else:
        program = folder / "bin" / "docker-credential-keep"
        program.parent.mkdir()
        answer = json.dumps({"ServerURL": host, "Username": _USER, "Secret": _PASSWORD})
        program.write_text(f"#!/bin/sh\ncat >/dev/null\ncat <<'.'\n{answer}\n.\n")
        program.chmod(0o755)
        site.file.write_text(json.dumps({"credHelpers": {host: "keep"}}))
        path = f"{program.parent}:/usr/bin:/bin"
        site.env.update({"REGISTRY_AUTH_FILE": str(site.file), "PATH": path})


def test_a_401_in_mid_pull(site: Site) -> None:
    """As of a registry that has begun anew and knows no token of before."""
    site.log_in("127.0.0.1", auth=_PAIR)
    with FaultProxy(site.registry) as proxy:
        site.log_in(proxy.host, auth=_PAIR)
        challenge = site.tokens.registry_auth["token"]
        header = f'Bearer realm="{challenge["realm"]}",service="{challenge["service"]}"'
        refusal = Fault(times=1, skip=2, status=401, headers={"WWW-Authenticate": header})
        proxy.fault("/blobs/", refusal)
        site.pulls(_LARGE, proxy.host)
        assert refusal.times == 0
    assert len(site.tokens.log) > 1


def test_a_token_service_that_refuses_in_mid_pull(site: Site) -> None:
    """The password is changed meanwhile: the pull ends, and nothing is left that shows."""
    site.tokens.life = 2
    with FaultProxy(site.registry) as proxy:
        site.log_in(proxy.host, auth=_PAIR)
        proxy.fault("/blobs/", slow())
        site.tokens.users = Once(site.tokens.users)
        site.fails(_LARGE, "refuses the user name and password", host=proxy.host)
        proxy.clear_faults()
        site.tokens.users = {_USER: _PASSWORD}
        site.pulls(_LARGE, proxy.host)


class Once(dict[str, str]):
    """Passwords that are good for the first that asks."""

    def get(self, user: str, default: object = None) -> str | None:  # type: ignore[override]
        return self.pop(user, None)


# Where the login goes


def test_a_token_service_of_another_site(
    udocker: Udocker, images: Path, store_path: Path, tmp_path: Path
) -> None:
    with (
        TokenServer(tmp_path, "127.0.0.2", users={_USER: _PASSWORD}, public=["musl"]) as tokens,
        serving(images / "registry", readonly=True, auth=tokens.registry_auth) as registry,
    ):
        site = Site(udocker, store_path, tokens, registry)
        site.log_in(registry, auth=_PAIR)
        site.fails(_SMALL, f"wants its login sent to {tokens.host}", "which is another site")
        site.log_in(registry, auth="", identitytoken=_IDENTITY)
        site.fails(_SMALL, f"wants its login sent to {tokens.host}")
        assert {(asked.method, asked.authorization) for asked in tokens.log} == {("GET", None)}
        site.pulls("musl")  # which anybody may have


def test_a_token_service_of_another_site_that_is_named(
    udocker: Udocker, images: Path, store_path: Path, tmp_path: Path
) -> None:
    with (
        TokenServer(tmp_path, "127.0.0.2", users={_USER: _PASSWORD}) as tokens,
        serving(images / "registry", readonly=True, auth=tokens.registry_auth) as registry,
    ):
        site = Site(udocker, store_path, tokens, registry)
        site.log_in(registry, auth=_PAIR)
        site.env["UDOCKER_TOKEN_SERVICES"] = "127.0.0.3, auth.example.org"
        site.fails(_SMALL, f"UDOCKER_TOKEN_SERVICES={tokens.host}")
        site.env["UDOCKER_TOKEN_SERVICES"] = tokens.host
        site.pulls(_SMALL)
        assert tokens.log[-1].authorization == f"Basic {_PAIR}"
