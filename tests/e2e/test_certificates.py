"""Debian's docker-registry over TLS, with an authority and certificates of one's own."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pexpect
import pytest

from e2e import checks
from e2e.conftest import command
from image_maker.registry import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.conftest import Udocker

pytestmark = pytest.mark.e2e

_EC = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"


class Pki(NamedTuple):
    """An authority, and a server's and a client's certificate that it has signed."""

    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)


def _openssl(line: str, folder: Path) -> None:
    subprocess.run(["openssl", *line.split()], check=True, capture_output=True, cwd=folder)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    _openssl(f"req -x509 {_EC} -subj /CN=authority -keyout ca.key -out ca.crt", folder)
    for name in ("server", "client"):
        _openssl(f"req -new {_EC} -subj /CN={name} -keyout {name}.key -out {name}.csr", folder)
        (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        signed = f"-CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.cert -days 2"
        _openssl(f"x509 -req -in {name}.csr {signed} -extfile extensions", folder)
    return Pki(folder)


@pytest.fixture(scope="module")
def secure(images: Path, pki: Pki) -> Iterator[str]:
    tls = {"certificate": pki.file("server.cert"), "key": pki.file("server.key")}
    with serving(images / "registry", readonly=True, tls=tls) as address:
        yield address


@pytest.fixture(scope="module")
def demanding(images: Path, pki: Pki) -> Iterator[str]:
    """The same, for clients that the authority knows."""
    tls = {"certificate": pki.file("server.cert"), "key": pki.file("server.key")}
    authorities = {"clientcas": [pki.file("ca.crt")]}
    with serving(images / "registry", readonly=True, tls={**tls, **authorities}) as address:
        yield address


@pytest.fixture
def home(tmp_path: Path, udocker: Udocker) -> Path:
    return tmp_path / "home"


def certs_d(home: Path, host: str, pki: Pki, *names: str, where: str = ".docker") -> None:
    folder = home / where / "certs.d" / host
    folder.mkdir(parents=True)
    for name in names:
        shutil.copy(pki.file(name), folder / name)


@pytest.mark.parametrize("where", [".docker", ".config/containers"])
def test_an_authority(udocker: Udocker, home: Path, secure: str, pki: Pki, where: str) -> None:
    certs_d(home, secure, pki, "ca.crt", where=where)
    udocker("pull", f"{secure}/busybox")


def test_without_it(udocker: Udocker, home: Path, secure: str, pki: Pki) -> None:
    result = udocker("pull", f"{secure}/busybox", check=False)
    checks.is_told(result, 125, "speaks https, not http")
    certs_d(home, secure, pki)
    result = udocker("pull", f"{secure}/busybox", check=False)
    checks.is_told(result, 125, f"the certificate of {secure} is not trusted", "SSL_CERT_FILE")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_variables(udocker: Udocker, home: Path, secure: str, pki: Pki, variable: str) -> None:
    certs_d(home, secure, pki)  # so that TLS is spoken to this machine
    udocker("pull", f"{secure}/busybox", env={variable: pki.file("ca.crt")})


def test_a_variable_that_names_no_file(
    udocker: Udocker, home: Path, secure: str, pki: Pki, tmp_path: Path
) -> None:
    certs_d(home, secure, pki)
    env = {"SSL_CERT_FILE": str(tmp_path / "none.pem")}
    result = udocker("pull", f"{secure}/busybox", check=False, env=env)
    checks.is_told(result, 2, "cannot use the CA certificates", "none.pem", "SSL_CERT_FILE")
    certs_d(home, f"{secure}", pki, "ca.crt", where=".config/containers")
    result = udocker("pull", f"{secure}/busybox", check=False, env=env)
    checks.is_told(result, 2, "cannot use the CA certificates", "none.pem", "SSL_CERT_FILE")


def test_a_certificate_of_the_user(udocker: Udocker, home: Path, demanding: str, pki: Pki) -> None:
    certs_d(home, demanding, pki, "ca.crt")
    result = udocker("pull", f"{demanding}/busybox", check=False)
    checks.is_told(result, 125, demanding, "certificate")
    shutil.rmtree(home / ".docker")
    certs_d(home, demanding, pki, "ca.crt", "client.cert", "client.key")
    udocker("pull", f"{demanding}/busybox")


def test_an_encrypted_key_is_not_asked_for(home: Path, demanding: str, pki: Pki) -> None:
    certs_d(home, demanding, pki, "ca.crt", "client.cert")
    key = home / ".docker" / "certs.d" / demanding / "client.key"
    _openssl(f"pkey -in client.key -aes128 -passout pass:secret -out {key}", pki.folder)
    child = pexpect.spawn(
        command()[0],
        [*command()[1:], "pull", f"{demanding}/busybox"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb"},
        timeout=60,
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    assert "are no certificate with its key" in child.before
    assert "pass phrase" not in child.before


def test_files_that_are_wrong(udocker: Udocker, home: Path, demanding: str, pki: Pki) -> None:
    certs_d(home, demanding, pki, "ca.crt", "client.cert")
    result = udocker("pull", f"{demanding}/busybox", check=False)
    checks.is_told(result, 2, "client.cert needs", "a .cert and a .key")
