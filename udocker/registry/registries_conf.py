"""Reads containers-registries.conf(5), version 2: TOML files of the host and of the user.

``unqualified-search-registries``, ``short-name-mode`` and ``aliases`` are not read: a name without
a registry means one image everywhere. Unknown keys are left alone, as podman does.
"""

from __future__ import annotations

import os
import sys

from udocker.errors import BadReference, ConfigError
from udocker.model.reference import Reference
from udocker.registry.mirrors import ALL, DIGEST_ONLY, TAG_ONLY, WILDCARD, Mirror, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_LIMIT = 1 << 20  # bytes
_SERVED = (ALL, DIGEST_ONLY, TAG_ONLY)
_HINT = "correct the file; CONTAINERS_REGISTRIES_CONF names another, /dev/null for none"


def registries_files(environ: Mapping[str, str], home: str) -> tuple[str, ...]:
    """The files that are there, the later ones count more. ``home`` may be empty.

    CONTAINERS_REGISTRIES_CONF alone, where it is set; else the user's file or the host's, and
    all of both ``registries.conf.d``.
    """
    named = environ.get("CONTAINERS_REGISTRIES_CONF")
    if named:
        return (named,)
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    folders = ["/etc/containers"]
    if config.startswith("/"):
        folders.append(f"{config}/containers")
    files = [path for path in (f"{each}/registries.conf" for each in folders) if _exists(path)][-1:]
    for folder in folders:
        files += _fragments(f"{folder}/registries.conf.d")
    return tuple(files)


def load_rules(files: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules in ``files``. Raises ConfigError for one that cannot be read or is broken."""
    rules: dict[str, Rule] = {}
    for path in files:
        for rule in _Reader(path).rules():
            rules[rule.prefix] = rule
    return tuple(rules.values())


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass  # it is there: reading it will tell
    return True


def _fragments(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(f"cannot read {folder}: {error.strerror}", hint=_HINT) from error
    return [f"{folder}/{name}" for name in names if name.endswith(".conf")]


class _Reader:
    """One file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def rules(self) -> list[Rule]:
        data = self._data()
        if "registries" in data:
            raise self._broken("it is of version 1, which is no longer used")
        entries = data.get("registry", [])
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise self._broken("registry is not a list of tables")
        return [self._rule(entry) for entry in entries]

    def _data(self) -> dict[str, Any]:
        try:
            with open(self._path, "rb") as stream:
                raw = stream.read(_LIMIT + 1)
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", "") or "not a file name"
            raise ConfigError(f"cannot read {self._path}: {what}", hint=_HINT) from error
        if len(raw) > _LIMIT:
            raise self._broken(f"it is longer than {_LIMIT} bytes")
        return self._toml(raw)

    def _toml(self, raw: bytes) -> dict[str, Any]:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        try:
            data: dict[str, Any] = tomllib.loads(raw.decode())
        except (ValueError, RecursionError) as error:
            raise self._broken(f"it is not TOML: {error}") from error
        return data

    def _rule(self, entry: dict[str, Any]) -> Rule:
        location = self._text(entry, "location")
        prefix = self._text(entry, "prefix") or location
        if not prefix:
            raise self._broken("a registry has neither prefix nor location")
        wildcard = WILDCARD if prefix.startswith(WILDCARD) else ""
        prefix = wildcard + self._check(prefix.removeprefix(WILDCARD), "prefix")
        mirrors = entry.get("mirror", [])
        if not isinstance(mirrors, list) or not all(isinstance(each, dict) for each in mirrors):
            raise self._broken(f"the mirrors of {prefix} are not a list of tables")
        digests = DIGEST_ONLY if self._flag(entry, "mirror-by-digest-only") else ALL
        return Rule(
            prefix,
            self._location(location) if location else "",
            self._flag(entry, "insecure"),
            self._flag(entry, "blocked"),
            tuple(self._mirror(mirror, prefix, digests) for mirror in mirrors),
            self._path,
        )

    def _mirror(self, entry: dict[str, Any], prefix: str, digests: str) -> Mirror:
        location = self._text(entry, "location")
        if not location:
            raise self._broken(f"a mirror of {prefix} has no location")
        serves = self._text(entry, "pull-from-mirror") or digests
        if serves not in _SERVED:
            known = ", ".join(_SERVED)
            raise self._broken(f"pull-from-mirror is one of {known}, not {serves!r}")
        return Mirror(self._location(location), self._flag(entry, "insecure"), serves)

    def _location(self, text: str) -> str:
        location = self._check(text, "location")
        if ":" in location.partition("/")[2] or "@" in location:
            raise self._broken(f"location {text!r} has a tag or a digest")
        return location

    def _check(self, text: str, what: str) -> str:
        """``text`` as ``host[:port][/path]``, Docker Hub by its one name. Raises ConfigError."""
        host, slash, path = text.rstrip("/").partition("/")
        try:
            registry = Reference.parse("name", host).registry
            if slash:
                Reference.parse(f"{registry}/n/{path}")
        except BadReference:
            raise self._broken(f"{what} {text!r} is not host[:port] or host[:port]/path") from None
        return f"{registry}{slash}{path}"

    def _text(self, entry: dict[str, Any], key: str) -> str:
        given = entry.get(key, "")
        if not isinstance(given, str):
            raise self._broken(f"{key} is not text")
        return given

    def _flag(self, entry: dict[str, Any], key: str) -> bool:
        given = entry.get(key, False)
        if not isinstance(given, bool):
            raise self._broken(f"{key} is not true or false")
        return given

    def _broken(self, what: str) -> ConfigError:
        return ConfigError(f"{self._path}: {what}", hint=_HINT)
