"""What a template is read into, and how it is said what is wrong with one."""

from __future__ import annotations

from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import NoReturn, Union

    Node = Union["Text", "Output", "Branch", "Loop"]
    Word = Union["Literal", "Path", "Call", "Name"]


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


def fail(text: str, why: str) -> NoReturn:
    """Raises UsageError."""
    raise UsageError(f"--format {text!r}: {why}", hint="--format '{{json .}}' shows all")


def no_field(name: str, fields: Collection[str]) -> str:
    """What is said of a field that is not there."""
    return f"there is no {name} here; fields: {', '.join(sorted(fields)[:40]) or 'none'}"
