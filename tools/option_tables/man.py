"""Manual pages, man(7), of the same tables as ``--help``: udocker(1) and udocker-COMMAND(1)."""

from __future__ import annotations

from udocker import __version__
from udocker.cli import commands
from udocker.cli.main import GENERAL
from udocker.cli.parser import FLAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.cli.parser import Option, Syntax


def pages() -> dict[str, str]:
    """File names and contents."""
    found = {"udocker.1": _whole()}
    for name in commands.names():
        title = f"udocker-{name.replace(' ', '-')}"
        found[f"{title}.1"] = _page(title, f"udocker {name}", commands.find(name).syntax)
    return found


def _whole() -> str:
    lines = [_page("udocker", "udocker", GENERAL).rstrip("\n"), ".SH COMMANDS"]
    for name in commands.names():
        lines += [".TP", f".B {_plain(name)}", _plain(commands.find(name).syntax.summary)]
    return "\n".join([*lines, ".SH SEE ALSO", "udocker\\-COMMAND(1) of each command", ""])


def _page(title: str, spelled: str, syntax: Syntax) -> str:
    lines = [
        f'.TH "{_plain(title.upper())}" 1 "" "udocker {_plain(__version__)}"',
        ".SH NAME",
        f"{_plain(title)} \\- {_plain(syntax.summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_plain(spelled)}",
        _plain(syntax.usage),
    ]
    if syntax.details:
        lines += [".SH DESCRIPTION", ".nf", *map(_plain, syntax.details.strip().split("\n")), ".fi"]
    visible = [option for option in syntax.options if not option.hidden]
    if visible:
        lines += [".SH OPTIONS", *(line for option in visible for line in _option(option))]
    return "\n".join(lines) + "\n"


def _option(option: Option) -> Iterator[str]:
    names = ", ".join(f"\\fB{_plain(name)}\\fR" for name in sorted(option.names, key=len))
    value = "" if option.kind == FLAG else f" \\fI{_plain(option.metavar)}\\fR"
    yield from (".TP", f"{names}{value}", _plain(option.help))


def _plain(text: str) -> str:
    """As roff shows it: no dash becomes a hyphen, no line a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
