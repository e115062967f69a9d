"""oci, bundle."""

from __future__ import annotations

import os

from udocker.cli.commands import Command
from udocker.cli.images import PLACES, PLATFORM, REGISTRY, platform, reference
from udocker.cli.parser import FLAG, TEXT, Option, Syntax
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _bundle(context: Context, parsed: Parsed) -> int:
    from udocker.model.place import Place
    from udocker.ops.bundle import make
    from udocker.ops.create import in_file

    session, (text, directory, *command) = context.session, parsed.words
    place, pull = Place.parse(text), parsed.text("pull") or "missing"
    if place is None:
        image = reference(session, text, parsed)
    else:
        image, pull = in_file(session, place, pull, platform(parsed))
    path = os.path.normpath(os.path.join(session.cwd, directory))
    make(session, image, path, command=tuple(command), pull=pull, platform=platform(parsed))
    return 0


def _directory(context: Context, parsed: Parsed) -> str:
    given = parsed.text("bundle") or "."
    return os.path.realpath(os.path.join(context.session.cwd, given))


def _pid_file(context: Context, parsed: Parsed) -> str:
    given = parsed.text("pid-file")
    return os.path.join(context.session.cwd, given) if given else ""


def _run(context: Context, parsed: Parsed, identity: str) -> int:
    from udocker.ops import oci

    where = _directory(context, parsed), _pid_file(context, parsed)
    return oci.run(context.session, identity, *where)


def _create(context: Context, parsed: Parsed, identity: str) -> int:
    from udocker.ops import oci

    oci.create(context.session, identity, _directory(context, parsed), _pid_file(context, parsed))
    return 0


def _start(context: Context, parsed: Parsed, identity: str) -> int:
    from udocker.ops import oci

    oci.start(identity)
    return 0


def _state(context: Context, parsed: Parsed, identity: str) -> int:
    from udocker.ops import oci

    context.print_json(oci.state(identity))
    return 0


def _kill(context: Context, parsed: Parsed, identity: str) -> int:
    from udocker.model.signals import number
    from udocker.ops import oci

    name = parsed.words[2] if len(parsed.words) > 2 else "TERM"
    oci.kill(identity, number(name), parsed.flag("all"))
    return 0


def _delete(context: Context, parsed: Parsed, identity: str) -> int:
    from udocker.ops import oci

    oci.delete(identity, parsed.flag("force"))
    return 0


def _image(parsed: Parsed) -> int:
    from udocker.ops import oci

    if len(parsed.words) < 3:
        raise UsageError("oci image: a word is missing", hint="oci image FILE IMAGE -- COMMAND…")
    _, variables, image, *command = parsed.words
    oci.run_image(variables, image, command)


def _oci(context: Context, parsed: Parsed) -> int:
    if parsed.words[0] == "image":
        return _image(parsed)
    actions: dict[str, Callable[[Context, Parsed, str], int]] = {
        "run": _run,
        "create": _create,
        "start": _start,
        "state": _state,
        "kill": _kill,
        "delete": _delete,
    }
    action, identity, *more = parsed.words
    if action not in actions:
        raise UsageError(f"oci: there is no {action!r}", hint=f"one of {', '.join(actions)}, image")
    if len(more) > (action == "kill"):
        raise UsageError(
            f"oci {action}: one word too many: {more[-1]!r}", hint="udocker oci --help"
        )
    return actions[action](context, parsed, identity)


_OCI = Syntax(
    usage="run|create|start|state|kill|delete [OPTIONS] ID [SIGNAL], or: image FILE IMAGE …",
    summary="Run OCI bundles as an OCI runtime does: for Slurm's --container, and others.",
    options=(
        Option(("--bundle", "-b"), TEXT, "run, create: the bundle (default: here)", "DIR"),
        Option(("--pid-file",), TEXT, "run, create: where to write the process id", "FILE"),
        Option(("--all", "-a"), FLAG, "kill: the whole process group"),
        Option(("--force", "-f"), FLAG, "delete: also what runs, or is not known"),
    ),
    at_least=2,
    at_most=None,
    details=(
        "run becomes the command; create makes a process that start lets go on. state of an id\n"
        "that is not known says that it has stopped. Control groups, capabilities and namespaces\n"
        "of a bundle have no effect. The command is run in the mode of the settings.\n"
        "image FILE IMAGE -- [COMMAND…] is udocker run with the environment of a file, in which\n"
        "each variable ends with NUL: for Slurm, see docs/slurm/admins.md."
    ),
)
_BUNDLE = Syntax(
    usage="[OPTIONS] IMAGE DIR [COMMAND [ARG…]]",
    summary="Make an OCI bundle of an image: a directory with its files and a config.json.",
    options=(
        Option(
            ("--pull",),
            TEXT,
            "fetch the image: always, when it is missing (default), or never",
            "WHEN",
            ("always", "missing", "never"),
        ),
        PLATFORM,
        REGISTRY,
    ),
    at_least=2,
    at_most=None,
    passes_on=True,
    details=f"udocker oci run, runc, crun and Slurm's --container run it.\n{PLACES}",
)
COMMANDS = (Command("oci", _OCI, _oci, is_runtime=True), Command("bundle", _BUNDLE, _bundle))
