"""Fills a template that was read."""

from __future__ import annotations

from udocker.cli.template_functions import FUNCTIONS, is_true, shown
from udocker.cli.template_nodes import Branch, Call, Literal, Name, Output, Text, fail, no_field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from udocker.cli.template_nodes import Loop, Node, Word


class Filler:
    """``text``: the whole template, for errors."""

    def __init__(self, text: str, data: object) -> None:
        self._text = text
        self._dot = data
        self._variables: dict[str, object] = {"$": data}

    def all(self, nodes: Sequence[Node]) -> str:
        """The text that they make. Raises UsageError."""
        return "".join(self._one(node) for node in nodes)

    def _one(self, node: Node) -> str:
        if isinstance(node, Text):
            return node.text
        found = self._call(node.call)
        if isinstance(node, Output):
            return "" if node.call.variables else shown(found)
        if isinstance(node, Branch):
            if not is_true(found):
                return self.all(node.other)
            return self._inside(found, node.body) if node.is_with else self.all(node.body)
        return self._loop(node, found)

    def _loop(self, node: Loop, found: object) -> str:
        pairs: list[tuple[object, object]]
        if isinstance(found, dict):
            pairs = [(key, found[key]) for key in sorted(found)]
        elif isinstance(found, (list, tuple)):
            pairs = list(enumerate(found))
        elif found is None:
            pairs = []
        else:
            self._fail(f"range over {shown(found)!r}, which is neither a list nor a map")
        made = []
        for key, each in pairs:
            names = node.call.variables
            if names:
                self._variables[names[-1]] = each
                if len(names) > 1:
                    self._variables[names[0]] = key
            made.append(self._inside(each, node.body))
        return "".join(made) if pairs else self.all(node.other)

    def _inside(self, dot: object, body: Sequence[Node]) -> str:
        before, self._dot = self._dot, dot
        try:
            return self.all(body)
        finally:
            self._dot = before

    def _fail(self, why: str) -> NoReturn:
        fail(self._text, why)

    def _call(self, call: Call) -> object:
        given: list[object] = []
        for command in call.commands:
            first, *rest = command
            arguments = [self._word(word) for word in rest] + given
            if isinstance(first, Name):
                given = [self._function(first.name, arguments)]
            else:
                found = self._word(first)
                if callable(found):
                    found = self._asked(found, arguments)
                elif arguments:
                    self._fail(f"{shown(found)!r} is no function and takes no arguments")
                given = [found]
        for name in call.variables:
            self._variables[name] = given[0]
        return given[0]

    def _asked(self, found: Callable[..., object], arguments: Sequence[object]) -> object:
        """Of a field that is asked with one argument, as Docker's Label."""
        if len(arguments) != 1:
            self._fail(
                'a field that takes one argument, as in {{.Label "key"}}, has another number'
            )
        return found(shown(arguments[0]))

    def _word(self, word: Word) -> object:
        if isinstance(word, Literal):
            return word.value
        if isinstance(word, Call):
            return self._call(word)
        if isinstance(word, Name):
            return self._function(word.name, [])
        found = self._dot
        if word.variable:
            name = word.variable[1:] or "$"
            if name not in self._variables:
                self._fail(f"there is no variable {word.variable}")
            found = self._variables[name]
        for field in word.fields:
            found = self._field(found, field)
        return found

    def _field(self, found: object, name: str) -> object:
        if isinstance(found, dict):
            if name in found:
                return found[name]
            by_lower = {key.lower(): key for key in found}
            if name.lower() in by_lower:
                return found[by_lower[name.lower()]]
            self._fail(no_field(name, found))
        if found is None:
            return None
        return self._fail(f"{shown(found)[:40]!r} has no field {name}")

    def _function(self, name: str, arguments: list[Any]) -> object:
        try:
            return FUNCTIONS[name](*arguments)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            self._fail(
                f"{name} cannot take {', '.join(map(shown, arguments)) or 'nothing'}: {error}"
            )
