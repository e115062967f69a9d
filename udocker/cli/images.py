"""pull, images, tag, import, rmi."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.parser import FLAG, LIST, TEXT, Option, Syntax
from udocker.cli.table import age, columns, megabytes
from udocker.model.oci import Platform
from udocker.model.place import Place
from udocker.model.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed
    from udocker.ops.images import ListedImage
    from udocker.ops.session import Session

PLATFORM = Option(("--platform",), TEXT, "os/arch[/variant] to take", "PLATFORM")
REGISTRY = Option(("--registry",), TEXT, "the registry of a name that gives none", "HOST")
PLACES = (
    "IMAGE may lie in a file, as skopeo and podman spell it: docker-archive:FILE[:NAME],\n"
    "oci-archive:FILE[:NAME], oci:DIR[:NAME]. It is then in the store by the name that the file\n"
    "gives it, or else as localhost/FILE:latest. Of several NAME says which, or :@0, :@1 and so on."
)

PROXY = Option(("--httpproxy",), TEXT, "the proxy to take, http:// or socks5h:// and such", "URL")

INDEX = Option(("--index",), TEXT, "accepted: images come from registries", "URL", hidden=True)

JOBS = Option(("--jobs",), TEXT, "connections for layers at once, 1 to 32 (default: 6)", "N")


def reference(session: Session, text: str, parsed: Parsed) -> Reference:
    """The reference ``text``, in the registry that --registry or the settings name."""
    given = parsed.text("registry")
    if given is not None:
        given = given.partition("://")[2] or given
    return Reference.parse(text, given or session.config.registry)


def platform(parsed: Parsed) -> Platform | None:
    """What --platform says."""
    text = parsed.text("platform")
    return None if text is None else Platform.parse(text)


def _pull(context: Context, parsed: Parsed) -> int:
    from udocker.ops.pull import pull

    session = context.session
    place = Place.parse(parsed.words[0])
    if place is None:
        pull(session, reference(session, parsed.words[0], parsed), platform(parsed), whole=True)
    else:
        from udocker.ops.load import load_one

        context.print(load_one(session, place, platform(parsed)).spelled)
    return 0


def _images(context: Context, parsed: Parsed) -> int:
    from udocker.ops.images import list_images

    form = None
    if parsed.text("format"):
        from udocker.cli import lists

        form = lists.image_form(parsed)
    listed = list_images(context.session)
    if parsed.words or parsed.has("filter") or form is not None:
        from udocker.cli import lists

        listed = lists.images(context, parsed, listed)
        if form is not None:
            lists.print_images(context, parsed, listed, form)
            return 0
    if parsed.flag("json"):
        context.print_json([image.as_json() for image in listed])
        return 0
    if parsed.flag("quiet"):
        for image in listed:
            whole = parsed.flag("no-trunc")
            context.print(str(image.record.config) if whole else image.record.config.short)
        return 0
    _print_images(context, parsed, listed)
    return 0


def _print_images(context: Context, parsed: Parsed, listed: Sequence[ListedImage]) -> None:
    from udocker.cli.old import old_images, tell
    from udocker.ops.protect import is_image_protected

    digests = parsed.flag("digests")
    rows = [("REPOSITORY:TAG", *["DIGEST"] * digests, "IMAGE ID", "PULLED", "SIZE", "PLATFORM")]
    for image in listed:
        record = image.record
        shown = record.config.hex if parsed.flag("no-trunc") else record.config.short
        is_kept = is_image_protected(context.session, record)
        name = f"{image.name} (protected)" if is_kept else image.name
        digest = [str(record.index or record.manifest)] * digests
        size = megabytes(image.size)
        rows.append((name, *digest, shown, age(record.created), size, record.platform))
    left = [] if parsed.words or parsed.has("filter") else old_images(context)
    rows += [(name, *["-"] * digests, "1.3", "-", "-", "-") for name in left]
    context.print(columns(rows))
    if left:
        tell(context)
    if parsed.flag("long"):
        context.print(_layers(context, listed))


def _layers(context: Context, listed: Sequence[ListedImage]) -> str:
    """Of each image its tree and its layers, as udocker 1.3 has it."""
    from udocker.ops.images import layers_of

    lines = []
    for image in listed:
        tree = context.session.store.trees.root(image.record.chain_id)
        lines += ["", image.name, f"  {tree}"]
        lines += [
            f"  {layer.digest} ({megabytes(layer.size)})"
            for layer in layers_of(context.session, image.record)
        ]
    return "\n".join(lines)


def _tag(context: Context, parsed: Parsed) -> int:
    from udocker.ops.tag import tag

    tag(context.session, parsed.words[0], parsed.words[1])
    return 0


def _import(context: Context, parsed: Parsed) -> int:
    from udocker.errors import UsageError
    from udocker.ops.commit import Note
    from udocker.ops.importing import import_clone, import_container, import_image

    session, name = context.session, parsed.text("name")
    source, image = (*parsed.words, "")[:2]
    _check_moves(parsed, source)
    is_clone, is_container = parsed.flag("clone"), parsed.flag("tocontainer")
    changes, message = parsed.list("change"), parsed.text("message")
    if is_clone or is_container:
        if changes or message is not None or parsed.text("platform") or (is_clone and image):
            raise UsageError(
                "import: an image's name, --change, --message and --platform are for images",
                hint="udocker import --clone [--name=NAME] FILE",
            )
        made = (
            import_clone(session, source, name)
            if is_clone
            else import_container(session, source, image or "imported", name)
        )
        context.print(made.id)
        _moved(parsed, source)
        return 0
    if name is not None or not image:
        raise UsageError(
            "import: --name is for containers" if image else "import: an argument is missing",
            hint=f"usage: udocker import {_IMPORT.usage}",
        )
    note = Note(f"imported from {source}" if message is None else message)
    record = import_image(
        session, source, image, changes=changes, note=note, platform=platform(parsed)
    )
    context.print(str(record.config))
    _moved(parsed, source)
    return 0


def _check_moves(parsed: Parsed, source: str) -> None:
    from udocker.errors import UsageError

    if parsed.flag("mv") and source == "-":
        raise UsageError("import: --mv and standard input at once", hint="give a file")


def _moved(parsed: Parsed, source: str) -> None:
    """What --mv says: the archive goes once its image is here."""
    if parsed.flag("mv"):
        import os

        os.unlink(source)


def _rmi(context: Context, parsed: Parsed) -> int:
    from udocker.ops.images import remove_image

    for text in parsed.words:
        for line in remove_image(context.session, text, force=parsed.flag("force")):
            context.print(line)
    return 0


_PULL = Syntax(
    usage="[OPTIONS] IMAGE",
    summary="Fetch an image from its registry and unpack it.",
    options=(
        PLATFORM,
        REGISTRY,
        PROXY,
        JOBS,
        INDEX,
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    ),
    at_least=1,
    at_most=1,
    details=PLACES,
)
_IMAGES = Syntax(
    usage="[OPTIONS] [NAME]",
    summary="List the images in the store.",
    at_most=1,
    options=(
        Option(("--quiet", "-q"), FLAG, "image ids only"),
        Option(("--no-trunc",), FLAG, "whole image ids"),
        Option(("--digests",), FLAG, "also what the registry calls each"),
        Option(
            ("--filter", "-f"), LIST, "only those: reference, label, before, since", "KEY=VALUE"
        ),
        Option(("--format",), TEXT, "by a template of Go, table and one, or json", "TEMPLATE"),
        Option(("--long", "-l"), FLAG, "also the layers of each, and where its files are"),
        Option(("--all", "-a"), FLAG, "accepted: all are listed", hidden=True),
        Option(("--platform", "-p"), FLAG, "accepted: it is shown", hidden=True),
        Option(("--json",), FLAG, "as JSON"),
    ),
)
_TAG = Syntax(
    usage="IMAGE NAME[:TAG]",
    summary="Give an image another name. Nothing is copied.",
    at_least=2,
    at_most=2,
    details="IMAGE is a name or the beginning of an image id. What NAME meant before is replaced.",
)
_IMPORT = Syntax(
    usage="[OPTIONS] FILE|- IMAGE[:TAG]",
    summary="Make an image, or a container, of a tar archive of files and print its id.",
    options=(
        Option(("--change", "-c"), LIST, "a Dockerfile instruction, as for commit", "INSTRUCTION"),
        Option(("--message", "-m"), TEXT, "what to say of it in the image's history", "TEXT"),
        PLATFORM,
        Option(("--tocontainer",), FLAG, "make a container and no image"),
        Option(("--clone",), FLAG, "make the container of export --clone once more"),
        Option(("--name",), TEXT, "give the container a name", "NAME"),
        Option(("--mv",), FLAG, "remove the archive when all of it is here"),
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    ),
    at_least=1,
    at_most=2,
    details=(
        "The archive may be compressed by gzip or zstd; - is stdin. Nothing in it can reach out\n"
        "of the new tree. With --clone image, configuration and mode are those of the container\n"
        "that was exported, here or by udocker 1.3; a name is given anew."
    ),
)
_RMI = Syntax(
    usage="[OPTIONS] IMAGE…",
    summary="Remove images, and what only they needed. Containers made from them stay whole.",
    options=(Option(("--force", "-f"), FLAG, "no error if an image is not there"),),
    at_least=1,
    at_most=None,
)
COMMANDS = (
    Command("pull", _PULL, _pull),
    Command("images", _IMAGES, _images),
    Command("tag", _TAG, _tag),
    Command("import", _IMPORT, _import),
    Command("rmi", _RMI, _rmi),
)
