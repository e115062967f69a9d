"""rm, name, rename, rmname, inspect, setup, diff, commit, export, clone."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax
from udocker.cli.table import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _rm(context: Context, parsed: Parsed) -> int:
    from udocker.errors import ContainerNotFound
    from udocker.ops.containers import remove

    for text in parsed.words:
        try:
            remove(context.session, text, force=parsed.flag("force"))
        except ContainerNotFound:
            if not parsed.flag("force"):
                raise
        else:
            context.print(text)
    return 0


def _name(context: Context, parsed: Parsed) -> int:
    containers = context.session.store.containers
    containers.add_name(containers.get(parsed.words[0]), parsed.words[1])
    return 0


def _rename(context: Context, parsed: Parsed) -> int:
    context.session.store.containers.rename(parsed.words[0], parsed.words[1])
    return 0


def _rmname(context: Context, parsed: Parsed) -> int:
    context.session.store.containers.remove_name(parsed.words[0])
    return 0


def _inspect(context: Context, parsed: Parsed) -> int:
    from udocker.cli.inspected import docker_names
    from udocker.ops.containers import describe, private_root

    text = parsed.text("format")
    if text is not None:
        from udocker.cli.rows import Form

        form = Form(text)
        found = [describe(context.session, text) for text in parsed.words]
        form.print(context, [docker_names(each) for each in found])
        return 0
    if parsed.flag("p"):
        for text in parsed.words:
            context.print(private_root(context.session, text))
        return 0
    context.print_json([describe(context.session, text) for text in parsed.words])
    return 0


def _setup(context: Context, parsed: Parsed) -> int:
    from udocker.ops.containers import setup

    if parsed.flag("purge") or parsed.flag("fixperm"):
        context.session.report.info("a run leaves nothing to be purged, and rm removes any file")
    mode, nvidia = parsed.text("execmode"), parsed.text("nvidia")
    wanted = None if nvidia is None else parsed.flag("nvidia")
    container = setup(context.session, parsed.words[0], mode, wanted)
    if mode is None and nvidia is None:
        context.print(f"execmode: {container.mode or 'auto'}")
        context.print(f"nvidiamode: {container.devices.nv}")
    return 0


def _diff(context: Context, parsed: Parsed) -> int:
    from udocker.ops.export import diff

    found = diff(context.session, parsed.words[0])
    if parsed.flag("json"):
        context.print_json([{"kind": kind, "path": path} for kind, path in found])
        return 0
    for kind, path in found:
        context.print(f"{kind} {line(path)}")
    return 0


def _commit(context: Context, parsed: Parsed) -> int:
    from udocker.ops.commit import Note, commit

    container, image = parsed.words
    note = Note(parsed.text("message") or "", parsed.text("author") or "")
    record = commit(context.session, container, image, parsed.list("change"), note)
    context.print(str(record.config))
    return 0


def _export(context: Context, parsed: Parsed) -> int:
    from udocker.errors import UsageError
    from udocker.ops.export import export

    target = parsed.text("output") or "-"
    if target == "-" and context.is_terminal:
        raise UsageError("an archive is nothing for a terminal", hint="udocker export -o FILE …")
    export(context.session, parsed.words[0], target, parsed.flag("clone"))
    return 0


def _clone(context: Context, parsed: Parsed) -> int:
    from udocker.ops.clone import clone

    context.print(clone(context.session, parsed.words[0], parsed.text("name")).id)
    return 0


def _protect(context: Context, parsed: Parsed) -> int:
    from udocker.ops.protect import protect

    protect(context.session, parsed.words[0])
    return 0


def _unprotect(context: Context, parsed: Parsed) -> int:
    from udocker.ops.protect import protect

    protect(context.session, parsed.words[0], wanted=False)
    return 0


_RM = Syntax(
    usage="[OPTIONS] CONTAINER…",
    summary="Remove containers and everything they wrote.",
    options=(Option(("--force", "-f"), FLAG, "end what runs in it; no error if one is not there"),),
    at_least=1,
    at_most=None,
)
_NAME = Syntax("CONTAINER NAME", "Give a container a name.", at_least=2, at_most=2)
_RENAME = Syntax("NAME NEWNAME", "Replace a container's name.", at_least=2, at_most=2)
_RMNAME = Syntax("NAME", "Take a name away from a container.", at_least=1, at_most=1)
_INSPECT = Syntax(
    usage="[OPTIONS] CONTAINER|IMAGE…",
    summary="Show containers or images as JSON.",
    options=(
        Option(("-p",), FLAG, "print the container's root directory, made if there is none yet"),
        Option(("--format", "-f"), TEXT, "by a template of Go, with Docker's names", "TEMPLATE"),
        Option(("--size", "-s"), FLAG, "accepted: see ps -s", hidden=True),
        Option(("--type",), TEXT, "accepted: names are looked for in both", "KIND", hidden=True),
    ),
    at_least=1,
    at_most=None,
)
_SETUP = Syntax(
    usage="[OPTIONS] CONTAINER",
    summary="Show or choose how a container is executed.",
    options=(
        Option(("--execmode",), TEXT, "the mode; udocker doctor lists them", "MODE"),
        Option(("--nvidia",), FLAG, "its runs have NVIDIA's GPUs, as by run --nv; =false: not"),
        Option(("--force",), FLAG, "accepted: all can always be changed", hidden=True),
        Option(("--purge",), FLAG, "accepted: a run leaves nothing to be purged", hidden=True),
        Option(("--fixperm",), FLAG, "accepted: rm removes what is not readable", hidden=True),
    ),
    at_least=1,
    at_most=1,
    details=(
        "Nothing is copied into the container: a run shows it the driver that this machine has\n"
        "then, and goes on without where there is none."
    ),
)
_DIFF = Syntax(
    usage="[OPTIONS] CONTAINER",
    summary="Show what a container changed of its image.",
    options=(Option(("--json",), FLAG, "as JSON"),),
    at_least=1,
    at_most=1,
    details=(
        "A path was added, C changed, D deleted. Files that are what they were are not shown, nor\n"
        "is what is in a deleted directory, nor what runs have made to mount on, if it is empty."
    ),
)
_COMMIT = Syntax(
    usage="[OPTIONS] CONTAINER IMAGE[:TAG]",
    summary="Make an image of what a container changed and print its id.",
    options=(
        Option(("--change", "-c"), LIST, "a Dockerfile instruction, see below", "INSTRUCTION"),
        Option(("--message", "-m"), TEXT, "what to say of it in the image's history", "TEXT"),
        Option(("--author", "-a"), TEXT, "who made it", "NAME"),
        Option(("--pause", "-p"), FLAG, "accepted: nothing is paused", hidden=True),
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    ),
    at_least=2,
    at_most=2,
    details=(
        "The new image has the layers of the container's image and one more: what diff shows,\n"
        "with owners, modes and links. The same changes make the same layer. Where the layers of\n"
        "the image are not in the store any more, there is one layer with all files. A container\n"
        "that runs is not paused: what it writes meanwhile may be missing. What IMAGE meant is\n"
        "replaced.\n\n"
        "--change takes CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME and WORKDIR, and may be\n"
        "given several times: --change 'ENV LANG=C.UTF-8' --change 'CMD [\"bash\", \"-l\"]'"
    ),
)
_EXPORT = Syntax(
    usage="[OPTIONS] CONTAINER",
    summary="Write a container's files as a tar archive.",
    options=(
        Option(("--output", "-o"), TEXT, "the file to write; - is stdout", "FILE"),
        Option(("--clone",), FLAG, "also what makes the container once more: import --clone"),
    ),
    at_least=1,
    at_most=1,
    details=(
        "The files that programs in the container see, volumes aside, with the owners and modes\n"
        "that the image or root in the container gave them. Sockets and devices are left out.\n"
        "A file appears when it is whole; what was there is replaced.\n\n"
        "With --clone the files are below ROOT, and beside that are the image's name and\n"
        "configuration and the container's mode."
    ),
)
_CLONE = Syntax(
    usage="[OPTIONS] CONTAINER",
    summary="Make another container with the same files and print its id.",
    options=(
        Option(("--name",), TEXT, "give the new container a name", "NAME"),
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    ),
    at_least=1,
    at_most=1,
    details=(
        "Only what the container changed of its image is copied; all of its files where it has\n"
        "its own copy of the image, by shared blocks where the filesystem can."
    ),
)
_PROTECT = Syntax(
    usage="CONTAINER|IMAGE",
    summary="Keep a container or image from being removed or changed, until unprotect.",
    at_least=1,
    at_most=1,
    details="rm, rmi, tag and setup --execmode refuse it; it can still be run and pulled.",
)
_UNPROTECT = Syntax(
    usage="CONTAINER|IMAGE", summary="Take back what protect did.", at_least=1, at_most=1
)
COMMANDS = (
    Command("protect", _PROTECT, _protect),
    Command("unprotect", _UNPROTECT, _unprotect),
    Command("rm", _RM, _rm),
    Command("name", _NAME, _name),
    Command("rename", _RENAME, _rename),
    Command("rmname", _RMNAME, _rmname),
    Command("inspect", _INSPECT, _inspect),
    Command("setup", _SETUP, _setup),
    Command("diff", _DIFF, _diff),
    Command("commit", _COMMIT, _commit),
    Command("export", _EXPORT, _export),
    Command("clone", _CLONE, _clone),
)
