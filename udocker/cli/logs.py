"""logs and events: what was printed, and what happened."""

from __future__ import annotations

import os
import sys

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, TEXT, Option, Syntax
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _logs(context: Context, parsed: Parsed) -> int:
    from udocker.model.moment import moment
    from udocker.model.when import since
    from udocker.ops.logs import Wanted, logs

    wanted = Wanted(
        since=moment(since(parsed.text("since") or "0")),
        until=moment(since(until)) if (until := parsed.text("until")) else "",
        tail=_tail(parsed.text("tail") or "all"),
        follow=parsed.flag("follow"),
    )
    sys.stdout.flush()
    for line in logs(context.session, parsed.words[0], wanted):
        data = line.data
        if parsed.flag("timestamps"):
            data = line.time.replace("+00:00", "Z").encode() + b" " + data
        _write(2 if line.stream == "stderr" else 1, data)
    return 0


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _tail(text: str) -> int:
    """-1: all."""
    if text.lower() == "all":
        return -1
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"not a number of lines: {text!r}", hint="--tail 100") from None


def _events(context: Context, parsed: Parsed) -> int:
    import json
    import time

    from udocker.model.when import since
    from udocker.ops.events import read

    begin = since(parsed.text("since") or str(time.time()))
    until = parsed.text("until")
    end = since(until) if until else 1 << 62
    if parsed.text("since") and not until and not context.is_terminal:
        end = time.time_ns()  # a list of what was, for a program
    for event in read(context.session, begin, end):
        if event is None:
            sys.stdout.flush()
        elif parsed.flag("json"):
            context.print(json.dumps(event.as_json()))
        else:
            context.print(str(event))
    return 0


_SINCE = Option(("--since",), TEXT, "from then on: a time, seconds since 1970, or 10m ago", "TIME")
_UNTIL = Option(("--until",), TEXT, "as --since: until then", "TIME")
_LOGS = Syntax(
    usage="[OPTIONS] CONTAINER",
    summary="Show what a detached container printed.",
    options=(
        Option(("--follow", "-f"), FLAG, "go on as long as it runs"),
        _SINCE,
        _UNTIL,
        Option(("--tail", "-n"), TEXT, "the last so many lines; default all", "N"),
        Option(("--timestamps", "-t"), FLAG, "say when"),
        Option(("--details",), FLAG, "accepted: there are none", hidden=True),
    ),
    at_least=1,
    at_most=1,
    details="What runs in the foreground prints where it is, and is not kept.",
)
_EVENTS = Syntax(
    usage="[OPTIONS]",
    summary="Show what happens to containers that are detached.",
    options=(_SINCE, _UNTIL, Option(("--json",), FLAG, "a line of JSON each")),
    details="With --since and no --until it ends with what was, unless it prints to a terminal.",
)
COMMANDS = (Command("logs", _LOGS, _logs), Command("events", _EVENTS, _events))
