"""shim."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, TEXT, Option, Syntax

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed

_PLACE = "~/.local/bin"


def _shim(context: Context, parsed: Parsed) -> int:
    from udocker.ops import shim

    session = context.session
    home = session.environ.get("HOME", "")
    place = parsed.text("dir") or os.path.join(home, _PLACE[2:])
    directory = os.path.normpath(os.path.join(session.cwd, place))
    names = parsed.words or shim.NAMES[:1]
    if parsed.flag("remove"):
        paths = shim.remove(directory, names)
    else:
        paths = shim.make(session, directory, names)
    for path in paths:
        context.print(path)
    return 0


COMMANDS = (
    Command(
        "shim",
        Syntax(
            usage="[OPTIONS] [docker] [podman]",
            summary="Make a program called docker, or podman, that is udocker.",
            options=(
                Option(("--dir",), TEXT, f"where to ({_PLACE})", "DIR"),
                Option(("--remove",), FLAG, "remove them"),
            ),
            at_most=None,
            details=(
                "For scripts and workflow engines that call docker. The paths are printed. A\n"
                "program that is there and was not made by this command stays."
            ),
        ),
        _shim,
    ),
)
