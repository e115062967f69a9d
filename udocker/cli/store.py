"""df, prune, fsck, verify."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, Option, Syntax
from udocker.cli.table import columns, megabytes
from udocker.wording import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.ops.df import Space
    from udocker.ops.fsck import Checked
    from udocker.store.usage import Usage

_DAMAGED = 1


def _df(context: Context, parsed: Parsed) -> int:
    from udocker.ops.df import space

    found = space(context.session)
    if parsed.flag("json"):
        context.print_json(found.as_json())
        return 0
    rows = [("KIND", "COUNT", "SIZE", "INODES", "BYTES")]
    rows += [(kind.name, str(kind.count or "-"), *_sizes(kind.used)) for kind in found.kinds]
    rows += [("total", "", *_sizes(found.total)), ("free", "", *_sizes(found.free))]
    if found.limit:
        rows.append(("limit", "", megabytes(found.limit), "-", str(found.limit)))
    context.print(columns(rows))
    if found.unread:
        unread = counted(found.unread, "directories")
        context.print(f"not counted: what is in {unread} that may not be read")
    if parsed.flag("verbose"):
        context.print()
        context.print(columns(_each(found)))
    return 0


def _each(found: Space) -> list[tuple[str, str, str, str]]:
    rows = [("IMAGE OR CONTAINER", "SIZE", "OWN", "INODES")]
    for each in (*found.images, *found.containers):
        own = "-" if each.own is None else megabytes(each.own.bytes)
        rows.append((each.name, megabytes(each.used.bytes), own, str(each.used.entries)))
    return rows


def _sizes(usage: Usage) -> tuple[str, str, str]:
    return megabytes(usage.bytes), str(usage.entries), str(usage.bytes)


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
    context.print(f"{verb}: {megabytes(pruned.bytes)} ({counted(pruned.bytes, 'bytes')})")
    return 0


def _fsck(context: Context, parsed: Parsed) -> int:
    from udocker.ops.fsck import check

    return _tell(
        context, parsed, check(context.session, parsed.flag("repair"), parsed.flag("quick"))
    )


def _verify(context: Context, parsed: Parsed) -> int:
    from udocker.ops.fsck import verify

    return _tell(context, parsed, verify(context.session, parsed.words[0]))


def _tell(context: Context, parsed: Parsed, checked: Checked) -> int:
    if parsed.flag("json"):
        context.print_json(checked.as_json())
        return _DAMAGED if checked.left else 0
    for problem in checked.problems:
        context.print(f"{problem.kind} {problem.name}: {problem.text}")
        context.print(f"  {'repaired' if problem.cured else 'cure'}: {problem.cure}")
    counts = ", ".join(counted(count, kind) for kind, count in checked.counts)
    left = counted(checked.left, "problems") if checked.left else "nothing is wrong"
    context.print(f"Checked {counts}: {left}")
    return _DAMAGED if checked.left else 0


_DF = Syntax(
    usage="[OPTIONS]",
    summary="Show what the store takes on disk, and for what.",
    options=(
        Option(("--verbose", "-v"), FLAG, "also each image and container"),
        Option(("--json",), FLAG, "as JSON"),
    ),
    details=(
        "Blocks on disk, as du(1) counts them, and inodes. What is hard linked counts once, and\n"
        "so does what several images have in common: OWN is what only that image has. Blocks that\n"
        "copies share with the image (reflinks) count for both. Free is what you may still take.\n"
        "udocker prune --dry-run says what of it nothing needs."
    ),
)
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
_FSCK = Syntax(
    usage="[OPTIONS]",
    summary="Check everything in the store, and put right what can be.",
    options=(
        Option(("--repair",), FLAG, "put right what can be"),
        Option(("--quick",), FLAG, "do not read the contents of layers and trees"),
        Option(("--json",), FLAG, "as JSON"),
    ),
    details=(
        "Blobs are compared with their digests, images with their documents, trees with what\n"
        "their layers unpack to (where these are in the store), containers with what they need.\n"
        "Repairing removes damaged blobs, unpacks trees again, and forgets images that cannot be\n"
        "made whole: pull brings them back. No container is removed.\n\n"
        "Exit status: 0 nothing is wrong, or all of it was repaired; 1 something is wrong;\n"
        "125 udocker failed, 2 the command line is wrong."
    ),
)
_VERIFY = Syntax(
    usage="[OPTIONS] IMAGE",
    summary="Check all that an image is made of, by its digests.",
    options=(Option(("--json",), FLAG, "as JSON"),),
    details=(
        "Reads each blob, and unpacks the layers once more to compare the image's files.\n"
        "Ends with 1 when something is wrong; fsck --repair puts right what can be."
    ),
    at_least=1,
    at_most=1,
)
COMMANDS = (
    Command("df", _DF, _df),
    Command("prune", _PRUNE, _prune),
    Command("fsck", _FSCK, _fsck),
    Command("verify", _VERIFY, _verify),
)
