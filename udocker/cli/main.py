"""The entry point: the environment, the general options, and the one error boundary."""

from __future__ import annotations

import os
import sys

from udocker.cli import commands
from udocker.cli.context import Context
from udocker.cli.ending import ToldToEnd, heed_signals
from udocker.cli.parser import FLAG, TEXT, Option, Parsed, Syntax, help_text, parse
from udocker.cli.table import line
from udocker.errors import UdockerError, UsageError
from udocker.files import translate
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from udocker.cli.commands import Command
    from udocker.model.config import Config
    from udocker.ops.session import Session
    from udocker.report import Reporter

_HELP = Option(("--help", "-h"), FLAG, "show help")
GENERAL = Syntax(
    usage="[OPTIONS] COMMAND …",
    summary="Run Docker and OCI images without privileges.",
    options=(
        _HELP,
        Option(("--version", "-V"), FLAG, "show the version"),
        Option(("--debug", "-D"), FLAG, "tell more; show the traceback of an error"),
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
        Option(("--insecure",), FLAG, "accept http and unverified TLS from registries"),
        Option(("--repo",), TEXT, "the store to use", "DIR"),
        Option(("--config",), TEXT, "the only configuration file to read", "FILE"),
        Option(("--allow-root",), FLAG, "accepted; root needs no permission", hidden=True),
    ),
    at_most=None,
    passes_on=True,
)
# Of containers; they write nothing to the store besides. An id has so many digits at least.
_OF_CONTAINERS = frozenset(
    (
        *("attach", "cp", "diff", "exec", "export", "inspect", "kill", "logs", "pause", "port"),
        *("restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "wait"),
    )
)
_DIGITS = frozenset("0123456789abcdef")
_LEAST_ID = 8
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the result is the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = False
    _open_streams()
    if arguments is None:  # otherwise the process is another's
        heed_signals()
    try:
        general = parse(GENERAL, given, "")
        debug = general.flag("debug")
        if debug:
            import traceback  # noqa: F401 - an engine may be past importing when it is needed
        return _dispatch(general)
    except KeyboardInterrupt as told:
        return _interrupted(told)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _BROKEN_PIPE
    except UdockerError as error:
        return _tell(error, debug)
    except OSError as error:
        return _tell(translate(error, "cannot go on"), debug)
    except Exception as error:  # noqa: BLE001 - the boundary: nothing else may reach the user
        return _tell_unexpected(error, debug)


def _dispatch(general: Parsed) -> int:
    words = general.words
    if general.flag("version"):
        words = ("version",)
    if general.flag("help") or not words:
        words = ("help", *words[:2])
    if words[0] in commands.groups() and words[1:2] in (("--help",), ("-h",)):
        words = ("help", words[0])
    name, rest = commands.split(words)
    command = commands.find(name)
    if _asks_for_help(command.syntax, rest):
        sys.stdout.write(help_text(command.name, command.syntax))
        sys.stdout.flush()
        return 0
    parsed = parse(command.syntax, rest, command.name)
    context = Context(lambda: _begin(general, parsed, command), sys.stdout)
    try:
        code = command.run(context, parsed)
        sys.stdout.flush()
        return code
    finally:
        context.close()


def _asks_for_help(syntax: Syntax, arguments: list[str]) -> bool:
    """Whether --help stands among the command's own options, not in a command to run."""
    taken = any("-h" in option.names for option in syntax.options) and arguments != ["-h"]
    asking = replace(_HELP, names=("--help",)) if taken else _HELP
    options = (*syntax.options, asking)  # of two with one name the later counts
    lenient = replace(syntax, options=options, at_least=0, at_most=None)
    try:
        return parse(lenient, arguments, "").flag("help")
    except UsageError:
        return False  # what is wrong will be told


def _begin(general: Parsed, parsed: Parsed, command: Command) -> Session:
    """A session on the store that has the container which is spoken of: in a job it may be one of
    the job's. Outside of a job nothing of this is loaded.
    """
    session = _session(general, parsed, command.is_runtime)
    words = parsed.words[:1] if command.syntax.passes_on else parsed.words
    if command.name in _OF_CONTAINERS and _may_be_id(words) and session.task is not None:
        from udocker.ops.job_containers import session_of

        return session_of(session, words)
    return session


def _may_be_id(words: Sequence[str]) -> bool:
    return any(len(word) >= _LEAST_ID and _DIGITS.issuperset(word[:_LEAST_ID]) for word in words)


def _session(general: Parsed, parsed: Parsed, is_runtime: bool) -> Session:
    from udocker import config
    from udocker.ops.session import begin

    overrides: dict[str, Any] = {}
    repo = general.text("repo")
    if repo is not None:
        if not repo:
            raise UsageError("--repo names no directory", hint="--repo DIR")
        overrides["topdir"] = os.path.abspath(os.path.expanduser(repo))
    if general.flag("insecure"):
        overrides["insecure"] = True
    if general.flag("quiet") or parsed.flag("quiet"):
        overrides["verbosity"] = 1
    if general.flag("debug"):
        overrides["verbosity"] = 5
    if parsed.flag("no-job"):
        overrides["job"] = False
    if parsed.text("jobs") is not None:
        overrides["jobs"] = _jobs(parsed.text("jobs") or "")
    if parsed.text("httpproxy"):
        overrides["proxy"] = parsed.text("httpproxy")
    environ = dict(os.environ)
    if is_runtime:
        environ.pop("HOME", None)  # then it is that of passwd
    session = begin(environ, overrides, general.text("config"), _reporter)
    for text in config.passed_over(os.environ):
        session.report.warn(text)
    return session


def _jobs(text: str) -> int:
    from udocker import config

    try:
        return config.jobs(text)
    except ValueError as error:
        raise UsageError(f"--jobs {text[:80]!r}: {error}", hint="--jobs 6") from error


def _reporter(settings: Config) -> Reporter:
    from udocker import report

    return report.choose(sys.stderr, settings.verbosity, os.environ)


def _tell(error: UdockerError, debug: bool) -> int:
    if debug:
        _traceback()
    _flush()
    sys.stderr.write(f"udocker: {line(error.message)}\n")
    if error.hint:
        sys.stderr.write(f"  try: {line(error.hint)}\n")
    return error.exit_code


def _tell_unexpected(error: Exception, debug: bool) -> int:
    if debug:
        _traceback()
    _flush()
    sys.stderr.write(f"udocker: internal error: {type(error).__name__}: {error}\n")
    sys.stderr.write("  try: udocker --debug … shows where; please report it\n")
    return UdockerError.exit_code


def _traceback() -> None:
    import traceback

    traceback.print_exc()


def _flush() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):  # Python would try once more at its end, and fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _interrupted(told: KeyboardInterrupt) -> int:
    _flush()
    if isinstance(told, ToldToEnd):
        return told.end()
    sys.stderr.write("\n")
    return _INTERRUPTED


def _open_streams() -> None:
    """Put something where the caller closed a standard stream: no file of ours may come there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
