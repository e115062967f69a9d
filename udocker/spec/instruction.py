"""Dockerfile instructions that change how an image is run, as ``commit --change`` takes them.

https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import posixpath
import re

from udocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Run = dict[str, Any]  # the "config" object of an image configuration

_SHELL = ("/bin/sh", "-c")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:[-+])((?:[^{}\\]|\\.)*))?\})")
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_MOST_PORT = 65535


def apply(run: Mapping[str, Any], instructions: Sequence[str]) -> Run:
    """A copy of ``run`` with the instructions carried out in turn. Raises UsageError."""
    changed = dict(run)
    has_cmd = False
    for text in instructions:
        name, rest = (*text.strip().split(None, 1), "", "")[:2]
        act = _ACTS.get(name.upper())
        if act is None:
            raise _bad(text, f"{name or 'nothing'} is none of {', '.join(_ACTS)}")
        if "\n" in rest or "\0" in rest or not rest.strip():
            raise _bad(text, "one instruction with its value is expected")
        try:
            rest.encode()
            act(changed, rest.strip())
        except ValueError as error:
            raise _bad(text, str(error)) from error
        if name.upper() == "ENTRYPOINT" and not has_cmd:
            changed.pop("Cmd", None)  # it was made for the other one: as Docker has it
        has_cmd = has_cmd or name.upper() == "CMD"
    return changed


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f"not a change: {text!r}: {why}", hint="changes look like 'ENV NAME=value', 'CMD [\"sh\"]'"
    )


def _cmd(run: Run, text: str) -> None:
    run["Cmd"] = _command(run, text)


def _entrypoint(run: Run, text: str) -> None:
    run["Entrypoint"] = _command(run, text)


def _command(run: Run, text: str) -> list[str]:
    words = _listed(text)
    return [*(run.get("Shell") or _SHELL), text] if words is None else words


def _listed(text: str) -> list[str] | None:
    """The strings of a JSON list; None when ``text`` is not meant as one."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("a list is one of strings in double quotes, as JSON has it")
    if any("\0" in word for word in words):
        raise ValueError("a string has a null character")
    return words


def _env(run: Run, text: str) -> None:
    names = {entry.partition("=")[0]: entry for entry in run.get("Env") or ()}
    for key, word in _pairs(run, text):
        names[key] = f"{key}={word}"
    run["Env"] = list(names.values())


def _label(run: Run, text: str) -> None:
    run["Labels"] = {**(run.get("Labels") or {}), **dict(_pairs(run, text))}


def _pairs(run: Run, text: str) -> list[tuple[str, str]]:
    """``K=V K='V W'``, or the older ``K V W`` of one pair."""
    name, _, rest = text.partition(" ")
    if "=" not in name:
        if not rest.strip():
            raise ValueError("NAME=VALUE is expected")
        return [(name, _text(rest.strip(), run))]
    pairs = []
    for word in _words(text, run):
        key, equals, found = word.partition("=")
        if not key or not equals:
            raise ValueError("NAME=VALUE is expected")
        pairs.append((key, found))
    return pairs


def _user(run: Run, text: str) -> None:
    run["User"] = _one(run, text)


def _workdir(run: Run, text: str) -> None:
    path = posixpath.join("/", run.get("WorkingDir") or "", _text(text, run))
    run["WorkingDir"] = posixpath.normpath(path).replace("//", "/")


def _one(run: Run, text: str) -> str:
    words = _words(text, run)
    if len(words) != 1 or not words[0]:
        raise ValueError("one word is expected")
    return words[0]


def _expose(run: Run, text: str) -> None:
    ports = dict(run.get("ExposedPorts") or {})
    for word in _words(text, run):
        found = _PORT.fullmatch(word)
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else 0
        if not found or not 0 < first <= last <= _MOST_PORT:
            raise ValueError(f"{word!r} is not a port")
        ports.update((f"{port}/{found[3] or 'tcp'}", {}) for port in range(first, last + 1))
    run["ExposedPorts"] = ports


def _volume(run: Run, text: str) -> None:
    words = _listed(text)
    paths = _words(text, run) if words is None else words
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path")
    run["Volumes"] = {**(run.get("Volumes") or {}), **{path: {} for path in paths}}


_ACTS: dict[str, Callable[[Run, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}


def _text(text: str, run: Run) -> str:
    """``text`` as one word, blanks included."""
    return "".join(piece for piece in _pieces(text, run) if piece is not None)


def _words(text: str, run: Run) -> list[str]:
    """Split at blanks that are not quoted."""
    words: list[str] = []
    current: list[str] = []
    is_begun = False
    for piece in _pieces(text, run, split=True):
        if piece is None:
            words += ["".join(current)] if is_begun else []
            current, is_begun = [], False
        else:
            current.append(piece)
            is_begun = True
    return [*words, "".join(current)] if is_begun else words


def _pieces(text: str, run: Run, split: bool = False) -> list[str | None]:
    """Quotes taken off and variables of the image's environment filled in; None between words."""
    variables = dict(entry.partition("=")[::2] for entry in run.get("Env") or ())
    pieces: list[str | None] = []
    quote, at = "", 0
    while at < len(text):
        c = text[at]
        variable = _VARIABLE.match(text, at) if quote != "'" else None
        if variable:
            pieces.append(_filled(variable, variables))
            at = variable.end()
            continue
        at += 1
        if c == quote or (not quote and c in "'\""):
            quote = "" if quote else c
            pieces.append("")
        elif c == "\\" and quote != "'" and at < len(text):
            # Between double quotes it is taken off only where it has a meaning.
            keep = quote and text[at] not in '"$\\'
            pieces.append(c + text[at] if keep else text[at])
            at += 1
        elif c in " \t" and not quote and split:
            pieces.append(None)
        else:
            pieces.append(c)
    if quote:
        raise ValueError("a quote is not closed")
    return pieces


def _filled(variable: re.Match[str], variables: Mapping[str, str]) -> str:
    found = variables.get(variable[1] or variable[2], "")
    if variable[3] == ":-":
        return found or variable[4]
    if variable[3] == ":+":
        return variable[4] if found else ""
    return found
