"""certs.d: authorities of one's own for a host, and a certificate of one's own to show."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess

import pytest

from fakes.registry import FakeRegistry, make_image, make_layer
from registry.clients import Certificate, Client, RecordingReporter, make_settings
from udocker.errors import ConfigError, UnreachableError
from udocker.model.reference import Reference
from udocker.registry.certificates import Certificates, Trust, certificate_folders

LAYER = make_layer({"a": b"a" * 5000})


@pytest.fixture(scope="module")
def user(tmp_path_factory, certificate):
    """The certificate of a user; the other one is the server's."""
    return Certificate(tmp_path_factory.mktemp("user"))


@pytest.fixture
def demanding(certificate, user):
    """A registry that wants to see the user's certificate."""
    context = certificate.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(user.path)
    with FakeRegistry(tls=context) as registry:
        yield registry


class CertsD:
    """A ``certs.d`` directory, and a client that knows it."""

    def __init__(self, folder, config):
        self.folder = folder / "certs.d"
        self.config = config
        self.client = self.made()

    def made(self, **changes):
        return Client(self.config, make_settings(certificate_folders=self.folders, **changes))

    @property
    def folders(self):
        return (str(self.folder),)

    def add(self, host, **files):
        """Copy files; ``ca_crt`` becomes ``ca.crt``."""
        place = self.folder / host
        place.mkdir(parents=True, exist_ok=True)
        for name, source in files.items():
            shutil.copy(source, place / name.replace("_", "."))
        return place

    def pull(self, registry, client=None):
        client = client or self.client
        make_image(registry, "a/b", "1", [LAYER])
        name = f"{registry.host}/a/b:1"
        layers = client.resolve(name).manifest.layers
        client.registry.download(Reference.parse(name), layers, client.sinks)
        assert client.sinks.committed() == [LAYER]


@pytest.fixture
def certs(tmp_path, docker_config):
    return CertsD(tmp_path, docker_config)


def test_an_authority_of_its_own(certs, secure, certificate):
    certs.add(secure.host, ca_crt=certificate.path)
    certs.pull(secure)


def test_the_authority_is_for_its_host_only(certs, secure, certificate):
    certs.add("127.0.0.1:1", ca_crt=certificate.path)
    certs.add(secure.host, ca_crt=certs_authority())
    with pytest.raises(UnreachableError, match="is not trusted"):
        certs.pull(secure)


def certs_authority():
    """A file of other authorities: the first of those that come with requests."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return DEFAULT_CA_BUNDLE_PATH


def test_the_usual_authorities_are_trusted_beside_it(certs, secure, certificate, user):
    certs.add(secure.host, ca_crt=user.path)
    certs.pull(secure, certs.made(ca_bundle=certificate.path))


def test_a_directory_of_authorities_beside_it(certs, secure, certificate, user, tmp_path):
    shutil.copy(certificate.path, tmp_path / "one.pem")
    (tmp_path / "sub").mkdir()
    certs.add(secure.host, ca_crt=user.path)
    folder = tmp_path / "authorities"
    folder.mkdir()
    shutil.copy(certificate.path, folder / "one.pem")
    (folder / "sub").mkdir()
    certs.pull(secure, certs.made(ca_bundle=str(folder)))


def test_several_authorities(certs, secure, certificate, user):
    certs.add(secure.host, a_crt=user.path, b_crt=certificate.path)
    certs.pull(secure)


def test_a_certificate_of_ones_own(certs, demanding, certificate, user):
    files = {"ca_crt": certificate.path, "client_cert": user.path, "client_key": user.key}
    certs.add(demanding.host, **files)
    certs.pull(demanding)


def test_without_the_certificate_that_is_wanted(certs, demanding, certificate):
    certs.add(demanding.host, ca_crt=certificate.path)
    # Python's server hangs up on it, and may be faster than the reason that it gives.
    with pytest.raises(UnreachableError, match=r"certificate required|closed the connection"):
        certs.pull(demanding)


def test_a_certificate_with_unverified_tls(certs, demanding, user):
    certs.add(demanding.host, client_cert=user.path, client_key=user.key)
    certs.pull(demanding, certs.made(insecure=True))


def test_a_directory_without_files_means_tls(certs, secure):
    certs.add(secure.host)
    with pytest.raises(UnreachableError, match="is not trusted"):
        certs.pull(secure)


def test_no_files_stay_open(certs, secure, certificate):
    certs.add(secure.host, ca_crt=certificate.path)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        certs.client.sinks.made.clear()
        certs.pull(secure)
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 1


# What is wrong


def broken(certs, host="q.io"):
    return Certificates("", certs.folders, RecordingReporter()).trust(host)


def test_a_file_that_is_no_authority(certs, tmp_path):
    place = certs.add("q.io")
    for content in (b"", b"no certificate", b"\xff\xfe"):
        (place / "ca.crt").write_bytes(content)
        with pytest.raises(ConfigError, match=r"q.io/ca.crt holds no certificates"):
            broken(certs)


@pytest.mark.parametrize(
    ("key", "words"),
    [(None, r"client.cert needs .*client.key"), (b"no key", "no certificate with its key")],
)
def test_a_key_that_is_no_key(certs, user, key, words):
    place = certs.add("q.io", client_cert=user.path)
    if key is not None:
        (place / "client.key").write_bytes(key)
    with pytest.raises(ConfigError, match=words) as caught:
        broken(certs)
    assert caught.value.hint


def test_the_key_of_another(certs, user, certificate):
    certs.add("q.io", client_cert=user.path, client_key=certificate.key)
    with pytest.raises(ConfigError, match="no certificate with its key"):
        broken(certs)


def test_an_encrypted_key_asks_nobody(certs, user):
    place = certs.add("q.io", client_cert=user.path)
    words = f"openssl pkey -in {user.key} -aes128 -passout pass:secret -out {place}/client.key"
    subprocess.run(words.split(), check=True, capture_output=True)
    with pytest.raises(ConfigError, match="no certificate with its key"):
        broken(certs)


def test_a_key_that_is_not_readable(certs, user):
    place = certs.add("q.io", client_cert=user.path, client_key=user.key)
    (place / "client.key").chmod(0)
    if os.access(place / "client.key", os.R_OK):
        pytest.skip("host: root may read everything")
    with pytest.raises(ConfigError, match=r"cannot read .*Permission denied"):
        broken(certs)


def test_a_directory_that_is_not_readable(certs):
    place = certs.add("q.io")
    place.chmod(0)
    if os.access(place, os.R_OK):
        pytest.skip("host: root may read everything")
    reporter = RecordingReporter()
    try:
        trust = Certificates("/bundle", certs.folders, reporter).trust("q.io")
    finally:
        place.chmod(0o700)
    assert trust == Trust("/bundle")
    assert "going on without it" in reporter.lines[0]


# Which directories


def test_the_first_directory_that_knows_the_host_counts(tmp_path):
    for name in ("one/r.io", "two/q.io", "two/r.io", "two/docker.io"):
        (tmp_path / name).mkdir(parents=True)
    folders = [str(tmp_path / name) for name in ("absent", "one", "two")]
    found = Certificates("", folders, RecordingReporter())
    assert found.has("q.io")
    assert found.has("Q.io")
    assert found.has("registry-1.docker.io")
    assert not found.has("q.io:5000")
    assert not found.has("auth.docker.io")
    (tmp_path / "two" / "r.io" / "x.crt").write_text("never read")
    found.trust("r.io")


def test_where_directories_are():
    hosts = ("/etc/containers/certs.d", "/etc/docker/certs.d")
    mine = ("/h/.config/containers/certs.d", "/h/.docker/certs.d")
    assert certificate_folders("/h", "") == (*mine, *hosts)
    assert certificate_folders("/h", "/c")[0] == "/c/containers/certs.d"
    assert certificate_folders("", "") == hosts


def test_what_is_trusted_without_any(monkeypatch):
    certificates = Certificates("", (), RecordingReporter())
    assert os.path.isfile(certificates.trust("q.io").authorities)
    monkeypatch.setattr("udocker.registry.certificates._BUNDLES", ("/absent",))
    assert Certificates("", (), RecordingReporter()).trust("q.io").authorities == certs_authority()
    assert Certificates("/b", (), RecordingReporter()).trust("q.io") == Trust("/b")
