"""cp: files between the host and a container."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, Option, Syntax

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _cp(context: Context, parsed: Parsed) -> int:
    from udocker.ops.cp import cp

    cp(context.session, parsed.words[0], parsed.words[1], parsed.flag("follow-link"))
    return 0


_CP = Syntax(
    usage="[OPTIONS] CONTAINER:PATH PATH|-, or PATH|- CONTAINER:PATH",
    summary="Copy files and directories out of a container, or into one.",
    options=(
        Option(("--follow-link", "-L"), FLAG, "of a link that is named, copy what it leads to"),
        Option(("--archive", "-a"), FLAG, "accepted: modes and times are kept", hidden=True),
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    ),
    at_least=2,
    at_most=2,
    details=(
        "A directory that is there gets the source into it (PATH/. : only what is in that); else\n"
        "the source gets the new name. - is an archive of tar: on standard output, or of standard\n"
        "input into a directory. Volumes are looked into while the container runs. What is copied\n"
        "in belongs to root."
    ),
)
COMMANDS = (Command("cp", _CP, _cp),)
