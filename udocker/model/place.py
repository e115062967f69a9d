"""Images in files, as skopeo and podman spell them."""

from __future__ import annotations

from udocker.errors import UsageError
from udocker.model.value import value

OCI = "oci"  # the directory of an OCI image layout
OCI_ARCHIVE = "oci-archive"  # a tar of one
DOCKER_ARCHIVE = "docker-archive"  # what docker save writes
_KINDS = (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE)


@value
class Place:
    """``KIND:PATH[:NAME]``.

    ``name`` is what the archive calls the image, or ``@N``, its number from 0 on; "" for its only
    one.
    """

    kind: str
    path: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """None for what is not spelled so. Raises UsageError where no file is named."""
        kind, colon, rest = text.partition(":")
        if not colon or kind not in _KINDS:
            return None
        path, _, name = rest.partition(":")
        if path in ("", "-"):
            raise UsageError(f"{text!r} names no file", hint=f"{kind}:PATH or {kind}:PATH:NAME")
        return cls(kind, path, name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" + (f":{self.name}" if self.name else "")
