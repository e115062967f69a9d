from __future__ import annotations

import json

import pytest

from udocker.errors import (
    BadReplyError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
)
from udocker.registry.replies import Reply, failure, limit_left, patience, quoted, retry_after


def reply(status=200, body=b"", secrets=(), **headers):
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply("https://q.io/v2/a?sig=geheim", status, named, body, secrets)


def errors(*pairs):
    return json.dumps({"errors": [{"code": c, "message": m} for c, m in pairs]}).encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"<html>no</html>", ""),
        (b"[1]", ""),
        (b'{"errors": []}', ""),
        (b'{"errors": [3, {"code": 4}, {}]}', ""),
        (b'{"errors": {"code": "X"}}', ""),
        (b"[" * 100_000, ""),
        (errors(("DENIED", "not for you")), " (DENIED: not for you)"),
        (errors(("A", "one"), ("B", "two")), " (A: one; B: two)"),
        (errors(("", "only words")), " (only words)"),
        (errors(("A", "two\nlines\r\n\tand \x1b[31mred\x07")), " (A: two lines and [31mred)"),
        (errors(("A", "a\u202egnal\u2028b")), " (A: a gnal b)"),
        (b'{"details": "incorrect password"}', " (incorrect password)"),
        (b'{"error": "invalid_grant", "error_description": "expired"}', " (expired)"),
    ],
)
def test_the_registry_is_quoted(body, text):
    assert quoted(reply(400, body)) == text


def test_a_quote_is_cut():
    text = quoted(reply(400, errors(("A", "x" * 1000))))
    assert len(text) == 200 + len(" ()")
    assert text.endswith("x…)")


def test_a_secret_is_not_quoted_back():
    text = quoted(reply(401, errors(("A", "bad token tok-en-1!")), secrets=("tok-en-1", "")))
    assert text == " (A: bad token …!)"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("0", 0),
        (" 7 ", 7),
        ("-7", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
        ("Thu, 01 Jan 99999 00:00:10 GMT", None),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after(reply(429, retry_after=header), lambda: 40.0) == seconds


@pytest.mark.parametrize(
    ("status", "header", "tries", "wait"),
    [
        (200, "", 1, None),
        (404, "3", 1, None),
        (429, "3", 1, 3),
        (429, "30", 3, 30),
        (429, "31", 1, None),
        (429, "", 1, None),
        (429, "3", 4, None),
        (500, "", 1, 0.5),
        (502, "", 4, None),
        (503, "3", 1, 3),
        (503, "0", 1, 0.5),
        (503, "3600", 1, 0.5),
        (501, "", 1, None),
        (408, "", 1, 0.5),
    ],
)
def test_patience(status, header, tries, wait):
    assert patience(reply(status, retry_after=header), tries, 4, 0.5) == wait


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (401, {}, UnauthorizedError, "debian: not authorized by q.io (A: b)"),
        (403, {}, ForbiddenError, "debian: access refused by q.io (A: b)"),
        (404, {}, NotFoundError, "debian: not found in q.io (A: b)"),
        (410, {}, NotFoundError, "debian: not found in q.io (A: b)"),
        (429, {}, RateLimitedError, "debian: the request limit of q.io is used up (A: b)"),
        (
            429,
            {"retry_after": "45"},
            RateLimitedError,
            "debian: the request limit of q.io is used up; "
            "it allows the next request in 45 s (A: b)",
        ),
        (500, {}, ServerError, "debian: q.io failed with status 500 (A: b)"),
        (418, {}, BadReplyError, "debian: unexpected status 418 of q.io (A: b)"),
        (204, {}, BadReplyError, "debian: unexpected status 204 of q.io (A: b)"),
    ],
)
def test_failures(status, headers, kind, words):
    error = failure(reply(status, errors(("A", "b")), **headers), "debian", "q.io")
    assert type(error) is kind
    assert error.message == words
    assert error.hint or kind is BadReplyError


@pytest.mark.parametrize(
    ("seconds", "words"),
    [("119", "in 119 s"), ("121", "in 3 min"), ("7200", "in 120 min"), ("21600", "in 6 h")],
)
def test_long_waits_are_said_in_words(seconds, words):
    assert words in failure(reply(429, retry_after=seconds), "x", "q.io").message


def test_another_host_is_named():
    error = failure(reply(500), "debian", "docker.io")
    assert error.message == "debian: docker.io, at q.io failed with status 500"


def test_the_hint_depends_on_the_login():
    anonymous = failure(reply(401), "x", "q.io")
    known = failure(reply(401), "x", "q.io", login=True)
    assert "need a login" in str(anonymous.hint)
    assert "log in to q.io again" in str(known.hint)


def test_a_reply_does_not_print_its_query_or_body():
    assert "geheim" not in repr(reply(200, b"geheim", secrets=("geheim",)))


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, ""),
        ({"ratelimit_limit": "100;w=21600"}, ""),
        ({"ratelimit_remaining": "76"}, "q.io has 76 pulls left"),
        ({"ratelimit_remaining": "76;w=60"}, "q.io has 76 pulls left in 60 s"),
        (
            {"ratelimit_limit": "100;w=21600", "ratelimit_remaining": " 0; w=21600"},
            "q.io has 0 of 100 pulls left in 6 h",
        ),
        (
            {"ratelimit_remaining": "5", "docker_ratelimit_source": "192.0.2.1"},
            "q.io has 5 pulls left for the address 192.0.2.1",
        ),
        (
            {"ratelimit_remaining": "5", "docker_ratelimit_source": "2001:db8::1"},
            "q.io has 5 pulls left for the address 2001:db8::1",
        ),
        (
            {"ratelimit_remaining": "5", "docker_ratelimit_source": "0123-uuid"},
            "q.io has 5 pulls left for your user",
        ),
        (
            {"ratelimit_remaining": "5", "docker_ratelimit_source": "\x1b[31m"},
            "q.io has 5 pulls left",
        ),
        ({"ratelimit_remaining": "many"}, ""),
        ({"ratelimit_remaining": "-1;w=3"}, ""),
        ({"ratelimit_remaining": "9" * 5000}, ""),
    ],
)
def test_what_is_left_of_a_limit(headers, text):
    assert limit_left(reply(**headers)) == text


def test_whose_limit_is_used_up():
    headers = {"ratelimit_limit": "100;w=21600", "docker_ratelimit_source": "192.0.2.1"}
    error = failure(reply(429, retry_after="90", **headers), "debian", "q.io")
    assert error.message == (
        "debian: the request limit of q.io (100 in 6 h for the address 192.0.2.1) is used up; "
        "it allows the next request in 90 s"
    )
