"""Names of images, and digests of bytes.

Grammar: https://github.com/distribution/reference (Docker) and the OCI image specification,
"Digests". Text is parsed here once; deeper code takes the types.
"""

from __future__ import annotations

import re

from udocker.errors import BadReference
from udocker.model.sha256 import sha256_hex
from udocker.model.value import value

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_ALIASES = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_HEX_LENGTH = {"sha256": 64, "sha512": 128}
# Not compiled before they are needed: that takes long, and few commands do.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_IDENTIFIER = r"[a-f0-9]{64}"
_LIMIT = 255
_LIKE = "names look like [registry/]name[:tag][@digest]"


@value
class Digest:
    """An algorithm and a lower-case hexadecimal hash, ``sha256:…``."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Raise BadReference unless ``text`` is a digest of a known algorithm."""
        algorithm, colon, hexadecimal = text.partition(":")
        length = _HEX_LENGTH.get(algorithm)
        if not colon or length is None:
            raise BadReference(f"not a digest: {text!r}", hint="digests look like sha256:<hex>")
        if len(hexadecimal) != length or hexadecimal.strip("0123456789abcdef"):
            raise BadReference(f"not a {algorithm} digest: {text!r}")
        return cls(algorithm, hexadecimal)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The SHA-256 digest of ``data``."""
        return cls("sha256", sha256_hex(data))

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@value
class Reference:
    """An image's name: registry, repository, and a tag or a digest or both.

    ``typed`` is the text the user gave; ``str()`` gives it back.
    """

    registry: str
    repository: str
    tag: str | None
    digest: Digest | None
    typed: str

    @classmethod
    def parse(cls, text: str, registry: str = DEFAULT_REGISTRY) -> Reference:
        """Read a reference as Docker does; ``registry`` is meant when the text names none.

        Raises BadReference.
        """
        if re.fullmatch(_IDENTIFIER, text):
            raise BadReference(
                f"not an image name: {text!r}: 64 hexadecimal digits are an identifier",
                hint="a digest comes after a name: debian@sha256:<hex>",
            )
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        name, tag = _split_tag(rest)
        if tag is None and digest is None:
            tag = DEFAULT_TAG
        if tag is not None and not re.fullmatch(_TAG, tag):
            raise BadReference(f"not a tag: {tag!r} in {text!r}")
        host, repository = _split_registry(name, _default_registry(registry))
        _check_repository(repository, text)
        return cls(host, repository, tag, digest, text)

    @property
    def name(self) -> str:
        """Registry and repository, fully spelled."""
        return f"{self.registry}/{self.repository}"

    @property
    def canonical(self) -> str:
        """Every part spelled out; two references to one thing have one canonical form."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def familiar(self) -> str:
        """The shortest spelling that means the same, as ``docker images`` prints it."""
        name = self.name
        if self.registry == DEFAULT_REGISTRY:
            name = self.repository
            if name.startswith("library/") and name.count("/") == 1:
                name = name[len("library/") :]
        return name

    @property
    def spelled(self) -> str:
        """``familiar`` with tag or digest: a name for lists, and for the next command."""
        return self.familiar + (f":{self.tag}" if self.tag else f"@{self.digest}")

    @property
    def selector(self) -> str:
        """What a registry is asked for: the digest, else the tag."""
        return str(self.digest) if self.digest else str(self.tag)

    def __str__(self) -> str:
        return self.typed


def _split_tag(text: str) -> tuple[str, str | None]:
    head, colon, tag = text.rpartition(":")
    if not colon or "/" in tag or "]" in tag:
        return text, None
    return head, tag


def _default_registry(text: str) -> str:
    host = text.rstrip("/")
    if not _names_host(host) or not re.fullmatch(_HOST, host):
        raise BadReference(
            f"not a registry host: {text!r}", hint="registries look like quay.io or localhost:5000"
        )
    return DEFAULT_REGISTRY if host in _ALIASES else host


def _names_host(part: str) -> bool:
    """Whether the part of a name before its first slash is a registry."""
    return "." in part or ":" in part or part == "localhost" or part != part.lower()


def _split_registry(name: str, default: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _names_host(first):
        if default == DEFAULT_REGISTRY and name and not slash:
            return default, f"library/{name}"
        return default, name
    if not re.fullmatch(_HOST, first):
        raise BadReference(f"not a registry host: {first!r} in {name!r}")
    if first in _ALIASES or first == DEFAULT_REGISTRY:
        return DEFAULT_REGISTRY, rest if "/" in rest or not rest else f"library/{rest}"
    return first, rest


def _check_repository(repository: str, text: str) -> None:
    if not repository:
        raise BadReference(f"no image name in {text!r}", hint="names look like debian:12")
    if repository != repository.lower():
        lower = repository.lower().removeprefix("library/")
        raise BadReference(
            f"image names are lower case: {text!r}",
            hint=lower if re.fullmatch(_REPOSITORY, lower) else _LIKE,
        )
    if not re.fullmatch(_REPOSITORY, repository) or len(repository) > _LIMIT:
        raise BadReference(f"not an image name: {text!r}", hint=_LIKE)
