"""The value of ``--gpus``, with the grammar and the errors of Docker.

It is one record of comma-separated values: ``all``, a number, or ``key=value``. So the numbers of
several GPUs need quotes that the shell leaves: ``--gpus '"device=0,1"'``.
"""

from __future__ import annotations

import re

from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

_HINT = "--gpus all, --gpus 2, or --gpus '\"device=0,1\"'"
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_LARGEST = 2**63 - 1


@value
class Gpus:
    """What one ``--gpus`` says. A count below 0: all. ``capabilities`` None: not said."""

    driver: str = ""
    count: int = 0
    ids: tuple[str, ...] = ()
    capabilities: Optional[tuple[str, ...]] = None


def parse(text: str) -> Gpus:
    """Read a value of ``--gpus``. Raises UsageError."""
    try:
        fields = record(text)
        said, counted = _said(fields)
    except ValueError as error:
        raise _wrong(text, str(error)) from None
    ids = tuple(said["device"].split(",")) if "device" in said else ()
    count = counted if counted is not None else 0 if ids else 1
    if count and ids:
        raise _wrong(
            text, "cannot set both Count and DeviceIDs on device request", _quoted(fields, ids)
        )
    capabilities = said.get("capabilities")
    return Gpus(
        driver=said.get("driver", ""),
        count=count,
        ids=ids,
        capabilities=None if capabilities is None else tuple(capabilities.split(",")),
    )


def _said(fields: tuple[str, ...]) -> tuple[dict[str, str], int | None]:
    """The values by their keys, and the count. Raises ValueError."""
    said: dict[str, str] = {}
    seen = set()
    counted = None
    for field in fields:
        key, equals, given = field.partition("=")
        if key in seen:
            raise ValueError(f"gpu request key '{_cut(key)}' can be specified only once")
        seen.add(key)
        if not equals:
            counted = _count(key)
            seen.add("count")
        elif key == "count":
            counted = _count(given)
        elif key in ("driver", "device", "capabilities"):
            said[key] = given
        elif key == "options":  # those of a driver: NVIDIA's has none
            _options(given)
        else:
            raise ValueError(f"unexpected key '{_cut(key)}' in '{_cut(field)}'")
    return said, counted


def _count(text: str) -> int:
    if text == "all":
        return -1
    what = f'invalid count ({_cut(text)}): value must be either "all" or an integer'
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{what}: invalid syntax")
    digits = text.lstrip("+-").lstrip("0") or "0"
    # Python refuses to read numbers of thousands of digits.
    if len(digits) > len(str(_LARGEST)) or int(digits) > _LARGEST:
        raise ValueError(f"{what}: value out of range")
    return -int(digits) if text.startswith("-") else int(digits)


def _options(text: str) -> None:
    try:
        record(text)
    except ValueError as error:
        raise ValueError(f"failed to read gpu options: {error}") from None


def record(text: str) -> tuple[str, ...]:
    """The fields of one line of CSV, by RFC 4180. Raises ValueError, in the words of Go."""
    if not text:
        raise ValueError("EOF")
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("more than one line")
    fields = []
    at = 0
    while True:
        if text.startswith('"', at):
            field, at = _in_quotes(text, at)
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            field = text[at:end]
            if '"' in field:
                raise _misplaced(at + field.index('"'), 'bare " in non-quoted field')
            at = end
        fields.append(field)
        if at == len(text):
            return tuple(fields)
        at += 1


def _in_quotes(text: str, begin: int) -> tuple[str, int]:
    """The field whose quote is at ``begin``, and where it ends: at a comma, or with the text."""
    parts = []
    at = begin + 1
    while True:
        end = text.find('"', at)
        if end < 0:
            raise _misplaced(len(text), 'extraneous or missing " in quoted-field')
        parts.append(text[at:end])
        if text.startswith('"', end + 1):
            parts.append('"')
            at = end + 2
        elif end + 1 == len(text) or text[end + 1] == ",":
            return "".join(parts), end + 1
        else:
            raise _misplaced(end, 'extraneous or missing " in quoted-field')


def _misplaced(at: int, what: str) -> ValueError:
    return ValueError(f"parse error on line 1, column {at + 1}: {what}")


def _quoted(fields: tuple[str, ...], ids: tuple[str, ...]) -> str:
    """What was meant by ``device=0,1``: the comma ended the field."""
    if any(field.startswith("count=") for field in fields):
        return "either count=N or device=…, not both"
    more = (field for field in fields if "=" not in field)
    return f"--gpus '\"device={','.join((*ids, *more))}\"', both kinds of quotes as they are here"


def _wrong(text: str, why: str, hint: str = "") -> UsageError:
    shown = _cut(text)
    if not hint and text.upper().startswith(("GPU-", "MIG-")):
        hint = f"--gpus '\"device={shown}\"'"
    return UsageError(f'invalid argument "{shown}" for "--gpus" flag: {why}', hint=hint or _HINT)


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
