"""Servers and clients for tests of the registry client."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from fakes.registry import FakeRegistry
from registry.clients import Certificate, Client, FakeProxy, make_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def docker_config(tmp_path: Path) -> Path:
    """Where a Docker config.json may be written; nothing is there yet."""
    return tmp_path / "config.json"


@pytest.fixture
def client(docker_config: Path) -> Callable[..., Client]:
    """Makes a Client; keywords change its Settings."""
    return lambda **changes: Client(docker_config, make_settings(**changes))


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def bearer() -> Iterator[FakeRegistry]:
    """A registry that gives tokens to anyone, and for ``secret/app`` to ana only."""
    users = {"ana": "pass:word"}
    with FakeRegistry(auth="bearer", users=users, private=["secret/app"]) as registry:
        yield registry


@pytest.fixture
def storage() -> Iterator[FakeRegistry]:
    """A second server for blobs, under another host name."""
    with FakeRegistry("127.0.0.2") as registry:
        yield registry


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("host: no openssl program to make a certificate with")
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate: Certificate) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=certificate.server_context()) as registry:
        yield registry


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as running:
        yield running
