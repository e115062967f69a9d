"""``pull`` from registries that fail, lie, or are not there.

Each time: the exit code, a message with a way out, no secret in it, nothing half-made in the
store, and success of the same command once the fault is gone.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.registry import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    FakeRegistry,
    Fault,
    directory,
    hardlink,
    make_image,
    make_index,
    make_layer,
    program,
    symlink,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any, Union

    from e2e.checks import Case
    from e2e.conftest import Udocker
    from fakes.registry import Entry, MadeImage

    Layers = Callable[[str, str], list[dict[str, Union[Entry, bytes]]]]

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.checks"]

_NAME = "test/small"
_USER, _PASSWORD = "jane", "s3cret-pässword"
_QUICK = {"UDOCKER_CONNECT_TIMEOUT": "1", "UDOCKER_STALL_TIMEOUT": "1"}
_HTML = Fault(
    status=200,
    body=b"<!DOCTYPE html><html><title>Sign in</title></html>",
    headers={"Content-Type": "text/html; charset=utf-8"},
)
_TRIES = 4


@pytest.fixture
def image(fake: FakeRegistry) -> MadeImage:
    """Two layers; the second is the larger one."""
    layers = [checks.file_layer("one"), checks.file_layer("two", 3, 50_000)]
    return make_image(fake, _NAME, "latest", layers)


@pytest.fixture
def pull(fake: FakeRegistry) -> list[str]:
    return ["pull", f"{fake.host}/{_NAME}"]


def forget(fake: FakeRegistry) -> None:
    """Take all faults away."""
    fake.clear_faults()


# Nobody there, or somebody else


def test_unknown_image(case: Case, fake: FakeRegistry, pull: list[str]) -> None:
    case.fails(pull, pull[1], "no such image or tag", "check the name")
    make_image(fake, _NAME, "latest", [checks.file_layer("one")])
    case.succeeds(pull)


def test_unknown_tag(case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]) -> None:
    words = ["pull", f"{pull[1]}:absent"]
    case.fails(words, words[1], "no such image or tag", "check the name")
    fake.add_manifest(_NAME, "absent", image.manifest, OCI_MANIFEST)
    case.succeeds(words)


def test_unknown_digest(case: Case, image: MadeImage, pull: list[str]) -> None:
    name = f"{pull[1]}@sha256:{'0' * 64}"
    case.fails(["pull", name], name, "no such image or tag")
    case.succeeds(["pull", f"{pull[1]}@{image.digest}"])


@pytest.mark.parametrize("words", ["run", "create", "run --rm", "run --name=x", "create --name=x"])
def test_run_and_create_of_an_unknown_image(case: Case, pull: list[str], words: str) -> None:
    case.fails([*words.split(), pull[1]], "no such image or tag")


def test_connection_refused(case: Case) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: nobody else can take the port
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        case.fails(["pull", f"{host}/x"], f"cannot reach {host}: connection refused", "network")


def test_unknown_host_name(case: Case) -> None:
    case.fails(["pull", "no-such-host.invalid/x"], "no-such-host.invalid: no such host name")


def test_no_answer_to_a_connection(case: Case) -> None:
    """A listener whose queue is full: the kernel drops what comes then."""
    case.env = _QUICK
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        case.fails(["pull", f"{host}/x"], f"cannot reach {host}: no answer within 1 s")


def test_silence_after_a_request(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    fake.fault("/manifests/", Fault(stall=10))
    case.env = _QUICK
    case.fails(pull, fake.host, "not a byte for 1 s", "try again")
    forget(fake)
    case.succeeds(pull)


def test_silence_within_a_layer(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    fake.fault(image.layers[1]["digest"], Fault(stall=1000))
    case.env = _QUICK
    case.fails(pull, fake.host, "not a byte for 1 s", "try again")
    assert len(fake.requests(image.layers[1]["digest"])) == _TRIES
    forget(fake)
    case.succeeds(pull)
    assert len(fake.requests(image.layers[0]["digest"])) == 1  # what had come is not lost


@contextlib.contextmanager
def babbling() -> Iterator[str]:
    """A server that speaks first, and not HTTP, as those of ssh and mail do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_server_of_something_else(case: Case) -> None:
    with babbling() as host:
        case.fails(["pull", f"{host}/x"], host)


# TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    words += " -subj /CN=registry.test"
    words += " -addext subjectAltName=DNS:registry.test,DNS:localhost,IP:127.0.0.1"
    command = [*words.split(), "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[FakeRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with FakeRegistry(tls=context) as registry:
        yield registry


def test_plain_http_to_a_tls_port(case: Case, secure: FakeRegistry) -> None:
    make_image(secure, _NAME, "latest", [checks.file_layer("one")])
    words = ["pull", f"{secure.host}/{_NAME}"]
    case.fails(words, f"{secure.host} speaks https, not http", "--insecure")
    case.succeeds(["--insecure", *words])


def test_plain_http_to_openssl(case: Case, certificate: tuple[Path, Path]) -> None:
    """A server that answers plain http with no word at all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    words = ["openssl", "s_server", "-accept", host, "-www", "-naccept", "50"]
    server = subprocess.Popen(
        [*words, "-cert", certificate[0], "-key", certificate[1]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert server.stdout is not None
        while b"ACCEPT" not in server.stdout.readline():
            assert server.poll() is None
        case.fails(["pull", f"{host}/x"], host, "https", "--insecure")
    finally:
        server.kill()
        server.communicate()


@pytest.fixture
def named(tmp_path: Path, store_path: Path) -> Case:
    """A command for which ``registry.test`` is this machine, though it does not look it."""
    checks.needs_namespaces()
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 registry.test localhost\n")
    script = f'mount --bind "{hosts}" /etc/hosts && exec "$@"'
    prefix = ["unshare", "-Urm", "sh", "-c", script, "sh"]
    return checks.Case(checks.Caller(store_path, tmp_path / "home", prefix), store_path, {})


def test_plain_http_where_https_is_wanted(
    named: Case, fake: FakeRegistry, image: MadeImage
) -> None:
    host = f"registry.test:{fake.port}"
    words = ["pull", f"{host}/{_NAME}"]
    named.fails(words, f"{host} speaks plain http, not https", "--insecure")
    assert fake.log == []
    named.env = {"UDOCKER_INSECURE_REGISTRIES": host}
    named.succeeds(words)


def test_untrusted_certificate(named: Case, secure: FakeRegistry) -> None:
    host = f"registry.test:{secure.port}"
    make_image(secure, _NAME, "latest", [checks.file_layer("one")])
    words = ["pull", f"{host}/{_NAME}"]
    named.fails(words, f"certificate of {host} is not trusted: self-signed", "--insecure")
    assert secure.log == []
    named.succeeds(["--insecure", *words])


# Logins


def login(folder: Path, host: str, password: str = _PASSWORD) -> dict[str, str]:
    """A login of Docker's, and the setting that names it."""
    pair = base64.b64encode(f"{_USER}:{password}".encode()).decode()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": pair}}}))
    return {"DOCKER_CONFIG": str(folder)}


def has_no_secret(text: str, password: str = _PASSWORD) -> None:
    pair = base64.b64encode(f"{_USER}:{password}".encode()).decode()
    assert password not in text
    assert pair not in text
    assert "token-" not in text


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_401_without_a_login(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], tmp_path: Path, scheme: str
) -> None:
    fake.auth, fake.users, fake.private = scheme, {_USER: _PASSWORD}, {_NAME}
    case.fails(pull, fake.host, "login")
    case.env = login(tmp_path / "docker", fake.host)
    has_no_secret(case.succeeds(["--debug", *pull]))


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_401_with_a_wrong_password(
    udocker: Udocker,
    fake: FakeRegistry,
    image: MadeImage,
    pull: list[str],
    tmp_path: Path,
    scheme: str,
    debug: list[str],
) -> None:
    fake.auth, fake.users, fake.private = scheme, {_USER: _PASSWORD}, {_NAME}
    env = login(tmp_path / "docker", fake.host, "wrong-password")
    result = udocker(*debug, *pull, check=False, env=env)
    assert result.code == 125
    assert f"log in to {fake.host} again" in result.err
    has_no_secret(result.err, "wrong-password")


def test_403(case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]) -> None:
    fake.fault("/manifests/", Fault(status=403, body=b'{"errors":[{"code":"DENIED"}]}'))
    case.fails(pull, pull[1], "refused", "DENIED", "login")
    forget(fake)
    case.succeeds(pull)


def test_403_for_a_layer_with_a_login(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], tmp_path: Path
) -> None:
    """The registry quotes what it was sent."""
    fake.auth, fake.users = "basic", {_USER: _PASSWORD}
    case.env = login(tmp_path / "docker", fake.host)
    pair = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
    body = json.dumps({"errors": [{"code": "DENIED", "message": f"not for Basic {pair}"}]})
    fake.fault(image.layers[0]["digest"], Fault(status=403, body=body.encode()))
    has_no_secret(case.fails(pull, "refused"))
    forget(fake)
    case.succeeds(pull)


# Statuses


def test_404_for_a_layer(case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]) -> None:
    digest = image.layers[0]["digest"]
    fake.fault(digest, Fault(status=404))
    case.fails(pull, digest[len("sha256:") :][:12], "not found")
    forget(fake)
    case.succeeds(pull)


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_429_with_a_short_wait_is_waited_for(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], where: str
) -> None:
    fake.fault(where, Fault(times=1, status=429, headers={"Retry-After": "1"}))
    case.succeeds(pull)


@pytest.mark.parametrize("where", ["/manifests/", "config", "layer"])
def test_429_with_a_long_wait_is_told_at_once(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], where: str
) -> None:
    names = {"config": image.config["digest"], "layer": image.layers[0]["digest"]}
    fake.fault(names.get(where, where), Fault(status=429, headers={"Retry-After": "3600"}))
    case.fails(pull, "request limit", "60 min", "log in")
    assert len(fake.requests(names.get(where, where))) == 1
    forget(fake)
    case.succeeds(pull)


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_500_that_passes_is_not_noticed(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], where: str
) -> None:
    fake.fault(where, Fault(times=1, status=500))
    case.succeeds(pull)


@pytest.mark.parametrize(("where", "status"), [("/manifests/", 500), ("layer", 503)])
def test_500_that_stays(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], where: str, status: int
) -> None:
    where = image.layers[0]["digest"] if where == "layer" else where
    fake.fault(where, Fault(status=status, body=b"upstream is down"))
    case.fails(pull, fake.host, f"status {status}", "try again later")
    assert len(fake.requests(where)) == _TRIES
    forget(fake)
    case.succeeds(pull)


def test_a_connection_that_is_reset(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    fake.fault(image.layers[1]["digest"], Fault(times=1, reset=True))
    fake.fault("/manifests/", Fault(times=1, reset=True))
    case.succeeds(pull)


# Altered bytes


def test_truncated_layer(case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]) -> None:
    digest = image.layers[1]["digest"]
    fake.fault(digest, Fault(truncate=5000))
    case.fails(pull, fake.host, "before the layer was complete", "try again")
    assert len(fake.requests(digest)) == _TRIES
    forget(fake)
    case.succeeds(pull)


def test_truncated_layer_with_a_fitting_length(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    digest = image.layers[1]["digest"]
    fake.fault(digest, Fault(status=200, body=b"half of it"))
    case.fails(pull, digest[len("sha256:") :][:12], "cut short: 10 of", "try again")
    forget(fake)
    case.succeeds(pull)


@pytest.mark.parametrize("part", ["layer", "config", "manifest"])
def test_altered_bytes(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], part: str
) -> None:
    digests = {"layer": image.layers[1]["digest"], "config": image.config["digest"]}
    fake.fault(digests.get(part, "/manifests/"), Fault(flip=60))
    case.fails(pull, "digest", "gain")
    forget(fake)
    case.succeeds(pull)


def test_layer_with_more_bytes(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    fake.fault(image.layers[1]["digest"], Fault(append=b"more"))
    case.fails(pull, "longer than the", hint=False)
    forget(fake)
    case.succeeds(pull)


def document(image: MadeImage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(image.manifest)
    return found


def publish(fake: FakeRegistry, data: object, media_type: str = OCI_MANIFEST) -> None:
    fake.add_manifest(_NAME, "latest", json.dumps(data).encode(), media_type)


@pytest.mark.parametrize("difference", [-1, 1])
@pytest.mark.parametrize("part", ["layer", "config"])
def test_wrong_size_in_the_manifest(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], part: str, difference: int
) -> None:
    data = document(image)
    entry = data["layers"][1] if part == "layer" else data["config"]
    entry["size"] += difference
    publish(fake, data)
    case.fails(pull, entry["digest"][len("sha256:") :][:12], str(entry["size"]), hint=False)
    publish(fake, document(image))
    case.succeeds(pull)


# Documents


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_html_in_place_of_it(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], part: str
) -> None:
    digests = {"layer": image.layers[1]["digest"], "config": image.config["digest"]}
    fake.fault(digests.get(part, "/manifests/"), _HTML)
    case.fails(pull, fake.host, "does not answer as a registry", "login page")
    forget(fake)
    case.succeeds(pull)


def test_html_everywhere(case: Case, fake: FakeRegistry, pull: list[str]) -> None:
    fake.fault("/", Fault(status=404, body=_HTML.body, headers=_HTML.headers))
    case.fails(pull, fake.host, "does not answer as a registry")


@pytest.mark.parametrize("body", [b"", b'{"schemaVersion": 2, "med', b"[]", b"null", b"\xff\xfe"])
def test_broken_json(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], body: bytes
) -> None:
    fake.fault("/manifests/", Fault(status=200, body=body, headers={"Content-Type": OCI_MANIFEST}))
    case.fails(pull, pull[1], "JSON", hint=body not in (b"[]", b"null"))
    forget(fake)
    case.succeeds(pull)


@pytest.mark.parametrize(
    ("data", "media_type", "parts"),
    [
        ({"schemaVersion": 2}, "application/x-strange+json", ["no image", "x-strange"]),
        ({"schemaVersion": 2}, OCI_MANIFEST, ["not an image manifest"]),
        ({"schemaVersion": 2, "manifests": 7}, OCI_INDEX, ["not an image index"]),
        ({"schemaVersion": 2, "layers": [], "manifests": []}, OCI_MANIFEST, ["at once"]),
        ({"schemaVersion": 2, "layers": [{}], "config": {}}, OCI_MANIFEST, ["bad descriptor"]),
    ],
)
def test_documents_that_are_no_image(
    case: Case,
    fake: FakeRegistry,
    pull: list[str],
    data: object,
    media_type: str,
    parts: list[str],
) -> None:
    publish(fake, data, media_type)
    case.fails(pull, pull[1], *parts, hint=False)


def test_schema_1(case: Case, fake: FakeRegistry, pull: list[str]) -> None:
    data = {"schemaVersion": 1, "name": _NAME, "tag": "latest", "fsLayers": [], "history": []}
    publish(fake, data, "application/vnd.docker.distribution.manifest.v1+prettyjws")
    case.fails(pull, pull[1], "schema 1", "push the image again")


def test_a_chart_is_not_an_image(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    data = document(image)
    data["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    publish(fake, data)
    case.fails(pull, pull[1], "not a container image", "helm", hint=False)


def test_no_layers(case: Case, fake: FakeRegistry, pull: list[str]) -> None:
    make_image(fake, _NAME, "latest", [])
    case.fails(pull, pull[1], "no layers", hint=False)


def test_one_diff_id_too_few(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    data = document(image)
    data["layers"].append(data["layers"][0])
    publish(fake, data)
    case.fails(pull, pull[1], "3 layers", "2", hint=False)


# Platforms


def test_no_matching_platform(case: Case, fake: FakeRegistry, pull: list[str]) -> None:
    names = ["linux/s390x", "linux/arm/v7", "windows/amd64"]
    made = [
        (name, make_image(fake, _NAME, None, [checks.file_layer("x")], platform=name).digest)
        for name in names
    ]
    make_index(fake, _NAME, "latest", made)
    words = [*pull, "--platform=linux/riscv64"]
    case.fails(words, pull[1], "linux/riscv64", *names, "--platform")
    case.succeeds([*pull, "--platform=linux/arm/v7"])


def test_an_index_of_nothing(case: Case, fake: FakeRegistry, pull: list[str]) -> None:
    make_index(fake, _NAME, "latest", [])
    case.fails(pull, pull[1], "platforms on offer: none", hint=False)


def test_an_image_for_windows(case: Case, fake: FakeRegistry, pull: list[str]) -> None:
    make_image(fake, _NAME, "latest", [checks.file_layer("x")], platform="windows/amd64")
    case.fails(pull, pull[1], "windows/amd64", "only linux images")


def elf(machine: int) -> Entry:
    """The beginning of a program for the machine with that number (elf(5))."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little")
    return program(header + machine.to_bytes(2, "little") + bytes(100))


def test_wrong_architecture(udocker: Udocker, fake: FakeRegistry) -> None:
    """An image for another machine can be had; running it says why not."""
    machines = {"linux/arm64": 183, "linux/amd64": 62, "linux/s390x": 22}
    made = [
        (
            name,
            make_image(
                fake,
                _NAME,
                None,
                [make_layer({"bin/hello": elf(number)})],
                {"Cmd": ["/bin/hello"]},
                platform=name,
            ).digest,
        )
        for name, number in machines.items()
    ]
    make_index(fake, _NAME, "latest", made)
    words = ("run", "--platform=linux/s390x", f"{fake.host}/{_NAME}")
    result = udocker(*words, check=False, env={"PATH": "/nowhere"})  # where no emulator is
    checks.is_told(result, 126, "/bin/hello", "s390x", "--platform=linux/")
    assert len(checks.images(udocker)) == 1
    assert checks.containers(udocker) == []


# Redirects


@pytest.fixture
def elsewhere(fake: FakeRegistry) -> Iterator[FakeRegistry]:
    """Another host, to which the registry sends those who want blobs."""
    with FakeRegistry() as storage:
        storage.blobs = fake.blobs
        fake.redirect_blobs = f"http://localhost:{storage.port}/storage/{{digest}}?sig=s1gnature"
        yield storage


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_a_login_does_not_go_along_to_another_host(
    case: Case,
    fake: FakeRegistry,
    elsewhere: FakeRegistry,
    image: MadeImage,
    pull: list[str],
    tmp_path: Path,
    scheme: str,
) -> None:
    fake.auth, fake.users, fake.private = scheme, {_USER: _PASSWORD}, {_NAME}
    case.env = login(tmp_path / "docker", fake.host)
    case.succeeds(pull)
    assert {logged.authorization is not None for logged in fake.requests("/blobs/")} == {True}
    assert len(elsewhere.log) == 3  # the configuration and two layers
    assert {logged.authorization for logged in elsewhere.log} == {None}


@pytest.mark.parametrize("part", ["config", "layer"])
def test_another_host_that_refuses(
    case: Case,
    fake: FakeRegistry,
    elsewhere: FakeRegistry,
    image: MadeImage,
    pull: list[str],
    part: str,
) -> None:
    digest = image.config["digest"] if part == "config" else image.layers[0]["digest"]
    elsewhere.fault(digest, Fault(status=403, body=b"<Error>SignatureDoesNotMatch</Error>"))
    told = case.fails(pull, fake.host, f"localhost:{elsewhere.port}", "refused")
    assert "s1gnature" not in told
    forget(elsewhere)
    case.succeeds(pull)


def test_redirects_in_a_circle(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    fake.redirect_blobs = f"http://{fake.host}/v2/{_NAME}/blobs/{{digest}}"
    case.fails(pull, fake.host, "redirects more than", hint=False)
    fake.redirect_blobs = ""
    case.succeeds(pull)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://", ""])
def test_redirects_to_what_is_no_web_server(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str], target: str
) -> None:
    digest = image.layers[0]["digest"]
    fake.fault(digest, Fault(status=307, headers={"Location": target}))
    case.fails(pull, hint=False)
    forget(fake)
    case.succeeds(pull)


# Layers that want out, and broken ones


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file, of which nothing may change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    sentinel = folder / "sentinel"
    sentinel.write_text("untouched")
    sentinel.chmod(0o640)

    def state() -> list[object]:
        return [
            (path.name, path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_nlink)
            for path in (folder, *sorted(folder.iterdir()))
        ]

    before = state()
    yield folder
    assert state() == before
    assert sentinel.read_text() == "untouched"


_UP = "../" * 20

# Given the absolute path of the directory outside, and its path from a tree's root.
_REFUSED: dict[str, tuple[str, Layers]] = {
    "a name with dots": (
        "leads out of the image",
        lambda out, up: [{f"{up}/sentinel": b"changed"}],
    ),
    "dots in the middle": (
        "leads out of the image",
        lambda out, up: [{"a": directory(), f"a/../{up}/new": b"changed"}],
    ),
    "a directory with dots": (
        "leads out of the image",
        lambda out, up: [{f"{up}": directory(0o777)}],
    ),
    "a hard link with dots": (
        "leads out of the image",
        lambda out, up: [{"link": hardlink(f"{up}/sentinel")}],
    ),
    "a hard link to an absolute name": (
        "not in the image",
        lambda out, up: [{"link": hardlink(f"{out}/sentinel")}],
    ),
    "a hard link through a symbolic link": (
        "not in the image",
        lambda out, up: [{"way": symlink(out), "link": hardlink("way/sentinel")}],
    ),
    "a hard link through a symbolic link of a layer below": (
        "not in the image",
        lambda out, up: [{"way": symlink(up)}, {"link": hardlink("way/sentinel")}],
    ),
    "a whiteout of the parent": (
        "whiteout",
        lambda out, up: [{"a": directory()}, {"a/.wh...": b""}],
    ),
}
_KEPT_INSIDE: dict[str, tuple[str, Layers]] = {
    "an absolute name": (
        "{out}/sentinel",
        lambda out, up: [{f"{out}/sentinel": b"inside"}],
    ),
    "through a symbolic link": (
        "{out}/sentinel",
        lambda out, up: [{"way": symlink(out), "way/sentinel": b"inside"}],
    ),
    "through a symbolic link with dots": (
        "{out}/sentinel",
        lambda out, up: [{"way": symlink(up), "way/sentinel": b"inside"}],
    ),
    "through a symbolic link of a layer below": (
        "way/sentinel",
        lambda out, up: [{"way": symlink(out)}, {"way/sentinel": b"inside"}],
    ),
    "over a symbolic link": (
        "link",
        lambda out, up: [{"link": symlink(f"{out}/sentinel")}, {"link": b"inside"}],
    ),
    "over a symbolic link of the same layer": (
        "link",
        lambda out, up: [{"link": symlink(f"{out}/sentinel"), "./link": b"inside"}],
    ),
}


def publish_layers(fake: FakeRegistry, out: Path, layers: Layers) -> None:
    made = layers(str(out), _UP + str(out).lstrip("/"))
    make_image(fake, _NAME, "latest", [make_layer(each) for each in made])


@pytest.mark.parametrize("name", _REFUSED)
def test_layers_that_want_out_are_refused(
    case: Case, fake: FakeRegistry, pull: list[str], outside: Path, name: str
) -> None:
    part, layers = _REFUSED[name]
    publish_layers(fake, outside, layers)
    case.fails(pull, "layer", part, hint=False)
    make_image(fake, _NAME, "latest", [checks.file_layer("x")])
    case.succeeds(pull)


@pytest.mark.parametrize("name", _KEPT_INSIDE)
def test_layers_that_look_outside_stay_inside(
    case: Case, fake: FakeRegistry, pull: list[str], outside: Path, store_path: Path, name: str
) -> None:
    place, layers = _KEPT_INSIDE[name]
    publish_layers(fake, outside, layers)
    case.succeeds(pull)
    root = store_path / "trees" / "sha256" / checks.trees(store_path)[0] / "root"
    written = root / place.format(out=str(outside).lstrip("/"))
    assert not written.is_symlink()
    assert written.read_bytes() == b"inside"


def put_layer(fake: FakeRegistry, data: bytes, diff_id: str) -> None:
    """An image of one layer, with a diffID that may be a lie."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    raw = json.dumps(config).encode()
    layer = fake.add_blob(data, f"{OCI_LAYER}+gzip")
    manifest = {"config": fake.add_blob(raw, OCI_CONFIG), "layers": [layer]}
    publish(fake, {"schemaVersion": 2, "mediaType": OCI_MANIFEST, **manifest})


def test_wrong_diff_id(case: Case, fake: FakeRegistry, pull: list[str]) -> None:
    layer = checks.file_layer("x")
    put_layer(fake, layer, f"sha256:{'1' * 64}")
    case.fails(pull, "uncompressed bytes", f"sha256:{'1' * 64}", "fetch the image again")
    put_layer(fake, layer, f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}")
    case.succeeds(pull)


@pytest.mark.parametrize(
    "data",
    [
        b"no archive at all",
        gzip.compress(b"no archive " * 100, mtime=0),
        b"\xfd7zXZ\0" + bytes(600),
    ],
)
def test_a_layer_that_is_no_archive(
    case: Case, fake: FakeRegistry, pull: list[str], data: bytes
) -> None:
    put_layer(fake, data, f"sha256:{hashlib.sha256(data).hexdigest()}")
    case.fails(pull, "layer", hint=False)


def test_a_layer_that_is_too_large(
    case: Case, fake: FakeRegistry, image: MadeImage, pull: list[str]
) -> None:
    case.env = {"UDOCKER_MAX_UNPACKED_BYTES": "100000"}
    case.fails(pull, "layer", "100000")
    case.env = {}
    case.succeeds(pull)
