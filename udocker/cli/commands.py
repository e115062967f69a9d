"""The commands, and which module holds each. A module is imported when its command is used."""

from __future__ import annotations

from importlib import import_module

from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from udocker.cli.context import Context
    from udocker.cli.parser import Parsed, Syntax


@value
class Command:
    """A command's syntax, and the function that carries it out and gives the exit code."""

    name: str
    syntax: Syntax
    run: Callable[[Context, Parsed], int]
    is_runtime: bool = False  # HOME may be the container's: Slurm sets what the bundle says


# In the order in which `udocker help` lists them.
_MODULES = (
    ("run", "run"),
    ("create", "run"),
    ("pull", "images"),
    ("images", "images"),
    ("tag", "images"),
    ("import", "images"),
    ("rmi", "images"),
    ("verify", "store"),
    ("load", "archives"),
    ("save", "archives"),
    ("push", "push"),
    ("manifest", "push"),
    ("search", "search"),
    ("login", "login"),
    ("logout", "login"),
    ("start", "living"),
    ("stop", "living"),
    ("restart", "living"),
    ("kill", "living"),
    ("wait", "living"),
    ("attach", "living"),
    ("exec", "exec"),
    ("logs", "logs"),
    ("cp", "cp"),
    ("top", "top"),
    ("stats", "top"),
    ("port", "top"),
    ("events", "logs"),
    ("pause", "living"),
    ("unpause", "living"),
    ("ps", "ps"),
    ("rm", "containers"),
    ("name", "containers"),
    ("rename", "containers"),
    ("rmname", "containers"),
    ("inspect", "containers"),
    ("setup", "containers"),
    ("protect", "containers"),
    ("unprotect", "containers"),
    ("diff", "containers"),
    ("commit", "containers"),
    ("export", "containers"),
    ("clone", "containers"),
    ("df", "store"),
    ("prune", "store"),
    ("fsck", "store"),
    ("volume create", "volumes"),
    ("volume inspect", "volumes"),
    ("volume ls", "volumes"),
    ("volume prune", "volumes"),
    ("volume rm", "volumes"),
    ("container prune", "prunes"),
    ("image prune", "prunes"),
    ("system prune", "prunes"),
    ("migrate", "old"),
    ("mkrepo", "old"),
    ("install", "old"),
    ("completion", "completion"),
    ("gpu", "gpu"),
    ("doctor", "host"),
    ("try", "host"),
    ("stage", "stage"),
    ("bundle", "oci"),
    ("oci", "oci"),
    ("shim", "shim"),
    ("showconf", "host"),
    ("version", "host"),
    ("help", "host"),
)


# Docker's other spellings: of a group each word is a command that is here by itself, or as below.
_GROUPS = {
    "container": (
        "attach clone commit cp create diff exec export inspect kill logs ls pause port prune "
        "rename restart rm run start stats stop top unpause wait"
    ),
    "image": "import inspect load ls prune pull push rm save tag verify",
    "system": "df events info prune",
    "volume": "create inspect ls prune rm",
}
_ALIASES = {
    "container ls": "ps",
    "container list": "ps",
    "container ps": "ps",
    "container remove": "rm",
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image remove": "rmi",
    "system info": "doctor",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "info": "doctor",
}


def split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command that ``words`` begin with, and its own arguments. Raises UsageError."""
    name, rest = words[0], list(words[1:])
    if name in _ALIASES:
        return _ALIASES[name], rest
    if name not in _GROUPS:
        return name, rest
    known = words_of(name)
    if not rest or rest[0].startswith("-"):
        raise UsageError(f"{name}: a command is missing", hint=f"one of {', '.join(known)}")
    found = _of_group(name, rest[0])
    if found is None:
        raise UsageError(
            f"unknown command {f'{name} {rest[0]}'!r}", hint=f"one of {', '.join(known)}"
        )
    return found, rest[1:]


def words_of(group: str) -> tuple[str, ...]:
    """What may stand after the word of a group."""
    return tuple(word for word in _GROUPS[group].split() if _of_group(group, word) is not None)


def groups() -> tuple[str, ...]:
    """The words that come before another, as Docker has it."""
    return tuple(_GROUPS)


def _of_group(group: str, word: str) -> str | None:
    """The command that is meant by a group and a word; None: there is none."""
    whole = f"{group} {word}"
    whole = _ALIASES.get(whole, whole)
    if whole in names():
        return whole
    return word if word in _GROUPS[group].split() and word in names() else None


def names() -> tuple[str, ...]:
    """Every command."""
    return tuple(name for name, _ in _MODULES)


def find(name: str) -> Command:
    """The command called ``name``. Raises UsageError."""
    module_name = dict(_MODULES).get(name)
    if module_name is None:
        raise UsageError(f"unknown command {name!r}", hint=_guess(name))
    module = import_module(f"udocker.cli.{module_name}")
    commands: tuple[Command, ...] = module.COMMANDS
    return next(command for command in commands if command.name == name)


def _guess(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, names(), 1)
    return f"did you mean {near[0]}?" if near else "udocker help lists the commands"
