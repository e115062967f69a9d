"""Pulls from a registry on loopback into a store: all of an image, verified, or nothing of it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.hosts import host
from builders.processes import race
from builders.sessions import session as make_session
from fakes.registry import (
    OCI_MANIFEST,
    FakeRegistry,
    Fault,
    directory,
    make_image,
    make_index,
    make_layer,
    program,
    symlink,
)
from udocker.errors import (
    ArchiveLimitError,
    BadReplyError,
    HostileArchiveError,
    NotFoundError,
    StoreError,
    StoreUnwritableError,
    UdockerError,
    UnauthorizedError,
    VerificationError,
)
from udocker.files import remove_tree
from udocker.model.moment import now
from udocker.model.oci import Platform
from udocker.model.reference import Digest, Reference
from udocker.model.value import replace
from udocker.ops.create import create
from udocker.ops.images import remove_image
from udocker.ops.pull import native_platform, pull
from udocker.ops.save import save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builders.sessions import TestSession
    from udocker.store.images import ImageRecord

BASE = make_layer({"bin": directory(), "bin/prog": program(b"#!"), "etc/motd": b"base"})
TOP = make_layer({"etc/motd": b"top", "link": symlink("/etc/motd")})
NAME = "test/app"


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host())


def reference(registry: FakeRegistry, rest: str = ":latest") -> Reference:
    return Reference.parse(f"{registry.host}/{NAME}{rest}")


def tree(session: TestSession, record: ImageRecord) -> Path:
    return Path(session.store.trees.root(record.chain_id))


def blobs(session: TestSession) -> set[str]:
    return {str(digest) for digest in session.store.blobs.all()}


def nothing_is_visible(session: TestSession) -> bool:
    store = session.store
    left = os.listdir(f"{store.topdir}/tmp") if os.path.isdir(f"{store.topdir}/tmp") else []
    return not list(store.images.all()) and not list(store.trees.all()) and left == []


def test_all_of_an_image_is_in_the_store(session: TestSession, registry: FakeRegistry) -> None:
    image = make_image(registry, NAME, "latest", [BASE, TOP], {"Cmd": ["/bin/prog"]})
    record = pull(session, reference(registry))
    assert record.reference == f"{registry.host}/{NAME}:latest"
    assert str(record.manifest) == image.digest
    assert str(record.config) == image.config["digest"]
    assert record.platform == "linux/amd64"
    assert record.index is None
    assert session.store.images.get(reference(registry)) == record
    assert (tree(session, record) / "etc/motd").read_bytes() == b"top"
    assert (tree(session, record) / "bin/prog").stat().st_mode & 0o777 == 0o755
    expected = {image.digest, *(each["digest"] for each in (image.config, *image.layers))}
    assert blobs(session) == expected
    assert os.listdir(f"{session.store.topdir}/tmp") == []
    assert session.report.infos == [
        f"pulled {registry.host}/{NAME}:latest ({record.config.short}, linux/amd64)"
    ]


def test_a_second_pull_asks_for_the_manifest_only(
    session: TestSession, registry: FakeRegistry
) -> None:
    make_image(registry, NAME, "latest", [BASE])
    first = pull(session, reference(registry))
    before = len(registry.requests("/blobs/"))
    assert pull(session, reference(registry)) == first
    asked = registry.requests("/blobs/")[before:]
    assert all(str(first.config) in logged.path for logged in asked)
    assert "is up to date" in session.report.infos[-1]


def test_layers_that_are_here_are_not_fetched(session: TestSession, registry: FakeRegistry) -> None:
    make_image(registry, NAME, "base", [BASE])
    image = make_image(registry, NAME, "top", [BASE, TOP, BASE])
    pull(session, reference(registry, ":base"))
    before = len(registry.requests("/blobs/"))
    record = pull(session, reference(registry, ":top"))
    fetched = {logged.path.rpartition("/")[2] for logged in registry.requests("/blobs/")[before:]}
    assert fetched == {image.config["digest"], image.layers[1]["digest"]}
    assert (tree(session, record) / "etc/motd").read_bytes() == b"base"


def test_a_tree_that_is_here_needs_no_layers(session: TestSession, registry: FakeRegistry) -> None:
    """Two images may differ in their configuration only."""
    make_image(registry, NAME, "one", [BASE], {"Cmd": ["1"]})
    make_image(registry, NAME, "two", [BASE], {"Cmd": ["2"]})
    one = pull(session, reference(registry, ":one"))
    two = pull(session, reference(registry, ":two"))
    assert one.chain_id == two.chain_id
    assert one.config != two.config


def test_layers_of_a_tree_that_a_container_kept(
    session: TestSession, registry: FakeRegistry, tmp_path: Path
) -> None:
    """To run it needs none; whoever pulls it may want to save it."""
    image = make_image(registry, NAME, "latest", [BASE, TOP])
    name = reference(registry)
    wanted = {layer["digest"] for layer in image.layers}
    pull(session, name)
    create(session, name, name="box")
    remove_image(session, str(name))
    before = len(registry.requests("/blobs/"))
    create(session, name)
    assert {each.path.rpartition("/")[2] for each in registry.requests("/blobs/")[before:]} == {
        image.config["digest"]
    }
    with pytest.raises(StoreError, match=r"its layer .* is not in the store") as caught:
        save(session, [str(name)], str(tmp_path / "image.tar"))
    assert str(caught.value.hint).startswith(f"udocker pull {name}, ")
    pull(session, name, whole=True)
    fetched = {each.path.rpartition("/")[2] for each in registry.requests("/blobs/")[before:]}
    assert fetched == {image.config["digest"], *wanted}
    save(session, [str(name)], str(tmp_path / "image.tar"))
    before = len(registry.requests("/blobs/"))
    pull(session, name, whole=True)
    assert not [each for each in registry.requests("/blobs/")[before:] if each.path in wanted]
    assert "is up to date" in session.report.infos[-1]


def test_who_waited_for_a_run_fetches_the_layers(
    session: TestSession, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that pulls brings none where the tree is here."""
    image = make_image(registry, NAME, "latest", [BASE])
    name = reference(registry)
    record = pull(session, name)
    create(session, name, name="box")
    documents = [session.store.blobs.read(each) for each in (record.manifest, record.config)]
    remove_image(session, str(name))
    held, waits = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with session.store.lease(f"pull {name.canonical} {native_platform(session)}"):
                os.write(held[1], b"x")
                os.read(waits[0], 1)
                for document in documents:
                    session.store.blobs.put(document)
                session.store.images.put(name, replace(record, created=now()))
            os._exit(0)
        finally:
            os._exit(1)
    os.read(held[0], 1)
    monkeypatch.setattr(session.report, "info", lambda text: os.write(waits[1], b"x"))
    before = len(registry.requests("/blobs/"))
    pull(session, name, whole=True)
    assert os.waitpid(child, 0)[1] == 0
    for descriptor in (*held, *waits):
        os.close(descriptor)
    fetched = {each.path.rpartition("/")[2] for each in registry.requests("/blobs/")[before:]}
    assert image.layers[0]["digest"] in fetched


def test_a_damaged_layer_of_a_tree_that_is_here(
    session: TestSession, registry: FakeRegistry
) -> None:
    image = make_image(registry, NAME, "latest", [BASE, TOP])
    name = reference(registry)
    pull(session, name)
    create(session, name, name="box")
    remove_image(session, str(name))
    registry.blobs[image.layers[1]["digest"]] = bytes(image.layers[1]["size"])
    with pytest.raises(VerificationError):
        pull(session, name, whole=True)
    assert not list(session.store.images.all())


def test_a_tag_that_moved_is_followed(session: TestSession, registry: FakeRegistry) -> None:
    make_image(registry, NAME, "latest", [BASE])
    old = pull(session, reference(registry))
    make_image(registry, NAME, "latest", [BASE, TOP])
    new = pull(session, reference(registry))
    assert new.manifest != old.manifest
    assert [found.manifest for found in session.store.images.all()] == [new.manifest]
    assert session.store.trees.has(old.chain_id)  # containers may run on it


def test_a_digest_means_one_image(session: TestSession, registry: FakeRegistry) -> None:
    image = make_image(registry, NAME, "latest", [BASE])
    make_image(registry, NAME, "latest", [TOP])
    record = pull(session, reference(registry, f"@{image.digest}"))
    assert str(record.manifest) == image.digest
    assert record.reference.endswith(f"@{image.digest}")


# Platforms


def test_the_hosts_platform_is_taken_of_an_index(
    session: TestSession, registry: FakeRegistry
) -> None:
    amd = make_image(registry, NAME, None, [BASE], platform="linux/amd64")
    arm = make_image(registry, NAME, None, [TOP], platform="linux/arm64")
    index = make_index(
        registry, NAME, "latest", [("linux/arm64", arm.digest), ("linux/amd64", amd.digest)]
    )
    record = pull(session, reference(registry))
    assert (str(record.manifest), str(record.index)) == (amd.digest, index)
    record = pull(session, reference(registry), Platform.parse("linux/aarch64"))
    assert (str(record.manifest), record.platform) == (arm.digest, "linux/arm64")
    on_arm = make_session(Path(session.store.topdir), host(architecture="aarch64"))
    assert str(pull(on_arm, reference(registry)).manifest) == arm.digest


def test_an_image_of_another_platform_is_taken_with_a_warning(
    session: TestSession, registry: FakeRegistry
) -> None:
    make_image(registry, NAME, "latest", [BASE], platform="linux/s390x")
    pull(session, reference(registry))
    [warning] = session.report.warnings
    assert warning.endswith("is made for linux/s390x, not for linux/amd64")


# What is wrong leaves nothing


def broken_manifest(registry: FakeRegistry, layers: int) -> None:
    """The manifest of an image with ``layers`` of its one layer."""
    image = make_image(registry, NAME, None, [BASE])
    data = json.loads(image.manifest)
    data["layers"] = data["layers"] * layers
    registry.add_manifest(NAME, "latest", json.dumps(data).encode(), OCI_MANIFEST)


def test_altered_bytes(session: TestSession, registry: FakeRegistry) -> None:
    image = make_image(registry, NAME, "latest", [BASE])
    registry.fault(image.layers[0]["digest"], Fault(flip=40))
    with pytest.raises(VerificationError, match=image.layers[0]["digest"]):
        pull(session, reference(registry))
    assert nothing_is_visible(session)
    assert blobs(session) == set()


def test_other_content_than_the_configuration_says(
    session: TestSession, registry: FakeRegistry
) -> None:
    """The compressed bytes are right, what they unpack to is not what diff_ids name."""
    image = make_image(registry, NAME, None, [BASE])
    other = registry.add_blob(TOP, image.layers[0]["mediaType"])
    data = json.loads(image.manifest)
    data["layers"] = [other]
    registry.add_manifest(NAME, "latest", json.dumps(data).encode(), OCI_MANIFEST)
    with pytest.raises(VerificationError, match="its uncompressed bytes are not those"):
        pull(session, reference(registry))
    assert nothing_is_visible(session)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (0, "has no layers: it is not an image that can be run"),
        (2, "its manifest has 2 layers, its configuration 1"),
    ],
)
def test_a_manifest_that_cannot_be(
    session: TestSession, registry: FakeRegistry, layers: int, message: str
) -> None:
    broken_manifest(registry, layers)
    with pytest.raises(BadReplyError, match=message):
        pull(session, reference(registry))
    assert nothing_is_visible(session)


def test_a_layer_that_reaches_out(
    session: TestSession, registry: FakeRegistry, tmp_path: Path
) -> None:
    evil = make_layer({f"../../../../../..{tmp_path}/evil": b"", "etc/motd": b""})
    make_image(registry, NAME, "latest", [BASE, evil])
    with pytest.raises(HostileArchiveError):
        pull(session, reference(registry))
    assert nothing_is_visible(session)
    assert not (tmp_path / "evil").exists()


def test_a_layer_that_is_too_large(registry: FakeRegistry, store_path: Path) -> None:
    session = make_session(store_path, host(), max_unpacked_bytes=100_000)
    make_image(registry, NAME, "latest", [make_layer({"zeros": bytes(1_000_000)})])
    with pytest.raises(ArchiveLimitError):
        pull(session, reference(registry))
    assert nothing_is_visible(session)


def test_an_image_that_is_not_there(session: TestSession, registry: FakeRegistry) -> None:
    make_image(registry, NAME, "latest", [BASE])
    with pytest.raises(NotFoundError):
        pull(session, reference(registry, ":other"))
    assert nothing_is_visible(session)


def test_a_failed_pull_leaves_what_was_there(session: TestSession, registry: FakeRegistry) -> None:
    make_image(registry, NAME, "latest", [BASE])
    old = pull(session, reference(registry))
    image = make_image(registry, NAME, "latest", [TOP])
    registry.fault(image.layers[0]["digest"], Fault(flip=40))
    with pytest.raises(VerificationError):
        pull(session, reference(registry))
    assert session.store.images.get(reference(registry)) == old
    assert tree(session, old).is_dir()


def test_a_store_that_may_not_be_written(registry: FakeRegistry, store_path: Path) -> None:
    make_image(registry, NAME, "latest", [BASE])
    store_path.mkdir(mode=0o500)
    with pytest.raises(StoreUnwritableError, match="Permission denied"):
        pull(make_session(store_path, host()), reference(registry))


# What is damaged in the store is mended


def test_a_layer_that_was_damaged_in_the_store_is_fetched_again(
    session: TestSession, registry: FakeRegistry
) -> None:
    image = make_image(registry, NAME, "latest", [BASE, TOP])
    record = pull(session, reference(registry))
    remove_tree(session.store.trees.path(record.chain_id))
    damaged = Digest.parse(image.layers[0]["digest"])
    place = Path(session.store.blobs.path(damaged))
    place.write_bytes(place.read_bytes()[:-4] + b"XXXX")  # of the right size
    before = len(registry.requests("/blobs/"))
    assert pull(session, reference(registry)).chain_id == record.chain_id
    fetched = [logged.path.rpartition("/")[2] for logged in registry.requests("/blobs/")[before:]]
    assert str(damaged) in fetched
    assert image.layers[1]["digest"] not in fetched
    assert session.store.blobs.read(damaged) == BASE


def test_a_tree_that_is_gone_is_unpacked_from_the_layers(
    session: TestSession, registry: FakeRegistry
) -> None:
    image = make_image(registry, NAME, "latest", [BASE])
    record = pull(session, reference(registry))
    remove_tree(session.store.trees.path(record.chain_id))
    before = len(registry.requests(image.layers[0]["digest"]))
    pull(session, reference(registry))
    assert (tree(session, record) / "etc/motd").read_bytes() == b"base"
    assert len(registry.requests(image.layers[0]["digest"])) == before


@pytest.mark.parametrize("part", ["manifest", "config"])
@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_documents_are_mended(
    session: TestSession, registry: FakeRegistry, part: str, damage: bytes
) -> None:
    make_image(registry, NAME, "latest", [BASE])
    record = pull(session, reference(registry))
    digest: Digest = getattr(record, part)
    Path(session.store.blobs.path(digest)).write_bytes(damage)
    pull(session, reference(registry))
    assert Digest.of(session.store.blobs.read(digest)) == digest


def test_a_damaged_record_is_replaced(session: TestSession, registry: FakeRegistry) -> None:
    make_image(registry, NAME, "latest", [BASE])
    record = pull(session, reference(registry))
    place = Path(session.store.topdir, "images", registry.host, NAME, "_tags/latest")
    place.write_bytes(b"{")
    assert pull(session, reference(registry)).manifest == record.manifest
    assert session.store.images.get(reference(registry)) is not None


# Logins


def test_the_credentials_of_docker_are_used(
    session: TestSession, registry: FakeRegistry, tmp_path: Path, store_path: Path
) -> None:
    registry.auth, registry.users = "basic", {"ann": "secret"}
    make_image(registry, NAME, "latest", [BASE])
    with pytest.raises(UnauthorizedError):
        pull(session, reference(registry))
    folder = tmp_path / ".docker"
    folder.mkdir()
    secret = base64.b64encode(b"ann:secret").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))
    for environ in ({"HOME": str(tmp_path)}, {"DOCKER_CONFIG": str(folder), "HOME": "/"}):
        pull(make_session(store_path, host(), environ), reference(registry))


# Several at once


PULL = """
import sys
from builders.hosts import host
from builders.sessions import session
from pathlib import Path
from udocker.model.reference import Reference
from udocker.ops.pull import pull
made = session(Path(sys.argv[1]), host())
go()
print(pull(made, Reference.parse(sys.argv[2])).manifest)
"""


def test_of_many_that_pull_one_does_the_work(
    session: TestSession, registry: FakeRegistry, store_path: Path
) -> None:
    image = make_image(registry, NAME, "latest", [BASE, TOP])
    ended = race(PULL, 4, store_path, reference(registry))
    assert [process.returncode for process in ended] == [0] * 4, ended
    assert {process.stdout for process in ended} == {f"{image.digest}\n"}
    for layer in image.layers:
        assert len(registry.requests(layer["digest"])) == 1
    [record] = session.store.images.all()
    assert (tree(session, record) / "etc/motd").read_bytes() == b"top"
    assert os.listdir(store_path / "tmp") == []


@pytest.mark.parametrize("other", ["pulls it", "fails", "pulled it before"])
def test_who_waited_for_another_asks_the_registry_only_if_that_failed(
    session: TestSession,
    registry: FakeRegistry,
    store_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    other: str,
) -> None:
    image = make_image(registry, NAME, "latest", [BASE], platform="linux/amd64")
    if other == "pulled it before":
        pull(session, reference(registry))
    store, lease = session.store, session.store.lease

    @contextlib.contextmanager
    def after_another(name: str, waiting: Callable[[], None], _: float) -> Iterator[None]:
        """The lease, when another process had it first."""
        monkeypatch.setattr(store, "lease", lease)
        waiting()
        if other == "pulls it":
            pull(make_session(store_path, host()), reference(registry))
        registry.log.clear()
        with lease(name):
            yield

    monkeypatch.setattr(store, "lease", after_another)
    record = pull(session, reference(registry))
    assert str(record.manifest) == image.digest
    assert len(registry.requests("/manifests/")) == (0 if other == "pulls it" else 1)


def test_who_waits_does_so_no_longer_than_is_set(store_path: Path, registry: FakeRegistry) -> None:
    make_image(registry, NAME, "latest", [BASE])
    session = make_session(store_path, host(), pull_wait=1)
    name = f"pull {reference(registry).canonical} {native_platform(session)}"
    with (
        session.store.lease(name),
        pytest.raises(StoreError, match="another udocker has been pulling it for 1 seconds"),
    ):
        pull(session, reference(registry))
    assert session.report.infos == [
        f"another udocker is pulling {reference(registry)}: waiting for it"
    ]
    pull(session, reference(registry))


def test_what_has_come_meanwhile_will_do(store_path: Path, registry: FakeRegistry) -> None:
    """Who looked for the image a moment too early asks the registry nothing."""
    make_image(registry, NAME, "latest", [BASE])
    session = make_session(store_path, host())
    pull(session, reference(registry))
    registry.log.clear()
    pull(session, reference(registry), missing=True)
    assert registry.requests("/") == []


def test_errors_are_of_one_kind(session: TestSession, registry: FakeRegistry) -> None:
    """Whatever a registry says, a user is told in one line."""
    make_image(registry, NAME, "latest", [BASE])
    for fault in (Fault(status=418), Fault(body=b"<html>", status=200), Fault(truncate=5)):
        registry.fault("/manifests/", fault)
        with pytest.raises(UdockerError) as caught:
            pull(session, reference(registry))
        assert "\n" not in caught.value.message
        fault.times = 0
    assert nothing_is_visible(session)
