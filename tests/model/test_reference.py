from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from udocker.errors import BadReference
from udocker.model.reference import Digest, Reference

SHA256 = "sha256:" + "ab" * 32
SHA512 = "sha512:" + "0f" * 64


# The grammar of https://github.com/distribution/reference, written down a second time.
ALNUM = "[a-z0-9]+"
COMPONENT = f"{ALNUM}(?:(?:[._]|__|-+){ALNUM})*"
LABEL = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN = rf"(?:{LABEL}(?:\.{LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
DOCKER = re.compile(
    rf"({DOMAIN})/({COMPONENT}(?:/{COMPONENT})*)(?::([0-9A-Za-z_][0-9A-Za-z_.-]{{0,127}}))?"
    r"(?:@(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}))?"
)


def docker(text):
    """What Docker makes of a name: registry, repository, tag and digest, or None."""
    if re.fullmatch("[a-f0-9]{64}", text):
        return None
    first, slash, rest = text.partition("/")
    if slash and (first == "localhost" or set(".:") & set(first) or first != first.lower()):
        domain = "docker.io" if first == "index.docker.io" else first
    else:
        domain, rest = "docker.io", text
    if domain == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    found = DOCKER.fullmatch(f"{domain}/{rest}")
    if found is None or len(found[2]) > 255:
        return None
    tag = found[3] or (None if found[4] else "latest")
    return found[1], found[2], tag, found[4]


def parts(text, **options):
    found = Reference.parse(text, **options)
    digest = str(found.digest) if found.digest else None
    return found.registry, found.repository, found.tag, digest


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag"),
    [
        ("debian", "docker.io", "library/debian", "latest"),
        ("debian:12", "docker.io", "library/debian", "12"),
        ("library/debian", "docker.io", "library/debian", "latest"),
        ("docker.io/debian", "docker.io", "library/debian", "latest"),
        ("index.docker.io/debian", "docker.io", "library/debian", "latest"),
        ("registry-1.docker.io/library/debian", "docker.io", "library/debian", "latest"),
        ("registry.hub.docker.com/debian:12", "docker.io", "library/debian", "12"),
        ("docker.io/library/a/b", "docker.io", "library/a/b", "latest"),
        ("user/app", "docker.io", "user/app", "latest"),
        ("a/b/c/d", "docker.io", "a/b/c/d", "latest"),
        ("test_com/foo", "docker.io", "test_com/foo", "latest"),
        ("quay.io/debian", "quay.io", "debian", "latest"),
        ("quay.io/a/b:1.2-x_y", "quay.io", "a/b", "1.2-x_y"),
        ("localhost/app", "localhost", "app", "latest"),
        ("localhost", "docker.io", "library/localhost", "latest"),
        ("localhost:5000", "docker.io", "library/localhost", "5000"),
        ("localhost:5000/app", "localhost:5000", "app", "latest"),
        ("localhost:5000/app:5001", "localhost:5000", "app", "5001"),
        ("registry:5000/app", "registry:5000", "app", "latest"),
        ("192.168.0.1", "docker.io", "library/192.168.0.1", "latest"),
        ("192.168.0.1:80", "docker.io", "library/192.168.0.1", "80"),
        ("192.168.0.1:80/app", "192.168.0.1:80", "app", "latest"),
        ("[::1]/app", "[::1]", "app", "latest"),
        ("[::1]:5000/app", "[::1]:5000", "app", "latest"),
        ("[2001:db8:1:2:3:4:5:6]:5000/a/b:t", "[2001:db8:1:2:3:4:5:6]:5000", "a/b", "t"),
        ("xn--n3h.com/app", "xn--n3h.com", "app", "latest"),
        ("Upper/app", "Upper", "app", "latest"),
        ("Quay.IO/app", "Quay.IO", "app", "latest"),
        ("lower:UPPER", "docker.io", "library/lower", "UPPER"),
        ("a:_x.-", "docker.io", "library/a", "_x.-"),
        ("a__b---c.d_e", "docker.io", "library/a__b---c.d_e", "latest"),
        ("a:5000/b", "a:5000", "b", "latest"),
        ("host.io:00080/b", "host.io:00080", "b", "latest"),
        ("ab" * 31, "docker.io", "library/" + "ab" * 31, "latest"),
        ("docker.io/" + "ab" * 32, "docker.io", "library/" + "ab" * 32, "latest"),
    ],
)
def test_names(text, registry, repository, tag):
    assert parts(text) == (registry, repository, tag, None)
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize("digest", [SHA256, SHA512])
def test_digests(digest):
    assert parts(f"debian@{digest}") == ("docker.io", "library/debian", None, digest)
    assert parts(f"[::1]:5/a:t@{digest}") == ("[::1]:5", "a", "t", digest)
    both = Reference.parse(f"debian:12@{digest}")
    assert both.selector == digest
    assert both.canonical == f"docker.io/library/debian:12@{digest}"
    assert Reference.parse("debian:12").selector == "12"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/",
        "//",
        ":",
        "@",
        ":tag",
        "/app",
        "app/",
        "a//b",
        "docker.io/",
        "docker.io//a",
        "localhost/",
        "localhost/:tag",
        "app:",
        "app@",
        "app@sha256:",
        f"@{SHA256}",
        f"app@{SHA256[:-1]}",
        f"app@{SHA256}0",
        f"app@{SHA256.upper()}",
        f"app@sha256:{'AB' * 32}",
        f"app@md5:{'ab' * 16}",
        f"app@{SHA256}@{SHA256}",
        f"app@{SHA256}:tag",
        "app:tag:tag",
        "app:-tag",
        "app:.tag",
        "app:ta/g",
        "app:tag ",
        "app:t\u00e4g",
        "app\n",
        "app:12\n",
        "app:" + "t" * 129,
        "-app",
        "app-",
        "a..b",
        "a_.b",
        "a___b",
        "_a",
        "https://quay.io/app",
        "quay.io:/app",
        "quay.io:x/app",
        "-quay.io/app",
        "quay-.io/app",
        "quay..io/app",
        "qu_ay.io:80/app",
        "qu__ay.io/app",
        "[::1]",
        "[::1]:5000",
        "[]/app",
        "[fe80::1%eth0]/app",
        "[::ffff:192.0.2.33]/app",
        "::1/app",
        "[::1/app",
        "user@host/app",
        "aa/asdf$$^/aa",
        "\u00e9",
        "a\x00b",
        "\udcff",
        "ab" * 32,
    ],
)
def test_refused(text):
    with pytest.raises(BadReference) as caught:
        Reference.parse(text)
    assert "\n" not in caught.value.message
    assert "\x00" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Debian", "debian"),
        ("Debian:12", "debian"),
        ("user/Debian", "user/debian"),
        ("quay.io/User/app:12", "user/app"),
        ("docker.io/Debian", "debian"),
        ("user/De bian", "names look like [registry/]name[:tag][@digest]"),
    ],
)
def test_upper_case_is_refused_with_the_lower_case_name(text, hint):
    with pytest.raises(BadReference, match="lower case") as caught:
        Reference.parse(text)
    assert caught.value.hint == hint


def test_lengths():
    longest = "/".join(["a"] * 128)
    assert len(longest) == 255
    assert Reference.parse(f"quay.io/{longest}:{'t' * 128}").repository == longest
    assert Reference.parse(longest).repository == longest
    for text in (f"quay.io/{longest}a", "a" * 248):  # the second is library/ and 248
        with pytest.raises(BadReference):
            Reference.parse(text)
    assert Reference.parse("a" * 247).repository == "library/" + "a" * 247


@pytest.mark.parametrize(
    ("text", "default", "registry", "repository"),
    [
        ("app", "quay.io", "quay.io", "app"),
        ("user/app", "quay.io", "quay.io", "user/app"),
        ("library/app", "quay.io", "quay.io", "library/app"),
        ("ghcr.io/app", "quay.io", "ghcr.io", "app"),
        ("docker.io/app", "quay.io", "docker.io", "library/app"),
        ("localhost/app", "quay.io", "localhost", "app"),
        ("app", "localhost:5000", "localhost:5000", "app"),
        ("app", "localhost", "localhost", "app"),
        ("app", "quay.io/", "quay.io", "app"),
        ("app", "registry-1.docker.io", "docker.io", "library/app"),
        ("user/app", "index.docker.io", "docker.io", "user/app"),
        ("app", "docker.io", "docker.io", "library/app"),
    ],
)
def test_default_registry(text, default, registry, repository):
    assert parts(text, registry=default) == (registry, repository, "latest", None)


@pytest.mark.parametrize("default", ["", "/", "quay", "quay.io/user", "https://quay.io", "a b.c"])
def test_bad_default_registry(default):
    with pytest.raises(BadReference, match="not a registry host"):
        Reference.parse("app", default)


@pytest.mark.parametrize(
    ("text", "name", "familiar", "canonical"),
    [
        ("debian", "docker.io/library/debian", "debian", "docker.io/library/debian:latest"),
        ("docker.io/u/a:1", "docker.io/u/a", "u/a", "docker.io/u/a:1"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b", "docker.io/library/a/b:latest"),
        ("quay.io/library/a", "quay.io/library/a", "quay.io/library/a", None),
        ("localhost:5000/a", "localhost:5000/a", "localhost:5000/a", "localhost:5000/a:latest"),
    ],
)
def test_spellings(text, name, familiar, canonical):
    found = Reference.parse(text)
    assert (found.name, found.familiar) == (name, familiar)
    assert found.canonical == (canonical or f"{name}:latest")


NAMES = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="aZ0._-/:@[]", max_size=24),
    st.from_regex(DOCKER, fullmatch=True),
    st.from_regex(rf"{COMPONENT}(?:/{COMPONENT})?(?::[a-zA-Z0-9_.-]+)?", fullmatch=True),
)


@settings(max_examples=500, deadline=None, database=None)
@given(NAMES)
@example(f"a:b@{SHA256}")
@example("ab" * 32)
def test_parse_agrees_with_docker_and_raises_nothing_else(text):
    assume(not re.match(r"registry-1\.docker\.io|registry\.hub\.docker\.com", text))
    expected = docker(text)
    try:
        found = Reference.parse(text)
    except BadReference:
        assert expected is None
        return
    assert parts(text) == expected
    assert str(found) == text
    again = Reference.parse(found.canonical)
    assert again.canonical == found.canonical
    assert Reference.parse(found.familiar).name == found.name


@settings(max_examples=300, deadline=None, database=None)
@given(NAMES, st.one_of(st.text(max_size=20), st.from_regex(DOMAIN, fullmatch=True)))
def test_any_default_registry(text, default):
    try:
        found = Reference.parse(text, default)
    except BadReference:
        return
    assert str(found) == text
    # What is stored by its canonical name is found by it, whatever the default is then.
    assert Reference.parse(found.canonical, "quay.io").canonical == found.canonical


class TestDigest:
    def test_of(self):
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        assert Digest.of(b"") == Digest.parse(f"sha256:{empty}")
        assert Digest.of(b"").short == empty[:12]

    @pytest.mark.parametrize("text", [SHA256, SHA512])
    def test_prints_back(self, text):
        assert str(Digest.parse(text)) == text

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256-" + "ab" * 32,
            "SHA256:" + "ab" * 32,
            "sha256:" + "AB" * 32,
            "sha256:" + "ab" * 31 + "a",
            "sha256:" + "ab" * 31 + "gg",
            "sha256:" + "a" * 31 + "/." + "a" * 31,
            "sha256:../../../etc/passwd",
            "sha256:" + "ab" * 32 + "\n",
            "sha256: " + "ab" * 31 + "a",
            "sha512:" + "ab" * 32,
            "md5:" + "ab" * 16,
            "../sha256:" + "ab" * 32,
            "sha256:" + "\u0661" * 64,
        ],
    )
    def test_refused(self, text):
        with pytest.raises(BadReference):
            Digest.parse(text)

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.text(max_size=80))
    def test_nothing_else_is_raised(self, text):
        with contextlib.suppress(BadReference):
            assert str(Digest.parse(text)) == text
