"""image prune, container prune, system prune."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, LIST, Option, Syntax
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _containers(context: Context, parsed: Parsed) -> int:
    from udocker.ops.pruning import prune_containers

    oldest = _until(parsed.list("filter"))
    for name in prune_containers(context.session, oldest, _labels(parsed)):
        context.print(f"Removed: container {name}")
    return 0


def _images(context: Context, parsed: Parsed) -> int:
    from udocker.ops.pruning import prune_images

    if not parsed.flag("all"):
        context.session.report.warn("all images have names here: --all removes those unused")
        return 0
    oldest = _until(parsed.list("filter"))
    for line in prune_images(context.session, oldest, _labels(parsed)):
        context.print(line)
    return 0


def _system(context: Context, parsed: Parsed) -> int:
    """As prune, after containers that do not run and, with --all, images without containers."""
    from udocker.cli import commands
    from udocker.cli.parser import Parsed as Given
    from udocker.ops.pruning import prune_containers, prune_images
    from udocker.ops.volumes import prune as prune_volumes

    oldest, labels = _until(parsed.list("filter")), _labels(parsed)
    for name in prune_containers(context.session, oldest, labels):
        context.print(f"Removed: container {name}")
    if parsed.flag("volumes"):
        for name in prune_volumes(context.session):
            context.print(f"Removed: volume {name}")
    if parsed.flag("all"):
        for line in prune_images(context.session, oldest, labels):
            context.print(line)
    return commands.find("prune").run(context, Given({}, ()))


def _until(given: Sequence[str]) -> str:
    """The moment of ``--filter until=``, ISO 8601; "": none is given. Raises UsageError."""
    import datetime

    found = ""
    for text in given:
        key, _, word = text.partition("=")
        if key == "label":
            continue
        if key != "until" or not word:
            raise UsageError(f"--filter {text!r}: not known here", hint="until=24h, label=KEY")
        utc = datetime.timezone.utc
        try:
            if word[-1] in _UNITS and word[:-1].isdigit():
                ago = datetime.timedelta(seconds=int(word[:-1]) * _UNITS[word[-1]])
                moment = datetime.datetime.now(utc) - ago
            elif word.isdigit():
                moment = datetime.datetime.fromtimestamp(int(word), utc)
            else:
                moment = datetime.datetime.fromisoformat(word.replace("Z", "+00:00"))
                moment = moment if moment.tzinfo else moment.astimezone()
        except (ValueError, OverflowError, OSError) as error:
            raise UsageError(
                f"--filter {text!r}: not a time", hint="until=24h, until=2026-01-31T12:00:00"
            ) from error
        found = moment.astimezone(utc).isoformat()
    return found


def _labels(parsed: Parsed) -> list[str]:
    return [text[6:] for text in parsed.list("filter") if text.startswith("label=")]


_FILTER = Option(("--filter",), LIST, "until=24h: made before that; label=KEY[=VALUE]", "TEST")
_FORCE = Option(("--force", "-f"), FLAG, "accepted: nothing is asked", hidden=True)
_ALL = Option(("--all", "-a"), FLAG, "images that no container needs")
_CONTAINERS = Syntax("[OPTIONS]", "Remove all containers in which nothing runs.", (_FILTER, _FORCE))
_IMAGES = Syntax("[OPTIONS]", "Remove images that no container needs.", (_ALL, _FILTER, _FORCE))
_SYSTEM = Syntax(
    usage="[OPTIONS]",
    summary="Remove containers in which nothing runs, and what nothing needs.",
    options=(
        _ALL,
        Option(("--volumes",), FLAG, "also volumes that no container has"),
        _FILTER,
        _FORCE,
    ),
    details="What prune removes goes as well. What is protected stays.",
)
COMMANDS = (
    Command("container prune", _CONTAINERS, _containers),
    Command("image prune", _IMAGES, _images),
    Command("system prune", _SYSTEM, _system),
)
