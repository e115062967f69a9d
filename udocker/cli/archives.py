"""load, save."""

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


def _save(context: Context, parsed: Parsed) -> int:
    from udocker.ops.save import save

    form = parsed.text("format") or "docker-archive"
    target = parsed.text("output") or "-"
    if target == "-" and context.is_terminal:
        raise UsageError("an archive is nothing for a terminal", hint="udocker save -o FILE …")
    save(context.session, parsed.words, target, form)
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
_SAVE = Syntax(
    usage="[OPTIONS] IMAGE…",
    summary="Write images as an archive that docker, podman, skopeo and udocker read.",
    options=(
        Option(("--output", "-o"), TEXT, "the file or directory to write; - is stdout", "FILE"),
        Option(
            ("--format",),
            TEXT,
            "docker-archive (default), oci-archive, or oci-dir",
            "FORMAT",
            ("docker-archive", "oci-archive", "oci-dir"),
        ),
        _QUIET,
    ),
    at_least=1,
    at_most=None,
    details=(
        "docker-archive is what Docker 25 writes, and older programs read, too; oci-archive and\n"
        "oci-dir are OCI image layouts. Layers are written as they came from their registry.\n"
        "A file appears when it is whole and replaces what was there; a directory must not be\n"
        "there, or be empty."
    ),
)
COMMANDS = (Command("load", _LOAD, _load), Command("save", _SAVE, _save))
