from __future__ import annotations

import json

import pytest

from fakes.registry import DOCKER_INDEX, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from udocker.errors import BadReplyError, VerificationError
from udocker.model.oci import Index, Manifest
from udocker.model.reference import Digest
from udocker.registry.documents import parse_document, verify, verify_header
from udocker.registry.replies import Reply

DIGEST = str(Digest.of(b"x"))
CONFIG = {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 1}


def document(**fields):
    return json.dumps({"schemaVersion": 2, **fields}).encode()


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
@pytest.mark.parametrize("stated", [True, False])
def test_manifests(media_type, stated):
    fields = {"config": CONFIG, "layers": [], **({"mediaType": media_type} if stated else {})}
    parsed = parse_document(document(**fields), "" if stated else media_type, "it")
    assert isinstance(parsed, Manifest)
    assert parsed.media_type == media_type


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
def test_indexes(media_type):
    assert isinstance(parse_document(document(manifests=[]), media_type, "it"), Index)


def test_the_document_is_believed_more_than_the_header():
    raw = document(mediaType=OCI_INDEX, manifests=[])
    assert isinstance(parse_document(raw, OCI_MANIFEST, "it"), Index)


@pytest.mark.parametrize(
    ("raw", "content_type", "words"),
    [
        (b"", OCI_MANIFEST, "it is not JSON, or only a part of it"),
        (document(config=CONFIG, layers=[])[:-9], OCI_MANIFEST, "only a part of it"),
        (b"[]", OCI_MANIFEST, "it is not a JSON object"),
        (b"[" * 100_000, OCI_MANIFEST, "not JSON"),
        (document(config=CONFIG, layers=[]), "text/plain", "no image: text/plain"),
        (document(config=CONFIG, layers=[]), "", "no image: no media type at all"),
        (document(mediaType="application/x\n\x1b"), "", "no image: application/x$"),
        (document(mediaType=3), "", "no image: no media type at all"),
        (document(layers=[]), OCI_MANIFEST, "not an image manifest"),
        (document(manifests=3), OCI_INDEX, "not an image index"),
        (
            document(config=CONFIG, layers=[], manifests=[]),
            OCI_INDEX,
            "a manifest and an index at once",
        ),
        (
            document(config={**CONFIG, "mediaType": "application/vnd.helm+json"}, layers=[]),
            OCI_MANIFEST,
            "not a container image but application/vnd.helm",
        ),
        (
            json.dumps({"schemaVersion": 1, "fsLayers": []}).encode(),
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            r"old schema 1 \(application/vnd.docker.distribution.manifest.v1\+prettyjws\)",
        ),
        (json.dumps({"schemaVersion": 1}).encode(), OCI_MANIFEST, "old schema 1"),
        (b"{}", "application/vnd.docker.distribution.manifest.v1+json", "old schema 1"),
    ],
)
def test_what_is_no_image(raw, content_type, words):
    with pytest.raises(BadReplyError, match=words):
        parse_document(raw, content_type, "it")


def test_digests():
    verify(b"x", Digest.of(b"x"), "it")
    sha512 = Digest.parse(
        "sha512:a4abd4448c49562d828115d13a1fccea927f52b4d5459297f8b43e42da89238b"
        "c13626e43dcb38ddb082488927ec904fb42057443983e88585179d50551afe62"
    )
    verify(b"x", sha512, "it")
    for digest in (Digest.of(b"x"), sha512):
        with pytest.raises(VerificationError, match="it was altered"):
            verify(b"y", digest, "it")


@pytest.mark.parametrize("header", ["", DIGEST])
def test_the_digest_header_is_right_or_missing(header):
    verify_header(Reply("http://a/", 200, {"docker-content-digest": header}, b"x"), "it")


def test_the_digest_header_is_wrong_or_broken():
    with pytest.raises(VerificationError, match="it was altered"):
        verify_header(Reply("http://a/", 200, {"docker-content-digest": DIGEST}, b"y"), "it")
    with pytest.raises(BadReplyError, match="a sends a broken digest header"):
        verify_header(Reply("http://a/", 200, {"docker-content-digest": "md5:1"}, b"x"), "it")
