"""R2 and R3: PRoot, pretending to be root, inside a container of runc or crun.

R2 lets a seccomp filter pass the calls that name no path; R3 stops at every call.
"""

from __future__ import annotations

from udocker.engine import ptrace, runc
from udocker.engine.base import need_filters
from udocker.errors import EngineUnavailable
from udocker.model.run import MakeDirectory, Mount
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host, Support
    from udocker.model.run import Launch, RunSpec, Tracer

MODES = ("R2", "R3")
FEATURES = runc.FEATURES
# In the file system that the runtime makes for /dev: nothing of it comes to lie in the container.
_PLACE = "/dev/.udocker"


def probe(host: Host, mode: str) -> Support:
    """What R1 needs, and what P1 or P2 needs."""
    support = runc.probe(host, "R1")
    if not support.ok:
        return support
    if mode == "R2":
        support = need_filters(host, "R3")
    return support if not support.ok else ptrace.probe(host, "P2")


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """R1 whose command is PRoot. Raises EngineUnavailable where no PRoot can be had inside."""
    if spec.tracer is None:
        raise EngineUnavailable("there is no PRoot for the inside of the container")
    env = (*spec.env, ("PROOT_TMP_DIR", _PLACE))
    if mode == "R3":
        env = (*env, ("PROOT_NO_SECCOMP", "1"))
    files = ((name, path) for name, path in spec.tracer.files)
    mounts = tuple(Mount(path, f"{_PLACE}/{name}", True, is_dir=False) for name, path in files)
    inner = replace(
        spec,
        argv=(*_started(spec.tracer), "-v", "-1", "-0", *spec.argv),
        env=env,
        mounts=(*spec.mounts, *mounts),
    )
    made = runc.launch(inner, host, mode)
    # PRoot 5.1.0 knows no other place for a file that it makes and removes again.
    scratch = MakeDirectory("/tmp", 0o1777, root=spec.root.path, is_point=True)
    return replace(
        made,
        steps=(*made.steps, scratch),
        go_betweens=2 if spec.tty else 1,  # on a terminal the runtime stays, too
    )


def _started(tracer: Tracer) -> tuple[str, ...]:
    """A dynamic PRoot has its own loader and libraries: the container's may be any."""
    program = f"{_PLACE}/{tracer.program}"
    if not tracer.loader:
        return (program,)
    return (f"{_PLACE}/{tracer.loader}", "--library-path", _PLACE, program)
