"""volume create, inspect, ls, prune, rm."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax
from udocker.cli.table import columns
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.cli.rows import Row
    from udocker.store.volumes import StoredVolume

_HEADERS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Mountpoint": "MOUNTPOINT",
    "CreatedAt": "CREATED",
    "Labels": "LABELS",
    "Scope": "SCOPE",
    "Size": "SIZE",
    "Links": "LINKS",
    "Availability": "AVAILABILITY",
    "Group": "GROUP",
    "Status": "STATUS",
}


def _create(context: Context, parsed: Parsed) -> int:
    from udocker.cli.run_more import labels
    from udocker.files import unique_name
    from udocker.spec.mounts import is_volume_name

    if (parsed.text("driver") or "local") != "local" or parsed.list("opt"):
        raise UsageError("volume create: a volume is a directory of the store, without options")
    given = parsed.text("name")
    if given is not None and parsed.words:
        raise UsageError("volume create: two names", hint="give one of them")
    name = parsed.words[0] if parsed.words else given or unique_name()
    if not is_volume_name(name):
        raise UsageError(
            f"not a volume's name: {name!r}", hint="letters, digits, and then also _ . -"
        )
    context.print(context.session.store.volumes.create(name, labels(parsed)).name)
    return 0


def _ls(context: Context, parsed: Parsed) -> int:
    from udocker.cli.rows import Form, filtered

    text = parsed.text("format")
    form = Form(text, _HEADERS) if text else None
    listed = [_row(volume) for volume in context.session.store.volumes.all()]
    tests = {
        "name": lambda row, word: word in str(row["Name"]),
        "driver": lambda row, word: word == "local",
        "label": _has_label,
        "dangling": lambda row, word: _is_dangling(context, row) == (word in ("true", "1")),
    }
    rows = filtered(listed, parsed.list("filter"), tests)
    if parsed.flag("quiet"):
        for row in rows:
            context.print(str(row["Name"]))
    elif form is not None:
        form.print(context, rows)
    else:
        cells = [(str(row["Driver"]), str(row["Name"])) for row in rows]
        context.print(columns([("DRIVER", "VOLUME NAME"), *cells]))
    return 0


def _row(volume: StoredVolume) -> Row:
    return {
        "Driver": "local",
        "Name": volume.name,
        "Mountpoint": volume.path,
        "CreatedAt": volume.created,
        "Labels": ",".join(f"{key}={text}" for key, text in volume.labels),
        "Scope": "local",
        "Size": "N/A",
        "Links": "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    }


def _has_label(row: Row, word: str) -> bool:
    from udocker.cli.rows import has_label

    pairs = (each.partition("=") for each in str(row["Labels"]).split(",") if each)
    return has_label({key: text for key, _, text in pairs}, word)


def _is_dangling(context: Context, row: Row) -> bool:
    from udocker.ops.volumes import users

    return not users(context.session, str(row["Name"]))


def _inspect(context: Context, parsed: Parsed) -> int:
    from udocker.cli.rows import Form

    text = parsed.text("format")
    form = Form(text) if text else None
    found: list[Row] = []
    for name in parsed.words:
        volume = context.session.store.volumes.get(name)
        found.append(
            {
                "CreatedAt": volume.created,
                "Driver": "local",
                "Labels": dict(volume.labels),
                "Mountpoint": volume.path,
                "Name": volume.name,
                "Options": None,
                "Scope": "local",
            }
        )
    if form is not None:
        form.print(context, found)
    else:
        context.print_json(found)
    return 0


def _rm(context: Context, parsed: Parsed) -> int:
    from udocker.ops.volumes import remove
    from udocker.store.volumes import VolumeNotFound

    for name in parsed.words:
        try:
            remove(context.session, name)
        except VolumeNotFound:
            if not parsed.flag("force"):
                raise
        else:
            context.print(name)
    return 0


def _prune(context: Context, parsed: Parsed) -> int:
    from udocker.ops.volumes import prune

    if not parsed.flag("all"):
        context.session.report.warn("all volumes have names here: --all removes those unused")
        return 0
    for name in prune(context.session):
        context.print(f"Removed: volume {name}")
    return 0


_LABELS = (
    Option(("--label",), LIST, "write something on the volume", "KEY=VALUE"),
    Option(("--label-file",), LIST, "labels from a file", "FILE", hidden=True),
)
_FORMAT = Option(("--format", "-f"), TEXT, "by a template of Go, or json", "TEMPLATE")
_CREATE = Syntax(
    usage="[OPTIONS] [NAME]",
    summary="Make a volume, a directory that outlives containers, and print its name.",
    options=(
        *_LABELS,
        Option(("--driver", "-d"), TEXT, "accepted: local", "NAME", hidden=True),
        Option(("--opt", "-o"), LIST, "refused", "OPTION", hidden=True),
        Option(("--name",), TEXT, "the same as NAME", "NAME", hidden=True),
    ),
    at_most=1,
    details="run -v NAME:/path makes one as well, with what the image has at that path.",
)
_LS = Syntax(
    usage="[OPTIONS]",
    summary="List the volumes.",
    options=(
        Option(("--quiet", "-q"), FLAG, "names only"),
        Option(("--filter", "-f"), LIST, "name, label, dangling, driver", "KEY=VALUE"),
        Option(("--format",), TEXT, "by a template of Go, table and one, or json", "TEMPLATE"),
    ),
)
_INSPECT = Syntax(
    "[OPTIONS] VOLUME…", "Show volumes as JSON.", (_FORMAT,), at_least=1, at_most=None
)
_RM = Syntax(
    usage="[OPTIONS] VOLUME…",
    summary="Remove volumes that no container has, with their files.",
    options=(Option(("--force", "-f"), FLAG, "no error if one is not there"),),
    at_least=1,
    at_most=None,
)
_PRUNE = Syntax(
    usage="[OPTIONS]",
    summary="Remove the volumes that no container has.",
    options=(
        Option(("--all", "-a"), FLAG, "those with a name, and all have one"),
        Option(("--force", "-f"), FLAG, "accepted: nothing is asked", hidden=True),
    ),
)
COMMANDS = (
    Command("volume create", _CREATE, _create),
    Command("volume inspect", _INSPECT, _inspect),
    Command("volume ls", _LS, _ls),
    Command("volume prune", _PRUNE, _prune),
    Command("volume rm", _RM, _rm),
)
