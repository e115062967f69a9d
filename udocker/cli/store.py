"""prune."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, Option, Syntax
from udocker.cli.table import megabytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _prune(context: Context, parsed: Parsed) -> int:
    from udocker.ops.prune import prune

    pruned = prune(context.session, dry=parsed.flag("dry-run"))
    if parsed.flag("json"):
        context.print_json(pruned.as_json())
        return 0
    verb = "Would remove" if pruned.dry else "Removed"
    for each in pruned.removed:
        context.print(f"{verb}: {each.kind} {each.name} ({megabytes(each.bytes)})")
    verb = "Would free" if pruned.dry else "Freed"
    context.print(f"{verb}: {megabytes(pruned.bytes)} ({pruned.bytes} bytes)")
    return 0


_PRUNE = Syntax(
    usage="[OPTIONS]",
    summary="Remove from the store what nothing needs.",
    options=(
        Option(("--dry-run", "-n"), FLAG, "only say what would be removed"),
        Option(("--json",), FLAG, "as JSON"),
        Option(("--force", "-f"), FLAG, "accepted: nothing is asked", hidden=True),
    ),
    details=(
        "What killed processes left; blobs, trees and patched copies that no image and no\n"
        "container needs; names and locks of what is gone. Images and containers stay (rmi, rm),\n"
        "and so does what may be in use on this or on another host."
    ),
)
COMMANDS = (Command("prune", _PRUNE, _prune),)
