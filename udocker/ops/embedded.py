"""The image that comes with udocker: what engines are tried with, with no network."""

from __future__ import annotations

import os

from udocker.errors import UdockerError
from udocker.model.value import value
from udocker.ops.pull import ensure_tree
from udocker.report import QuietReporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.archive.oci_layout import LayoutImage
    from udocker.model.oci import ImageConfig
    from udocker.model.reference import Digest
    from udocker.ops.session import Session

NAME = "udocker/hello"
_PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "hello")


@value
class Embedded:
    """The unpacked image: its configuration and the path of its root."""

    manifest: Digest
    config: ImageConfig
    tree: str


def chain_id() -> Digest | None:
    """The name of the embedded image's tree in a store; None where there is no such image."""
    return _image().config.chain_id if os.path.isdir(_PATH) else None


def unpack(session: Session) -> Embedded:
    """The embedded image, unpacked in the store. Raises UdockerError."""
    if not os.path.isdir(_PATH):
        raise UdockerError(
            "the image that comes with udocker is missing from this installation",
            hint="install udocker again (pip install --force-reinstall)",
        )
    image = _image()
    tree = ensure_tree(session, image.config, image.layers(), QuietReporter())
    return Embedded(image.manifest.digest, image.config, tree)


def _image() -> LayoutImage:
    from udocker.archive.oci_layout import OciLayout

    return OciLayout(_PATH).image()
