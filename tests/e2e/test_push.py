"""``push`` to Debian's docker-registry; skopeo and podman say what is there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from e2e.peers import Podman, told
from e2e.relay import Relay
from fakes.registry import FakeRegistry, Fault
from image_maker.registry import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.conftest import Udocker

pytestmark = pytest.mark.e2e

_PIECE = 4 << 20


@pytest.fixture
def podman() -> Iterator[Podman]:
    program = Podman(Path(tempfile.mkdtemp(prefix="p-", dir="/var/tmp")))  # no long path for podman
    yield program
    program.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[str]:
    """A registry that is empty and takes pushes."""
    with serving(tmp_path / "registry", readonly=False) as address:
        yield address


def skopeo(*words: object) -> str:
    command, *rest = words
    return told("skopeo", "--insecure-policy", command, *rest)


def raw(name: str) -> bytes:
    """The manifest that the registry has, by skopeo."""
    return skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}").encode()


def is_whole(name: str, digest: str, directory: Path) -> None:
    """Assert that the registry has an image of that digest, and all that it names."""
    assert f"sha256:{hashlib.sha256(raw(name)).hexdigest()}" == digest
    target = f"dir:{directory / 'copied'}"
    skopeo("copy", "--quiet", "--src-tls-verify=false", f"docker://{name}", target)


def digest_of(printed: str, tag: str = "latest") -> str:
    """The digest in what ``push`` prints, checked for its form."""
    words = printed.split()
    assert words[:2] == [f"{tag}:", "digest:"]
    assert words[3] == "size:"
    assert int(words[4]) > 0
    assert printed.count("\n") == 1
    return words[2]


# What is pushed


@pytest.mark.parametrize("image", ["busybox:latest", "busybox:docker", "sci:zstd"])
def test_a_pulled_image_keeps_its_digest(
    udocker: Udocker, registry: str, target: str, tmp_path: Path, image: str
) -> None:
    name = f"{registry}/{image}"
    udocker("pull", name)
    digest = digest_of(udocker("push", name, f"{target}/some/where:1").out, "1")
    is_whole(f"{target}/some/where:1", digest, tmp_path)
    listed = json.loads(udocker("images", "--json").out)
    assert [each["manifest"] for each in listed] == [digest]


def test_podman_pulls_it(udocker: Udocker, registry: str, target: str, podman: Podman) -> None:
    udocker("pull", f"{registry}/busybox")
    digest = digest_of(udocker("push", f"{registry}/busybox", f"{target}/box").out)
    identity = podman("pull", "--quiet", "--tls-verify=false", f"{target}/box@{digest}").strip()
    [image] = json.loads(udocker("images", "--json").out)
    assert image["id"] == f"sha256:{identity}"


def test_a_loaded_image(udocker: Udocker, registry: str, target: str, tmp_path: Path) -> None:
    archive = tmp_path / "box.tar"
    source = f"docker://{registry}/busybox"
    skopeo("copy", "-q", "--src-tls-verify=false", source, f"docker-archive:{archive}:ann/box:1")
    name = udocker("load", "-q", "-i", str(archive)).out.strip()
    digest = digest_of(udocker("push", name, f"{target}/ann/box").out)
    is_whole(f"{target}/ann/box", digest, tmp_path)


def test_an_imported_image(udocker: Udocker, target: str, tmp_path: Path, podman: Podman) -> None:
    (tmp_path / "hello").write_text("hello")
    archive = tmp_path / "files.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "hello", "hello")
    identity = udocker("import", "-q", "-c", "CMD /x", str(archive), f"{target}/made:1").out.strip()
    digest = digest_of(udocker("push", f"{target}/made:1").out, "1")
    is_whole(f"{target}/made:1", digest, tmp_path)
    pulled = podman("pull", "--quiet", "--tls-verify=false", f"{target}/made:1").strip()
    assert f"sha256:{pulled}" == identity


def test_a_committed_image(udocker: Udocker, registry: str, target: str, tmp_path: Path) -> None:
    udocker("pull", f"{registry}/busybox")
    identity = udocker("create", "--copy", "--name=box", f"{registry}/busybox").out.split()[0]
    root = next((tmp_path / "store" / "containers" / identity).glob("**/bin")).parent
    (root / "mark").write_text("here")
    udocker("commit", "-q", "box", f"{target}/marked:1")
    udocker("tag", f"{registry}/busybox", f"{target}/base:1")
    udocker("push", f"{target}/base:1")
    told = udocker("push", f"{target}/marked:1")
    assert "blobs: 2 sent, 1 mounted" in told.err
    is_whole(f"{target}/marked:1", digest_of(told.out, "1"), tmp_path)
    other = tmp_path / "other"
    udocker("pull", f"{target}/marked:1", store=other)
    assert list((other / "trees").glob("sha256/*/root/mark"))


def test_an_image_for_another_platform(
    udocker: Udocker, registry: str, target: str, tmp_path: Path
) -> None:
    udocker("pull", "--platform=linux/arm64", f"{registry}/multi")
    digest = digest_of(udocker("push", f"{registry}/multi", f"{target}/multi").out)
    is_whole(f"{target}/multi", digest, tmp_path)
    shown = skopeo("inspect", "--config", "--tls-verify=false", f"docker://{target}/multi")
    assert json.loads(shown)["architecture"] == "arm64"


# What is not sent


def test_nothing_is_sent_twice(udocker: Udocker, registry: str, target: str) -> None:
    udocker("pull", f"{registry}/busybox")
    with Relay(target) as relay:
        first = udocker("push", f"{registry}/busybox", f"{relay.host}/box")
        assert sum(relay.bytes_of("PATCH")) + sum(relay.bytes_of("PUT")) > 100_000
        relay.log.clear()
        again = udocker("push", f"{registry}/busybox", f"{relay.host}/box")
        assert again.out == first.out
        assert relay.bytes_of("POST") == relay.bytes_of("PATCH") == []
        assert len(relay.bytes_of("PUT")) == 1, "the manifest"


def test_blobs_are_mounted(udocker: Udocker, registry: str, target: str, tmp_path: Path) -> None:
    udocker("pull", f"{registry}/busybox")
    with Relay(target) as relay:
        name = f"{relay.host}/one/box:1"
        udocker("tag", f"{registry}/busybox", name)
        udocker("push", name)
        relay.log.clear()
        told = udocker("push", name, f"{relay.host}/two/box:1")
        assert len(relay.bytes_of("PUT")) == 1, "the manifest"
        assert relay.bytes_of("PATCH") == []
    is_whole(f"{target}/two/box:1", digest_of(told.out, "1"), tmp_path)


# What is disturbed


@pytest.fixture
def large(udocker: Udocker, tmp_path: Path) -> str:
    """An image with a layer of some pieces."""
    with tarfile.open(tmp_path / "large.tar", "w") as tar:
        (tmp_path / "large").write_bytes(os.urandom(3 * _PIECE + 1000))
        tar.add(tmp_path / "large", "large")
    udocker("import", "-q", str(tmp_path / "large.tar"), "large:1")
    return "large:1"


def test_an_upload_that_is_cut_off_goes_on(
    udocker: Udocker, target: str, tmp_path: Path, large: str
) -> None:
    with Relay(target) as relay:
        relay.cut = {0, 2}
        told = udocker("push", large, f"{relay.host}/a/large")
        sent = relay.bytes_of("PATCH")
        assert len(relay.bytes_of("POST")) == 2, "of the layer and of the configuration"
    # Nothing of the first request has come; of the second piece half was lost, and is sent again.
    assert sent[1:4] == [_PIECE, _PIECE // 2, _PIECE]
    is_whole(f"{target}/a/large", digest_of(told.out), tmp_path)


def test_what_the_registry_gives_up_begins_anew(
    udocker: Udocker, target: str, tmp_path: Path, large: str
) -> None:
    with Relay(target) as relay:
        relay.cut, relay.leaky = {0, 2}, True
        told = udocker("push", large, f"{relay.host}/a/large")
    is_whole(f"{target}/a/large", digest_of(told.out), tmp_path)


def test_a_push_that_fails_leaves_no_manifest(udocker: Udocker, target: str, large: str) -> None:
    with Relay(target) as relay:
        relay.cut = set(range(1000))
        result = udocker("push", large, f"{relay.host}/a/large", check=False)
        checks.is_told(result, 125, "closed the connection")
        assert not any("/manifests/" in asked.path for asked in relay.log)
    result = udocker("manifest", "inspect", f"{target}/a/large", check=False)
    checks.is_told(result, 125, "no such image")


# Logins and TLS


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """A registry with TLS for one user."""
    if shutil.which("openssl") is None:
        pytest.skip("host: no openssl program to make a certificate with")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=r -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    users = tmp_path / "users"
    users.write_text(checks.HTPASSWD)
    auth = {"htpasswd": {"realm": "guarded", "path": str(users)}}
    tls = {"certificate": str(certificate), "key": str(key)}
    with serving(tmp_path / "guarded", readonly=False, auth=auth, tls=tls) as address:
        yield address


def log_in(udocker: Udocker, host: str) -> None:
    words = ("--insecure", "login", "-u", checks.USER, "--password-stdin", host)
    udocker(*words, input=f"{checks.PASSWORD}\n")


def test_a_login_and_a_certificate(
    udocker: Udocker, registry: str, guarded: str, tmp_path: Path
) -> None:
    udocker("pull", f"{registry}/busybox")
    folder = tmp_path / "home" / ".docker" / "certs.d" / guarded
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "cert.pem", folder / "ca.crt")
    words = ("push", f"{registry}/busybox", f"{guarded}/team/box")
    result = udocker(*words, check=False)
    checks.is_told(result, 125, f"{guarded}/team/box", f"udocker login {guarded}")
    log_in(udocker, guarded)
    result = udocker("--debug", *words)
    assert checks.PASSWORD not in result.out + result.err
    copied = f"docker://{guarded}/team/box"
    creds = f"--src-creds={checks.USER}:{checks.PASSWORD}"
    skopeo("copy", "-q", "--src-tls-verify=false", creds, copied, f"dir:{tmp_path / 'copied'}")
    manifest = (tmp_path / "copied" / "manifest.json").read_bytes()
    assert digest_of(result.out) == f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def test_insecure(udocker: Udocker, registry: str, guarded: str) -> None:
    udocker("pull", f"{registry}/busybox")
    log_in(udocker, guarded)
    result = udocker("--insecure", "push", f"{registry}/busybox", f"{guarded}/team/box")
    assert result.err.count("\n") == 1, "nothing is said of each connection"


# What is wrong


def test_a_registry_that_is_only_read(udocker: Udocker, registry: str, target: str) -> None:
    udocker("pull", f"{registry}/busybox")
    for name in ("busybox", "new/box"):
        result = udocker("push", f"{registry}/busybox", f"{registry}/{name}", check=False)
        checks.is_told(result, 125, "takes no pushes, status 405", "read-only")


def test_a_name_that_is_no_registry(udocker: Udocker, registry: str) -> None:
    udocker("pull", f"{registry}/busybox")
    for host, words in (("gone.invalid", "no such host name"), ("127.0.0.3:1", "refused")):
        result = udocker("push", f"{registry}/busybox", f"{host}/a/b", check=False)
        checks.is_told(result, 125, f"cannot reach {host}: ", words)


def test_a_server_that_is_no_registry(udocker: Udocker, registry: str) -> None:
    udocker("pull", f"{registry}/busybox")
    with FakeRegistry() as fake:
        fake.fault("/v2/", Fault(status=404, body=b"<html>", headers={"Content-Type": "text/html"}))
        result = udocker("push", f"{registry}/busybox", f"{fake.host}/a/b", check=False)
        checks.is_told(result, 125, fake.host)


def test_a_silent_server(udocker: Udocker, registry: str) -> None:
    udocker("pull", f"{registry}/busybox")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}/a/b"
        env = {"UDOCKER_STALL_TIMEOUT": "1"}
        result = udocker("push", f"{registry}/busybox", name, check=False, env=env)
    checks.is_told(result, 125, "went silent")


def test_a_limit_of_the_size(udocker: Udocker, registry: str) -> None:
    udocker("pull", f"{registry}/busybox")
    with FakeRegistry() as fake:
        fake.fault("digest=", Fault(status=413, body=b"<html>"))
        result = udocker("push", f"{registry}/busybox", f"{fake.host}/a/b", check=False)
        checks.is_told(result, 125, "takes nothing so large, status 413", "a proxy")
        assert fake.manifests == {}


# manifest inspect


def test_inspect_shows_what_skopeo_shows(udocker: Udocker, registry: str, store_path: Path) -> None:
    for name in ("busybox", "busybox:docker", "multi"):
        shown = udocker("manifest", "inspect", "--raw", f"{registry}/{name}").out
        assert shown.encode() == raw(f"{registry}/{name}")
        plain = udocker("manifest", "inspect", f"{registry}/{name}").out
        assert json.loads(plain) == json.loads(shown)
    assert not store_path.exists()


def test_inspect_shows_one_platform(udocker: Udocker, registry: str) -> None:
    index = json.loads(raw(f"{registry}/multi"))
    words = ("manifest", "inspect", "--raw", f"{registry}/multi", "--platform")
    for entry in index["manifests"]:
        platform = f"{entry['platform']['os']}/{entry['platform']['architecture']}"
        shown = udocker(*words, platform).out
        assert f"sha256:{hashlib.sha256(shown.encode()).hexdigest()}" == entry["digest"]
    result = udocker(*words, "linux/s390x", check=False)
    checks.is_told(result, 125, "is not made for linux/s390x", "--platform")
    checks.is_told(udocker(*words, "linux", check=False), 2, "not a platform")


# Several platforms


def test_a_name_for_several_platforms(
    udocker: Udocker, registry: str, target: str, tmp_path: Path
) -> None:
    """What skopeo and a pull find for each platform is what was pulled for it."""
    digests = {}
    for architecture in ("amd64", "arm64"):
        name = f"localhost/{architecture}"
        udocker("pull", "-q", f"--platform=linux/{architecture}", f"{registry}/multi")
        udocker("tag", f"{registry}/multi", name)
        manifest = udocker(
            "manifest", "inspect", "--raw", f"--platform=linux/{architecture}", f"{registry}/multi"
        ).out
        digests[architecture] = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
    pushed = udocker("manifest", "push", f"{target}/both", "localhost/amd64", "localhost/arm64").out
    is_whole(f"{target}/both", digest_of(pushed), tmp_path)
    entries = json.loads(raw(f"{target}/both"))["manifests"]
    found = {each["platform"]["architecture"]: each["digest"] for each in entries}
    assert found == digests
    other = tmp_path / "other"
    udocker("pull", "-q", "--platform=linux/arm64", f"{target}/both", store=other)
    [listed] = json.loads(udocker("images", "--json", store=other).out)
    assert listed["platform"] == "linux/arm64"
