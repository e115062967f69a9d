"""Reads a template."""

from __future__ import annotations

import json
import re

from udocker.cli.template_functions import FUNCTIONS
from udocker.cli.template_nodes import Branch, Call, Literal, Loop, Name, Output, Path, Text, fail
from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from udocker.cli.template_nodes import Node, Word

_SHAPE = "a template looks like '{{.ID}} {{.Names}}'"
_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)
    |(?P<sign>:=|[|(),=])|(?P<path>\$?\w*(?:\.\w+)+|\.|\$\w*)|(?P<name>\w+))""",
    re.VERBOSE,
)
_DEEP = 100
_CONSTANTS: Mapping[str, Literal] = {
    "true": Literal(True),
    "false": Literal(False),
    "nil": Literal(None),
}


def parse(text: str) -> tuple[Node, ...]:
    """The nodes of a template. Raises UsageError."""
    return _Parser(text).nodes()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._parts = _parts(text)
        self._at = 0
        self._depth = 0

    def nodes(self) -> tuple[Node, ...]:
        found, end = self._until(())
        if end:
            self._fail(f"{{{{{end}}}}} without a beginning")
        return found

    def _fail(self, why: str) -> NoReturn:
        fail(self._text, why)

    def _until(self, ends: tuple[str, ...]) -> tuple[tuple[Node, ...], str]:
        """The nodes up to an action that is one of ``ends``, and that action."""
        self._depth += 1
        if self._depth > _DEEP:
            self._fail("too deep")
        found: list[Node] = []
        while self._at < len(self._parts):
            is_action, part = self._parts[self._at]
            self._at += 1
            if not is_action:
                found.append(Text(part))
                continue
            word, _, rest = part.partition(" ")
            if word in ("end", "else"):
                self._depth -= 1
                return tuple(found), part
            if word in ("if", "with", "range"):
                found.append(self._block(word, rest))
            elif part:
                found.append(Output(self._call(part)))
        self._depth -= 1
        if ends:
            self._fail("an {{end}} is missing")
        return tuple(found), ""

    def _block(self, word: str, rest: str) -> Node:
        call = self._call(rest)
        body, end = self._until(("end",))
        other: tuple[Node, ...] = ()
        if end.startswith("else if "):
            other = (self._block("if", end[len("else if ") :]),)
        elif end == "else":
            other, end = self._until(("end",))
            if end != "end":
                self._fail(f"{{{{{end}}}}} where {{{{end}}}} is expected")
        elif end != "end":
            self._fail(f"{{{{{end}}}}} where {{{{end}}}} is expected")
        if word == "range":
            return Loop(call, body, other)
        return Branch(call, body, other, word == "with")

    def _call(self, text: str) -> Call:
        words = _Words(self._tokens(text), self._fail)
        call = words.pipeline(top=True)
        if words.left():
            self._fail(f"{words.left()!r} is not expected in {{{{{text}}}}}")
        return call

    def _tokens(self, text: str) -> list[tuple[str, str]]:
        found, at = [], 0
        stripped = text.rstrip()
        while at < len(stripped):
            match = _TOKEN.match(stripped, at)
            if match is None or match.lastgroup is None:
                self._fail(f"{stripped[at:].strip()[:20]!r} is not understood")
            found.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return found


class _Words:
    """Reads the tokens of one action."""

    def __init__(self, tokens: list[tuple[str, str]], fail: Callable[[str], NoReturn]) -> None:
        self._tokens = tokens
        self._fail = fail

    def left(self) -> str:
        return self._tokens[0][1] if self._tokens else ""

    def pipeline(self, top: bool = False) -> Call:
        variables = self._variables() if top else ()
        commands = [self._command()]
        while self.left() == "|" and self._tokens[0][0] == "sign":
            self._tokens.pop(0)
            commands.append(self._command())
        return Call(tuple(commands), variables)

    def _variables(self) -> tuple[str, ...]:
        signs = [text for kind, text in self._tokens if kind == "sign"]
        if ":=" not in signs and "=" not in signs:
            return ()
        found: list[str] = []
        while self._tokens:
            kind, text = self._tokens.pop(0)
            if text in (":=", "="):
                return tuple(found)
            if text.startswith("$") and kind == "path":
                found.append(text[1:])
            elif text != ",":
                break
        return self._fail("a variable is expected before :=")

    def _command(self) -> tuple[Word, ...]:
        found: list[Word] = []
        while self._tokens and self._tokens[0][1] not in ("|", ")"):
            found.append(self._word())
        if not found:
            self._fail("something is missing in {{ }}")
        return tuple(found)

    def _word(self) -> Word:
        kind, text = self._tokens.pop(0)
        if kind == "text":
            return Literal(_unquoted(text))
        if kind == "number":
            return Literal(float(text) if "." in text else int(text))
        if kind == "path":
            first, *fields = text.split(".")
            return Path(first, tuple(field for field in fields if field))
        if kind == "name":
            return _CONSTANTS.get(text) or self._function(text)
        if text != "(":
            self._fail(f"{text!r} is not expected")
        call = self.pipeline()
        if self.left() != ")":
            self._fail("a ) is missing")
        self._tokens.pop(0)
        return call

    def _function(self, name: str) -> Name:
        if name not in FUNCTIONS:
            self._fail(f"there is no function {name}; functions: {', '.join(sorted(FUNCTIONS))}")
        return Name(name)


def _parts(text: str) -> list[tuple[bool, str]]:
    """Texts and actions, in turn, blanks taken away where ``{{-`` or ``-}}`` says so."""
    found: list[tuple[bool, str]] = []
    at, trims = 0, False
    for match in _ACTION.finditer(text):
        before = text[at : match.start()]
        before = before.lstrip() if trims else before
        found.append((False, before.rstrip() if match[1] else before))
        action = match[2].strip()
        if not action:
            raise UsageError(f"--format {text!r}: {{{{}}}} has nothing in it", hint=_SHAPE)
        comment = action.startswith("/*") and action.endswith("*/")
        found.append((True, "" if comment else " ".join(action.split(" "))))
        at, trims = match.end(), bool(match[3])
    rest = text[at:]
    if "{{" in rest:
        raise UsageError(f"--format {text!r}: {{{{ without }}}}", hint=_SHAPE)
    found.append((False, rest.lstrip() if trims else rest))
    return [part for part in found if part[0] or part[1]]


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]
