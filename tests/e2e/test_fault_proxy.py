"""``pull`` of Debian's docker-registry through a proxy that does everything wrong.

What is pulled in spite of it is what a pull without the proxy brings; what cannot be is told in a
line, and leaves nothing.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import json
import os
import urllib.request
from typing import TYPE_CHECKING

import pytest

from e2e import checks
from fakes.proxy import FaultProxy
from fakes.registry import Fault
from image_maker.registry import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from e2e.checks import Case
    from fakes.registry import Logged

pytestmark = pytest.mark.e2e
pytest_plugins = ["e2e.checks"]

_QUICK = {"UDOCKER_CONNECT_TIMEOUT": "2", "UDOCKER_STALL_TIMEOUT": "1"}
_SMALL, _LARGE = "busybox:latest", "debian:12"  # the large one comes in several pieces
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PIECES = 3  # of the large one, at least
_USER, _PASSWORD = "jane", "s3cret-pässword"
# Of that password; 4 rounds, the least.
_BCRYPT = "$2b$04$abcdefghijklmnopqrstuu/NFJq..pCGe5klj.DZiWS0OxYveGaQK"


class Layer:
    """The only layer of an image, as the registry has it."""

    def __init__(self, address: str, name: str) -> None:
        repository, _, tag = name.partition(":")
        url = f"http://{address}/v2/{repository}/manifests/{tag}"
        request = urllib.request.Request(url, headers={"Accept": _MANIFEST})
        with urllib.request.urlopen(request, timeout=60) as reply:
            manifest: dict[str, Any] = json.load(reply)
        (layer,) = manifest["layers"]
        self.digest: str = layer["digest"]
        self.size: int = layer["size"]
        self.config: str = manifest["config"]["digest"]


@pytest.fixture(scope="module")
def small(registry: str) -> Layer:
    return Layer(registry, _SMALL)


@pytest.fixture(scope="module")
def large(registry: str) -> Layer:
    return Layer(registry, _LARGE)


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultProxy]:
    with FaultProxy(registry) as server:
        yield server


def contents(store: Path) -> dict[str, str]:
    """Every path below the one tree in ``store``, and what it is."""
    (tree,) = checks.trees(store)
    top = store / "trees" / "sha256" / tree
    found = {tree: ""}
    for folder, _, names in os.walk(top / "root"):
        for name in names:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            text = os.readlink(path) if os.path.islink(path) else _digest(path)
            found[os.path.relpath(path, top)] = f"{mode:o} {text}"
    return found


def _digest(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


@pytest.fixture(scope="module")
def right(registry: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the images are when nothing is in the way."""
    found = {}
    for name in (_SMALL, _LARGE):
        folder = tmp_path_factory.mktemp("right")
        checks.Caller(folder / "store", folder / "home")("pull", f"{registry}/{name}")
        found[name] = contents(folder / "store")
        assert len(found[name]) > 100 or name == _SMALL
    return found


def spans(requests: Sequence[Logged]) -> list[tuple[int, int]]:
    """The ranges that were asked for; an end of -1 is none."""
    found = []
    for logged in requests:
        given = logged.headers.get("range", "bytes=0--1").partition("=")[2]
        start, _, end = given.partition("-")
        found.append((int(start), int(end)))
    return found


# What is mended


def pulled(
    case: Case, proxy: FaultProxy, store: Path, name: str, right: dict[str, dict[str, str]]
) -> None:
    """The image comes in spite of all, and is the right one."""
    assert case.succeeds(["pull", f"{proxy.host}/{name}"]).count("warning") == 0
    assert contents(store) == right[name]


_PASSING = {
    "cut": [Fault(times=1, truncate=300_000)],
    "cut at once": [Fault(times=1, truncate=0)],
    "cut again and again": [Fault(times=1, truncate=100_000), Fault(times=2, truncate=200_000)],
    "no reply": [Fault(times=2, drop=True)],
    "a reset": [Fault(times=2, reset=True)],
    "wrong bytes, and cut": [Fault(times=1, flip=1000, truncate=300_000)],
    "a stall": [Fault(times=1, stall=300_000)],
    "a stall at once": [Fault(times=1, stall=0)],
    "slow, longer than a stall may be": [Fault(pace=400_000)],
    "chunks": [Fault(chunked=True)],
    "slow chunks": [Fault(chunked=True, pace=2_000_000)],
    "chunks, cut": [Fault(times=1, chunked=True, truncate=300_000)],
    "chunks, a stall": [Fault(times=1, chunked=True, stall=300_000)],
    "500 502 503": [Fault(times=1, status=status) for status in (500, 502, 503)],
    "429 with a wait": [Fault(times=1, status=429, headers={"Retry-After": "1"})],
    "429 503 502": [
        Fault(times=1, status=429, headers={"Retry-After": "1"}),
        Fault(times=1, status=503, headers={"Retry-After": "1"}),
        Fault(times=1, status=502),
    ],
    "503, then a cut, then a stall": [
        Fault(times=1, status=503),
        Fault(times=1, truncate=500_000),
        Fault(times=1, stall=100_000),
    ],
    "a length too small": [Fault(times=1, headers={"Content-Length": "1000"}, truncate=1000)],
}


@pytest.mark.parametrize("name", _PASSING)
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "whole"])
def test_a_layer_in_trouble_that_passes(
    case: Case,
    proxy: FaultProxy,
    store_path: Path,
    small: Layer,
    right: dict[str, dict[str, str]],
    *,
    name: str,
    ranges: bool,
) -> None:
    proxy.ranges = ranges
    faults = copy.deepcopy(_PASSING[name])
    for fault in faults:
        proxy.fault(small.digest, fault)
    case.env = _QUICK
    pulled(case, proxy, store_path, _SMALL, right)
    assert not any(fault.times for fault in faults)


def test_a_cut_costs_only_what_had_not_come(
    case: Case,
    proxy: FaultProxy,
    store_path: Path,
    small: Layer,
    right: dict[str, dict[str, str]],
) -> None:
    proxy.fault(small.digest, Fault(times=1, truncate=300_000))
    pulled(case, proxy, store_path, _SMALL, right)
    first, second = spans(proxy.requests(small.digest))
    assert first == (0, -1)
    assert (0 < second[0] <= 300_000, second[1]) == (True, small.size - 1)


_IN_PIECES = {
    "cuts": [Fault(times=1, truncate=5_000_000), Fault(times=2, truncate=1_500_000)],
    "a stall": [Fault(times=1, skip=1, stall=1_000_000)],
    "a piece at another place": [
        Fault(times=1, skip=1, headers={"Content-Range": "bytes 5-8388612/*"})
    ],
    "a piece without a place": [Fault(times=1, skip=1, headers={"Content-Range": ""})],
    "wrong bytes in one piece": [Fault(times=1, skip=1, flip=1_000_000)],
    "500 502 503 429": [
        *(Fault(times=1, skip=1, status=status) for status in (500, 502, 503)),
        Fault(times=1, status=429, headers={"Retry-After": "1"}),
    ],
    "chunks": [Fault(chunked=True)],
}


@pytest.mark.parametrize("name", _IN_PIECES)
def test_pieces_in_trouble_that_passes(
    case: Case,
    proxy: FaultProxy,
    store_path: Path,
    large: Layer,
    right: dict[str, dict[str, str]],
    *,
    name: str,
) -> None:
    faults = copy.deepcopy(_IN_PIECES[name])
    for fault in faults:
        proxy.fault(large.digest, fault)
    case.env = _QUICK
    pulled(case, proxy, store_path, _LARGE, right)
    assert not any(fault.times for fault in faults)
    assert len(proxy.requests(large.digest)) >= _PIECES


def test_a_server_without_ranges_is_asked_for_the_whole_once(
    case: Case,
    proxy: FaultProxy,
    store_path: Path,
    large: Layer,
    right: dict[str, dict[str, str]],
) -> None:
    proxy.ranges = False
    pulled(case, proxy, store_path, _LARGE, right)
    assert len(proxy.requests(large.digest)) == 1


@pytest.mark.parametrize(
    ("part", "faults"),
    [
        ("/manifests/", [Fault(times=1, drop=True), Fault(times=1, truncate=100)]),
        ("/manifests/", [Fault(times=1, status=status) for status in (500, 502, 503)]),
        ("/manifests/", [Fault(times=1, stall=100)]),
        ("/manifests/", [Fault(chunked=True)]),
        ("/manifests/", [Fault(times=1, chunked=True, truncate=100)]),
        ("/v2/", [Fault(times=1, status=429, headers={"Retry-After": "1"})]),
        ("config", [Fault(times=1, truncate=100), Fault(times=1, status=503)]),
        ("config", [Fault(chunked=True, pace=2000)]),
    ],
)
def test_documents_in_trouble_that_passes(
    case: Case,
    proxy: FaultProxy,
    store_path: Path,
    small: Layer,
    right: dict[str, dict[str, str]],
    *,
    part: str,
    faults: list[Fault],
) -> None:
    for fault in faults:
        proxy.fault(small.config if part == "config" else part, dataclasses.replace(fault))
    case.env = _QUICK
    pulled(case, proxy, store_path, _SMALL, right)


# What cannot be mended

_LASTING = {
    "wrong bytes": (Fault(flip=1000), "digest"),
    "wrong bytes in chunks": (Fault(flip=1000, chunked=True), "digest"),
    "a byte too many": (Fault(append=b"x"), "longer than the {size} bytes"),
    "a byte too many in chunks": (Fault(append=b"x", chunked=True), "longer than the {size} bytes"),
    "a length too small": (
        Fault(headers={"Content-Length": "1000"}, truncate=1000),
        "cut short: 1000 of {size} bytes",
    ),
    "a length too large": (Fault(headers={"Content-Length": "9999999999"}), "longer than"),
    "a cut": (Fault(truncate=1000), "closed the connection"),
    "a cut in chunks": (Fault(truncate=1000, chunked=True), "closed the connection"),
    "the end of the chunks too early": (Fault(body=b"x" * 1000, status=200, chunked=True), "short"),
    "a stall": (Fault(stall=1000), "not a byte for 1 s"),
    "500": (Fault(status=500), "failed with status 500"),
    "502": (Fault(status=502), "failed with status 502"),
    "503": (Fault(status=503), "failed with status 503"),
    "429": (Fault(status=429, headers={"Retry-After": "3600"}), "next request in 60 min"),
    "429 without a time": (Fault(status=429), "is used up"),
}


@pytest.mark.parametrize("name", _LASTING)
def test_a_layer_in_trouble_that_stays(
    case: Case,
    proxy: FaultProxy,
    store_path: Path,
    small: Layer,
    right: dict[str, dict[str, str]],
    *,
    name: str,
) -> None:
    fault, words = _LASTING[name]
    proxy.fault(small.digest, fault)
    case.env = _QUICK
    told = words.format(size=small.size)
    case.fails(["pull", f"{proxy.host}/{_SMALL}"], told, hint=False)
    proxy.clear_faults()
    pulled(case, proxy, store_path, _SMALL, right)


# Another host, and a login


@pytest.fixture(scope="module")
def guarded(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The registry once more, for one user only."""
    users = tmp_path_factory.mktemp("htpasswd") / "users"
    users.write_text(f"{_USER}:{_BCRYPT}\n")
    auth = {"htpasswd": {"realm": "guarded", "path": str(users)}}
    with serving(images / "registry", readonly=True, auth=auth) as address:
        yield address


@pytest.mark.parametrize("status", ["passes", "fails"])
def test_a_redirect_takes_no_login_to_another_host(
    case: Case,
    guarded: str,
    registry: str,
    store_path: Path,
    small: Layer,
    right: dict[str, dict[str, str]],
    tmp_path: Path,
    *,
    status: str,
) -> None:
    pair = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
    with FaultProxy(guarded) as proxy, FaultProxy(registry, "127.0.0.2") as other:
        file = tmp_path / "auth.json"
        file.write_text(json.dumps({"auths": {proxy.host: {"auth": pair}}}))
        case.env = {**_QUICK, "REGISTRY_AUTH_FILE": str(file)}
        proxy.redirect_blobs = f"http://{other.host}{{path}}?sig=s1gnature"
        words = ["--debug", "pull", f"{proxy.host}/{_SMALL}"]
        if status == "fails":
            other.fault(small.digest, Fault(status=403))
            told = case.fails(words[1:], other.host, "refused")
        else:
            other.fault(small.digest, Fault(times=1, truncate=300_000))
            told = case.succeeds(words)
            assert contents(store_path) == right[_SMALL]
        assert len(other.requests("/blobs/")) >= 3 - (status == "fails")
        assert {logged.authorization for logged in other.log} == {None}
        assert {logged.authorization for logged in proxy.requests("/blobs/")} == {f"Basic {pair}"}
        assert not any(secret in told for secret in (pair, _PASSWORD, "s1gnature"))


def test_redirects_from_host_to_host_without_end(case: Case, proxy: FaultProxy) -> None:
    with FaultProxy(proxy.upstream, "127.0.0.2") as other:
        proxy.redirect_blobs = f"http://{other.host}{{path}}"
        other.redirect_blobs = f"http://{proxy.host}{{path}}"
        case.fails(["pull", f"{proxy.host}/{_SMALL}"], "redirects more than", hint=False)


# Several at once


@pytest.mark.parametrize(
    ("words", "env", "most"),
    [
        ([], {}, range(3, 7)),
        (["--jobs=2"], {"UDOCKER_JOBS": "5"}, range(2, 3)),
        (["--jobs", "1"], {}, range(1, 2)),
        ([], {"UDOCKER_JOBS": "1"}, range(1, 2)),
    ],
)
def test_jobs(
    case: Case,
    proxy: FaultProxy,
    store_path: Path,
    right: dict[str, dict[str, str]],
    *,
    words: list[str],
    env: dict[str, str],
    most: range,
) -> None:
    """The large image has more pieces than there are connections."""
    proxy.fault("/blobs/", Fault(skip=1, pace=20_000_000))
    case.env = env
    case.succeeds(["pull", *words, f"{proxy.host}/{_LARGE}"])
    assert contents(store_path) == right[_LARGE]
    assert proxy.most_at_once in most


# What is here already


@pytest.mark.parametrize("name", [_SMALL, "multi:latest", "sci:latest"])
def test_an_image_that_is_here_costs_a_request(case: Case, proxy: FaultProxy, name: str) -> None:
    case.succeeds(["pull", f"{proxy.host}/{name}"])
    proxy.log.clear()
    assert "is up to date" in case.succeeds(["pull", f"{proxy.host}/{name}"])
    (asked,) = proxy.log
    assert asked.path == f"/v2/{name.replace(':', '/manifests/')}"


def test_a_damaged_document_is_fetched_again(
    case: Case, proxy: FaultProxy, store_path: Path, small: Layer
) -> None:
    case.succeeds(["pull", f"{proxy.host}/{_SMALL}"])
    kept = store_path / "blobs" / small.config.replace(":", "/")
    whole = kept.read_bytes()
    kept.write_bytes(whole.replace(b"amd64", b"amd65"))
    proxy.log.clear()
    case.succeeds(["pull", f"{proxy.host}/{_SMALL}"])
    assert len(proxy.requests(small.config)) == 1
    assert kept.read_bytes() == whole
