"""``--format``: the part of Go's text/template that Docker's documentation uses.

Text with actions between ``{{`` and ``}}``: fields (``.ID``, ``.Config.Env``), variables,
pipelines, ``if``, ``range``, ``with``, and the functions of Docker: json, join, split, lower,
upper, title, pad, truncate, println; and Go's: index, len, slice, print, printf, eq, ne, lt, le,
gt, ge, and, or, not.

https://docs.docker.com/engine/cli/formatting/, https://pkg.go.dev/text/template
"""

from __future__ import annotations

from udocker.cli.template_filling import Filler
from udocker.cli.template_nodes import Branch, Call, Output, Path, Text, fail, no_field
from udocker.cli.template_parsing import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from udocker.cli.template_nodes import Node, Word


class Template:
    """A template that was read. ``text`` is the whole, for errors."""

    def __init__(self, text: str) -> None:
        """Raises UsageError."""
        self._text = text
        self.nodes = parse(text)

    def check(self, fields: Collection[str], maps: Collection[str] = ()) -> None:
        """Raise UsageError where what is to be filled has only these fields, and others are asked.

        In all branches, so that what is in the data decides nothing. ``maps``: the fields that
        have fields of their own; all others are texts.
        """
        known = {field.lower(): field for field in fields}
        for path in _of_dot(self.nodes, True):
            name, *more = path.fields or ("",)
            if name and name.lower() not in known:
                fail(self._text, no_field(name, fields))
            if more and known[name.lower()] not in maps:
                fail(self._text, f"{name} has no field {more[0]}")

    def fill(self, data: object) -> str:
        """The text for ``data``: dicts, lists, texts, numbers. Raises UsageError."""
        return Filler(self._text, data).all(self.nodes)


def _of_dot(nodes: Sequence[Node], is_outermost: bool) -> Iterator[Path]:
    """What is asked of the outermost dot, which inside ``range`` and ``with`` is only ``$``."""
    for node in nodes:
        if isinstance(node, Text):
            continue
        for word in _words(node.call):
            if isinstance(word, Path) and (
                word.variable == "$" or (is_outermost and not word.variable)
            ):
                yield word
        if not isinstance(node, Output):
            is_same = isinstance(node, Branch) and not node.is_with
            yield from _of_dot(node.body, is_outermost and is_same)
            yield from _of_dot(node.other, is_outermost)


def _words(call: Call) -> Iterator[Word]:
    """Of those in parentheses, too."""
    for command in call.commands:
        for word in command:
            if isinstance(word, Call):
                yield from _words(word)
            else:
                yield word
