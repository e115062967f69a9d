"""Command lines, read by a table.

argparse would do for most commands, but it drops a leading ``--`` of the command to run, takes
abbreviations, and costs as much to import as everything else on the way to ``run``. One row per
option drives the parser and the help.

Accepted spellings, those of Docker and of udocker 1.3: ``--name=x``, ``--name x``, ``-ex``,
``-e x``, ``-e=x``, ``-it``, ``--rm=false``. ``--`` ends the options.
"""

from __future__ import annotations

from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FLAG = "flag"
TEXT = "text"
LIST = "list"
_TRUE = ("true", "1", "t", "yes")
_FALSE = ("false", "0", "f", "no")


@value
class Option:
    """One option: its spellings (long one first), kind, and the help line.

    ``optional``: the value may be missing, which is ""; the next word is one if it is a choice.
    """

    names: tuple[str, ...]
    kind: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    hidden: bool = False
    optional: bool = False

    @property
    def key(self) -> str:
        """The name its value is asked for."""
        return self.names[0].lstrip("-")


@value
class Syntax:
    """What a command accepts. ``at_most`` None: any number of words.

    Where ``passes_on`` is set the options end at the first word, and everything after it is
    taken exactly as typed.
    """

    usage: str
    summary: str
    options: tuple[Option, ...] = ()
    at_least: int = 0
    at_most: int | None = 0
    passes_on: bool = False
    details: str = ""


class Parsed:
    """The values of one command line."""

    def __init__(self, values: dict[str, list[str]], words: tuple[str, ...]) -> None:
        self._values = values
        self.words = words

    def has(self, key: str) -> bool:
        """Whether the option was given."""
        return key in self._values

    def flag(self, key: str) -> bool:
        return self._values.get(key, ["false"])[-1] == "true"

    def text(self, key: str) -> str | None:
        """The last value given, as Docker takes it; None when the option was not given."""
        given = self._values.get(key)
        return given[-1] if given else None

    def list(self, key: str) -> tuple[str, ...]:
        return tuple(self._values.get(key, ()))


def parse(syntax: Syntax, arguments: Sequence[str], command: str) -> Parsed:
    """Read ``arguments`` by ``syntax``. Raises UsageError."""
    reader = _Reader(syntax, command)
    parsed = reader.read(list(arguments))
    count = len(parsed.words)
    if count < syntax.at_least:
        raise UsageError(
            f"{command}: an argument is missing", hint=f"usage: udocker {command} {syntax.usage}"
        )
    if syntax.at_most is not None and count > syntax.at_most:
        raise UsageError(
            f"{command}: unexpected argument {parsed.words[syntax.at_most]!r}",
            hint=f"usage: udocker {command} {syntax.usage}",
        )
    return parsed


class _Reader:
    def __init__(self, syntax: Syntax, command: str) -> None:
        self._syntax = syntax
        self._command = command
        self._where = f"{command}: " if command else ""
        self._by_name = {name: option for option in syntax.options for name in option.names}
        self._values: dict[str, list[str]] = {}

    def read(self, arguments: list[str]) -> Parsed:
        words: list[str] = []
        position = 0
        while position < len(arguments):
            argument = arguments[position]
            position += 1
            if argument == "--":
                words += arguments[position:]
                break
            if argument == "-" or not argument.startswith("-"):
                words.append(argument)
                if self._syntax.passes_on:
                    words += arguments[position:]
                    break
                continue
            following = arguments[position] if position < len(arguments) else None
            if argument.startswith("--"):
                position += self._long(argument, following)
            else:
                position += self._short(argument, following)
        return Parsed(self._values, tuple(words))

    def _long(self, argument: str, following: str | None) -> int:
        """Take one ``--option``; the number of further arguments used."""
        name, equals, given = argument.partition("=")
        option = self._find(name)
        return self._take(option, name, given if equals else None, following)

    def _short(self, argument: str, following: str | None) -> int:
        """Take ``-x``, ``-xVALUE``, ``-x=VALUE`` or a cluster of flags."""
        for index in range(1, len(argument)):
            name = f"-{argument[index]}"
            option = self._find(name)
            rest = argument[index + 1 :]
            if option.kind != FLAG:
                attached = rest[1:] if rest.startswith("=") else rest
                return self._take(option, name, attached if rest else None, following)
            if rest.startswith("="):
                return self._take(option, name, rest[1:], None)
            self._take(option, name, None, None)
        return 0

    def _take(self, option: Option, name: str, attached: str | None, following: str | None) -> int:
        if option.kind == FLAG:
            self._set(option, self._boolean(name, attached))
            return 0
        used = 0
        if option.optional and attached is None and following not in option.choices:
            self._set(option, "")
            return 0
        if attached is None:
            if following is None:
                raise UsageError(
                    f"{self._where}{name} needs a value", hint=f"{name} {option.metavar}"
                )
            attached, used = following, 1
        if option.choices and attached not in option.choices:
            raise UsageError(
                f"{self._where}{name} cannot be {attached!r}",
                hint=f"one of {', '.join(option.choices)}",
            )
        self._set(option, attached)
        return used

    def _boolean(self, name: str, attached: str | None) -> str:
        if attached is None or attached.lower() in _TRUE:
            return "true"
        if attached.lower() in _FALSE:
            return "false"
        raise UsageError(f"{self._where}{name} is true or false, not {attached!r}")

    def _set(self, option: Option, text: str) -> None:
        self._values.setdefault(option.key, []).append(text)

    def _find(self, name: str) -> Option:
        option = self._by_name.get(name)
        if option is None:
            raise UsageError(f"{self._where}unknown option {name}", hint=self._guess(name))
        return option

    def _guess(self, name: str) -> str:
        import difflib

        known = [n for n, o in self._by_name.items() if n[:2] == "--" and not o.hidden]
        near = difflib.get_close_matches(name, known, 1)
        if near:
            return f"did you mean {near[0]}?"
        return f"udocker {self._command} --help lists the options".replace("  ", " ")


def help_text(command: str, syntax: Syntax) -> str:
    """What ``udocker COMMAND --help`` prints."""
    lines = [f"usage: udocker {command} {syntax.usage}".rstrip(), "", syntax.summary]
    if syntax.details:
        lines += ["", syntax.details.strip()]
    visible = [option for option in syntax.options if not option.hidden]
    if visible:
        lines += ["", "Options:"]
        spelled = [(_spelling(option), option) for option in visible]
        width = min(max(len(text) for text, _ in spelled), 30)
        for text, option in spelled:
            lines += _option_lines(text, option, width)
    return "\n".join(lines) + "\n"


def _spelling(option: Option) -> str:
    ordered = sorted(option.names, key=len)
    text = ", ".join(ordered)
    return text if option.kind == FLAG else f"{text} {option.metavar}"


def _option_lines(text: str, option: Option, width: int) -> list[str]:
    import textwrap

    helped = textwrap.wrap(option.help, 96 - width) or [""]
    if len(text) > width:
        return [f"  {text}", *(f"  {'':{width}}  {line}" for line in helped if line)]
    return [
        f"  {text if number == 0 else '':{width}}  {line}".rstrip()
        for number, line in enumerate(helped)
    ]
