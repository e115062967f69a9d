"""pull, images, rmi."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, TEXT, Option, Syntax
from udocker.cli.table import age, columns, megabytes
from udocker.model.oci import Platform
from udocker.model.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.ops.session import Session

PLATFORM = Option(("--platform",), TEXT, "os/arch[/variant] to take", "PLATFORM")
REGISTRY = Option(("--registry",), TEXT, "the registry of a name that gives none", "HOST")

PROXY = Option(("--httpproxy",), TEXT, "the proxy to take, http:// or socks5h:// and such", "URL")


def reference(session: Session, text: str, parsed: Parsed) -> Reference:
    """The reference ``text``, in the registry that --registry or the settings name."""
    given = parsed.text("registry")
    if given is not None:
        given = given.partition("://")[2] or given
    return Reference.parse(text, given or session.config.registry)


def platform(parsed: Parsed) -> Platform | None:
    """What --platform says."""
    text = parsed.text("platform")
    return None if text is None else Platform.parse(text)


def _pull(context: Context, parsed: Parsed) -> int:
    from udocker.ops.pull import pull

    session = context.session
    pull(session, reference(session, parsed.words[0], parsed), platform(parsed))
    return 0


def _images(context: Context, parsed: Parsed) -> int:
    from udocker.ops.images import list_images

    listed = list_images(context.session)
    if parsed.flag("json"):
        context.print_json([image.as_json() for image in listed])
        return 0
    if parsed.flag("quiet"):
        for image in listed:
            context.print(image.record.config.short)
        return 0
    rows = [("REPOSITORY:TAG", "IMAGE ID", "PULLED", "SIZE", "PLATFORM")]
    for image in listed:
        identity = image.record.config
        shown = identity.hex if parsed.flag("no-trunc") else identity.short
        size = megabytes(image.size)
        rows.append((image.name, shown, age(image.record.created), size, image.record.platform))
    context.print(columns(rows))
    return 0


def _rmi(context: Context, parsed: Parsed) -> int:
    from udocker.ops.images import remove_image

    for text in parsed.words:
        for line in remove_image(context.session, text, force=parsed.flag("force")):
            context.print(line)
    return 0


_PULL = Syntax(
    usage="[OPTIONS] IMAGE",
    summary="Fetch an image from its registry and unpack it.",
    options=(
        PLATFORM,
        REGISTRY,
        PROXY,
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    ),
    at_least=1,
    at_most=1,
)
_IMAGES = Syntax(
    usage="[OPTIONS]",
    summary="List the images in the store.",
    options=(
        Option(("--quiet", "-q"), FLAG, "image ids only"),
        Option(("--no-trunc",), FLAG, "whole image ids"),
        Option(("--json",), FLAG, "as JSON"),
    ),
)
_RMI = Syntax(
    usage="[OPTIONS] IMAGE…",
    summary="Remove images, and what only they needed. Containers made from them stay whole.",
    options=(Option(("--force", "-f"), FLAG, "no error if an image is not there"),),
    at_least=1,
    at_most=None,
)
COMMANDS = (
    Command("pull", _PULL, _pull),
    Command("images", _IMAGES, _images),
    Command("rmi", _RMI, _rmi),
)
