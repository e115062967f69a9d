"""Schemes, TLS and proxies; and what must never be told."""

from __future__ import annotations

import base64
import json

import pytest

from fakes.registry import FakeRegistry, Fault, make_image, make_layer
from registry.clients import FakeProxy, FakeSocks, make_settings, unused_port
from udocker.errors import ConfigError, UdockerError, UnauthorizedError, UnreachableError

LAYER = make_layer({"x": b"y" * 1000})


def pull(client, name):
    """Resolve, then fetch the layers."""
    image = client.resolve(name)
    client.download(
        name,
        *[{"digest": str(layer.digest), "size": layer.size} for layer in image.manifest.layers],
    )
    assert client.sinks.committed() == [LAYER]


@pytest.fixture
def hub(certificate, proxy):
    """Docker Hub as it is reached through a proxy: its real host names, all one server."""
    with FakeRegistry(tls=certificate.server_context(), auth="bearer") as registry:
        for host in ("registry-1.docker.io", "auth.docker.io", "registry.test", "files.test"):
            proxy.routes[host] = registry
        registry.challenge = (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
            'scope="repository:{repository}:pull"'
        )
        yield registry


# Schemes


def test_this_machine_is_asked_by_http(fake, client):
    make_image(fake, "a/b", "1", [LAYER])
    pull(client(), f"{fake.host}/a/b:1")


def test_tls_on_this_machine_without_insecure(secure, client):
    make_image(secure, "a/b", "1", [LAYER])
    with pytest.raises(UnreachableError, match=f"{secure.host} speaks https, not http") as caught:
        client().resolve(f"{secure.host}/a/b:1")
    assert "--insecure" in caught.value.hint


def test_a_server_on_this_machine_that_hangs_up(fake, client):
    fake.fault("/v2/", Fault(drop=True))
    with pytest.raises(UnreachableError, match="it may speak https") as caught:
        client().resolve(f"{fake.host}/a/b:1")
    assert "--insecure" in caught.value.hint


@pytest.mark.parametrize("by_name", [True, False])
def test_insecure_means_tls_without_verification(secure, client, by_name):
    make_image(secure, "a/b", "1", [LAYER])
    changes = {"insecure_registries": (secure.host,)} if by_name else {"insecure": True}
    pull(client(**changes), f"{secure.host}/a/b:1")


def test_insecure_tries_http_after_tls(fake, client):
    make_image(fake, "a/b", "1", [LAYER])
    pull(client(insecure=True), f"{fake.host}/a/b:1")


def test_insecure_works_with_tokens(certificate, client):
    with FakeRegistry(auth="bearer", tls=certificate.server_context()) as registry:
        make_image(registry, "a/b", "1", [LAYER])
        pull(client(insecure=True), f"{registry.host}/a/b:1")


@pytest.mark.parametrize(
    ("entry", "registry", "expected"),
    [
        ("q.io", "q.io", True),
        ("Q.io", "q.IO", True),
        ("q.io", "q.io:5000", True),
        ("q.io:5000", "q.io:5000", True),
        ("q.io:5000", "q.io", False),
        ("q.io:5000", "q.io:5001", False),
        ("q.io", "a.q.io", False),
    ],
)
def test_insecure_registries(entry, registry, expected):
    settings = make_settings(insecure_registries=("other", entry))
    assert settings.accepts_insecure(registry) == expected


# TLS, through a proxy because only so a test can have a host that is not this machine


def test_docker_hub(hub, proxy, certificate, client):
    make_image(hub, "library/debian", "12", [LAYER])
    pull(client(proxy=proxy.url, ca_bundle=certificate.path), "debian:12")
    assert {line.rpartition(" ")[0] for line in proxy.asked} == {
        "CONNECT registry-1.docker.io:443",
        "CONNECT auth.docker.io:443",
    }


def test_docker_hub_with_a_login(hub, proxy, certificate, client, docker_config):
    hub.users["ana"] = "x"
    hub.private.add("library/debian")
    make_image(hub, "library/debian", "12", [LAYER])
    auth = base64.b64encode(b"ana:x").decode()
    docker_config.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": auth}}}))
    pull(client(proxy=proxy.url, ca_bundle=certificate.path), "debian:12")


def test_a_certificate_that_is_not_trusted(hub, proxy, client):
    make_image(hub, "a/b", "1", [LAYER])
    words = "certificate of registry.test is not trusted: self.signed certificate"
    with pytest.raises(UnreachableError, match=words) as caught:
        client(proxy=proxy.url).resolve("registry.test/a/b:1")
    assert "--insecure" in caught.value.hint
    assert not hub.log


def test_a_certificate_for_another_name(hub, proxy, certificate, client):
    proxy.routes["other.test"] = hub
    made = client(proxy=proxy.url, ca_bundle=certificate.path)
    with pytest.raises(UnreachableError, match=r"certificate of other.test is not trusted: .*name"):
        made.resolve("other.test/a/b:1")


def test_a_layer_at_a_host_that_is_not_trusted(hub, proxy, certificate, client):
    """The transfer checks certificates too, not only what fetches the documents."""
    hub.auth = ""
    make_image(hub, "a/b", "1", [LAYER])
    proxy.routes["other.test"] = hub
    made = client(proxy=proxy.url, ca_bundle=certificate.path)
    image = made.resolve("registry.test/a/b:1")
    hub.redirect_blobs = "https://other.test/storage/{digest}"
    layer = image.manifest.layers[0]
    with pytest.raises(UnreachableError, match=r"certificate of other.test is not trusted"):
        made.download("registry.test/a/b:1", {"digest": str(layer.digest), "size": layer.size})


def test_a_layer_is_not_fetched_by_http_after_https(hub, storage, proxy, certificate, client):
    hub.auth = ""
    make_image(hub, "a/b", "1", [LAYER])
    proxy.routes["plain.test"] = storage
    made = client(proxy=proxy.url, ca_bundle=certificate.path)
    image = made.resolve("registry.test/a/b:1")
    hub.redirect_blobs = "http://plain.test/storage/{digest}"
    layer = image.manifest.layers[0]
    with pytest.raises(UdockerError, match=r"redirects from https to plain http at plain.test"):
        made.download("registry.test/a/b:1", {"digest": str(layer.digest), "size": layer.size})
    assert not storage.log


def test_plain_http_is_never_tried_at_another_host(fake, proxy, client):
    make_image(fake, "a/b", "1", [LAYER])
    proxy.routes["registry.test"] = fake
    with pytest.raises(UnreachableError) as caught:
        client(proxy=proxy.url).resolve("registry.test/a/b:1")
    assert caught.value.message == "registry.test speaks plain http, not https"
    assert "--insecure" in caught.value.hint
    assert not fake.log


def test_plain_http_at_another_host_that_is_insecure(fake, proxy, client):
    make_image(fake, "a/b", "1", [LAYER])
    proxy.routes["registry.test"] = fake
    made = client(proxy=proxy.url, http_proxy=proxy.url, insecure_registries=("registry.test",))
    pull(made, "registry.test/a/b:1")


def test_certificates_that_are_not_there(hub, proxy, tmp_path, client):
    made = client(proxy=proxy.url, ca_bundle=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"cannot use the CA certificates.*none.pem"):
        made.resolve("registry.test/a/b:1")


# Proxies


def test_this_machine_is_reached_without_the_proxy(fake, proxy, client):
    make_image(fake, "a/b", "1", [LAYER])
    pull(client(proxy=proxy.url), f"{fake.host}/a/b:1")
    assert not proxy.asked


def test_the_environment_is_not_read(fake, client, monkeypatch):
    make_image(fake, "a/b", "1", [LAYER])
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    pull(client(), f"{fake.host}/a/b:1")


def test_the_environment_does_not_switch_the_proxy_off(
    hub, proxy, certificate, client, monkeypatch
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    make_image(hub, "a/b", "1", [LAYER])
    pull(client(proxy=proxy.url, ca_bundle=certificate.path), "registry.test/a/b:1")


def test_a_netrc_is_not_read(fake, client, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login ana password geheim\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    make_image(fake, "a/b", "1", [LAYER])
    pull(client(), f"{fake.host}/a/b:1")
    assert [logged.authorization for logged in fake.log] == [None] * 3


def test_no_proxy(hub, proxy, client):
    made = client(proxy=proxy.url, no_proxy="example.org,.invalid")
    with pytest.raises(UnreachableError, match=r"cannot reach q.invalid: no such host name"):
        made.resolve("q.invalid/a/b:1")
    assert not proxy.asked


def test_a_proxy_that_is_not_there(client):
    address = f"127.0.0.1:{unused_port()}"
    with pytest.raises(UnreachableError) as caught:
        client(proxy=f"http://ana:geheim@{address}").resolve("registry.test/a/b:1")
    assert caught.value.message == (
        f"cannot reach registry.test through the proxy {address}: connection refused"
    )


def test_a_proxy_that_refuses(client):
    with FakeProxy(refuse=b"407 Proxy Authentication Required") as proxy:
        made = client(proxy=proxy.url)
        with pytest.raises(UnreachableError, match=r"through the proxy 127.*: 407 Proxy Authent"):
            made.resolve("registry.test/a/b:1")


def test_a_proxy_that_refuses_the_way_to_the_layers(hub, proxy, certificate, client):
    hub.auth = ""
    blob = hub.add_blob(b"x")
    hub.redirect_blobs = "https://blocked.test/{digest}"
    made = client(proxy=proxy.url, ca_bundle=certificate.path)
    words = r"cannot reach blocked.test through the proxy 127.*: CONNECT tunnel failed, .* 502"
    with pytest.raises(UnreachableError, match=words):
        made.download("registry.test/a/b:1", blob)


def test_a_proxy_of_an_unknown_kind(client):
    with pytest.raises(ConfigError, match=r"the proxy q:1 is of a kind .*: gopher") as caught:
        client(proxy="gopher://ana:geheim@q:1").resolve("registry.test/a/b:1")
    assert "http://host:port" in caught.value.hint


def test_the_settings_do_not_print_the_proxy_password():
    for proxy in ("http://ana:geheim@proxy:1", "ana:geheim@proxy:1"):
        assert "geheim" not in repr(make_settings(proxy=proxy))


# Secrets


def test_no_secret_is_told(bearer, storage, client, docker_config):
    """Not in errors, notes or debug lines: password, token, signed URL, even if quoted back."""
    make_image(bearer, "secret/app", "1", [LAYER])
    auth = base64.b64encode(b"ana:pass:word").decode()
    docker_config.write_text(json.dumps({"auths": {bearer.host: {"auth": auth}}}))
    bearer.redirect_blobs = storage.url + "/storage/{digest}?sig=signature"
    storage.blobs = bearer.blobs
    made = client()
    pull(made, f"{bearer.host}/secret/app:1")
    (token,) = bearer.tokens
    errors = []
    for secret in (token, auth, "pass:word"):
        body = json.dumps({"errors": [{"code": "NO", "message": f"bad {secret}"}]}).encode()
        part = "/manifests/" if secret == token else "/token"
        bearer.fault(part, Fault(times=1, status=403, body=body))
        other = made if secret == token else client()
        with pytest.raises(UdockerError) as caught:
            other.resolve(f"{bearer.host}/secret/app:1")
        errors.append(f"{caught.value.message} {caught.value.hint}")
    assert all("NO: bad …" in error for error in errors)
    told = "\n".join([*made.reporter.lines, *errors])
    assert "/storage/" in told
    for secret in (token, auth, "pass:word", "signature"):
        assert secret not in told


def test_an_error_of_the_signed_url_does_not_print_it(fake, storage, client):
    fake.redirect_blobs = storage.url + "/storage/{digest}?sig=signature"
    blob = fake.add_blob(b"x")
    made = client()
    with pytest.raises(UdockerError) as caught:
        made.download(f"{fake.host}/a/b", blob)
    assert storage.host in caught.value.message
    assert "signature" not in caught.value.message


def test_the_login_of_one_registry_is_not_for_another(fake, bearer, client, docker_config):
    auth = base64.b64encode(b"ana:pass:word").decode()
    docker_config.write_text(json.dumps({"auths": {fake.host: {"auth": auth}}}))
    make_image(bearer, "secret/app", "1", [LAYER])
    with pytest.raises(UnauthorizedError, match="wants a login"):
        client().resolve(f"{bearer.host}/secret/app:1")
    assert [logged.authorization for logged in bearer.log] == [None, None]


def test_each_scheme_has_its_proxy():
    settings = make_settings(proxy="a.test:1", http_proxy="b.test:2", no_proxy="none.test")
    assert settings.proxy_for("https://q.test/") == "http://a.test:1"
    assert settings.proxy_for("http://q.test/") == "http://b.test:2"
    assert settings.proxy_for("http://none.test/") == ""
    assert make_settings(proxy="a.test:1").proxy_for("http://q.test/") == ""


# SOCKS


@pytest.fixture
def socks():
    with FakeSocks() as running:
        yield running


@pytest.mark.parametrize("login", [None, ("ana", "geheim")])
def test_socks(hub, proxy, socks, certificate, client, login):
    socks.routes = proxy.routes
    socks.login = login
    make_image(hub, "a/b", "1", [LAYER])
    pull(client(proxy=socks.url, ca_bundle=certificate.path), "registry.test/a/b:1")
    assert set(socks.asked) == {"registry.test", "auth.docker.io"}
    assert not proxy.asked


def test_socks_that_refuses(socks, client):
    socks.login = "ana", "geheim"
    words = r"cannot reach registry.test through the proxy 127.*: .*not allowed"
    with pytest.raises(UnreachableError, match=words) as caught:
        client(proxy=socks.url).resolve("registry.test/a/b:1")
    assert "geheim" not in caught.value.message


def test_socks_that_wants_another_password(socks, client):
    socks.login = "ana", "other"
    url = socks.url.replace("other", "geheim")
    words = r"through the proxy 127.*: .*authentication failed"
    with pytest.raises(UnreachableError, match=words) as caught:
        client(proxy=url).resolve("registry.test/a/b:1")
    assert "geheim" not in caught.value.message


def test_socks_that_is_not_there(client):
    url = f"socks5h://ana:geheim@127.0.0.1:{unused_port()}"
    with pytest.raises(
        UnreachableError, match=r"through the proxy 127.0.0.1:.*: connection refused"
    ) as caught:
        client(proxy=url).resolve("registry.test/a/b:1")
    assert "geheim" not in caught.value.message
