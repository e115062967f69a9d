"""Documents of the OCI image specification and of Docker's image manifest v2, schema 2.

The bytes as they came are kept beside what was read from them: a digest is only ever taken over
``raw``. https://github.com/opencontainers/image-spec
"""

from __future__ import annotations

import json
import re

from udocker.errors import BadReference, BadReplyError
from udocker.model.reference import Digest
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
INDEX_TYPES = (OCI_INDEX, DOCKER_INDEX)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)

# Names that uname(2) and Debian have for what Go calls architecture and variant.
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v7"),  # 32-bit programs on an ARMv8 kernel
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
}
_DEFAULT_VARIANT = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
_PLATFORM = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)?")
_SIZE_LIMIT = 1 << 63  # descriptor.md: an int64
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, BadReference)


@value
class Platform:
    """What an image runs on, in Go's names: ``linux/arm64/v8``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/arch[/variant]``. Raises BadReference."""
        if not _PLATFORM.fullmatch(text):
            raise BadReference(
                f"not a platform: {text!r}", hint="platforms look like linux/arm64 or linux/arm/v7"
            )
        return cls.of(*text.split("/"))

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """The platform with every name as Go spells it."""
        architecture = architecture.lower()
        architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = variant.lower() or implied
        return cls(os.lower(), architecture, f"v{variant}" if variant.isdigit() else variant)

    def accepts(self, offered: Platform) -> bool:
        """Whether an image made for ``offered`` is what was asked for by ``self``.

        A variant that one side leaves out means the architecture's usual one.
        """
        if (self.os, self.architecture) != (offered.os, offered.architecture):
            return False
        usual = _DEFAULT_VARIANT.get(self.architecture, "")
        return (self.variant or usual) == (offered.variant or usual)

    def __str__(self) -> str:
        tail = f"/{self.variant}" if self.variant else ""
        return f"{self.os}/{self.architecture}{tail}"


@value
class Descriptor:
    """The type, digest and size (bytes) of a piece of content: the only way to ask for bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    urls: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Any, where: str) -> Descriptor:
        """Raise BadReplyError, naming ``where``, unless ``data`` is a descriptor."""
        try:
            size = data["size"]
            if type(size) is not int or not 0 <= size < _SIZE_LIMIT:
                raise ValueError("size is not a number of bytes")
            return cls(
                _text(data.get("mediaType")),
                Digest.parse(data["digest"]),
                size,
                _platform(data.get("platform")),
                _strings(data.get("urls")),
            )
        except _MALFORMED as error:
            raise BadReplyError(f"bad descriptor in {where}: {_reason(error)}") from error


@value
class Manifest:
    """One image for one platform: its configuration and its layers, lowest first."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> Digest:
        """The digest of the bytes as they came."""
        return Digest.of(self.raw)

    @classmethod
    def parse(cls, raw: bytes, media_type: str, where: str) -> Manifest:
        """Raise BadReplyError, naming ``where``, unless ``raw`` is an image manifest."""
        data = _json_object(raw, where)
        layers = data.get("layers")
        # A document that is both would be read as one thing here and as another elsewhere.
        if not isinstance(layers, list) or "config" not in data or "manifests" in data:
            raise BadReplyError(f"not an image manifest: {where}")
        return cls(
            raw,
            media_type,
            Descriptor.from_json(data["config"], where),
            tuple(Descriptor.from_json(layer, where) for layer in layers),
        )


@value
class Index:
    """The manifests of one image for several platforms."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]

    @classmethod
    def parse(cls, raw: bytes, media_type: str, where: str) -> Index:
        """Raise BadReplyError, naming ``where``, unless ``raw`` is an index."""
        data = _json_object(raw, where)
        entries = data.get("manifests")
        if not isinstance(entries, list) or "layers" in data or "config" in data:
            raise BadReplyError(f"not an image index: {where}")
        return cls(raw, media_type, tuple(Descriptor.from_json(e, where) for e in entries))

    def select(self, platform: Platform) -> Descriptor | None:
        """The first entry for ``platform``; an only entry without a platform serves any."""
        for entry in self.manifests:
            if entry.platform is not None and platform.accepts(entry.platform):
                return entry
        if len(self.manifests) == 1 and self.manifests[0].platform is None:
            return self.manifests[0]
        return None

    def platforms(self) -> tuple[str, ...]:
        """The platforms on offer, for a message; attestations ("unknown") are left out."""
        found = (str(e.platform) for e in self.manifests if e.platform is not None)
        return tuple(name for name in found if not name.startswith("unknown/"))


@value
class ImageConfig:
    """What an image says about how it is run, and what its layers are."""

    raw: bytes
    platform: Platform
    diff_ids: tuple[Digest, ...]
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    created: str = ""

    @property
    def digest(self) -> Digest:
        """The image id of Docker: the digest of the bytes as they came."""
        return Digest.of(self.raw)

    @property
    def chain_id(self) -> Digest:
        """The identity of all layers stacked (image-spec config.md, "Layer ChainID")."""
        chain = Digest("sha256", "0" * 64)
        for number, diff_id in enumerate(self.diff_ids):
            chain = diff_id if number == 0 else Digest.of(f"{chain} {diff_id}".encode())
        return chain

    @classmethod
    def parse(cls, raw: bytes, where: str) -> ImageConfig:
        """Raise BadReplyError, naming ``where``, unless ``raw`` is an image configuration."""
        data = _json_object(raw, where)
        try:
            return cls._from_json(raw, data)
        except _MALFORMED as error:
            raise BadReplyError(f"bad image configuration in {where}: {_reason(error)}") from error

    @classmethod
    def _from_json(cls, raw: bytes, data: dict[str, Any]) -> ImageConfig:
        run = data.get("config") or {}
        labels = (run.get("Labels") or {}).items()
        return cls(
            raw=raw,
            platform=_platform(data) or Platform("linux", "amd64"),
            diff_ids=tuple(Digest.parse(text) for text in _strings(data["rootfs"]["diff_ids"])),
            env=_strings(run.get("Env")),
            entrypoint=_strings(run.get("Entrypoint")),
            cmd=_strings(run.get("Cmd")),
            user=_text(run.get("User")),
            working_dir=_text(run.get("WorkingDir")),
            labels=tuple((_text(key), _text(text)) for key, text in labels),
            volumes=_keys(run.get("Volumes")),
            exposed_ports=_keys(run.get("ExposedPorts")),
            stop_signal=_text(run.get("StopSignal")),
            created=_text(data.get("created")),
        )


def _json_object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadReplyError(f"not JSON: {where}") from error
    if not isinstance(data, dict):
        raise BadReplyError(f"not a JSON object: {where}")
    return data


def _platform(data: Any) -> Platform | None:
    if not isinstance(data, dict) or not data.get("architecture"):
        return None
    return Platform.of(
        _text(data.get("os")) or "linux", _text(data["architecture"]), _text(data.get("variant"))
    )


def _text(item: Any) -> str:
    """A string that can be an argument of execve(2); a number is taken as its digits."""
    if item is None:
        return ""
    if type(item) is int:
        return str(item)
    if not isinstance(item, str):
        raise ValueError("a string is expected")
    if "\0" in item:
        raise ValueError("a string has a null character")
    item.encode()  # a ValueError for half of a surrogate pair
    return item


def _strings(items: Any) -> tuple[str, ...]:
    """Docker stores a list; some builders store one string."""
    if not items:
        return ()
    if isinstance(items, str):
        return (_text(items),)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("a list of strings is expected")
    return tuple(_text(item) for item in items)


def _keys(items: Any) -> tuple[str, ...]:
    """What Go writes as a map to nothing, and some builders as a list."""
    return _strings(list(items) if isinstance(items, dict) else items)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, (TypeError, AttributeError)):
        return "a value is of the wrong type"
    return str(error)
