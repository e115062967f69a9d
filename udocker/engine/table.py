"""The modes, one row each. Help, setup, doctor, documentation and tests read this table."""

from __future__ import annotations

from udocker.engine import fakechroot, inprocess, namespace, nested, ptrace, runc, singularity
from udocker.errors import UsageError
from udocker.model.value import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.engine.base import Engine

AUTO = "auto"


@value
class Mode:
    """A way to run containers. ``auto`` tries them in the order of the table."""

    name: str
    engine: Engine
    summary: str
    owners: bool = False  # shows owners that the host does not know
    patches: bool = False  # runs patched copies of libraries
    nests: bool = False  # may need PRoot inside the container
    preloads: bool = False  # runs dynamic programs only, which a library of the host's must fit
    feigns: bool = False  # root with one id is told that what needs more has succeeded
    has_runtime: bool = False  # ... by a program of the host, which may not be able to
    maps: bool = False  # can have ids of /etc/subuid
    has_namespace: bool = False  # a user namespace for each run
    gathers: bool = False  # ... or one for several
    joins: bool = False  # exec goes into the namespaces of the run
    is_automatic: bool = True  # ``auto`` may take it

    @property
    def is_traced(self) -> bool:
        """Whether PRoot may stand in for udocker's own tracer."""
        return self.engine in (ptrace, nested)


MODES = (
    Mode(
        "N1",
        namespace,
        "user namespace, native speed",
        feigns=True,
        maps=True,
        has_namespace=True,
        gathers=True,
        joins=True,
    ),
    Mode(
        "R1",
        runc,
        "runc or crun of the host, native speed",
        feigns=True,
        has_runtime=True,
        has_namespace=True,
        joins=True,
    ),
    Mode(
        "F3",
        inprocess,
        "seccomp traps in the process, patched libraries",
        owners=True,
        patches=True,
    ),
    Mode("F2", inprocess, "seccomp traps in the process", owners=True, is_automatic=False),
    Mode("F4", inprocess, "the same as F3", owners=True, patches=True, is_automatic=False),
    Mode(
        "F1",
        fakechroot,
        "libfakechroot of the host, for dynamic programs of glibc; no other user than yourself",
        preloads=True,
        is_automatic=False,
    ),
    Mode(
        "P1",
        ptrace,
        "a tracer, for the calls that matter; patched libraries",
        owners=True,
        patches=True,
    ),
    Mode("P2", ptrace, "a tracer, for every system call", owners=True),
    Mode(
        "R2",
        nested,
        "R1 with the tracer of P1 inside",
        owners=True,
        patches=True,
        nests=True,
        has_namespace=True,
        is_automatic=False,
    ),
    Mode(
        "R3",
        nested,
        "R1 with the tracer of P2 inside",
        owners=True,
        nests=True,
        has_namespace=True,
        is_automatic=False,
    ),
    Mode("S1", singularity, "apptainer or singularity of the host", has_namespace=True),
)


def names() -> tuple[str, ...]:
    """Every mode's name."""
    return tuple(mode.name for mode in MODES)


def automatic() -> tuple[Mode, ...]:
    """The modes that ``auto`` chooses from, the best first."""
    return tuple(mode for mode in MODES if mode.is_automatic)


def find(name: str) -> Mode:
    """The row of that mode. Raises UsageError."""
    for mode in MODES:
        if mode.name == name:
            return mode
    raise UsageError(
        f"unknown execution mode {name!r}", hint=f"one of {', '.join((AUTO, *names()))}"
    )
