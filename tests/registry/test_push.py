"""Pushing: what is sent, what is not, and how a push goes on that was disturbed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from fakes.registry import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    FakeRegistry,
    Fault,
)
from registry.clients import Client, make_settings
from udocker.errors import (
    BadReplyError,
    ForbiddenError,
    NotFoundError,
    RegistryError,
    ServerError,
    UnauthorizedError,
    UnreachableError,
    VerificationError,
)
from udocker.model.oci import Manifest
from udocker.model.reference import Digest, Reference
from udocker.registry.mirrors import Mirror, Rule
from udocker.registry.outgoing import Outgoing
from udocker.registry.push import THREAD
from udocker.registry.upload import MOUNTED, PIECE, SENT, SMALL, THERE
from udocker.verified import VerifiedReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, BinaryIO

    from fakes.registry import Logged
    from registry.clients import Certificate, FakeProxy
    from udocker.model.oci import Descriptor

LARGE = 2 * PIECE + 1000
_UPLOADS = "/blobs/uploads/"


class Image:
    """An image in memory."""

    def __init__(self, *layers: bytes, **more: Any) -> None:
        self.config = b'{"architecture": "amd64"}'
        self.blobs = {_digest(data): data for data in (self.config, *layers)}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(self.config, OCI_CONFIG),
            "layers": [_descriptor(layer, OCI_LAYER) for layer in layers],
            **more,
        }
        self.raw = json.dumps({k: v for k, v in document.items() if v is not None}).encode()

    def outgoing(self, **sources: str) -> Outgoing:
        manifest = Manifest.parse(self.raw, "", "the test")
        return Outgoing(manifest, self.open, {Digest("sha256", k[1:]): sources[k] for k in sources})

    def open(self, blob: Descriptor) -> BinaryIO:
        source = io.BytesIO(self.blobs[str(blob.digest)])
        return VerifiedReader(source, blob)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def push(client: Client, name: str, image: Image, **sources: str) -> list[str]:
    told: list[int] = []
    done = client.registry.push(Reference.parse(name), image.outgoing(**sources), told.append)
    assert sum(told) == image.outgoing().size
    assert min(told) > 0, "what is sent again is not told of again"
    return done


def arrived(fake: FakeRegistry, repository: str, image: Image, tag: str = "latest") -> None:
    assert fake.manifests[repository, tag] == (image.raw, OCI_MANIFEST)
    for digest, data in image.blobs.items():
        assert fake.blobs[digest] == data


def failed(client: Client, fake: FakeRegistry, image: Image, kind: type[RegistryError]) -> str:
    """The message and the hint; nothing has come of the push."""
    with pytest.raises(kind) as raised:
        push(client, f"{fake.host}/a/b", image)
    assert fake.manifests == {}
    return f"{raised.value.message}\n{raised.value.hint}"


def by(fake: FakeRegistry, method: str) -> list[Logged]:
    return [logged for logged in fake.log if logged.method == method]


# What is sent


def test_small_blobs_go_whole(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(b"one", b"", b"three")
    assert push(client(), f"{fake.host}/a/b:1", image) == [SENT] * 4
    arrived(fake, "a/b", image, "1")
    assert by(fake, "PATCH") == []
    puts = by(fake, "PUT")
    assert [len(put.body) for put in puts[-2:]] == [len(image.config), len(image.raw)]
    assert puts[-1].path == "/v2/a/b/manifests/1"
    assert all(put.query["state"] == ["x"] for put in puts[:-1])


def test_a_large_one_goes_as_docker_sends_it(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    image = Image(os.urandom(LARGE), os.urandom(SMALL))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    [patch] = by(fake, "PATCH")
    assert "content-range" not in patch.headers
    assert patch.headers["content-length"] == str(LARGE)
    assert "transfer-encoding" not in patch.headers


def test_what_is_there_is_not_sent(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(b"one", b"two")
    push(client(), f"{fake.host}/a/b", image)
    fake.log.clear()
    assert push(client(), f"{fake.host}/a/b:2", image) == [THERE] * 3
    assert fake.requests(_UPLOADS) == []
    arrived(fake, "a/b", image, "2")


def test_a_redirect_says_that_it_is_there(
    client: Callable[..., Client], fake: FakeRegistry, storage: FakeRegistry
) -> None:
    fake.redirect_blobs = storage.url + "/storage/{digest}"
    assert push(client(), f"{fake.host}/a/b", Image(b"one")) == [THERE] * 2
    assert storage.log == []


def test_a_registry_without_head(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(b"one")
    fake.fault("/blobs/sha256", Fault(status=405))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)


def test_a_layer_that_is_there_twice(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(b"one", b"one")
    assert push(client(), f"{fake.host}/a/b", image) == [SENT] * 2
    arrived(fake, "a/b", image)


def test_layers_are_sent_at_the_same_time(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    fake.fault(_UPLOADS, Fault(times=3, together=threading.Barrier(3, timeout=20)))
    image = Image(b"one", b"two", b"three")
    push(client(tries=1, jobs=3), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)


@pytest.mark.parametrize("kind", ["docker.image.rootfs.foreign.", "oci.image.layer.nondistri"])
def test_what_only_its_maker_may_give(
    client: Callable[..., Client], fake: FakeRegistry, kind: str
) -> None:
    rest = "diff.tar.gzip" if "docker" in kind else "butable.v1.tar"
    layer = {**_descriptor(b"theirs", f"application/vnd.{kind}{rest}"), "urls": ["https://x/y"]}
    image = Image(layers=[layer])
    assert push(client(), f"{fake.host}/a/b", image) == [SENT]
    assert fake.manifests["a/b", "latest"][0] == image.raw


@pytest.mark.parametrize(
    ("stated", "sent"), [(None, OCI_MANIFEST), (DOCKER_MANIFEST, DOCKER_MANIFEST)]
)
def test_the_kind_of_manifest(
    client: Callable[..., Client], fake: FakeRegistry, stated: str | None, sent: str
) -> None:
    image = Image(b"one", mediaType=stated)
    push(client(), f"{fake.host}/a/b", image)
    assert fake.manifests["a/b", "latest"] == (image.raw, sent)


def test_a_layer_that_is_the_configuration_too(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    image = Image(b"one", Image().config)
    assert push(client(), f"{fake.host}/a/b", image) == [SENT] * 2
    arrived(fake, "a/b", image)


def test_a_redirect_is_followed_with_the_bytes(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    fake.fault("/manifests/latest", Fault(status=307, headers={"Location": "moved"}))
    image = Image(b"one")
    push(client(), f"{fake.host}/a/b", image)
    assert fake.manifests["a/b", "moved"] == (image.raw, OCI_MANIFEST)


def test_a_slow_line_is_not_a_broken_one(client: Callable[..., Client], fake: FakeRegistry) -> None:
    fake.reading_pause = 0.1
    image = Image(bytes(8 * PIECE))
    push(client(connect_timeout=1, tries=1), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)


# From another repository


def test_a_blob_is_mounted(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(b"one")
    digest = _digest(b"one")
    fake.uploads.elsewhere[digest] = ("c/d", b"one")
    key = {f"x{digest[7:]}": "c/d"}
    assert push(client(), f"{fake.host}/a/b", image, **key) == [MOUNTED, SENT]
    arrived(fake, "a/b", image)
    assert [len(put.body) for put in by(fake, "PUT")] == [len(image.config), len(image.raw)]


def test_a_mount_that_is_not_made(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(b"one")
    key = {f"x{_digest(b'one')[7:]}": "c/d"}
    assert push(client(), f"{fake.host}/a/b", image, **key) == [SENT, SENT]
    arrived(fake, "a/b", image)
    assert len(by(fake, "POST")) == 2, "the upload that the registry began is the one that is used"


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_mount_that_is_refused(
    client: Callable[..., Client], fake: FakeRegistry, status: int
) -> None:
    image = Image(b"one")
    fake.fault("mount=", Fault(status=status))
    key = {f"x{_digest(b'one')[7:]}": "c/d"}
    assert push(client(), f"{fake.host}/a/b", image, **key) == [SENT, SENT]
    arrived(fake, "a/b", image)


# What is disturbed


def spans(fake: FakeRegistry) -> list[str]:
    """The parts that were sent; "" is all of it."""
    return [logged.headers.get("content-range", "") for logged in by(fake, "PATCH")]


@pytest.mark.parametrize("taken", [0, 1000, PIECE, LARGE - 1, LARGE])
def test_what_is_cut_off_goes_on_in_pieces(
    client: Callable[..., Client], fake: FakeRegistry, taken: int
) -> None:
    image = Image(os.urandom(LARGE))
    fake.fault("uploads/0?", Fault(times=1, take=taken))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    starts = range(taken, LARGE, PIECE)
    assert spans(fake) == ["", *(f"{at}-{min(at + PIECE, LARGE) - 1}" for at in starts)]
    assert len(by(fake, "POST")) == 2, "of the layer and of the configuration"
    assert len([logged for logged in by(fake, "GET") if "uploads" in logged.path]) == 1


def test_a_piece_that_is_cut_off_goes_on(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(os.urandom(LARGE))
    fake.fault("uploads/0?", Fault(times=1, take=0))
    fake.fault("uploads/0?", Fault(times=1, skip=1, take=1000))
    push(client(tries=3), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert spans(fake)[:3] == ["", f"0-{PIECE - 1}", f"1000-{PIECE + 999}"]


def test_a_registry_that_wants_large_pieces(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    fake.uploads.least_chunk = PIECE + 5
    fake.fault("uploads/0?", Fault(times=1, take=0))
    image = Image(os.urandom(LARGE))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    rest = f"{2 * PIECE + 10}-{LARGE - 1}"
    assert spans(fake) == ["", f"0-{PIECE + 4}", f"{PIECE + 5}-{2 * PIECE + 9}", rest]


def test_what_is_too_large_goes_in_pieces(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    image = Image(os.urandom(LARGE))
    fake.fault("uploads/0?", Fault(times=1, status=413))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert spans(fake) == [
        "",
        f"0-{PIECE - 1}",
        f"{PIECE}-{2 * PIECE - 1}",
        f"{2 * PIECE}-{LARGE - 1}",
    ]


def test_pieces_that_are_too_large_as_well(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    fake.fault("?state=x", Fault(status=413))
    image = Image(os.urandom(LARGE))
    assert "takes nothing so large" in failed(client(), fake, image, BadReplyError)
    assert spans(fake) == ["", f"0-{PIECE - 1}"]


def test_a_registry_that_puts_no_pieces_together(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    image = Image(os.urandom(LARGE))
    fake.fault("uploads/0?", Fault(times=1, take=0))
    fake.fault("uploads/0?", Fault(times=1, skip=1, status=400))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert spans(fake) == ["", f"0-{PIECE - 1}", ""]


def test_a_registry_that_does_not_count(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(os.urandom(LARGE))
    fake.fault("uploads/0?", Fault(times=1, take=0))
    fake.uploads.counts = False
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert len(spans(fake)) == 1 + 3, "nothing is sent twice"


@pytest.mark.parametrize("told", ["", "x", "5-9", f"0-{LARGE}", f"0-{10**18}"])
def test_a_registry_that_does_not_know_what_has_come(
    client: Callable[..., Client], fake: FakeRegistry, told: str
) -> None:
    image = Image(os.urandom(LARGE))
    fake.fault("uploads/0?", Fault(times=1, take=1000))
    fake.fault("uploads/0?", Fault(times=1, status=204, headers={"Range": told}))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert len(by(fake, "POST")) == 3


@pytest.mark.parametrize("status", [404, 416, 500])
def test_an_upload_that_cannot_be_ended_begins_anew(
    client: Callable[..., Client], fake: FakeRegistry, status: int
) -> None:
    image = Image(b"one", os.urandom(LARGE))
    fake.fault("digest=", Fault(times=2, status=status))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert len(by(fake, "POST")) == 5


def test_a_registry_that_takes_a_part_of_what_is_sent(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    image = Image(os.urandom(LARGE))
    fake.uploads.at_most = PIECE + 7
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert spans(fake) == ["", f"{PIECE + 7}-{LARGE - 1}", f"{2 * PIECE + 14}-{LARGE - 1}"]


def test_an_upload_that_is_forgotten_begins_anew(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    image = Image(os.urandom(LARGE))
    fake.fault("uploads/0?", Fault(times=1, status=404))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert len(by(fake, "POST")) == 3


@pytest.mark.parametrize("status", [500, 503, 408, 416])
def test_a_request_that_fails_is_made_again(
    client: Callable[..., Client], fake: FakeRegistry, status: int
) -> None:
    image = Image(os.urandom(LARGE))
    fake.fault("uploads/0?", Fault(times=1, status=status))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)


def test_the_reply_to_the_last_bytes_is_lost(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    image = Image(b"one")
    fake.fault("digest=", Fault(times=1, take=3))
    push(client(), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert len(by(fake, "PUT")) == 3, "the layer is not sent twice"


def test_a_connection_that_always_breaks(client: Callable[..., Client], fake: FakeRegistry) -> None:
    fake.fault("uploads/", Fault(skip=1, drop=True))
    told = failed(client(tries=2), fake, Image(os.urandom(LARGE)), UnreachableError)
    assert "closed the connection" in told


def test_a_silent_registry(client: Callable[..., Client], fake: FakeRegistry) -> None:
    fake.fault("uploads/0", Fault(stall=0))
    told = failed(client(tries=1, stall_timeout=1), fake, Image(b"one"), UnreachableError)
    assert "went silent" in told


# Logins


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login(docker_config: Path, auth: str) -> None:
    image = Image(b"one", b"two")
    with FakeRegistry(auth=auth, users={"ana": "pw"}, private=["a/b"]) as fake:
        login(docker_config, fake.host)
        push(Client(docker_config, make_settings()), f"{fake.host}/a/b", image)
        arrived(fake, "a/b", image)
        asked = fake.requests("/token")
        assert [each.query["scope"] for each in asked] == [["repository:a/b:pull,push"]] * len(
            asked
        )
        assert len(asked) == (1 if auth == "bearer" else 0)


def test_a_mount_asks_to_pull_from_the_source(docker_config: Path) -> None:
    image = Image(b"one")
    with FakeRegistry(auth="bearer", users={"ana": "pw"}) as fake:
        login(docker_config, fake.host)
        key = {f"x{_digest(b'one')[7:]}": "c/d"}
        push(Client(docker_config, make_settings()), f"{fake.host}/a/b", image, **key)
        scopes = [each.query["scope"] for each in fake.requests("/token")]
    assert ["repository:a/b:pull,push", "repository:c/d:pull"] in scopes


def login(config: Path, host: str) -> None:
    config.write_text(json.dumps({"auths": {host: {"auth": "YW5hOnB3"}}}))


def test_the_login_goes_to_no_other_host(docker_config: Path, storage: FakeRegistry) -> None:
    image = Image(b"one", os.urandom(LARGE))
    with FakeRegistry(auth="basic", users={"ana": "pw"}) as fake:
        fake.uploads.location = storage.url + "/v2/{repository}/blobs/uploads/{number}"
        storage.uploads = fake.uploads  # one store behind two hosts
        login(docker_config, fake.host)
        push(Client(docker_config, make_settings()), f"{fake.host}/a/b", image)
        arrived(fake, "a/b", image)
    assert sorted(logged.method for logged in storage.log) == ["PATCH", "PUT", "PUT", "PUT"]
    assert all(logged.authorization is None for logged in storage.log)


def test_bytes_are_not_sent_by_http_after_https(
    docker_config: Path, certificate: Certificate, fake: FakeRegistry, proxy: FakeProxy
) -> None:
    settings = make_settings(ca_bundle=certificate.path, proxy=proxy.url)
    with FakeRegistry(tls=certificate.server_context()) as registry:
        proxy.routes["registry.test"] = registry
        registry.uploads.location = fake.url + "/v2/{repository}/blobs/uploads/{number}"
        with pytest.raises(BadReplyError, match="from https to plain http"):
            push(Client(docker_config, settings), "registry.test/a/b", Image(b"one"))
    assert fake.log == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_command(
    client: Callable[..., Client], fake: FakeRegistry, status: int
) -> None:
    fake.fault(_UPLOADS, Fault(status=status))
    kind = UnauthorizedError if status == 401 else ForbiddenError
    told = failed(client(), fake, Image(b"one"), kind)
    assert f"{fake.host}/a/b" in told
    assert f"udocker login {fake.host}" in told


def test_a_login_that_was_withheld_keeps_its_hint(docker_config: Path) -> None:
    users = {"ana": "pw"}
    one = FakeRegistry(auth="bearer", users=users, private=["a/b"])
    with one as fake, FakeRegistry("127.0.0.2", auth="bearer", private=["a/b"]) as other:
        fake.challenge = f'Bearer realm="{other.url}/token",service="x"'
        login(docker_config, fake.host)
        told = failed(Client(docker_config, make_settings()), fake, Image(b"x"), UnauthorizedError)
        assert "the login was not sent" in told
        assert all(logged.authorization is None for logged in other.log)


# Refusals


@pytest.mark.parametrize(
    ("part", "fault", "kind", "words"),
    [
        (_UPLOADS, Fault(status=405), BadReplyError, "takes no pushes"),
        (_UPLOADS, Fault(status=404), NotFoundError, "not found in"),
        (_UPLOADS, Fault(status=202), BadReplyError, "does not say where"),
        (_UPLOADS, Fault(status=202, headers={"Location": "ftp://x/"}), BadReplyError, "no http"),
        (_UPLOADS, Fault(status=200), BadReplyError, "unexpected status 200"),
        (_UPLOADS, Fault(status=500), ServerError, "status 500"),
        ("digest=", Fault(status=413), BadReplyError, "takes nothing so large"),
        ("digest=", Fault(status=400), BadReplyError, "unexpected status 400"),
        ("/blobs/sha256", Fault(status=503), ServerError, "status 503"),
        ("/manifests/", Fault(status=413), BadReplyError, "takes nothing so large"),
        ("/manifests/", Fault(status=400), BadReplyError, "unexpected status 400"),
        ("/manifests/", Fault(status=405), BadReplyError, "takes no pushes"),
    ],
)
def test_a_registry_that_refuses(
    client: Callable[..., Client],
    fake: FakeRegistry,
    part: str,
    fault: Fault,
    kind: type[RegistryError],
    words: str,
) -> None:
    fake.fault(part, fault)
    assert words in failed(client(tries=2), fake, Image(b"one"), kind)


def test_one_failure_ends_the_others(client: Callable[..., Client], fake: FakeRegistry) -> None:
    fake.fault(_UPLOADS, Fault(status=400, times=1))
    failed(client(jobs=2), fake, Image(*(b"%d" % n for n in range(300))), BadReplyError)
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(60)
    assert len(fake.blobs) < 150


def test_a_damaged_layer_is_not_pushed(client: Callable[..., Client], fake: FakeRegistry) -> None:
    for size in (100, LARGE):
        data = os.urandom(size)
        image = Image(data)
        image.blobs[_digest(data)] = data[:-1] + bytes([data[-1] ^ 1])
        with pytest.raises(VerificationError, match="is damaged"):
            push(client(), f"{fake.host}/a/b", image)
    assert fake.manifests == {}
    assert list(fake.blobs) == []


def test_a_registry_that_stores_something_else(
    client: Callable[..., Client], fake: FakeRegistry
) -> None:
    digest = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    fake.fault("/manifests/", Fault(status=201, headers=digest))
    with pytest.raises(VerificationError, match="has stored another one"):
        push(client(), f"{fake.host}/a/b", Image(b"one"))


def test_a_host_that_is_not_there(client: Callable[..., Client]) -> None:
    with pytest.raises(UnreachableError, match=r"cannot reach 127\.0\.0\.3:1"):
        push(client(), "127.0.0.3:1/a/b", Image(b"one"))


# Mirrors


def test_a_push_goes_to_no_mirror(
    docker_config: Path, fake: FakeRegistry, storage: FakeRegistry
) -> None:
    image = Image(b"one")
    rules = [Rule(fake.host, location=storage.host, mirrors=(Mirror(storage.host),))]
    push(Client(docker_config, make_settings(), rules), f"{fake.host}/a/b", image)
    arrived(fake, "a/b", image)
    assert storage.log == []


def test_what_is_blocked(docker_config: Path, fake: FakeRegistry) -> None:
    rules = [Rule(fake.host, blocked=True, file="rules")]
    blocking = Client(docker_config, make_settings(), rules)
    assert "is not pushed" in failed(blocking, fake, Image(b"one"), ForbiddenError)
    assert fake.log == []


# Documents


def test_a_document_comes_as_it_is(client: Callable[..., Client], fake: FakeRegistry) -> None:
    image = Image(b"one")
    for tag, data in (("1", image.raw), ("2", b'{"artifact":  true}')):
        fake.add_manifest("a/b", tag, data, OCI_MANIFEST)
        asked = Reference.parse(f"{fake.host}/a/b:{tag}")
        assert client().registry.document(asked) == data


def test_a_document_that_was_altered(client: Callable[..., Client], fake: FakeRegistry) -> None:
    digest = fake.add_manifest("a/b", None, Image(b"one").raw, OCI_MANIFEST)
    fake.fault("/manifests/", Fault(flip=3))
    with pytest.raises(VerificationError, match="was altered"):
        client().registry.document(Reference.parse(f"{fake.host}/a/b@{digest}"))
