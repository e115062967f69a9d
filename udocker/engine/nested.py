"""R2 and R3: a tracer inside a container of runc or crun.

It is udocker's own (``ptrace``), which shows every user and owner there, where the kernel knows one
only; or PRoot, where the user names one. R2 stops only the calls that matter, R3 stops all.
"""

from __future__ import annotations

from udocker.engine import inprocess, ptrace, runc
from udocker.engine.base import need_filters
from udocker.engine.proot import check_ports
from udocker.errors import EngineUnavailable
from udocker.model.features import BY_KERNEL, OTHER_MACHINES, USER
from udocker.model.launch import MakeDirectory, WriteFile
from udocker.model.run import Mount
from udocker.model.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from udocker.model.host import Host, Support
    from udocker.model.launch import Launch
    from udocker.model.run import RunSpec, Tracer

MODES = ("R2", "R3")
# What traces starts programs.
FEATURES = (runc.FEATURES | {USER, *inprocess.PORTS}) - {OTHER_MACHINES, BY_KERNEL}
# In the file system that the runtime makes for /dev: nothing of it comes to lie in the container.
_PLACE = "/dev/.udocker"
_TRACED = {"R2": "some", "R3": "all"}  # which calls the tracer stops
_WITHOUT = "udocker's own tracer shows others: leave UDOCKER_USE_PROOT_EXECUTABLE empty"
_OUTSIDE = {"R2": "P1", "R3": "P2"}


def probe(host: Host, mode: str) -> Support:
    """What R1 needs, and what P1 or P2 needs."""
    support = runc.probe(host, "R1")
    if not support.ok:
        return support
    if mode == "R2":
        support = need_filters(host, "R3")
    return support if not support.ok else ptrace.probe(host, _OUTSIDE[mode])


def launch(spec: RunSpec, host: Host, mode: str) -> Launch:
    """R1 whose command is the tracer. Raises EngineUnavailable without a PRoot that is wanted."""
    if ptrace.is_by_proot(host):
        return _by_proot(spec, host, mode)
    places = {"owners": spec.owners, "image_owners": spec.image_owners, "copies": spec.copies}
    given = {name: path for name, path in places.items() if path}
    inside = replace(spec, **{name: f"{_PLACE}/{name}" for name in given})
    words = ["root", "/", "traced", _TRACED[mode], *inprocess.process_words(inside)]
    description = inprocess.encoded(words)
    place = inprocess.description_file(spec, description)
    mounts = [Mount(path, f"{_PLACE}/{name}", name != "owners") for name, path in given.items()]
    mounts += [
        Mount(place, f"{_PLACE}/guest", True),
        Mount(host.inprocess, f"{_PLACE}/engine", True),
    ]
    program = spec.program or spec.argv[0]
    inner = replace(
        spec,
        argv=(f"{_PLACE}/engine", "start", f"{_PLACE}/guest", program, *spec.argv),
        user=replace(spec.user, uid=0, gid=0, groups=()),
        feigns=False,  # the engine inside remembers, and must be asked
        mounts=(*spec.mounts, *(replace(m, is_dir=m.source == spec.copies) for m in mounts)),
    )
    made = runc.launch(inner, host, mode)
    return replace(made, steps=(WriteFile(place, description), *made.steps))


def _by_proot(spec: RunSpec, host: Host, mode: str) -> Launch:
    if spec.tracer is None:
        raise EngineUnavailable("there is no PRoot for the inside of the container")
    if spec.user.uid != 0:
        raise EngineUnavailable("PRoot inside of the container shows root only", hint=_WITHOUT)
    check_ports(spec)
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
