"""Logins and the flows that use them; no socket is opened here."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from udocker.errors import (
    BadReplyError,
    ForbiddenError,
    ServerError,
    UnauthorizedError,
)
from udocker.registry.address import Endpoint
from udocker.registry.auth import Access, Gate, authorize
from udocker.registry.credential import Credential
from udocker.registry.replies import Reply

HUB = Endpoint("docker.io", "https", "registry-1.docker.io")
PLAIN = Endpoint("localhost:5000", "http", "localhost:5000")
LAX = Endpoint("r.example", "https", "r.example", True)
ANA = Credential("ana", "geheim")
BEARER = 'Bearer realm="https://auth.docker.io/token",service="s",scope="repository:a/b:pull"'


def encoded(pair):
    return base64.b64encode(pair.encode()).decode()


def test_secrets_are_not_printed():
    shown = repr(Credential("ana", "geheim", "idt"))
    assert "geheim" not in shown
    assert "idt" not in shown


# Flows


def access(endpoint=HUB, url="https://registry-1.docker.io/v2/a/b/manifests/1"):
    return Access(endpoint, url, "a/b")


def token_reply(status=200, body=b'{"token": "tok"}', **headers):
    return Reply("https://auth.docker.io/token", status, headers, body)


def play(header, credential=None, where=None, reply=None):
    """Run a flow; what it asked for, and the grant."""
    flow = authorize(header, where or access(), lambda: credential)
    asked = []
    try:
        asked.append(next(flow))
        flow.send(reply or token_reply())
    except StopIteration as end:
        return asked, end.value
    raise AssertionError("the flow asks twice")


def test_a_token_without_a_login():
    (request,), grant = play(BEARER)
    parts = urlsplit(request.url)
    assert parts._replace(query="").geturl() == "https://auth.docker.io/token"
    assert parse_qs(parts.query) == {"service": ["s"], "scope": ["repository:a/b:pull"]}
    assert (request.headers, request.form) == ((), "")
    assert grant.header == "Bearer tok"
    assert not grant.login


def test_a_token_with_a_password():
    (request,), grant = play(BEARER, ANA)
    assert dict(request.headers) == {"Authorization": f"Basic {encoded('ana:geheim')}"}
    assert grant.header == "Bearer tok"
    assert grant.login


def test_a_token_with_an_identity_token():
    (request,), _ = play(BEARER, Credential("", "", "idt"))
    assert request.url == "https://auth.docker.io/token"
    assert request.headers == ()
    assert parse_qs(request.form) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["idt"],
        "service": ["s"],
        "scope": ["repository:a/b:pull"],
        "client_id": ["udocker"],
    }


def test_a_challenge_without_scope_and_service():
    (request,), _ = play('Bearer realm="https://auth.docker.io/t?x=1"')
    assert parse_qs(urlsplit(request.url).query) == {"x": ["1"], "scope": ["repository:a/b:pull"]}


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [
        (b'{"token": "a", "expires_in": 300}', "Bearer a", 300),
        (b'{"access_token": "b"}', "Bearer b", 60),
        (b'{"token": "a", "access_token": "b"}', "Bearer a", 60),
        (b'{"token": "", "access_token": "b"}', "Bearer b", 60),
        (b'{"token": "a", "expires_in": 0}', "Bearer a", 60),
        (b'{"token": "a", "expires_in": -5}', "Bearer a", 60),
        (b'{"token": "a", "expires_in": true}', "Bearer a", 60),
        (b'{"token": "a", "expires_in": "300"}', "Bearer a", 60),
        (b'{"token": "a", "expires_in": NaN}', "Bearer a", 60),
        (b'{"token": "a", "expires_in": 1e400}', "Bearer a", 86400),
    ],
)
def test_token_replies(body, header, seconds):
    _, grant = play(BEARER, reply=token_reply(body=body))
    assert (grant.header, grant.seconds) == (header, seconds)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"token": 3}',
        b'{"token": "a\\r\\nX-Evil: 1"}',
        b'{"token": "a b"}',
        b'{"token": "\\u00e4"}',
    ],
)
def test_token_replies_that_are_no_use(body):
    with pytest.raises(BadReplyError, match=r"token service auth.docker.io"):
        play(BEARER, reply=token_reply(body=body))


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        ("", "names no URL"),
        ("/token", "names no URL"),
        ("file:///etc/passwd", "names no URL"),
        ("https://", "no http URL"),
        ("http://auth.docker.io/token", "over plain http from auth.docker.io"),
        ("https://u:geheim@auth.docker.io/token", "password in its URL"),
    ],
)
def test_realms_that_are_refused(realm, words):
    with pytest.raises(BadReplyError, match=words) as caught:
        play(f'Bearer realm="{realm}",service="s"', ANA)
    assert "geheim" not in caught.value.message


@pytest.mark.parametrize("endpoint", [PLAIN, LAX])
def test_a_plain_http_realm_of_a_registry_that_may(endpoint):
    where = access(endpoint, endpoint.manifest("a/b", "1"))
    (request,), _ = play(f'Bearer realm="http://{endpoint.host}/token"', ANA, where)
    assert request.url.startswith(f"http://{endpoint.host}/token?")
    assert request.headers


FOREIGN = 'Bearer realm="https://evil.example/token",service="s"'


def test_a_foreign_realm_gets_no_login():
    (request,), grant = play(FOREIGN, ANA)
    assert (request.headers, request.form) == ((), "")
    assert not grant.login
    assert grant.withheld == "evil.example"


def test_a_foreign_realm_that_the_user_trusts():
    asked_of = []
    where = Access(HUB, access().url, "a/b", trusts=lambda host: asked_of.append(host) or True)
    (request,), grant = play(FOREIGN, ANA, where)
    assert asked_of == ["evil.example"]
    assert request.headers == (("Authorization", ANA.basic),)
    assert (grant.login, grant.withheld) == (True, "")


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_foreign_realm_that_wants_one_is_named(status):
    with pytest.raises(
        UnauthorizedError, match=r"docker.io wants .* sent to evil.example"
    ) as caught:
        play(FOREIGN, ANA, reply=token_reply(status, b""))
    assert "not sent" in caught.value.hint


def test_a_foreign_realm_without_a_login_to_send():
    with pytest.raises(UnauthorizedError, match=r"evil.example wants a login"):
        play(FOREIGN, reply=token_reply(401, b""))


@pytest.mark.parametrize(
    ("status", "credential", "kind", "words"),
    [
        (401, None, UnauthorizedError, "auth.docker.io wants a login.*(no such user)"),
        (401, ANA, UnauthorizedError, "refuses the user name and password.*(no such user)"),
        (400, ANA, UnauthorizedError, "refuses the user name and password"),
        (403, None, ForbiddenError, "docker.io/a/b: access refused by docker.io"),
        (503, None, ServerError, "failed with status 503"),
    ],
)
def test_token_services_that_refuse(status, credential, kind, words):
    body = b'{"details": "no such user"}'
    with pytest.raises(kind, match=words) as caught:
        play(BEARER, credential, reply=token_reply(status, body))
    assert caught.value.hint


def test_basic():
    asked, grant = play('Basic realm="r"', ANA)
    assert asked == []
    assert grant.header == f"Basic {encoded('ana:geheim')}"
    assert grant.seconds is None


@pytest.mark.parametrize("credential", [None, Credential("", "", "idt")])
def test_basic_without_a_password(credential):
    with pytest.raises(UnauthorizedError, match=r"registry-1.docker.io wants a login$"):
        play('Basic realm="r"', credential)


def test_bearer_is_preferred_to_basic():
    assert play(f'Basic realm="r", {BEARER}', ANA)[1].header == "Bearer tok"


@pytest.mark.parametrize(
    ("header", "words"),
    [("Negotiate, Digest realm=a", "by digest, negotiate, which"), ("", "wants a login$")],
)
def test_schemes_that_are_not_known(header, words):
    with pytest.raises(UnauthorizedError, match=words):
        play(header, ANA)


# What is kept


class Service:
    """A token service that counts, and a clock."""

    def __init__(self, credential=None):
        self.now = 0.0
        self.asked = []
        self.gate = Gate(access(), lambda: credential, self.ask, lambda: self.now)

    def ask(self, request):
        self.asked.append(request)
        body = {"token": f"t{len(self.asked)}", "expires_in": 100}
        return token_reply(body=json.dumps(body).encode())


def refusal(header=BEARER, status=401):
    url = "https://registry-1.docker.io/v2/a/b/manifests/1"
    return Reply(url, status, {"www-authenticate": header})


def test_a_token_is_kept_for_its_life():
    service = Service()
    assert service.gate.header() == ""
    service.gate.challenged(refusal(), "")
    assert service.gate.header() == "Bearer t1"
    service.now = 99.9
    assert service.gate.header() == "Bearer t1"
    assert len(service.asked) == 1
    service.now = 100
    assert service.gate.header() == "Bearer t2"


def test_a_token_that_is_refused_is_renewed_once_for_all_who_used_it():
    service = Service()
    service.gate.challenged(refusal(), "")
    service.gate.challenged(refusal(), "Bearer t1")
    assert service.gate.header() == "Bearer t2"
    service.gate.challenged(refusal(), "Bearer t1")
    assert service.gate.header() == "Bearer t2"
    assert len(service.asked) == 2


def test_basic_that_is_refused_is_final():
    service = Service(ANA)
    service.gate.challenged(refusal("Basic realm=a"), "")
    with pytest.raises(
        UnauthorizedError, match=r"docker.io/a/b: not authorized by docker.io"
    ) as caught:
        service.gate.challenged(refusal("Basic realm=a"), service.gate.header())
    assert "log in to docker.io again" in caught.value.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_after_a_login_was_withheld_names_the_realm(status):
    service = Service(ANA)
    service.gate.challenged(refusal(FOREIGN), "")
    assert "evil.example" in service.gate.refused(refusal(status=status)).message


def test_no_secret_in_what_a_grant_prints():
    _, grant = play(BEARER)
    assert "tok" not in repr(grant)
    (request,), _ = play(BEARER, ANA)
    assert encoded("ana:geheim") not in repr(request)
    assert "geheim" not in repr(request)
