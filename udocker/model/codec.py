"""Frozen values as JSON and back, by their fields: a new field needs no code here.

Only what differs from its default is written. What is not known is passed over, so a newer
udocker's records can be read.
"""

from __future__ import annotations

import functools
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")

_WORDS = re.compile(r"[A-Za-z_][A-Za-z_.]*|\.\.\.|[\[\],|]")
_PLAIN: dict[str, type] = {"str": str, "int": int, "bool": bool, "float": float}


def encode(given: object) -> Any:
    """What json writes for a value, or for a field of one."""
    names = getattr(given, "_fields", None)
    if names is not None:
        kind = type(given)
        found = {name: getattr(given, name) for name in names}
        missing = object()
        return {
            name: encode(field)
            for name, field in found.items()
            if field != getattr(kind, name, missing)
        }
    if isinstance(given, (tuple, list)):
        return [encode(each) for each in given]
    return given


def decode(kind: type[T], data: Any) -> T:
    """The value of ``kind`` that ``data`` was made of. Raises ValueError where it is none."""
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} is an object")
    given = {}
    hashable: Any = kind
    for name, read in _readers(hashable):
        if name in data:
            try:
                given[name] = read(data[name])
            except ValueError as error:
                raise ValueError(f"{kind.__name__}.{name}: {error}") from error
    try:
        return kind(**given)
    except TypeError as error:  # without a default, and not there
        raise ValueError(str(error)) from error


@functools.cache
def _readers(kind: type[Any]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """For each field; made once, since long lists read thousands of values."""
    annotations, module = _annotations(kind), sys.modules[kind.__module__]
    return tuple(
        (name, _read(iter([*_WORDS.findall(annotations[name]), ""]), module))
        for name in getattr(kind, "_fields")
    )


def _annotations(kind: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found.update(getattr(base, "__annotations__", {}))
    return found


def _read(words: Iterator[str], module: object) -> Callable[[Any], Any]:
    """What reads data of the type that the words of an annotation name."""
    return _type(next(words), words, module)[0]


def _type(word: str, words: Iterator[str], module: object) -> tuple[Callable[[Any], Any], str]:
    """A reader, and the word that follows the type."""
    if word == "Optional":
        next(words)  # [
        inner, _ = _type(next(words), words, module)
        read, following = _optional(inner), next(words)
    elif word == "tuple":
        read, following = _tuple(words, module), next(words)
    elif word in _PLAIN:
        read, following = _plain(_PLAIN[word]), next(words)
    elif word == "None":
        read, following = _plain(type(None)), next(words)
    else:
        read, following = _value(getattr(module, word)), next(words)
    if following == "|":
        other = next(words)
        if other == "None":
            return _optional(read), next(words)
        raise ValueError("no union is read but with None")
    return read, following


def _tuple(words: Iterator[str], module: object) -> Callable[[Any], Any]:
    parts: list[Callable[[Any], Any]] = []
    following = next(words)  # [
    while following != "]":
        word = next(words)
        if word == "...":
            next(words)  # ]
            return _many(parts[0])
        part, following = _type(word, words, module)
        parts.append(part)
    return _row(parts)


def _plain(kind: type) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if kind is float and type(data) is int:
            return float(data)
        if type(data) is not kind:
            raise ValueError(f"not of type {kind.__name__}")
        return data

    return read


def _optional(inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda data: None if data is None else inner(data)


def _value(kind: type) -> Callable[[Any], Any]:
    return lambda data: decode(kind, data)


def _many(part: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if not isinstance(data, list):
            raise ValueError("not a list")
        return tuple(part(each) for each in data)

    return read


def _row(parts: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if not isinstance(data, list) or len(data) != len(parts):
            raise ValueError(f"not a list of {len(parts)}")
        return tuple(part(each) for part, each in zip(parts, data))

    return read
