"""Tables of what other command lines have and what that is here, from udocker's own tables."""

from __future__ import annotations

from pathlib import Path

from udocker import config
from udocker.cli import commands
from udocker.cli.main import GENERAL
from udocker.cli.run_rows import REFUSED, ROWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from udocker.cli.parser import Option
    from udocker.cli.run_rows import Row

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
_HEAD_1_3 = """# udocker 1.3's command line here

Made by `tools/option-tables` from the tables that the program itself reads. "accepted" has no
effect and needs none. An existing store of 1.3 is taken over by `udocker migrate`, which changes
nothing in it.
"""
_HEAD_DOCKER = """# Options of `docker run` here

Made by `tools/option-tables` from the tables that the program itself reads. *works*: it does what
Docker's does, as far as the text says. *accepted*: it has no effect, and one warning says why,
unless nothing is lost. *refused*: going on would mislead. `udocker create` takes what
`udocker create --help` lists.
"""


def docker_run() -> list[tuple[str, ...]]:
    """Docker's options of run, each with its spellings."""
    return [tuple(line.split()) for line in (HERE / "docker-run.txt").read_text().splitlines()]


def old(section: str) -> list[tuple[str, str]]:
    """The lines of a section of what udocker 1.3 has, and what the file says of each."""
    found, current = [], ""
    for line in (HERE / "udocker-1.3.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif line and not line.startswith("#") and current == section:
            what, _, text = line.partition(" | ")
            found.append((what, text))
    return found


def find(command: str, name: str) -> Option | None:
    """The option of a command here."""
    syntax = GENERAL if command == "general" else commands.find(command).syntax
    return next((option for option in syntax.options if name in option.names), None)


def row(name: str) -> Row | None:
    """What is said of an option of run that has no effect, if ``run`` has no other."""
    found = find("run", name)
    return next(
        (row for row in ROWS if name in row.names and found is not None and found.hidden), None
    )


def verdict(name: str) -> tuple[str, str]:
    """Of an option of ``docker run``: works, accepted or refused, and what there is to say.

    Raises KeyError for one that is not known.
    """
    if name == "--help":
        return "works", "show help"
    option, said = find("run", name), row(name)
    if option is None:
        raise KeyError(name)
    if said is None:
        kind = "accepted" if option.help.startswith("accepted") else "works"
        return kind, option.help.removeprefix("accepted: ")
    return ("refused" if said.verdict == REFUSED else "accepted"), said.text


def of_1_3(what: str, text: str) -> str:
    """What an option of udocker 1.3 is here. Raises KeyError, UsageError."""
    command, _, name = what.partition(" ")
    if not name:
        return text or commands.find(command).syntax.summary
    option = find(command, name)
    if option is None:
        raise KeyError(what)
    if text:
        return text
    said = row(name) if command == "run" else None
    return f"accepted: {said.text}" if said is not None else option.help


def setting(key: str) -> str:
    """What a key or variable of 1.3 is here; "": nothing."""
    for each in config.SETTINGS:
        if key in each.keys or key in each.variables:
            same = key in (each.keys[0], *each.variables)
            return each.help if same else f"{each.keys[0]}: {each.help}"
    return ""


def docker_page() -> str:
    """docs/docker.md."""
    listed = docker_run()
    rows = [(*verdict(names[0]), names) for names in listed]
    counts = {
        kind: sum(row[0] == kind for row in rows) for kind in ("works", "accepted", "refused")
    }
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    lines = [
        _HEAD_DOCKER,
        f"{len(rows)} options: {told}.\n",
        "| option | here | |",
        "|---|---|---|",
    ]
    lines += [f"| {_spelled(names)} | {kind} | {_cell(text)} |" for kind, text, names in rows]
    return "\n".join(lines) + "\n"


def page_1_3() -> str:
    """docs/udocker-1.3.md."""
    return "\n".join(_lines_1_3()) + "\n"


def _lines_1_3() -> Iterator[str]:
    yield _HEAD_1_3
    yield from ("## Commands and options", "", "| udocker 1.3 | here |", "|---|---|")
    for what, text in old("options"):
        yield f"| `{what.removeprefix('general ')}` | {_cell(of_1_3(what, text))} |"
    for section, title in (
        ("variables", "Variables of the environment"),
        ("settings", "Keys of udocker.conf"),
        ("places", "Places of files"),
    ):
        yield from ("", f"## {title}", "", "| udocker 1.3 | here |", "|---|---|")
        for what, text in old(section):
            yield f"| `{what}` | {_cell(text or setting(what))} |"


def _spelled(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
