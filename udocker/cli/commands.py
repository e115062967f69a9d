"""The commands, and which module holds each. A module is imported when its command is used."""

from __future__ import annotations

from importlib import import_module

from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
    ("events", "logs"),
    ("pause", "living"),
    ("unpause", "living"),
    ("ps", "containers"),
    ("rm", "containers"),
    ("name", "containers"),
    ("rename", "containers"),
    ("rmname", "containers"),
    ("inspect", "containers"),
    ("setup", "containers"),
    ("diff", "containers"),
    ("commit", "containers"),
    ("export", "containers"),
    ("clone", "containers"),
    ("df", "store"),
    ("prune", "store"),
    ("fsck", "store"),
    ("gpu", "gpu"),
    ("doctor", "host"),
    ("try", "host"),
    ("bundle", "oci"),
    ("oci", "oci"),
    ("shim", "shim"),
    ("showconf", "host"),
    ("version", "host"),
    ("help", "host"),
)


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
