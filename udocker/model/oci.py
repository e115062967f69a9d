"""Documents of the OCI image specification and of Docker's image manifest v2, schema 2.

The bytes as they came are kept beside what was read from them: a digest is only ever taken over
``raw``. https://github.com/opencontainers/image-spec
"""

from __future__ import annotations

import json

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

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm"}
_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7"}


@value
class Platform:
    """What an image runs on, in Go's names: ``linux/arm64/v8``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/arch[/variant]``. Raises BadReference."""
        parts = text.lower().split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise BadReference(
                f"not a platform: {text!r}", hint="platforms look like linux/arm64 or linux/arm/v7"
            )
        return cls(parts[0], _ARCHITECTURES.get(parts[1], parts[1]), *parts[2:])

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
            if not isinstance(size, int) or size < 0:
                raise ValueError(f"size {size!r}")
            return cls(
                str(data.get("mediaType", "")),
                Digest.parse(data["digest"]),
                size,
                _platform(data.get("platform")),
                tuple(str(url) for url in data.get("urls") or ()),
            )
        except (KeyError, TypeError, ValueError, AttributeError, BadReference) as error:
            raise BadReplyError(f"bad descriptor in {where}: {error}") from error


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
        if not isinstance(layers, list) or "config" not in data:
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
        entries = _json_object(raw, where).get("manifests")
        if not isinstance(entries, list):
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
        except (KeyError, TypeError, ValueError, AttributeError, BadReference) as error:
            raise BadReplyError(f"bad image configuration in {where}: {error}") from error

    @classmethod
    def _from_json(cls, raw: bytes, data: dict[str, Any]) -> ImageConfig:
        run = data.get("config") or {}
        return cls(
            raw=raw,
            platform=_platform(data) or Platform("linux", "amd64"),
            diff_ids=tuple(Digest.parse(text) for text in data["rootfs"]["diff_ids"]),
            env=_strings(run.get("Env")),
            entrypoint=_strings(run.get("Entrypoint")),
            cmd=_strings(run.get("Cmd")),
            user=str(run.get("User") or ""),
            working_dir=str(run.get("WorkingDir") or ""),
            labels=tuple((str(k), str(v)) for k, v in (run.get("Labels") or {}).items()),
            volumes=tuple(run.get("Volumes") or ()),
            exposed_ports=tuple(run.get("ExposedPorts") or ()),
            stop_signal=str(run.get("StopSignal") or ""),
            created=str(data.get("created") or ""),
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
    return Platform(
        str(data.get("os") or "linux"), str(data["architecture"]), str(data.get("variant") or "")
    )


def _strings(items: Any) -> tuple[str, ...]:
    """Docker stores a list; some builders store one string."""
    if not items:
        return ()
    if isinstance(items, str):
        return (items,)
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"not strings: {items!r}")
    return tuple(items)
