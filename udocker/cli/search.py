"""search."""

from __future__ import annotations

from udocker.cli.commands import Command
from udocker.cli.images import PROXY, REGISTRY, reference
from udocker.cli.parser import FLAG, TEXT, Option, Syntax
from udocker.cli.table import columns, line
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed

_DEFAULT_LIMIT = 25
_MAX_LIMIT = 1000
_DESCRIPTION = 70  # characters


def _search(context: Context, parsed: Parsed) -> int:
    word = parsed.words[0]
    if parsed.flag("list-tags"):
        return _tags(context, parsed, word)
    from udocker.ops.search import search

    session = context.session
    registry = parsed.text("registry") or session.config.registry
    registry = registry.rpartition("://")[2].rstrip("/")
    found = search(
        session, word, _limit(parsed), registry, parsed.text("index") or session.config.index
    )
    if parsed.flag("json"):
        keys = ("name", "description", "stars", "official")
        context.print_json([{key: getattr(each, key) for key in keys} for each in found])
        return 0
    rows = [("NAME", "OFFICIAL", "STARS", "DESCRIPTION")]
    for each in found:
        told = line(each.description)
        if len(told) > _DESCRIPTION and not parsed.flag("no-trunc"):
            told = told[: _DESCRIPTION - 1] + "…"
        rows.append((line(each.name), "[OK]" if each.official else "", str(each.stars), told))
    context.print(columns(rows))
    return 0


def _tags(context: Context, parsed: Parsed, word: str) -> int:
    from udocker.ops.search import list_tags

    tags = list_tags(context.session, reference(context.session, word, parsed))
    if parsed.flag("json"):
        context.print_json(tags)
    else:
        for tag in tags:
            context.print(tag)
    return 0


def _limit(parsed: Parsed) -> int:
    text = parsed.text("limit")
    if text is None:
        return _DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= _MAX_LIMIT):
        raise UsageError(f"search: --limit is a number from 1 to {_MAX_LIMIT}, not {text!r}")
    return int(text)


_SEARCH = Syntax(
    usage="[OPTIONS] TERM",
    summary="Look for images in a registry, or for the tags of an image.",
    options=(
        Option(("--list-tags",), FLAG, "TERM is an image: list its tags, one a line"),
        Option(("--limit",), TEXT, f"at most so many images ({_DEFAULT_LIMIT})", "N"),
        Option(("--no-trunc",), FLAG, "whole descriptions"),
        Option(("--json",), FLAG, "as JSON"),
        REGISTRY,
        PROXY,
        Option(("--index",), TEXT, "an index like Docker Hub's, to be asked instead", "URL"),
        Option(("--all", "-a"), FLAG, "accepted: there are no pauses", hidden=True),
    ),
    at_least=1,
    at_most=1,
    details="""
Docker Hub is asked for the term, other registries (--registry, or quay.io/TERM) for names that
hold it: by their own search, or else from their catalogue, which not all show.
""",
)
COMMANDS = (Command("search", _SEARCH, _search),)
