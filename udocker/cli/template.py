"""``--format``: the part of Go's text/template that Docker's documentation uses.

Text with actions between ``{{`` and ``}}``: fields (``.ID``, ``.Config.Env``), variables,
pipelines, ``if``, ``range``, ``with``, and the functions of Docker: json, join, split, lower,
upper, title, pad, truncate, println; and Go's: index, len, slice, print, printf, eq, ne, lt, le,
gt, ge, and, or, not.

https://docs.docker.com/engine/cli/formatting/, https://pkg.go.dev/text/template
"""

from __future__ import annotations

import json
import re

from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import Any, NoReturn, Union

    Node = Union["Text", "Output", "Branch", "Loop"]
    Word = Union["Literal", "Path", "Call", "Name"]

_SHAPE = "a template looks like '{{.ID}} {{.Names}}'"
_ACTION = re.compile(r"\{\{(- )?(.*?)( -)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)
    |(?P<sign>:=|[|(),=])|(?P<path>\$?\w*(?:\.\w+)+|\.|\$\w*)|(?P<name>\w+))""",
    re.VERBOSE,
)
_NO_VALUE = "<no value>"
_DEEP = 100


@value
class Text:
    """What is printed as it is."""

    text: str


@value
class Literal:
    """A value that stands in the template."""

    value: object


@value
class Name:
    """A function without arguments."""

    name: str


@value
class Path:
    """Fields of the value that a variable has; "" is the dot. ``base``: of a pipeline instead."""

    variable: str
    fields: tuple[str, ...]


@value
class Call:
    """Pipeline: each command is given what the one before it gave, as its last argument."""

    commands: tuple[tuple[Word, ...], ...]
    variables: tuple[str, ...] = ()  # what it is given to


@value
class Output:
    """A pipeline whose value is printed, unless a variable takes it."""

    call: Call


@value
class Branch:
    """``if``, and ``with``, which also is the dot of what follows."""

    call: Call
    body: tuple[Node, ...]
    other: tuple[Node, ...]
    is_with: bool


@value
class Loop:
    """``range``."""

    call: Call
    body: tuple[Node, ...]
    other: tuple[Node, ...]


class Template:
    """A template that was read. ``text`` is the whole, for errors."""

    def __init__(self, text: str) -> None:
        """Raises UsageError."""
        self._text = text
        self.nodes = _Parser(text).nodes()

    def check(self, fields: Collection[str], maps: Collection[str] = ()) -> None:
        """Raise UsageError where what is to be filled has only these fields, and others are asked.

        In all branches, so that what is in the data decides nothing. ``maps``: the fields that
        have fields of their own; all others are texts.
        """
        known = {field.lower(): field for field in fields}
        for path in _of_dot(self.nodes, True):
            name, *more = path.fields or ("",)
            if name and name.lower() not in known:
                _fail(self._text, _no_field(name, fields))
            if more and known[name.lower()] not in maps:
                _fail(self._text, f"{name} has no field {more[0]}")

    def fill(self, data: object) -> str:
        """The text for ``data``: dicts, lists, texts, numbers. Raises UsageError."""
        return _Filler(self._text, data).all(self.nodes)


def _fail(text: str, why: str) -> NoReturn:
    raise UsageError(f"--format {text!r}: {why}", hint="--format '{{json .}}' shows all")


def _no_field(name: str, fields: Collection[str]) -> str:
    return f"there is no {name} here; fields: {', '.join(sorted(fields)[:40]) or 'none'}"


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
        _fail(self._text, why)

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
        if name not in _FUNCTIONS:
            self._fail(f"there is no function {name}; functions: {', '.join(sorted(_FUNCTIONS))}")
        return Name(name)


class _Filler:
    def __init__(self, text: str, data: object) -> None:
        self._text = text
        self._dot = data
        self._variables: dict[str, object] = {"$": data}

    def all(self, nodes: Sequence[Node]) -> str:
        return "".join(self._one(node) for node in nodes)

    def _one(self, node: Node) -> str:
        if isinstance(node, Text):
            return node.text
        found = self._call(node.call)
        if isinstance(node, Output):
            return "" if node.call.variables else shown(found)
        if isinstance(node, Branch):
            if not _is_true(found):
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
        _fail(self._text, why)

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
            self._fail(_no_field(name, found))
        if found is None:
            return None
        return self._fail(f"{shown(found)[:40]!r} has no field {name}")

    def _function(self, name: str, arguments: list[Any]) -> object:
        try:
            return _FUNCTIONS[name](*arguments)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            self._fail(
                f"{name} cannot take {', '.join(map(shown, arguments)) or 'nothing'}: {error}"
            )


def shown(found: object) -> str:
    """A value as Go prints it."""
    if found is None:
        return _NO_VALUE
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, dict):
        return f"map[{' '.join(f'{key}:{shown(found[key])}' for key in sorted(found))}]"
    if isinstance(found, (list, tuple)):
        return f"[{' '.join(map(shown, found))}]"
    return str(found)


def _plain(found: object) -> object:
    """As JSON has it; what is asked with an argument is left out."""
    if isinstance(found, dict):
        return {key: _plain(each) for key, each in found.items() if not callable(each)}
    if isinstance(found, (list, tuple)):
        return [_plain(each) for each in found]
    return found if found is None or isinstance(found, (bool, int, float, str)) else str(found)


def _is_true(found: object) -> bool:
    return bool(found)


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


def _index(found: Any, *keys: Any) -> object:
    for key in keys:
        found = found.get(key, "") if isinstance(found, dict) else found[int(key)]
    return found


def _printf(text: str, *given: Any) -> str:
    words = [
        w if isinstance(w, (int, float)) and not isinstance(w, bool) else shown(w) for w in given
    ]
    plain = re.sub(r"%(-?\d*(?:\.\d+)?)v", r"%\1s", text)
    quoted = re.sub(r"%q", "%s", plain)
    kinds = re.findall(r"%-?\d*(?:\.\d+)?([a-z%])", text)
    quotes = [kind == "q" for kind in kinds if kind != "%"]
    return str(quoted % tuple(json.dumps(w) if q else w for w, q in zip(words, quotes)))


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _all_equal(first: object, *others: object) -> bool:
    return any(first == other for other in others)


_CONSTANTS: Mapping[str, Literal] = {
    "true": Literal(True),
    "false": Literal(False),
    "nil": Literal(None),
}
_FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "json": lambda found: json.dumps(_plain(found), separators=(",", ":"), ensure_ascii=False),
    "join": lambda found, between: between.join(map(shown, found)),
    "split": lambda text, between: text.split(between),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "title": lambda text: text[:1].upper() + text[1:],
    "pad": _pad,
    "truncate": lambda text, count: text[:count],
    "println": lambda *given: " ".join(map(shown, given)) + "\n",
    "print": lambda *given: "".join(map(shown, given)),
    "printf": _printf,
    "len": len,
    "index": _index,
    "slice": lambda found, *ends: found[slice(*ends)] if ends else found,
    "eq": _all_equal,
    "ne": lambda one, other: one != other,
    "lt": lambda one, other: one < other,
    "le": lambda one, other: one <= other,
    "gt": lambda one, other: one > other,
    "ge": lambda one, other: one >= other,
    "and": lambda *given: next((each for each in given if not _is_true(each)), given[-1]),
    "or": lambda *given: next((each for each in given if _is_true(each)), given[-1]),
    "not": lambda found: not _is_true(found),
}
