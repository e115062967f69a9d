"""start, stop, restart, kill, wait, attach, pause, unpause."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, TEXT, Option, Syntax
from udocker.errors import UdockerError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _each(context: Context, parsed: Parsed, do: Callable[[str], object]) -> int:
    """Do it to all; what one of them meets does not keep the rest from it, and ends in an error."""
    failure: UdockerError | None = None
    for text in parsed.words:
        try:
            do(text)
        except UdockerError as error:
            if failure is not None:
                context.session.warn_of(failure)
            failure = error
        else:
            context.print(text)
    if failure is not None:
        raise failure
    return 0


def _start(context: Context, parsed: Parsed) -> int:
    from udocker.ops.start import start, start_attached

    stdin = parsed.flag("interactive")
    if not (parsed.flag("attach") or stdin):
        return _each(context, parsed, lambda text: start(context.session, text))
    if len(parsed.words) > 1:
        raise UsageError("only one container can be attached to", hint="start them without -a, -i")
    return start_attached(context.session, parsed.words[0], stdin, parsed.text("detach-keys"))


def _attach(context: Context, parsed: Parsed) -> int:
    from udocker.ops.start import attach

    stdin = not parsed.flag("no-stdin")
    return attach(context.session, parsed.words[0], stdin, parsed.text("detach-keys"))


def _stop(context: Context, parsed: Parsed) -> int:
    from udocker.ops.control import stop

    seconds = _seconds(parsed)
    return _each(context, parsed, lambda text: stop(context.session, text, seconds))


def _restart(context: Context, parsed: Parsed) -> int:
    from udocker.ops.control import stop
    from udocker.ops.start import start

    seconds = _seconds(parsed)

    def restart(text: str) -> None:
        stop(context.session, text, seconds)
        start(context.session, text)

    return _each(context, parsed, restart)


def _kill(context: Context, parsed: Parsed) -> int:
    from udocker.model.signals import number
    from udocker.ops.control import kill

    what = number(parsed.text("signal") or "KILL")
    return _each(context, parsed, lambda text: kill(context.session, text, what))


def _wait(context: Context, parsed: Parsed) -> int:
    from udocker.ops.control import wait

    for text in parsed.words:
        context.print(str(wait(context.session, text)))
    return 0


def _pause(context: Context, parsed: Parsed) -> int:
    from udocker.ops.control import pause

    return _each(context, parsed, lambda text: pause(context.session, text))


def _unpause(context: Context, parsed: Parsed) -> int:
    from udocker.ops.control import unpause

    return _each(context, parsed, lambda text: unpause(context.session, text))


def _seconds(parsed: Parsed) -> int | None:
    text = parsed.text("time")
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"not a number of seconds: {text!r}", hint="--time 10") from None


_KEYS = Option(("--detach-keys",), TEXT, "what leaves it; default ctrl-p,ctrl-q", "KEYS")
_TIME = Option(
    ("--time", "--timeout", "-t"), TEXT, "seconds before SIGKILL; -1: never (default 10)", "SECONDS"
)


def _many(summary: str, *options: Option, details: str = "") -> Syntax:
    usage = "[OPTIONS] CONTAINER…" if options else "CONTAINER…"
    return Syntax(usage, summary, options, at_least=1, at_most=None, details=details)


_START = _many(
    "Start containers once more, as they were made to run.",
    Option(("--attach", "-a"), FLAG, "show what it prints, pass signals on, give its exit code"),
    Option(("--interactive", "-i"), FLAG, "as -a, and give it what is typed, if it was made -i"),
    _KEYS,
    Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
)
_ATTACH = Syntax(
    usage="[OPTIONS] CONTAINER",
    summary="Be at a container that runs: see what it prints, and type.",
    options=(
        Option(("--no-stdin",), FLAG, "give it nothing of what is typed"),
        Option(("--sig-proxy",), FLAG, "accepted: signals are passed on", hidden=True),
        _KEYS,
    ),
    at_least=1,
    at_most=1,
    details=(
        "With a terminal (run -d -it) Ctrl-P Ctrl-Q leaves it running. Exit status: that of its\n"
        "command; 0 when it was left."
    ),
)
COMMANDS = (
    Command("start", _START, _start),
    Command("stop", _many("Stop containers that run: SIGTERM, then SIGKILL.", _TIME), _stop),
    Command("restart", _many("Stop containers, and start them.", _TIME), _restart),
    Command(
        "kill",
        _many(
            "Send a signal to what runs in containers.",
            Option(("--signal", "-s"), TEXT, "a name or a number (default KILL)", "SIGNAL"),
        ),
        _kill,
    ),
    Command("wait", _many("Wait until containers have ended; print their exit codes."), _wait),
    Command("attach", _ATTACH, _attach),
    Command("pause", _many("Stop all processes of containers, for a while."), _pause),
    Command("unpause", _many("Let paused containers go on."), _unpause),
)
