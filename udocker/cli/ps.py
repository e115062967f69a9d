"""ps: containers as a table, or as a template says."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax
from udocker.cli.table import age, columns
from udocker.model.container import SHORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.model.container import Container
    from udocker.ops.glance import Row
    from udocker.ops.session import Session

# Options of ps for which the containers are read whole.
_OF_CONTAINERS = ("filter", "latest", "last", "json", "quiet", "size", "platform")


def _ps(context: Context, parsed: Parsed) -> int:
    import gc

    # Nothing of a list is garbage before it is printed, and to look for some takes a tenth of it.
    looks = gc.isenabled()
    gc.disable()
    try:
        return _list(context, parsed)
    finally:
        if looks:
            gc.enable()


def _list(context: Context, parsed: Parsed) -> int:
    session = context.session
    form = None
    if parsed.text("format"):
        from udocker.cli import lists

        form = lists.container_form(parsed)
    elif not any(parsed.has(key) for key in _OF_CONTAINERS):
        from udocker.ops import glance

        found = glance.rows(session)
        if session.task is not None:
            found += map(glance.row_of, _of_job(session))
        return _print_rows(context, parsed, found)
    containers = session.store.containers.sound(session.warn_of)
    if session.task is not None:
        containers += _of_job(session)
    if any(parsed.has(key) for key in ("filter", "latest", "last", "format")):
        from udocker.cli import lists

        containers = lists.containers(context, parsed, containers)
        if form is not None:
            lists.print_containers(context, parsed, containers, form)
            return 0
    if parsed.flag("json"):
        from udocker.ops.containers import listed

        context.print_json([listed(container) for container in containers])
        return 0
    if parsed.flag("quiet"):
        for container in containers:
            context.print(container.id if parsed.flag("no-trunc") else container.short_id)
        return 0
    from udocker.ops.glance import row_of

    more = [(head, [find(container) for container in containers]) for head, find in _more(parsed)]
    return _print_rows(context, parsed, [row_of(each) for each in containers], more)


def _of_job(session: Session) -> list[Container]:
    from udocker.ops import job_containers

    return job_containers.containers(session)


def _print_rows(
    context: Context,
    parsed: Parsed,
    found: Sequence[Row],
    more: Sequence[tuple[str, Sequence[str]]] = (),
) -> int:
    """``more``: columns that were asked for, their heads and what is in them."""
    from udocker.cli.old import old_containers, tell
    from udocker.ops.status import told

    heads = (head for head, _ in more)
    lines = [("CONTAINER ID", "MODE", "CREATED", "STATUS", *heads, "NAMES", "IMAGE")]
    digits = None if parsed.flag("no-trunc") else SHORT
    for number, row in enumerate(found):
        mode = (row.mode or "auto") + (" (protected)" if row.is_protected else "")
        cells = (told(row.life), *(cell[number] for _, cell in more))
        names = ",".join(row.names) or "-"
        lines.append((row.id[:digits], mode, age(row.created), *cells, names, row.image))
    left = old_containers(context)
    nothing = ("-",) * (len(more) + 1)
    lines += [(identity, "1.3", "-", *nothing, names, image) for identity, names, image in left]
    context.print(columns(lines))
    if left:
        tell(context)
    return 0


def _more(parsed: Parsed) -> list[tuple[str, Callable[[Container], str]]]:
    """Columns that are asked for: their heads, and what is in them."""
    found: list[tuple[str, Callable[[Container], str]]] = []
    if parsed.flag("size"):
        from udocker.cli.lists import written
        from udocker.cli.rows import size

        found.append(("SIZE", lambda container: size(written(container))))
    if parsed.flag("platform"):
        found.append(("PLATFORM", lambda container: str(container.config.platform)))
    return found


_PS = Syntax(
    usage="[OPTIONS]",
    summary="List the containers in the store.",
    options=(
        Option(("--all", "-a"), FLAG, "accepted: all are listed", hidden=True),
        Option(("--quiet", "-q"), FLAG, "container ids only"),
        Option(("--no-trunc",), FLAG, "whole container ids"),
        Option(
            ("--filter", "-f"),
            LIST,
            "only those: id, name, label, status, exited, ancestor, before, since, volume, mode",
            "KEY=VALUE",
        ),
        Option(("--format",), TEXT, "by a template of Go, table and one, or json", "TEMPLATE"),
        Option(("--size", "-s"), FLAG, "what each has on disk by itself"),
        Option(("--platform", "-p"), FLAG, "for which system and processor each is"),
        Option(("--latest", "-l"), FLAG, "the newest one"),
        Option(("--last", "-n"), TEXT, "the newest ones", "N"),
        Option(("--mode", "-m"), FLAG, "accepted: the mode is shown", hidden=True),
        Option(("--json",), FLAG, "as JSON"),
    ),
)
COMMANDS = (Command("ps", _PS, _ps),)
