"""Layers fetched by a real client from real servers on loopback."""

from __future__ import annotations

import base64
import errno
import json
import random
import threading
import tracemalloc

import pytest

from fakes.registry import FakeRegistry, Fault, Zeros
from registry.clients import asked, check_failed, unused_port
from udocker.errors import (
    BadReplyError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
    UnreachableError,
    VerificationError,
)
from udocker.model.oci import Descriptor
from udocker.model.reference import Reference

DATA = [random.Random(seed).randbytes(300_000) for seed in range(5)]
MISSING = {"digest": "sha256:" + "0" * 64, "size": 5}


@pytest.fixture
def blobs(fake):
    return [fake.add_blob(data) for data in DATA]


def log_in(path, registry):
    secret = base64.b64encode(b"ana:pass:word").decode()
    path.write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))


# What is fetched


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_several_layers(fake, blobs, client, jobs):
    made = client(jobs=jobs)
    made.download(f"{fake.host}/a/b", *blobs)
    assert sorted(made.sinks.committed()) == sorted(DATA)
    assert made.sinks.states() == ["committed"] * 5
    assert len(fake.requests("/blobs/")) == 5


def test_layers_are_fetched_at_the_same_time(fake, blobs, client):
    """Each waits for two others before it is sent."""
    fake.fault("/blobs/", Fault(together=threading.Barrier(3, timeout=10)))
    made = client(jobs=3, tries=1)
    made.download(f"{fake.host}/a/b", *blobs[:3])
    assert len(made.sinks.committed()) == 3


def test_no_more_layers_at_once_than_jobs(fake, blobs, client):
    """Three that wait for each other never meet, however long they are given."""
    fake.fault("/blobs/", Fault(together=threading.Barrier(3, timeout=0.3)))
    with pytest.raises(ServerError):
        client(jobs=2, tries=1).download(f"{fake.host}/a/b", *blobs[:3])


def test_progress(fake, blobs, client):
    made = client()
    made.download(f"{fake.host}/a/b", *blobs)
    tasks = {task.title: task for task in made.reporter.tasks}
    assert set(tasks) == {f"layer {blob['digest'][7:19]}" for blob in blobs}
    for task in tasks.values():
        assert (task.total, task.amount, task.ended) == (300_000, 300_000, True)


def test_nothing_to_fetch(fake, client):
    client().download(f"{fake.host}/a/b")
    assert not fake.requests("/blobs/")


def test_one_layer_named_twice(fake, blobs, client):
    made = client()
    made.download(f"{fake.host}/a/b", blobs[0], blobs[0])
    assert made.sinks.committed() == DATA[:1]


def test_an_empty_layer(fake, client):
    made = client()
    made.download(f"{fake.host}/a/b", fake.add_blob(b""))
    assert made.sinks.committed() == [b""]
    assert made.reporter.tasks[0].ended


def test_a_layer_costs_one_request(bearer, client):
    found = [bearer.add_blob(data) for data in DATA]
    made = client(jobs=5)
    made.download(f"{bearer.host}/a/b", found[0])
    bearer.log.clear()
    made.download(f"{bearer.host}/a/b", *found[1:])
    assert len(bearer.log) == 4
    assert all(logged.authorization.startswith("Bearer ") for logged in bearer.log)


def test_a_private_repository(bearer, client, docker_config):
    log_in(docker_config, bearer)
    made = client()
    made.download(f"{bearer.host}/secret/app", bearer.add_blob(b"x"))
    assert made.sinks.committed() == [b"x"]


def test_a_content_encoding_is_left_alone(fake, client):
    """Some stores label gzip layers so; the digest is of the bytes as they are stored."""
    fake.fault("/blobs/", Fault(headers={"Content-Encoding": "gzip"}))
    made = client()
    made.download(f"{fake.host}/a/b", fake.add_blob(b"not even gzip"))
    assert made.sinks.committed() == [b"not even gzip"]


def test_memory_does_not_grow_with_the_layer(fake, client):
    blob = fake.add_blob(Zeros(64 << 20))
    descriptor = Descriptor.from_json(blob, "the test")
    made = client()

    class Discarding:
        size = 0

        def missing(self):
            return [(self.size, descriptor.size)] if self.size < descriptor.size else []

        def write(self, data, at):
            self.size += len(data)
            return len(data)

        def commit(self):
            assert self.size == descriptor.size

        def leave(self, error):
            pass

    tracemalloc.start()
    fake.ranges = False
    try:
        made.registry.download(
            Reference.parse(f"{fake.host}/a/b"), [descriptor], lambda _: Discarding()
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


# Redirects


def test_a_redirect_to_a_store_takes_no_login_along(bearer, storage, client, docker_config):
    log_in(docker_config, bearer)
    bearer.redirect_blobs = storage.url + "/storage/{digest}?sig=a%2Fb%3D"
    found = [bearer.add_blob(data) for data in DATA]
    storage.blobs = bearer.blobs
    made = client()
    made.download(f"{bearer.host}/secret/app", *found)
    assert len(made.sinks.committed()) == 5
    assert len(storage.log) == 5
    assert [logged.authorization for logged in storage.log] == [None] * 5
    assert {logged.path.partition("?")[2] for logged in storage.log} == {"sig=a%2Fb%3D"}


def test_a_relative_redirect(fake, blobs, client):
    fake.redirect_blobs = "/storage/{digest}"
    made = client()
    made.download(f"{fake.host}/a/b", blobs[0])
    assert made.sinks.committed() == DATA[:1]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "without saying where"),
        ("ftp://127.0.0.1/x", "no http URL"),
        ("file:///etc/passwd", "no http URL"),
        ("/v2/a/b/blobs/{digest}", "more than 5 times"),
    ],
)
def test_redirects_that_lead_nowhere(fake, blobs, client, location, words):
    headers = {"Location": location.format(digest=blobs[0]["digest"])} if location else {}
    fake.fault("/blobs/", Fault(status=302, headers=headers))
    made = client()
    with pytest.raises(BadReplyError, match=words):
        made.download(f"{fake.host}/a/b", blobs[0])
    assert len(fake.requests("/blobs/")) <= 6
    assert made.sinks.states() == ["left"]


def test_another_registry_behind_a_redirect(fake, client, docker_config):
    with FakeRegistry("127.0.0.2", auth="bearer") as other:
        log_in(docker_config, fake)
        blob = other.add_blob(b"x")
        location = f"{other.url}/v2/a/b/blobs/{blob['digest']}"
        fake.fault("/blobs/", Fault(status=307, headers={"Location": location}))
        made = client()
        made.download(f"{fake.host}/a/b", blob)
        assert made.sinks.committed() == [b"x"]
        assert [logged.authorization for logged in other.requests("/token")] == [None]


# What is tried again


@pytest.mark.parametrize(
    "fault",
    [
        Fault(truncate=1000),
        Fault(truncate=0),
        Fault(drop=True),
        Fault(reset=True),
        Fault(status=500),
        Fault(status=503, headers={"Retry-After": "0"}),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=200, body=b"short"),
    ],
    ids=lambda fault: str(fault)[:60],
)
def test_trouble_that_passes(fake, blobs, client, fault):
    fault.times = 3
    fake.fault(blobs[1]["digest"], fault)
    made = client()
    made.download(f"{fake.host}/a/b", *blobs)
    assert sorted(made.sinks.committed()) == sorted(DATA)
    assert "open" not in made.sinks.states()
    assert len(fake.requests(blobs[1]["digest"])) == 4
    assert {task.amount for task in made.reporter.tasks} == {300_000}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_retry_asks_for_what_is_missing(fake, blobs, client, ranges):
    fake.ranges = ranges
    fake.fault("/blobs/", Fault(times=1, truncate=1000))
    made = client()
    made.download(f"{fake.host}/a/b", blobs[0])
    assert made.sinks.states() == ["committed"]
    assert made.sinks.committed() == DATA[:1]
    assert asked(fake) == [None, "bytes=1000-299999"]
    assert made.reporter.tasks[0].amount == 300_000


def test_a_stall_that_passes(fake, blobs, client):
    fake.fault("/blobs/", Fault(times=1, stall=1000))
    made = client(stall_timeout=1)
    made.download(f"{fake.host}/a/b", blobs[0])
    assert made.sinks.committed() == DATA[:1]
    assert asked(fake) == [None, "bytes=1000-299999"]


def test_a_stall_that_stays(fake, blobs, client):
    fake.fault("/blobs/", Fault(stall=1000))
    made = client(stall_timeout=1, tries=2)
    with pytest.raises(UnreachableError, match=f"{fake.host} went silent: not a byte for 1 s"):
        made.download(f"{fake.host}/a/b", blobs[0])
    assert made.sinks.states() == ["left"]


def test_a_token_that_ends_in_the_middle(bearer, client):
    found = [bearer.add_blob(data) for data in DATA]
    made = client(jobs=2)
    made.download(f"{bearer.host}/a/b", found[0])
    bearer.forget_tokens()
    bearer.log.clear()
    made.download(f"{bearer.host}/a/b", *found[1:])
    assert len(made.sinks.committed()) == 5
    assert len(bearer.requests("/token")) == 1


def test_a_token_past_its_life_is_renewed_before_it_is_refused(bearer, client):
    bearer.token_lifetime = 1e-9
    made = client(jobs=1)
    made.download(f"{bearer.host}/a/b", bearer.add_blob(b"1"))
    bearer.log.clear()
    made.download(f"{bearer.host}/a/b", bearer.add_blob(b"2"))
    assert [logged.path.split("/")[1][:5] for logged in bearer.log] == ["token", "v2"]


def test_a_token_that_is_always_refused(bearer, client):
    made = client()
    made.download(f"{bearer.host}/a/b", bearer.add_blob(b"1"))
    body = b'{"errors": [{"code": "NO", "message": "never"}]}'
    challenge = {"WWW-Authenticate": f'Bearer realm="{bearer.url}/token"'}
    bearer.fault("/blobs/", Fault(status=401, body=body, headers=challenge))
    with pytest.raises(UnauthorizedError, match=r"not authorized by .* \(NO: never\)"):
        made.download(f"{bearer.host}/a/b", bearer.add_blob(b"2"))
    assert len(bearer.requests("/token")) == 2


# What fails


def test_an_altered_layer(fake, blobs, client):
    fake.fault(blobs[2]["digest"], Fault(flip=100_000))
    made = client()
    check_failed(made, fake, VerificationError, "not what it should be", *blobs)
    assert DATA[2] not in made.sinks.committed()


def test_a_layer_that_is_longer_by_its_header(fake, blobs, client):
    fake.fault("/blobs/", Fault(append=b"x"))
    made = client()
    words = "layer .* of .*/a/b:1 is longer than the 300000 bytes"
    check_failed(made, fake, VerificationError, words, blobs[0])
    assert made.sinks.states() == ["aborted"]


def test_a_layer_without_end(fake, client):
    """No length is given and the bytes do not stop: what is too much is not written."""
    endless = fake.add_blob(Zeros(64 << 20))
    fake.fault("/blobs/", Fault(headers={"Content-Length": "", "Connection": "close"}))
    made = client()
    check_failed(made, fake, VerificationError, "is longer", {**endless, "size": 100_000})
    (sink,) = made.sinks.made
    assert sink.state == "aborted"


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault(truncate=1000), UnreachableError, "closed the connection before the layer"),
        (Fault(drop=True), UnreachableError, "closed the connection before the layer"),
        (Fault(reset=True), UnreachableError, "closed the connection before the layer"),
        (Fault(status=200, body=b"short"), VerificationError, "cut short: 5 of 300000 bytes"),
        (Fault(status=500), ServerError, "layer .* of .*/a/b:1: .* failed with status 500"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_trouble_that_stays(fake, blobs, client, *, fault, kind, words):
    fake.fault("/blobs/", fault)
    check_failed(client(), fake, kind, words, blobs[0])
    assert len(fake.requests("/blobs/")) == 4


@pytest.mark.parametrize(
    ("fault", "kind", "words", "hint"),
    [
        (Fault(status=403), ForbiddenError, "access refused by", "login"),
        (Fault(status=404), NotFoundError, "layer .* not found in", "login"),
        (Fault(status=401), UnauthorizedError, "wants a login", "login"),
        (Fault(status=416), BadReplyError, "unexpected status 416", None),
        (Fault(status=206, body=b"x"), BadReplyError, "gives a part of .*, and not all", None),
        (Fault(status=429), RateLimitedError, "request limit of", "wait"),
        (
            Fault(status=429, headers={"Retry-After": "90"}),
            RateLimitedError,
            "next request in 90 s",
            "wait",
        ),
        (
            Fault(status=200, body=b"<html>" * 9, headers={"Content-Type": "text/html"}),
            BadReplyError,
            "not answer as a registry: an HTML page in place of layer",
            "login page",
        ),
        (Fault(status=403, body=b"x" * 200_000), ForbiddenError, "access refused", "login"),
        (
            Fault(status=403, body=b'{"errors": [{"code": "C", "message": "mess\\u001bage"}]}'),
            ForbiddenError,
            r"\(C: mess age\)",
            "login",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_refusals(fake, blobs, client, *, fault, kind, words, hint):
    fake.fault("/blobs/", fault)
    error = check_failed(client(), fake, kind, words, blobs[0])
    assert fake.host in error.message
    assert hint is None or hint in error.hint
    assert len(fake.requests("/blobs/")) == 1


def test_the_end_of_a_long_refusal_is_not_waited_for(fake, blobs, client):
    fake.fault("/blobs/", Fault(status=403, body=b"x" * 200_000, stall=100_000))
    check_failed(client(), fake, ForbiddenError, "access refused", blobs[0])
    assert len(fake.requests("/blobs/")) == 1


def test_what_was_committed_stays(fake, blobs, client):
    made = client(jobs=1)
    check_failed(made, fake, NotFoundError, "not found", blobs[0], MISSING, blobs[1])
    assert made.sinks.committed() == DATA[:1]


def test_a_store_that_is_full(fake, blobs, client):
    made = client()

    def write(data, at):
        raise OSError(errno.ENOSPC, "No space left on device", "/store/tmp/x")

    def factory(descriptor):
        sink = made.sinks(descriptor)
        if descriptor.digest.hex == blobs[1]["digest"][7:]:
            sink.write = write
        return sink

    descriptors = [Descriptor.from_json(blob, "the test") for blob in blobs]
    with pytest.raises(OSError, match="No space left") as caught:
        made.registry.download(Reference.parse(f"{fake.host}/a/b"), descriptors, factory)
    assert caught.value.filename == "/store/tmp/x"
    assert "open" not in made.sinks.states()


def test_an_interruption_in_a_sink(fake, blobs, client):
    """Ctrl-C while libcurl calls back: nothing is swallowed, nothing stays open."""
    made = client()

    def write(data, at):
        raise KeyboardInterrupt

    def factory(descriptor):
        sink = made.sinks(descriptor)
        sink.write = write
        return sink

    with pytest.raises(KeyboardInterrupt):
        made.registry.download(
            Reference.parse(f"{fake.host}/a/b"), [Descriptor.from_json(blobs[0], "")], factory
        )
    assert made.sinks.states() == ["left"]


def test_a_sink_that_cannot_be_made(fake, blobs, client):
    made = client()

    def factory(descriptor):
        if made.sinks.made:
            raise PermissionError(errno.EACCES, "Permission denied", "/store")
        return made.sinks(descriptor)

    descriptors = [Descriptor.from_json(blob, "the test") for blob in blobs]
    with pytest.raises(PermissionError):
        made.registry.download(Reference.parse(f"{fake.host}/a/b"), descriptors, factory)
    assert "open" not in made.sinks.states()


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://127.0.0.1:PORT/x?sig=geheim", "cannot reach 127.0.0.1:PORT: connection refused"),
        ("http://gone.invalid/x?sig=geheim", "cannot reach gone.invalid: no such host name"),
        ("https://HOST/x?sig=geheim", "HOST speaks plain http, not https"),
    ],
)
def test_a_store_that_cannot_be_reached(fake, blobs, client, location, words):
    port = str(unused_port())
    fake.redirect_blobs = location.replace("PORT", port).replace("HOST", fake.host)
    words = words.replace("PORT", port).replace("HOST", fake.host)
    error = check_failed(client(tries=2), fake, UnreachableError, f"^{words}", blobs[0])
    assert error.hint


def test_what_is_no_http(fake, blobs, client):
    fake.fault("/blobs/", Fault(headers={"Content-Length": "many"}))
    check_failed(client(), fake, BadReplyError, "sends what is no HTTP reply", blobs[0])
    assert len(fake.requests("/blobs/")) == 1


# Layers that live elsewhere


def test_a_foreign_layer_is_asked_of_the_registry_first(bearer, storage, client):
    blob = bearer.add_blob(b"x")
    made = client()
    made.download(f"{bearer.host}/a/b", {**blob, "urls": [f"{storage.url}/storage/none"]})
    assert made.sinks.committed() == [b"x"]
    assert not storage.log


def test_a_foreign_layer_is_fetched_without_credentials(bearer, storage, client, docker_config):
    log_in(docker_config, bearer)
    blob = storage.add_blob(b"x")
    urls = [f"{storage.url}/storage/none", f"{storage.url}/storage/{blob['digest']}"]
    made = client()
    made.download(f"{bearer.host}/secret/app", {**blob, "urls": urls})
    assert made.sinks.committed() == [b"x"]
    assert [logged.authorization for logged in storage.log] == [None, None]


def test_a_foreign_url_on_the_registry_itself_gets_no_credentials(bearer, client, docker_config):
    log_in(docker_config, bearer)
    urls = [f"{bearer.url}/elsewhere"]
    made = client()
    with pytest.raises(NotFoundError):
        made.download(f"{bearer.host}/secret/app", {**MISSING, "urls": urls})
    assert [logged.authorization for logged in bearer.requests("/elsewhere")] == [None]


def test_a_foreign_layer_must_be_right_too(fake, storage, client):
    blob = {"digest": MISSING["digest"], "size": 1}
    other = storage.add_blob(b"x")
    made = client()
    urls = [f"{storage.url}/storage/{other['digest']}"]
    check_failed(made, fake, VerificationError, "not what it", {**blob, "urls": urls})


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/x", ""])
def test_foreign_urls_that_are_refused(fake, client, url):
    check_failed(client(), fake, BadReplyError, "no http URL", {**MISSING, "urls": [url]})
