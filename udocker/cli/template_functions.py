"""The functions of templates, and values as Go prints them."""

from __future__ import annotations

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_NO_VALUE = "<no value>"


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


def is_true(found: object) -> bool:
    """As ``if`` takes it."""
    return bool(found)


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


FUNCTIONS: Mapping[str, Callable[..., object]] = {
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
    "and": lambda *given: next((each for each in given if not is_true(each)), given[-1]),
    "or": lambda *given: next((each for each in given if is_true(each)), given[-1]),
    "not": lambda found: not is_true(found),
}
