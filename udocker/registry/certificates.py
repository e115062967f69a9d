"""Whom TLS trusts, and who we are to a server that asks for a certificate.

``certs.d/HOST[:PORT]`` as Docker and podman have it (containers-certs.d(5)): ``*.crt`` are
authorities trusted beside the usual ones, ``NAME.cert`` and ``NAME.key`` are ours for that host.
"""

from __future__ import annotations

import os

from udocker.errors import ConfigError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from udocker.report import Reporter

# Where distributions have the authorities that the administrator trusts; as Go knows them.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
CERTIFICATES_HINT = "SSL_CERT_FILE names a file of them in PEM format"
_HUB_HOST, _HUB = "registry-1.docker.io", "docker.io"
_LIMIT = 16 << 20  # bytes of a file of certificates


@value
class Trust:
    """For one host: a file or directory of authorities, and a certificate of ours with its key."""

    authorities: str
    certificate: str = ""  # file; empty: none
    key: str = ""


class Certificates:
    """What is trusted, by host; files that are needed for it are kept open.

    ``bundle`` is a file or directory of authorities; empty: those of the host, else those that
    come with ``requests``. ``folders`` are ``certs.d`` directories, the first that knows a host
    counts.
    """

    def __init__(self, bundle: str, folders: Sequence[str], report: Reporter) -> None:
        self._bundle = bundle
        self._folders = folders
        self._report = report
        self._known: dict[str, Trust] = {}
        self._files: list[IO[bytes]] = []

    def close(self) -> None:
        """Close the files; what is asked for afterwards is read anew."""
        self._known.clear()
        while self._files:
            self._files.pop().close()

    def has(self, host: str) -> bool:
        """Whether there is a directory for ``host`` (host[:port]): then it speaks TLS."""
        return bool(self._folder(host))

    def trust(self, host: str) -> Trust:
        """For connections to ``host`` (host[:port]). Raises ConfigError for broken files."""
        if host not in self._known:
            self._known[host] = self._read(host)
        return self._known[host]

    def _read(self, host: str) -> Trust:
        folder = self._folder(host)
        if not folder:
            return Trust(self._base())
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            self._report.warn(f"cannot read {folder}: {error.strerror}: going on without it")
            return Trust(self._base())
        authorities = [f"{folder}/{name}" for name in names if name.endswith(".crt")]
        certificate, key = self._own(folder, names)
        return Trust(self._joined(authorities) if authorities else self._base(), certificate, key)

    def _folder(self, host: str) -> str:
        names = [host.lower()]
        if host == _HUB_HOST:
            names.append(_HUB)
        paths = (f"{folder}/{name}" for folder in self._folders for name in names)
        return next(filter(os.path.isdir, paths), "")

    def _base(self) -> str:
        if self._bundle:
            return self._bundle
        system = next(filter(os.path.isfile, _BUNDLES), "")
        if not system:
            from requests.utils import DEFAULT_CA_BUNDLE_PATH

            system = DEFAULT_CA_BUNDLE_PATH
        return system

    def _own(self, folder: str, names: Sequence[str]) -> tuple[str, str]:
        """Our certificate and its key. Raises ConfigError unless they are a pair that works."""
        import ssl

        found = [name[: -len(".cert")] for name in names if name.endswith(".cert")]
        if not found:
            return "", ""
        certificate, key = f"{folder}/{found[0]}.cert", f"{folder}/{found[0]}.key"
        try:
            # A password is given, lest OpenSSL asks for one at the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: "-")
        except FileNotFoundError as error:
            raise ConfigError(
                f"{certificate} needs {key}", hint="a client certificate is a .cert and a .key"
            ) from error
        except PermissionError as error:
            raise ConfigError(
                f"cannot read {certificate} and {key}: {error.strerror}",
                hint="they have to be readable to you",
            ) from error
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{certificate} and {key} are no certificate with its key",
                hint="both are in PEM format, and the key is not encrypted",
            ) from error
        return certificate, key

    def _joined(self, paths: Sequence[str]) -> str:
        """A file with the certificates in ``paths`` and all others that are trusted.

        It has no name, so nothing is left of it: neither TLS library takes two files.
        """
        import tempfile

        parts = [self._checked(path) for path in paths]
        base = self._base()
        try:
            parts += [_content(path) for path in _files(base)]
            stream = tempfile.TemporaryFile()  # noqa: SIM115 - close() ends it
            self._files.append(stream)
            stream.write(b"\n".join(parts))
            stream.flush()
        except OSError as error:
            what = f"cannot use the CA certificates in {base}: {error.strerror}"
            raise ConfigError(what, hint=CERTIFICATES_HINT) from error
        return f"/proc/self/fd/{stream.fileno()}"

    def _checked(self, path: str) -> bytes:
        """The content of ``path``. Raises ConfigError if no certificates are in it."""
        import ssl

        try:
            raw = _content(path)
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=raw.decode())
        except (ValueError, ssl.SSLError) as error:
            raise ConfigError(
                f"{path} holds no certificates", hint="they are expected in PEM format"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"cannot read {path}: {error.strerror}", hint="it has to be readable to you"
            ) from error
        return raw


def certificate_folders(home: str, config_home: str) -> tuple[str, ...]:
    """The ``certs.d`` directories of the user and of the host, in order. Both may be empty."""
    folders = [f"{config_home or f'{home}/.config'}/containers/certs.d", f"{home}/.docker/certs.d"]
    own = [folder for folder in folders if folder.startswith("/")] if home else []
    return (*own, "/etc/containers/certs.d", "/etc/docker/certs.d")


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    entries = (f"{path}/{name}" for name in sorted(os.listdir(path)))
    return [entry for entry in entries if os.path.isfile(entry)]


def _content(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(_LIMIT)
