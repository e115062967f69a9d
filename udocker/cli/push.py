"""push, manifest."""

from __future__ import annotations

import sys

from udocker.cli.commands import Command
from udocker.cli.images import PLATFORM, PROXY, REGISTRY, platform, reference
from udocker.cli.parser import FLAG, Option, Syntax
from udocker.errors import BadReplyError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _push(context: Context, parsed: Parsed) -> int:
    from udocker.ops.push import push

    registry = parsed.text("registry")
    if registry is not None:
        registry = registry.partition("://")[2] or registry
    text, destination = (*parsed.words, None)[:2]
    receipt = push(context.session, str(text), destination, registry)
    context.print(f"{receipt.tag}: digest: {receipt.digest} size: {receipt.size}")
    return 0


def _manifest(context: Context, parsed: Parsed) -> int:
    from udocker.ops.registries import open_registry

    word, *rest = parsed.words
    if word != "inspect":
        raise UsageError(
            f"manifest: unknown word {word!r}", hint=f"usage: udocker manifest {_MANIFEST.usage}"
        )
    if not rest:
        raise UsageError(
            "manifest inspect: an argument is missing",
            hint=f"usage: udocker manifest {_MANIFEST.usage}",
        )
    session = context.session
    wanted = reference(session, rest[0], parsed)
    raw = open_registry(session).document(wanted, platform(parsed))
    if parsed.flag("raw"):
        sys.stdout.flush()
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
    else:
        context.print(_indented(raw, str(wanted)))
    return 0


def _indented(raw: bytes, what: str) -> str:
    """The same JSON, its keys in their order."""
    import json

    try:
        return json.dumps(json.loads(raw), indent=2)
    except (ValueError, RecursionError) as error:
        raise BadReplyError(f"{what} is not JSON", hint="--raw prints it as it is") from error


_PUSH = Syntax(
    usage="[OPTIONS] IMAGE [NAME[:TAG]]",
    summary="Send an image of the store to a registry, and print the digest it has there.",
    options=(
        REGISTRY,
        PROXY,
        Option(("--quiet", "-q"), FLAG, "no progress and no notes"),
    ),
    at_least=1,
    at_most=2,
    details=(
        "IMAGE is a name or the beginning of an image id; NAME says where it goes, else its own\n"
        "name does. Layers go as they came, so digests stay what they are. What the registry has\n"
        "already, also below another name that the store knows, is not sent, and what was cut off\n"
        "goes on. The tag changes when all the rest is there. Where a registry wants to know who\n"
        "pushes, udocker login comes first. A push goes to the registry itself, never to a mirror."
    ),
)
_MANIFEST = Syntax(
    usage="inspect [OPTIONS] IMAGE",
    summary="Show the manifest, or the index, that a registry has. Nothing is stored.",
    options=(
        Option(("--raw",), FLAG, "the bytes as they are: their SHA-256 is the digest"),
        PLATFORM,
        REGISTRY,
        PROXY,
    ),
    at_least=1,
    at_most=2,
    details="Of an index all of it is shown, or with --platform the manifest for that platform.",
)
COMMANDS = (Command("push", _PUSH, _push), Command("manifest", _MANIFEST, _manifest))
