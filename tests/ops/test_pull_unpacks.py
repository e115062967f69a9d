"""A pull unpacks while it fetches: what goes wrong in either ends both, and nothing is left."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from builders.hosts import host
from builders.sessions import TestSession
from builders.sessions import session as make_session
from fakes.registry import FakeRegistry, Fault, MadeImage, make_image, make_layer
from udocker.errors import HostileArchiveError, UnpackError, VerificationError
from udocker.model.reference import Digest, Reference
from udocker.ops.pull import pull

NAME = "test/app"
NOISE = random.Random(1).randbytes(3 << 20)
LARGE = make_layer({"noise": NOISE, "last": b"last"})
SMALL = make_layer({"small": b"small"})
HOSTILE = make_layer({"../../../evil": b""})
PATIENCE = 20  # seconds; a download that stalls is given up after 60


@pytest.fixture
def session(store_path: Path) -> TestSession:
    return make_session(store_path, host(), jobs=2)


def reference(registry: FakeRegistry) -> Reference:
    return Reference.parse(f"{registry.host}/{NAME}:latest")


def nothing_is_visible(session: TestSession) -> bool:
    store = session.store
    left = os.listdir(f"{store.topdir}/tmp")
    return not list(store.images.all()) and not list(store.trees.all()) and left == []


def stored(session: TestSession, image: MadeImage) -> list[bool]:
    known = {str(digest) for digest in session.store.blobs.all()}
    return [layer["digest"] in known for layer in image.layers]


@pytest.mark.parametrize("place", [40, 1 << 20, len(LARGE) - 2, len(LARGE) - 200])
def test_altered_bytes_are_said_to_be_altered(
    session: TestSession, registry: FakeRegistry, place: int
) -> None:
    """Whatever unpacking them has met before their end came."""
    image = make_image(registry, NAME, "latest", [SMALL, LARGE])
    registry.fault(image.layers[1]["digest"], Fault(flip=place))
    with pytest.raises(VerificationError, match=image.layers[1]["digest"]):
        pull(session, reference(registry))
    assert nothing_is_visible(session)
    assert not stored(session, image)[1]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(truncate=2 << 20, times=1),
        Fault(truncate=2 << 20, flip=1 << 20, times=1),  # what was unpacked of it was wrong
        Fault(truncate=2 << 20, flip=100, times=1),
    ],
)
def test_a_download_that_begins_again(
    session: TestSession, registry: FakeRegistry, fault: Fault
) -> None:
    image = make_image(registry, NAME, "latest", [LARGE, SMALL])
    registry.fault(image.layers[0]["digest"], fault)
    record = pull(session, reference(registry))
    tree = Path(session.store.trees.root(record.chain_id))
    assert (tree / "noise").read_bytes() == NOISE
    assert (tree / "small").read_bytes() == b"small"
    assert stored(session, image) == [True, True]
    assert os.listdir(f"{session.store.topdir}/tmp") == []


def test_a_layer_that_cannot_be_unpacked_ends_a_download_that_stands_still(
    session: TestSession, registry: FakeRegistry
) -> None:
    image = make_image(registry, NAME, "latest", [HOSTILE, LARGE])
    registry.fault(image.layers[1]["digest"], Fault(stall=1 << 20))
    start = time.monotonic()
    with pytest.raises(HostileArchiveError):
        pull(session, reference(registry))
    assert time.monotonic() - start < PATIENCE
    assert nothing_is_visible(session)
    assert stored(session, image) == [True, False]


def test_a_damaged_layer_that_is_what_the_manifest_says_ends_it_too(
    session: TestSession, registry: FakeRegistry
) -> None:
    """Not while it comes, for then the bytes may be to blame; when it has come."""
    damaged = bytearray(make_layer({"f": NOISE[:100_000]}))
    image = make_image(registry, NAME, None, [SMALL, LARGE])
    damaged[50_000:50_100] = bytes(100)
    data = json.loads(image.manifest)
    data["layers"][0] = registry.add_blob(bytes(damaged), data["layers"][0]["mediaType"])
    media_type = "application/vnd.oci.image.manifest.v1+json"
    registry.add_manifest(NAME, "latest", json.dumps(data).encode(), media_type)
    registry.fault(image.layers[1]["digest"], Fault(stall=1 << 20))
    start = time.monotonic()
    with pytest.raises((UnpackError, VerificationError), match="layer"):
        pull(session, reference(registry))
    assert time.monotonic() - start < PATIENCE
    assert nothing_is_visible(session)


def test_an_interrupt_ends_both(session: TestSession, registry: FakeRegistry) -> None:
    image = make_image(registry, NAME, "latest", [SMALL, LARGE])
    registry.fault(image.layers[1]["digest"], Fault(stall=1 << 20))
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while not registry.requests(image.layers[1]["digest"]):
            time.sleep(0.01)
        time.sleep(0.3)
        signal.pthread_kill(main, signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            pull(session, reference(registry))
    finally:
        interrupter.join()
        signal.signal(signal.SIGINT, previous)
    assert nothing_is_visible(session)
    assert stored(session, image)[1] is False


def test_a_damaged_blob_of_the_store_is_mended_though_it_ended_the_download_of_others(
    store_path: Path, registry: FakeRegistry
) -> None:
    # On a busy machine the download may begin only after that, and nothing but time ends it then.
    session = make_session(store_path, host(), jobs=2, stall_timeout=2)
    make_image(registry, "test/first", "latest", [SMALL])
    pull(session, Reference.parse(f"{registry.host}/test/first:latest"))
    image = make_image(registry, NAME, "latest", [SMALL, LARGE])
    small, large = (layer["digest"] for layer in image.layers)
    blob = Path(session.store.blobs.path(Digest.parse(small)))
    blob.write_bytes(blob.read_bytes()[:-9] + b"x" * 9)
    registry.fault(large, Fault(stall=1 << 20, times=1))
    pull(session, reference(registry))
    assert all(stored(session, image))
    assert blob.read_bytes() == SMALL
