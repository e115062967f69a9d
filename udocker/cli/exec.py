"""exec: one more command in a container that runs."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _exec(context: Context, parsed: Parsed) -> int:
    from udocker.ops.exec import ExecRequest, execute
    from udocker.spec.env import parse_option

    session = context.session
    files = tuple(os.path.join(session.cwd, path) for path in parsed.list("env-file"))
    if parsed.flag("tty") and not parsed.flag("detach") and not session.terminal:
        session.report.warn("standard input is not a terminal: -t has no effect")
    asked = ExecRequest(
        container=parsed.words[0],
        command=parsed.words[1:],
        env=tuple(parse_option(text) for text in parsed.list("env")),
        env_files=files,
        user=parsed.text("user"),
        workdir=parsed.text("workdir"),
        detach=parsed.flag("detach"),
    )
    return execute(session, asked)


_EXEC = Syntax(
    usage="[OPTIONS] CONTAINER COMMAND [ARG…]",
    summary="Run one more command in a container that runs.",
    options=(
        Option(("--detach", "-d"), FLAG, "leave it alone: no input, no output"),
        Option(("--env", "-e"), LIST, "set a variable, beside those of the run", "NAME=V"),
        Option(("--env-file",), LIST, "read variables from a file, NAME=VALUE lines", "FILE"),
        Option(("--user", "-u"), TEXT, "be this user inside; default: as the run", "USER"),
        Option(("--workdir", "-w"), TEXT, "start in this directory; default: as the run", "DIR"),
        Option(("--interactive", "-i"), FLAG, "accepted: standard input is always connected"),
        Option(("--tty", "-t"), FLAG, "accepted: a terminal is used when there is one"),
        Option(("--detach-keys",), TEXT, "accepted: it has your terminal", "KEYS", hidden=True),
        Option(("--privileged",), FLAG, "accepted: it has the rights of the run", hidden=True),
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    ),
    at_least=2,
    at_most=None,
    passes_on=True,
    details=(
        "N1 and R1: in the namespaces of the run. Other modes: on the same files, with the mounts\n"
        "of the run. It ends when the container does."
    ),
)
COMMANDS = (Command("exec", _EXEC, _exec),)
