"""doctor, try, showconf, version, help."""

from __future__ import annotations

from udocker import __version__
from udocker.cli import commands
from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, Option, Syntax, help_text
from udocker.cli.table import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _doctor(context: Context, parsed: Parsed) -> int:
    from udocker.ops.doctor import examine_host

    image = parsed.words[0] if parsed.words else ""
    if parsed.flag("mpi"):
        return _doctor_of_mpi(context, image, parsed.flag("json"))
    findings = examine_host(context.session, image)
    code = 0 if findings.chosen and all(need.ok for need in findings.needs) else 125
    if parsed.flag("json"):
        context.print_json(findings.as_json())
        return code
    context.print(columns([("host:", text) for text in findings.host]))
    context.print(columns([("store:", text) for text in findings.store]))
    context.print(columns([("mpi:", text) for text in findings.mpi]))
    if findings.job:
        context.print(columns([("job:", text) for text in findings.job]))
    context.print()
    for row in findings.modes:
        context.print(f"{row.name}  {'ok' if row.ok else 'no'}  {row.summary}")
        if row.reason:
            context.print(f"        {row.reason}")
        if row.hint and not row.ok:
            context.print(f"        try: {row.hint}")
    context.print()
    context.print(f"auto runs {findings.chosen or 'nothing: no mode works here'}")
    if findings.needs:
        context.print(f"\n{image} needs")
    for need in findings.needs:
        context.print(f"{'ok' if need.ok else 'no'}  {need.what}: {need.found}")
        if need.hint:
            context.print(f"        try: {need.hint}")
    return code


def _doctor_of_mpi(context: Context, image: str, is_json: bool) -> int:
    from udocker.ops.mpi_facts import examine

    findings = examine(context.session, image)
    if is_json:
        context.print_json(findings.as_json())
        return 0
    rows = [("ok" if fact.ok else "no", f"{fact.what}:", fact.text) for fact in findings.facts]
    context.print(columns(rows))
    return 0


def _try(context: Context, parsed: Parsed) -> int:
    from udocker.ops.doctor import try_modes

    ran = 0
    for row in try_modes(context.session):
        verdict = (
            f"ran: {row.output}" if row.output else "no: not tried, since its program is static"
        )
        context.print(f"{row.name}  {verdict if row.ok else f'no: {row.reason}'}")
        ran += row.ok and row.output != ""
    return 0 if ran else 125


def _showconf(context: Context, parsed: Parsed) -> int:
    from udocker.config import SETTINGS

    for setting in SETTINGS:
        current = getattr(context.session.config, setting.field)
        shown = setting.separator.join(current) if isinstance(current, tuple) else current
        context.print(f"{setting.keys[0]} = {setting.show(str(shown))}")
    return 0


def _version(context: Context, parsed: Parsed) -> int:
    context.print(f"version: {__version__}")
    return 0


def _help(context: Context, parsed: Parsed) -> int:
    from udocker.cli.main import GENERAL

    if len(parsed.words) == 1 and parsed.words[0] in commands.groups():
        _help_of_group(context, parsed.words[0])
        return 0
    if parsed.words:
        command = commands.find(commands.split(parsed.words)[0])
        context.print(help_text(command.name, command.syntax).rstrip())
        return 0
    context.print(help_text("", GENERAL).rstrip().replace("udocker  ", "udocker "))
    context.print("\nCommands:")
    found = [commands.find(name) for name in commands.names()]
    context.print(columns([(f"  {c.name}", c.syntax.summary) for c in found]))
    context.print("\nudocker COMMAND --help tells more.")
    return 0


def _help_of_group(context: Context, group: str) -> None:
    context.print(f"usage: udocker {group} COMMAND [OPTIONS] …\n\nCommands:")
    words = commands.words_of(group)
    found = [(word, commands.find(commands.split((group, word))[0])) for word in words]
    context.print(columns([(f"  {word}", command.syntax.summary) for word, command in found]))
    context.print(f"\nudocker {group} COMMAND --help tells more.")


_DOCTOR = Syntax(
    usage="[OPTIONS] [IMAGE]",
    summary="Show what this host offers, which modes work here or why not, and what IMAGE needs.",
    at_most=1,
    options=(
        Option(("--json",), FLAG, "as JSON"),
        Option(
            ("--mpi",),
            FLAG,
            "only what MPI finds here, in a job or not: servers, libraries, ways for messages, and "
            "whether those between hosts go by TCP",
        ),
    ),
)
_TRY = Syntax("", "Run the image that comes with udocker in every mode of this host.")
_SHOWCONF = Syntax("", "Show the settings in force.")
_VERSION = Syntax("", "Show the version.")
_HELP = Syntax("[COMMAND]", "Show help.", at_most=2)
COMMANDS = (
    Command("doctor", _DOCTOR, _doctor),
    Command("try", _TRY, _try),
    Command("showconf", _SHOWCONF, _showconf),
    Command("version", _VERSION, _version),
    Command("help", _HELP, _help),
)
