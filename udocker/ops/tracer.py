"""PRoot with all that it takes to run it where none of the host's files are (modes R2 and R3)."""

from __future__ import annotations

from udocker import elf, host
from udocker.errors import EngineUnavailable
from udocker.model.run import Tracer
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.run import RunSpec
    from udocker.ops.session import Session

_HINT = "name another PRoot, best a static one: UDOCKER_USE_PROOT_EXECUTABLE"
_PROGRAM, _LOADER = "proot", "loader"


def with_tracer(session: Session, spec: RunSpec) -> RunSpec:
    """``spec`` with the host's PRoot, to be run inside. Raises EngineUnavailable."""
    return replace(spec, tracer=tracer(session.host.program("proot") or "proot"))


def tracer(path: str) -> Tracer:
    """What of the host is needed to run the PRoot at ``path``. Raises EngineUnavailable."""
    try:
        with open(path, "rb") as stream:
            found = elf.read(stream.read(elf.HEAD))
    except OSError as error:
        raise EngineUnavailable(f"cannot read {path}: {error.strerror}", hint=_HINT) from error
    if found is None:
        raise EngineUnavailable(
            f"{path} is no program that can be taken into a container (a script?)", hint=_HINT
        )
    if not found.interpreter:
        return Tracer(_PROGRAM, files=((_PROGRAM, path),))
    libraries = host.libraries(path, found.interpreter)
    if libraries is None:
        raise EngineUnavailable(
            f"{path} cannot be taken into a container: {found.interpreter} does not find all of "
            "its libraries",
            hint=_HINT,
        )
    files = ((_PROGRAM, path), (_LOADER, found.interpreter), *libraries)
    return Tracer(_PROGRAM, _LOADER, files)
