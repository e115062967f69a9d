"""install, mkrepo, migrate: what people know of udocker 1.3."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, Option, Syntax
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _install(context: Context, parsed: Parsed) -> int:
    context.print("Nothing has to be installed: udocker comes with its engines.")
    context.print("udocker doctor tells which modes work here.")
    return 0


def _mkrepo(context: Context, parsed: Parsed) -> int:
    from udocker.files import store_errors

    path = os.path.abspath(os.path.expanduser(parsed.words[0]))
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageError(f"mkrepo: {path} is not a directory")
    with store_errors("making the store"):
        for name in ("blobs", "images", "trees", "containers", "names", "tmp"):
            os.makedirs(f"{path}/{name}", exist_ok=True)
    context.print(f"udocker --repo={path} … uses it")
    return 0


def old_containers(context: Context) -> list[tuple[str, str, str]]:
    """Id, names and image of containers of 1.3 in this store that are still to be migrated."""
    top = context.session.store.topdir
    if not os.path.isdir(f"{top}/repos"):  # nothing has to be loaded to know that
        return []
    from udocker.ops import old_store
    from udocker.ops.migrate import known

    here = known(context.session)
    return [
        (each.id[:12], ",".join(each.names) or "-", each.image)
        for each in old_store.containers(top)
        if each.id not in here
    ]


def old_images(context: Context) -> list[str]:
    """Names of images of 1.3 in this store that are still to be migrated."""
    top = context.session.store.topdir
    if not os.path.isdir(f"{top}/repos"):  # nothing has to be loaded to know that
        return []
    from udocker.ops import old_store
    from udocker.ops.migrate import is_here

    return [each.name for each in old_store.images(top) if not is_here(context.session, each)]


def tell(context: Context) -> None:
    """What makes them usable."""
    context.session.report.warn("what udocker 1.3 left is used after: udocker migrate")


def _migrate(context: Context, parsed: Parsed) -> int:
    from udocker.ops.migrate import migrate

    session = context.session
    source = parsed.words[0] if parsed.words else session.store.topdir
    dry = parsed.flag("dry-run")
    if parsed.words and not os.path.isdir(os.path.expanduser(source)):
        raise UsageError(f"{source} is not a directory", hint="udocker migrate ~/.udocker")
    done = migrate(session, os.path.abspath(os.path.expanduser(source)), dry)
    verb = "Would migrate" if dry else "Migrated"
    for each in done.moved:
        context.print(f"{verb}: {each}")
    for each in done.kept:
        context.print(f"Here already: {each}")
    for each in done.failed:
        context.print(f"Not migrated: {each}")
    if not (done.moved or done.kept or done.failed):
        context.print(f"There is nothing of udocker 1.3 in {source}")
    return 1 if done.failed else 0


_INSTALL = Syntax(
    usage="[OPTIONS]",
    summary="Accepted, as in udocker 1.3: nothing has to be installed.",
    options=(
        Option(("--force",), FLAG, "accepted"),
        Option(("--purge",), FLAG, "accepted"),
    ),
)
_MKREPO = Syntax("DIR", "Make an empty store.", at_least=1, at_most=1)
_MIGRATE = Syntax(
    usage="[OPTIONS] [DIR]",
    summary="Take over the images and containers of a store of udocker 1.3.",
    options=(Option(("--dry-run", "-n"), FLAG, "only say what would be taken over"),),
    at_most=1,
    details=(
        "DIR is what UDOCKER_DIR was, else this store's own directory. Nothing in it is changed:\n"
        "images are copied to this store, with their digests where 1.3 kept them, and containers\n"
        "with all files, their names, modes and protection. What is here already is passed over.\n"
        "rm -r DIR/repos DIR/layers DIR/bin DIR/lib then frees the room."
    ),
)
COMMANDS = (
    Command("install", _INSTALL, _install),
    Command("migrate", _MIGRATE, _migrate),
    Command("mkrepo", _MKREPO, _mkrepo),
)
