"""push, manifest."""

from __future__ import annotations

import sys

from udocker.cli.commands import Command
from udocker.cli.images import INDEX, PLATFORM, PROXY, REGISTRY, platform, reference
from udocker.cli.parser import FLAG, Option, Syntax
from udocker.errors import BadReplyError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed


def _push(context: Context, parsed: Parsed) -> int:
    from udocker.ops.push import push

    text, destination = (*parsed.words, None)[:2]
    receipt = push(context.session, str(text), destination, _registry(parsed))
    context.print(f"{receipt.tag}: digest: {receipt.digest} size: {receipt.size}")
    return 0


def _manifest(context: Context, parsed: Parsed) -> int:

    word, *rest = parsed.words
    if word not in _WORDS:
        raise UsageError(
            f"manifest: unknown word {word!r}", hint=f"usage: udocker manifest {_MANIFEST.usage}"
        )
    least, most = _WORDS[word]
    if not least <= len(rest) <= most:
        what = (
            "an argument is missing" if len(rest) < least else f"unexpected argument {rest[most]!r}"
        )
        raise UsageError(
            f"manifest {word}: {what}", hint=f"usage: udocker manifest {_MANIFEST.usage}"
        )
    return (
        _inspect(context, parsed, rest[0]) if word == "inspect" else _index(context, parsed, rest)
    )


def _index(context: Context, parsed: Parsed, words: Sequence[str]) -> int:
    from udocker.ops.push import push_index

    receipt = push_index(context.session, words[0], words[1:], _registry(parsed))
    context.print(f"{receipt.tag}: digest: {receipt.digest} size: {receipt.size}")
    return 0


def _registry(parsed: Parsed) -> str | None:
    given = parsed.text("registry")
    return None if given is None else given.partition("://")[2] or given


def _inspect(context: Context, parsed: Parsed, name: str) -> int:
    from udocker.ops.registries import open_registry

    session = context.session
    wanted = reference(session, name, parsed)
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


# How many arguments each word of ``manifest`` takes.
_WORDS = {"inspect": (1, 1), "push": (2, sys.maxsize)}
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
    usage="inspect [OPTIONS] IMAGE, or: push [OPTIONS] NAME[:TAG] IMAGE...",
    summary="Show a registry's manifest or index, or push one name for several platforms.",
    options=(
        Option(("--raw",), FLAG, "the bytes as they are: their SHA-256 is the digest"),
        PLATFORM,
        REGISTRY,
        PROXY,
        INDEX,
    ),
    at_least=1,
    at_most=None,
    details=(
        "inspect shows what a registry has, and stores nothing: of an index all of it, or with\n"
        "--platform the manifest for that platform. push sends images of the store, each for\n"
        "another platform, as push does, and then an index of them that NAME means."
    ),
)
COMMANDS = (Command("push", _PUSH, _push), Command("manifest", _MANIFEST, _manifest))
