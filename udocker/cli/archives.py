"""load."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.images import PLATFORM, platform
from udocker.cli.parser import FLAG, TEXT, Option, Syntax
from udocker.errors import UsageError
from udocker.model.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed

_QUIET = Option(("--quiet", "-q"), FLAG, "no progress and no notes")


def _load(context: Context, parsed: Parsed) -> int:
    from udocker.ops.load import load

    session = context.session
    path = parsed.text("input") or "-"
    if path == "-" and os.isatty(0):
        raise UsageError("load: no archive is given", hint="udocker load -i FILE")
    name = Reference.parse(parsed.words[0], session.config.registry) if parsed.words else None
    for record in load(session, path, name, platform(parsed)):
        context.print(Reference.parse(record.reference).spelled)
    return 0


_LOAD = Syntax(
    usage="[OPTIONS] [NAME]",
    summary="Bring the images of an archive into the store, and print their names.",
    options=(
        Option(("--input", "-i"), TEXT, "the archive, or a directory; - is stdin", "FILE"),
        PLATFORM,
        _QUIET,
    ),
    at_most=1,
    details=(
        "Archives of docker save, podman save and skopeo (docker-archive, oci-archive), also\n"
        "compressed with gzip, zstd, xz or bzip2, and directories with an OCI image layout.\n"
        "NAME is what an only image is called here, whatever the archive calls it. Where that has\n"
        "no name, or only a tag, it is localhost/FILE:TAG. All images are verified and unpacked\n"
        "before the first is visible."
    ),
)
COMMANDS = (Command("load", _LOAD, _load),)
