"""The modes, one row each. Help, setup, doctor, documentation and tests read this table."""

from __future__ import annotations

from udocker.engine import namespace, ptrace, runc
from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.engine.base import Engine

AUTO = "auto"


@value
class Mode:
    """A way to run containers. ``auto`` tries modes in the order of the table."""

    name: str
    engine: Engine
    summary: str
    patches: bool = False  # runs patched copies of libraries


MODES = (
    Mode("N1", namespace, "user namespace, native speed"),
    Mode("R1", runc, "runc or crun of the host, native speed"),
    Mode("P1", ptrace, "PRoot of the host, with seccomp"),
    Mode("P2", ptrace, "PRoot of the host, every system call traced"),
)


def names() -> tuple[str, ...]:
    """Every mode's name."""
    return tuple(mode.name for mode in MODES)


def find(name: str) -> Mode:
    """The row of that mode. Raises UsageError."""
    for mode in MODES:
        if mode.name == name:
            return mode
    raise UsageError(
        f"unknown execution mode {name!r}", hint=f"one of {', '.join((AUTO, *names()))}"
    )
