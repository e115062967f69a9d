"""Names resolved by a real client at a real server on loopback."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from fakes.registry import (
    OCI_INDEX,
    OCI_MANIFEST,
    FakeRegistry,
    Fault,
    make_image,
    make_index,
    make_layer,
)
from registry.clients import unused_port
from udocker.errors import (
    BadReplyError,
    ConfigError,
    ForbiddenError,
    NoMatchingPlatform,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
    UnreachableError,
    VerificationError,
)
from udocker.model.oci import Platform
from udocker.model.reference import Digest

LAYER = make_layer({"bin/sh": b"#!"})
ARM64 = Platform("linux", "arm64", "v8")


def log_in(path, registry, pair="ana:pass:word"):
    secret = base64.b64encode(pair.encode()).decode()
    path.write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))


# What is found


@pytest.mark.parametrize("docker", [False, True])
def test_an_image(fake, client, docker):
    made = make_image(fake, "a/b", "1", [LAYER, b"tar"], {"Cmd": ["x"]}, docker=docker)
    image = client().resolve(f"{fake.host}/a/b:1")
    assert image.manifest.raw == made.manifest
    assert image.digest == image.manifest.digest == Digest.parse(made.digest)
    assert image.config.cmd == ("x",)
    assert image.config.platform == Platform("linux", "amd64")
    assert image.config.diff_ids[0] == Digest.of(gzip.decompress(LAYER))
    assert [str(layer.digest) for layer in image.manifest.layers] == [
        layer["digest"] for layer in made.layers
    ]
    assert len(fake.log) == 2
    (manifest, _) = fake.log
    assert manifest.headers["user-agent"] == "udocker/test"
    assert manifest.headers["accept"].count("application/vnd.") == 4


def test_an_image_by_digest(fake, client):
    made = make_image(fake, "a/b", None, [LAYER])
    image = client().resolve(f"{fake.host}/a/b:whatever@{made.digest}")
    assert str(image.digest) == made.digest


@pytest.mark.parametrize("docker", [False, True])
def test_the_platform_is_chosen_in_an_index(fake, client, docker):
    images = [
        ("unknown/unknown", make_image(fake, "a/b", None, [b"0"]).digest),
        ("linux/arm", make_image(fake, "a/b", None, [b"1"], platform="linux/arm").digest),
        (None, make_image(fake, "a/b", None, [b"2"]).digest),
        ("linux/arm64/v8", make_image(fake, "a/b", None, [b"3"], platform="linux/arm64").digest),
        ("linux/amd64", make_image(fake, "a/b", None, [b"4"]).digest),
    ]
    index = make_index(fake, "a/b", "1", images, docker=docker)
    image = client().resolve(f"{fake.host}/a/b:1", ARM64)
    assert str(image.manifest.digest) == images[3][1]
    assert str(image.digest) == index
    assert image.config.platform == Platform("linux", "arm64")


def test_an_index_in_an_index(fake, client):
    wanted = make_image(fake, "a/b", None, [LAYER], platform="linux/arm64").digest
    other = make_image(fake, "a/b", None, [b"1"]).digest
    arm = make_index(fake, "a/b", None, [("linux/arm64", wanted)])
    rest = make_index(fake, "a/b", None, [("linux/amd64", other)])
    top = make_index(fake, "a/b", "1", [(None, rest), (None, arm)])
    image = client().resolve(f"{fake.host}/a/b:1", ARM64)
    assert str(image.manifest.digest) == wanted
    assert str(image.digest) == top


def test_indexes_nested_without_end(fake, client):
    digest = make_image(fake, "a/b", None, [LAYER]).digest
    for _ in range(4):
        digest = make_index(fake, "a/b", None, [("linux/amd64", digest)])
    with pytest.raises(BadReplyError, match="nested too deep"):
        client().resolve(f"{fake.host}/a/b@{digest}")


def test_many_indexes_are_not_all_looked_into(fake, client):
    image = make_image(fake, "a/b", None, [LAYER]).digest
    nested = [
        (None, make_index(fake, "a/b", None, [(f"linux/arch{number}", image)]))
        for number in range(20)
    ]
    make_index(fake, "a/b", "1", nested)
    with pytest.raises(BadReplyError, match="nested too deep"):
        client().resolve(f"{fake.host}/a/b:1")
    assert len(fake.log) < 12


def test_no_matching_platform(fake, client):
    image = make_image(fake, "a/b", None, [LAYER]).digest
    platforms = ["linux/arm/v7", "linux/s390x", "unknown/unknown"]
    make_index(fake, "a/b", "1", [(platform, image) for platform in platforms])
    with pytest.raises(NoMatchingPlatform) as caught:
        client().resolve(f"{fake.host}/a/b:1")
    assert caught.value.message == (
        f"{fake.host}/a/b:1 is not made for linux/amd64; "
        "platforms on offer: linux/arm/v7, linux/s390x"
    )
    assert "--platform" in caught.value.hint


def test_a_single_image_for_another_architecture_says_so(fake, client):
    make_image(fake, "a/b", "1", [LAYER], platform="linux/arm64/v8")
    assert client().resolve(f"{fake.host}/a/b:1").config.platform == ARM64


def test_an_image_for_another_system(fake, client):
    make_image(fake, "a/b", "1", [LAYER], platform="windows/amd64")
    with pytest.raises(NoMatchingPlatform, match="is an image for windows/amd64"):
        client().resolve(f"{fake.host}/a/b:1")


# Logins


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_a_token_is_fetched_once(bearer, client, field):
    bearer.token_field = field
    make_image(bearer, "a/b", "1", [LAYER])
    made = client()
    made.resolve(f"{bearer.host}/a/b:1")
    made.resolve(f"{bearer.host}/a/b:1")
    assert [logged.path.partition("?")[0].split("/")[1] for logged in bearer.log] == [
        *("v2", "token", "v2", "v2"),
        *("v2", "v2"),
    ]
    assert bearer.requests("/token")[0].query["scope"] == ["repository:a/b:pull"]


def test_each_repository_has_its_token(bearer, client):
    make_image(bearer, "a/b", "1", [LAYER])
    make_image(bearer, "a/c", "1", [LAYER])
    made = client()
    made.resolve(f"{bearer.host}/a/b:1")
    made.resolve(f"{bearer.host}/a/c:1")
    assert len(bearer.requests("/token")) == 2


def test_a_private_image(bearer, client, docker_config):
    make_image(bearer, "secret/app", "1", [LAYER])
    log_in(docker_config, bearer)
    client().resolve(f"{bearer.host}/secret/app:1")
    (token,) = bearer.requests("/token")
    assert token.authorization.startswith("Basic ")


def test_a_private_image_by_identity_token(bearer, client, docker_config):
    make_image(bearer, "secret/app", "1", [LAYER])
    bearer.identity_tokens.add("idt")
    docker_config.write_text(json.dumps({"auths": {bearer.host: {"identitytoken": "idt"}}}))
    client().resolve(f"{bearer.host}/secret/app:1")
    (token,) = bearer.requests("/token")
    assert (token.method, token.authorization) == ("POST", None)


def test_a_private_image_without_a_login(bearer, client):
    make_image(bearer, "secret/app", "1", [LAYER])
    with pytest.raises(UnauthorizedError) as caught:
        client().resolve(f"{bearer.host}/secret/app:1")
    assert caught.value.message == (
        f"{bearer.host}/secret/app: {bearer.host} wants a login "
        "(DENIED: requested access to the resource is denied)"
    )
    assert "private images need a login" in caught.value.hint


def test_a_wrong_password(bearer, client, docker_config):
    make_image(bearer, "secret/app", "1", [LAYER])
    log_in(docker_config, bearer, "ana:wrong-one")
    with pytest.raises(UnauthorizedError, match="refuses the user name and password") as caught:
        client().resolve(f"{bearer.host}/secret/app:1")
    assert f"log in to {bearer.host} again" in caught.value.hint
    assert "wrong-one" not in caught.value.message


def test_a_broken_docker_configuration_is_not_read_without_need(
    fake, bearer, client, docker_config
):
    docker_config.write_text("{")
    make_image(fake, "a/b", "1", [LAYER])
    client().resolve(f"{fake.host}/a/b:1")
    make_image(bearer, "a/b", "1", [LAYER])
    with pytest.raises(ConfigError, match="broken file of logins"):
        client().resolve(f"{bearer.host}/a/b:1")


def test_basic(client, docker_config):
    with FakeRegistry(auth="basic", users={"ana": "pass:word"}) as registry:
        make_image(registry, "a/b", "1", [LAYER])
        with pytest.raises(UnauthorizedError, match="wants a login"):
            client().resolve(f"{registry.host}/a/b:1")
        log_in(docker_config, registry)
        registry.log.clear()
        client().resolve(f"{registry.host}/a/b:1")
        assert [bool(logged.authorization) for logged in registry.log] == [False, True, True]
        log_in(docker_config, registry, "ana:wrong")
        with pytest.raises(UnauthorizedError, match="not authorized by") as caught:
            client().resolve(f"{registry.host}/a/b:1")
        assert "again" in caught.value.hint


def test_a_token_that_does_not_help(bearer, client):
    make_image(bearer, "a/b", "1", [LAYER])
    bearer.challenge = 'Bearer realm="{url}/token", service="s", scope="repository:other:pull"'
    with pytest.raises(UnauthorizedError, match="not authorized by") as caught:
        client().resolve(f"{bearer.host}/a/b:1")
    assert "UNAUTHORIZED: authentication required" in caught.value.message
    assert len(bearer.requests("/token")) == 1


def test_401_without_a_challenge(fake, client):
    fake.fault("/manifests/", Fault(status=401))
    with pytest.raises(UnauthorizedError, match="wants a login"):
        client().resolve(f"{fake.host}/a/b:1")


def test_a_realm_on_another_site_gets_no_login(bearer, storage, client, docker_config):
    make_image(bearer, "secret/app", "1", [LAYER])
    log_in(docker_config, bearer)
    bearer.challenge = f'Bearer realm="{storage.url}/token",service="s",scope="repository:x:pull"'
    with pytest.raises(UnauthorizedError, match=f"login sent to {storage.host}, which is another"):
        client().resolve(f"{bearer.host}/secret/app:1")
    assert [logged.authorization for logged in storage.log] == [None]


def test_a_redirect_of_the_token_service_takes_no_login_along(
    bearer, storage, client, docker_config
):
    make_image(bearer, "a/b", "1", [LAYER])
    log_in(docker_config, bearer)
    location = {"Location": f"{storage.url}/token?scope=repository:a/b:pull"}
    bearer.fault("/token", Fault(status=307, headers=location))
    with pytest.raises(UnauthorizedError):
        client().resolve(f"{bearer.host}/a/b:1")  # storage's tokens are no good here
    assert bearer.requests("/token")[0].authorization.startswith("Basic ")
    assert [logged.authorization for logged in storage.log] == [None]


def test_manifests_redirected_to_another_registry(fake, bearer, client, docker_config):
    """The second registry is asked with a token of its own, never with the first one's login."""
    with FakeRegistry("127.0.0.2", auth="bearer") as other:
        made = make_image(other, "a/b", "1", [LAYER])
        log_in(docker_config, bearer)
        for kind in ("manifests", "blobs"):
            name = "1" if kind == "manifests" else made.config["digest"]
            location = {"Location": f"{other.url}/v2/a/b/{kind}/{name}"}
            bearer.fault(f"/{kind}/", Fault(status=307, headers=location))
        client().resolve(f"{bearer.host}/a/b:1")
        assert {logged.authorization for logged in other.requests("/token")} == {None}
        sent = {logged.authorization for logged in other.requests("/v2/")} - {None}
        assert sent == {f"Bearer {token}" for token in other.tokens}


# What goes wrong


@pytest.mark.parametrize("name", ["a/b:2", "a/nothing:1", f"a/b@{Digest.of(b'x')}"])
def test_no_such_image(fake, client, name):
    make_image(fake, "a/b", "1", [LAYER])
    with pytest.raises(NotFoundError) as caught:
        client().resolve(f"{fake.host}/{name}")
    assert caught.value.message.startswith(
        f"{fake.host}/{name}: no such image or tag in {fake.host} ("
    )
    assert caught.value.hint == "check the name; private images need a login: udocker login"


def test_a_registry_that_says_404_without_words(fake, client):
    fake.fault("/manifests/", Fault(status=404, body=b"nothing"))
    with pytest.raises(NotFoundError, match=f"no such image or tag in {fake.host}$"):
        client().resolve(f"{fake.host}/a/b:1")


@pytest.mark.parametrize("body", [b"404 page not found", b"<html>nothing</html>"])
def test_nothing_at_v2(fake, client, body):
    fake.fault("/v2/", Fault(status=404, body=body))
    with pytest.raises(BadReplyError) as caught:
        client().resolve(f"{fake.host}/a/b:1")
    assert caught.value.message == f"{fake.host} does not answer as a registry: status 404 at /v2/"
    assert "check the host name" in caught.value.hint


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_html(fake, client, part):
    make_image(fake, "a/b", "1", [LAYER])
    page = Fault(status=200, body=b"<html>Welcome", headers={"Content-Type": "text/html; x=y"})
    fake.fault(part, page)
    with pytest.raises(
        BadReplyError, match="does not answer as a registry: an HTML page"
    ) as caught:
        client().resolve(f"{fake.host}/a/b:1")
    assert "login page" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "kind", "words", "hint"),
    [
        (403, ForbiddenError, "access refused by HOST (BAD: for a reason)", "need a login"),
        (418, BadReplyError, "unexpected status 418 of HOST (BAD: for a reason)", None),
        (429, RateLimitedError, "the request limit of HOST is used up (BAD: for a reason)", "wait"),
        (500, ServerError, "HOST failed with status 500 (BAD: for a reason)", "try again later"),
        (204, BadReplyError, "unexpected status 204 of HOST", None),
    ],
)
@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_statuses(fake, client, *, part, status, kind, words, hint):
    make_image(fake, "a/b", "1", [LAYER])
    body = b"" if status == 204 else b'{"errors": [{"code": "BAD", "message": "for\\na reason"}]}'
    fake.fault(part, Fault(status=status, body=body))
    with pytest.raises(kind) as caught:
        client().resolve(f"{fake.host}/a/b:1")
    assert words.replace("HOST", fake.host) in caught.value.message
    assert "a/b" in caught.value.message
    assert hint is None or hint in caught.value.hint


def test_500_is_tried_again(fake, client):
    make_image(fake, "a/b", "1", [LAYER])
    fake.fault("/manifests/", Fault(times=3, status=502))
    client().resolve(f"{fake.host}/a/b:1")
    assert len(fake.requests("/manifests/")) == 4


def test_500_is_not_tried_for_ever(fake, client):
    fake.fault("/manifests/", Fault(status=503))
    with pytest.raises(ServerError):
        client().resolve(f"{fake.host}/a/b:1")
    assert len(fake.requests("/manifests/")) == 4


def test_a_short_retry_after_is_waited_for(fake, client):
    make_image(fake, "a/b", "1", [LAYER])
    fake.fault("/manifests/", Fault(times=1, status=429, headers={"Retry-After": "0"}))
    client().resolve(f"{fake.host}/a/b:1")
    assert len(fake.requests("/manifests/")) == 2


@pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {}])
def test_a_long_retry_after_is_told(fake, client, headers):
    fake.fault("/manifests/", Fault(status=429, headers=headers))
    with pytest.raises(RateLimitedError) as caught:
        client().resolve(f"{fake.host}/a/b:1")
    assert ("next request in 60 min" in caught.value.message) == bool(headers)
    assert len(fake.requests("/manifests/")) == 1


@pytest.mark.parametrize("fault", [Fault(drop=True), Fault(reset=True)])
def test_dropped_connections_are_tried_again(fake, client, fault):
    make_image(fake, "a/b", "1", [LAYER])
    fault.times = 2
    fake.fault("/blobs/", fault)
    client().resolve(f"{fake.host}/a/b:1")
    assert len(fake.requests("/blobs/")) == 3


def test_connections_that_are_always_dropped(fake, client):
    make_image(fake, "a/b", "1", [LAYER])
    fake.fault("/blobs/", Fault(drop=True))
    with pytest.raises(UnreachableError, match=f"{fake.host} closed the connection"):
        client().resolve(f"{fake.host}/a/b:1")
    assert len(fake.requests("/blobs/")) == 4


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_a_document_cut_short_is_fetched_again(fake, client, part):
    make_image(fake, "a/b", "1", [LAYER])
    fake.fault(part, Fault(times=1, truncate=20))
    client().resolve(f"{fake.host}/a/b:1")
    assert len(fake.requests(part)) == 2


def test_a_document_that_stalls(fake, client):
    make_image(fake, "a/b", "1", [LAYER])
    fake.fault("/manifests/", Fault(stall=20))
    with pytest.raises(UnreachableError, match=f"{fake.host} went silent: not a byte for 1 s"):
        client(stall_timeout=1).resolve(f"{fake.host}/a/b:1")


def test_a_document_that_stalls_once(fake, client):
    make_image(fake, "a/b", "1", [LAYER])
    fake.fault("/manifests/", Fault(times=1, stall=20))
    client(stall_timeout=1).resolve(f"{fake.host}/a/b:1")
    assert len(fake.requests("/manifests/")) == 2


def test_json_that_is_only_a_part(fake, client):
    fake.add_manifest("a/b", "1", b'{"schemaVersion": 2, "lay', OCI_MANIFEST)
    with pytest.raises(
        BadReplyError, match=r"a/b:1 is not JSON, or only a part of it \(25 bytes\)"
    ):
        client().resolve(f"{fake.host}/a/b:1")


def test_a_manifest_of_an_unknown_type(fake, client):
    fake.add_manifest("a/b", "1", b'{"schemaVersion": 2}', "application/vnd.something+json")
    with pytest.raises(BadReplyError, match=r"no image: application/vnd.something\+json"):
        client().resolve(f"{fake.host}/a/b:1")


def test_schema_1(fake, client):
    media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    fake.add_manifest("a/b", "1", b'{"schemaVersion": 1}', media_type)
    with pytest.raises(BadReplyError, match="old schema 1") as caught:
        client().resolve(f"{fake.host}/a/b:1")
    assert media_type in caught.value.message
    assert "push the image again" in caught.value.hint


def test_an_altered_manifest(fake, client):
    made = make_image(fake, "a/b", "1", [LAYER])
    fake.fault("/manifests/", Fault(flip=3))
    for name in ("a/b:1", f"a/b@{made.digest}"):
        with pytest.raises(VerificationError, match=r"a/b.* was altered"):
            client().resolve(f"{fake.host}/{name}")


def test_another_manifest_than_the_one_asked_for(fake, client):
    """The header agrees with the body: only the reference's own digest can tell."""
    made = make_image(fake, "a/b", "1", [LAYER])
    other = make_image(fake, "a/b", "2", [b"other"])
    fake.manifests["a/b", made.digest] = (other.manifest, OCI_MANIFEST)
    with pytest.raises(VerificationError, match=f"not {made.digest}"):
        client().resolve(f"{fake.host}/a/b@{made.digest}")


def test_an_index_that_leads_to_another_manifest(fake, client):
    image = make_image(fake, "a/b", None, [LAYER])
    other = make_image(fake, "a/b", None, [b"other"])
    make_index(fake, "a/b", "1", [("linux/amd64", image.digest)])
    fake.manifests["a/b", image.digest] = (other.manifest, OCI_MANIFEST)
    with pytest.raises(VerificationError, match="was altered"):
        client().resolve(f"{fake.host}/a/b:1")


def test_an_index_that_lies_about_a_size(fake, client):
    image = make_image(fake, "a/b", None, [LAYER])
    entry = {"mediaType": OCI_MANIFEST, "digest": image.digest, "size": 3}
    entry["platform"] = {"os": "linux", "architecture": "amd64"}
    raw = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    fake.add_manifest("a/b", "1", raw, OCI_INDEX)
    with pytest.raises(VerificationError, match="bytes long, not 3"):
        client().resolve(f"{fake.host}/a/b:1")


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Fault(flip=3), "was altered"), (Fault(append=b" "), r"is \d+ bytes long, not \d+")],
)
def test_an_altered_configuration(fake, client, fault, words):
    make_image(fake, "a/b", "1", [LAYER])
    fake.fault("/blobs/", fault)
    with pytest.raises(VerificationError, match=f"configuration .* of .*a/b:1 {words}"):
        client().resolve(f"{fake.host}/a/b:1")


def test_a_missing_configuration(fake, client):
    made = make_image(fake, "a/b", "1", [LAYER])
    del fake.blobs[made.config["digest"]]
    with pytest.raises(NotFoundError, match=r"configuration .* of .*a/b:1: not found in .*BLOB"):
        client().resolve(f"{fake.host}/a/b:1")


@pytest.mark.parametrize("declared", [True, False])
def test_a_manifest_without_end(fake, client, declared):
    fake.add_manifest("a/b", "1", b" " * ((4 << 20) + 1), OCI_MANIFEST)
    if not declared:
        fake.fault("/v2/", Fault(headers={"Content-Length": "", "Connection": "close"}))
    with pytest.raises(BadReplyError, match="larger than the 4194304 bytes that are allowed"):
        client().resolve(f"{fake.host}/a/b:1")


def test_a_configuration_too_large(fake, client):
    config = {"mediaType": "", "digest": str(Digest.of(b"x")), "size": 5 << 20}
    raw = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
    fake.add_manifest("a/b", "1", raw, OCI_MANIFEST)
    with pytest.raises(BadReplyError, match="5242880 bytes; 4194304 bytes are allowed"):
        client().resolve(f"{fake.host}/a/b:1")
    assert not fake.requests("/blobs/")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "without saying where"),
        ("ftp://a/b", "no http URL"),
        ("/v2/a/b/manifests/1", "more than 5"),
    ],
)
def test_redirects_that_lead_nowhere(fake, client, location, words):
    headers = {"Location": location} if location else {}
    fake.fault("/manifests/", Fault(status=307, headers=headers))
    with pytest.raises(BadReplyError, match=words):
        client().resolve(f"{fake.host}/a/b:1")
    assert len(fake.log) <= 6


def test_no_registry_there(client):
    host = f"127.0.0.1:{unused_port()}"
    with pytest.raises(UnreachableError) as caught:
        client().resolve(f"{host}/a/b:1")
    assert caught.value.message == f"cannot reach {host}: connection refused"
    assert "network" in caught.value.hint


def test_no_such_host(client):
    with pytest.raises(UnreachableError, match=r"cannot reach no-such-host.invalid: no such host"):
        client().resolve("no-such-host.invalid/a/b:1")


def test_what_is_left_of_a_limit_is_told_to_those_who_debug(fake, client):
    make_image(fake, "a/b", "1", [LAYER])
    headers = {"RateLimit-Remaining": "7;w=60"}
    raw, media_type = fake.manifests["a/b", "1"]
    headers["Content-Type"] = media_type
    fake.fault("/manifests/", Fault(status=200, body=raw, headers=headers))
    made = client()
    made.resolve(f"{fake.host}/a/b:1")
    assert f"{fake.host} has 7 pulls left in 60 s" in made.reporter.lines
