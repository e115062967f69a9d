from __future__ import annotations

import pytest

from udocker.errors import BadReplyError
from udocker.model.reference import Digest
from udocker.registry import address
from udocker.registry.address import Endpoint, candidates, proxy_for, redirect_target, same_site

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("registry", "insecure", "urls"),
    [
        ("quay.io", False, ["https://quay.io"]),
        ("quay.io:5000", False, ["https://quay.io:5000"]),
        ("docker.io", False, ["https://registry-1.docker.io"]),
        ("10.0.0.1:5000", False, ["https://10.0.0.1:5000"]),
        ("localhost:5000", False, ["http://localhost:5000"]),
        ("localhost", False, ["http://localhost"]),
        ("LOCALHOST:1", False, ["http://LOCALHOST:1"]),
        ("127.3.2.1:5000", False, ["http://127.3.2.1:5000"]),
        ("[::1]:5000", False, ["http://[::1]:5000"]),
        ("quay.io", True, ["https://quay.io", "http://quay.io"]),
        ("localhost:5000", True, ["https://localhost:5000", "http://localhost:5000"]),
        # names that only look like this machine
        ("localhost.example.org", False, ["https://localhost.example.org"]),
        ("127.0.0.1.example.org", False, ["https://127.0.0.1.example.org"]),
    ],
)
def test_candidates(registry, insecure, urls):
    found = candidates(registry, insecure)
    assert [endpoint.url for endpoint in found] == urls
    assert all(endpoint.registry == registry for endpoint in found)
    assert all(endpoint.insecure == insecure for endpoint in found)


def test_urls_of_an_endpoint():
    endpoint = Endpoint("docker.io", "https", "registry-1.docker.io")
    assert endpoint.ping == "https://registry-1.docker.io/v2/"
    assert endpoint.manifest("a/b", "v1") == "https://registry-1.docker.io/v2/a/b/manifests/v1"
    assert endpoint.blob("a/b", DIGEST) == f"https://registry-1.docker.io/v2/a/b/blobs/{DIGEST}"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/x?sig=a%2Fb&y=1", "https://cdn.example/x?sig=a%2Fb&y=1"),
        ("/storage/x", "https://a.example:5000/storage/x"),
        ("x", "https://a.example:5000/v2/r/blobs/x"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("?again=1", "https://a.example:5000/v2/r/blobs/1?again=1"),
        (" https://cdn.example/with blank ", "https://cdn.example/with%20blank"),
        ("https://cdn.example/ä", "https://cdn.example/%C3%A4"),
    ],
)
def test_redirects_that_are_followed(location, target):
    assert redirect_target("https://a.example:5000/v2/r/blobs/1", location, False) == target


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "without saying where"),
        ("http://a.example/x", "from https to plain http"),
        ("ftp://a.example/x", "no http URL"),
        ("file:///etc/passwd", "no http URL"),
        ("javascript:1", "no http URL"),
        ("https://user:secret@a.example/x", "holds a password"),
        ("https://a.example:port/x", "broken URL"),
        ("https://[::1/x", "broken URL"),
    ],
)
def test_redirects_that_are_refused(location, words):
    with pytest.raises(BadReplyError, match=words) as caught:
        redirect_target("https://a.example/v2/", location, False)
    assert "secret" not in caught.value.message


def test_a_downgrade_is_allowed_to_those_who_ask_for_it():
    assert redirect_target("https://a/x", "http://a/y", True) == "http://a/y"
    assert redirect_target("http://a/x", "http://a/y", False) == "http://a/y"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.example", "a.example"),
        ("A.example", "a.EXAMPLE"),
        ("registry-1.docker.io", "auth.docker.io"),
        ("registry.gitlab.com", "gitlab.com"),
        ("docker.elastic.co", "docker-auth.elastic.co"),
        ("registry.example.co.uk", "login.example.co.uk"),
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
    ],
)
def test_one_site(one, other):
    assert same_site(one, other)
    assert same_site(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("quay.io", "evil.io"),
        ("quay.io", "quay.io.evil.example"),
        ("notquay.io", "quay.io"),
        ("registry.example.co.uk", "evil.co.uk"),
        ("registry.example.com.au", "evil.com.au"),
        ("one.azurecr.io", "two.azurecr.io"),
        ("10.0.0.1", "10.0.0.2"),
        ("1.10.0.1", "2.10.0.1"),
        ("localhost", "127.0.0.1"),
    ],
)
def test_two_sites(one, other):
    assert not same_site(one, other)


@pytest.mark.parametrize(
    ("url", "no_proxy", "used"),
    [
        ("https://quay.io/", "", True),
        ("https://quay.io/", "example.org, other", True),
        ("https://quay.io/", "quay.io", False),
        ("https://QUAY.io/", "Quay.IO", False),
        ("https://cdn.quay.io/", "quay.io", False),
        ("https://cdn.quay.io/", ".quay.io", False),
        ("https://cdn.quay.io/", "*.quay.io", False),
        ("https://notquay.io/", "quay.io", True),
        ("https://quay.io/", "a b,quay.io", False),
        ("https://quay.io/", "*", False),
        ("https://quay.io/", "quay.io:443", False),
        ("https://quay.io/", "quay.io:5000", True),
        ("https://quay.io:5000/", "quay.io:5000", False),
        ("https://10.1.2.3/", "10.1.0.0/16", False),
        ("https://10.2.2.3/", "10.1.0.0/16", True),
        ("https://10.1.2.3/", "10.1.2.3", False),
        ("https://110.1.2.3/", "10.1.2.3", True),
        ("https://quay.io/", "10.1.0.0/16,not/a/net", True),
        ("https://[fd00::1]/", "fd00::1", False),
        ("https://[fd00::1]/", "[fd00::1]", False),
        ("http://localhost:5000/", "", False),
        ("http://127.0.0.1/", "", False),
        ("http://[::1]/", "", False),
    ],
)
def test_who_takes_the_proxy(url, no_proxy, used):
    assert bool(proxy_for(url, "http://proxy:3128", no_proxy)) == used


def test_a_proxy_without_a_scheme_is_http():
    assert proxy_for("https://quay.io/", "user:pw@proxy:3128", "") == "http://user:pw@proxy:3128"
    assert proxy_for("https://quay.io/", "", "") == ""


def test_what_is_shown_of_a_url():
    shown = address.plain("https://user:pw@a.example:1/x\x1b[31m?sig=secret#frag")
    assert shown == "https://a.example:1/x[31m"
