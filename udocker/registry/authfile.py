"""One file of logins: Docker's ``config.json``, or podman's ``auth.json``, which is like it.

Format: https://docs.docker.com/reference/cli/docker/login/ and containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import stat

from udocker.errors import ConfigError
from udocker.files import write_atomic
from udocker.leases import lease
from udocker.registry.credential import Credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_HUB = "docker.io"
_HUB_NAMES = (
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
    "auth.docker.io",
)
_API_PATHS = ("", "v1", "v2")  # behind a host they name no namespace
_LIMIT = 1 << 20  # bytes
_ENTRY_KEYS = ("auth", "username", "password", "identitytoken")
_PRIVATE = 0o600


class AuthFile:
    """The logins in one file, read when the first is asked for.

    A ``required`` file has to be there. The methods raise ConfigError for a file that cannot be
    read or is broken, and those that write OSError.
    """

    def __init__(self, path: str, required: bool = False) -> None:
        self.path = path
        self._required = required
        self._data: dict[str, Any] | None = None

    def login(self, registry: str, repository: str = "") -> Credential | None:
        """The login that is written here for ``repository`` of ``registry`` (host[:port]).

        The one for the longest part of the name counts, at last the one for the registry.
        """
        auths = self._object("auths")
        for name in _scopes(registry, repository):
            if name in auths:
                found = self._entry(name)
                if found is not None:
                    return found
            for key in auths:
                if scope_of(key) == name.lower():
                    found = self._entry(key)
                    if found is not None:
                        return found
        return None

    def helper(self, registry: str) -> str:
        """The name of the helper program that keeps the login for ``registry``; empty: none."""
        name: object = ""
        for key, given in self._object("credHelpers").items():
            if scope_of(key) == registry.lower():
                name = given
        name = name or self._document().get("credsStore") or ""
        if not isinstance(name, str):
            raise self._broken("the name of a credential helper is not text")
        return name

    def names(self) -> tuple[str, ...]:
        """The keys of all logins here."""
        return tuple(self._object("auths"))

    def put(self, scope: str, credential: Credential | None) -> None:
        """Write the login for ``scope`` in place of any other; None: a helper keeps it.

        Everything else in the file stays. It is readable to its owner only, if at all.
        """
        with self._changing() as auths:
            for key in tuple(auths):
                if scope_of(key) == scope:
                    del auths[key]
            auths[scope] = {} if credential is None else {"auth": credential.pair}

    def remove(self, scope: str) -> bool:
        """Take away the login for ``scope``; False when there is none."""
        keys = [key for key in self._object("auths") if scope_of(key) == scope]
        if keys:
            with self._changing() as auths:
                for key in keys:
                    auths.pop(key, None)
        return bool(keys)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """The logins as they are now, to be changed in the block and written behind it."""
        path = os.path.realpath(self.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with lease(f"{path}.lock"):
            self._data = self._read(required=False)
            auths = self._object("auths")
            yield auths
            self._data["auths"] = auths
            text = json.dumps(self._data, indent="\t", ensure_ascii=False) + "\n"
            write_atomic(path, text.encode("utf-8", "surrogateescape"), _mode_for(path))

    def _document(self) -> dict[str, Any]:
        if self._data is None:
            self._data = self._read(self._required)
        return self._data

    def _object(self, key: str) -> dict[str, Any]:
        given = self._document().get(key) or {}
        if not isinstance(given, dict):
            raise self._broken(f"{key} is not an object")
        return given

    def _read(self, required: bool) -> dict[str, Any]:
        hint = "REGISTRY_AUTH_FILE and DOCKER_CONFIG say which files of logins are read"
        try:
            with open(self.path, "rb") as stream:
                raw = stream.read(_LIMIT + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            if required:
                raise ConfigError(f"cannot read {self.path}: {error.strerror}", hint=hint) from None
            return {}
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", "") or "not a file name"
            raise ConfigError(f"cannot read {self.path}: {what}", hint=hint) from error
        if len(raw) > _LIMIT:
            raise self._broken(f"it is longer than {_LIMIT} bytes")
        try:
            data = json.loads(raw) if raw.strip() else {}
        except (ValueError, RecursionError):
            # What the error holds may be a secret: it is not kept as the cause.
            raise self._broken("it is not JSON") from None
        if not isinstance(data, dict):
            raise self._broken("it does not hold an object")
        return data

    def _entry(self, key: str) -> Credential | None:
        entry = self._object("auths")[key]
        if not isinstance(entry, dict):
            raise self._broken(f"the login for {key} is not an object")
        texts = {name: entry.get(name) or "" for name in _ENTRY_KEYS}
        if not all(isinstance(text, str) for text in texts.values()):
            raise self._broken(f"the login for {key} holds something else than text")
        user, password = texts["username"], texts["password"]
        if texts["auth"]:
            user, password = self._decoded(texts["auth"], key)
        if texts["identitytoken"]:
            return Credential(user, password, texts["identitytoken"])
        return Credential(user, password) if user and password else None

    def _decoded(self, auth: str, key: str) -> tuple[str, str]:
        try:
            pair = base64.b64decode(auth, validate=True).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError):
            pair = ""
        user, colon, password = pair.partition(":")
        if not colon:
            raise self._broken(f"the login for {key} is not user:password in base64")
        return user, password.rstrip("\0")

    def _broken(self, what: str) -> ConfigError:
        return ConfigError(
            f"broken file of logins {self.path}: {what}", hint="mend the file, or log in anew"
        )


def scope_of(key: str) -> str:
    """What a key of ``auths`` is for, in lower case: ``host[:port]`` or ``host[:port]/namespace``.

    A URL, such as Docker Hub's ``https://index.docker.io/v1/``, means its host.
    """
    _, scheme, rest = key.rpartition("://")
    host, _, path = rest.lower().partition("/")
    path = path.rstrip("/")
    host = _HUB if host in _HUB_NAMES else host
    return host if scheme or path in _API_PATHS else f"{host}/{path}"


def _scopes(registry: str, repository: str) -> Iterator[str]:
    """``host/a/b``, ``host/a``, ``host``."""
    parts = repository.split("/") if repository else []
    for count in range(len(parts), 0, -1):
        yield "/".join((registry, *parts[:count]))
    yield registry


def _mode_for(path: str) -> int:
    """For the file's owner only, and no more to him than it was."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode) & _PRIVATE
    except FileNotFoundError:
        return _PRIVATE
